"""Count, mean and second moment: the one place that says which variance is which.

Both halves of the package stand on this file: attribution takes means and sample variances of evaluations from it, the
normalizers take running statistics. Everything is pure, and every formula is written once, over the operators that
Python floats, NumPy arrays and torch tensors share.

Which variance:

- `Moments.var` is the **population** variance, M2 / W: what a stream of data had. It is what is stored and merged, and
  what observations are divided by.
- `Moments.sample_var` is the **sample** variance, M2 / (W - Q/W), an unbiased estimate of what the data was drawn from;
  with unit weights that is M2 / (n - 1). It is what spreads and standard errors are made of, and what rewards are
  scaled by. One sample has none: it is NaN, never 0.

NaN is never absorbed: a NaN that is fed comes out as NaN. Leaving rows out is the caller's decision, made and counted
before the numbers come here.

Axes: B the samples over which moments are taken.
"""

from __future__ import annotations

import math
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.errors import InvalidArgument

Array = TypeVar("Array", Tensor, NDArray[np.float64], float)
# a float or a tensor of one element; a checker cannot follow the two through arithmetic with every `Array`
Weight: TypeAlias = Any


class Moments(NamedTuple, Generic[Array]):
    """Weighted count, mean and population variance of samples, one entry per feature.

    Without forgetting every sample has weight 1 and `weight` = `weight_of_squares` = number of samples.
    """

    weight: Weight
    """W, the sum of the weights."""
    weight_of_squares: Weight
    """Q, the sum of the squared weights."""
    mean: Array
    """Weighted mean."""
    var: Array
    """Population variance: weighted mean of the squared distances from `mean`."""

    @property
    def effective_count(self) -> Weight:
        """Kish's effective sample size K = W^2 / Q; 0 when empty."""
        return effective_count(self.weight, self.weight_of_squares)

    @property
    def sample_var(self) -> Array:
        """Sample variance, var K / (K - 1); NaN up to one effective sample."""
        return sample_variance(self.var, self.effective_count)


def effective_count(weight: Weight, weight_of_squares: Weight) -> Weight:
    """Kish's effective sample size.

    K = W^2 / Q

    Args:
        weight: W >= 0, sum of the weights.
        weight_of_squares: Q >= 0, sum of the squared weights.

    Returns:
        K, which is n for n unit weights and 0 for none.

    Example:
        >>> effective_count(4.0, 4.0)
        4.0
        >>> effective_count(0.0, 0.0)
        0.0

    Source: Kish, Survey Sampling (1965), section 11.7.
    """
    return weight * weight / (weight_of_squares + (weight_of_squares == 0.0))


def sample_variance(var: Array, effective: Weight) -> Array:
    """Sample variance from population variance.

    s^2 = var K / (K - 1)

    Args:
        var: population variance.
        effective: K, number of samples or effective sample size.

    Returns:
        s^2, NaN where K <= 1 (up to rounding): one sample says nothing about spread.

    Example:
        >>> sample_variance(1.25, 4.0)
        1.6666666666666667
        >>> sample_variance(0.0, 1.0)
        nan
    """
    # decayed weights bring K to 1 up to rounding only, and K / (K - 1) would then be noise times 1e16
    spare: Weight = effective - 1.0
    if isinstance(spare, Tensor):
        known: Weight = torch.where(spare > 1e-12, spare, torch.nan)
    else:
        known = spare if spare > 1e-12 else math.nan
    unbiased: Array = var * effective / known
    return unbiased


def merge(a: Moments[Array], b: Moments[Array]) -> Moments[Array]:
    """Moments of the union of two disjoint sets of samples.

    W = W_a + W_b,  s = W_b / W,  d = mean_b - mean_a,
    mean = mean_a + s d,  var = (1 - s) var_a + s var_b + s (1 - s) d^2

    The last term is that of the law of total variance: without it, variance between the sets is lost. A difference of
    like numbers is the only subtraction, so that a large mean costs no digits. Two empty sets merge to an empty one.

    Args:
        a: moments of the first set.
        b: moments of the second set, same feature shape.

    Returns:
        Moments of both together, exact up to rounding for any partition and order.

    Example:
        >>> merge(Moments(2.0, 2.0, 1.5, 0.25), Moments(2.0, 2.0, 3.5, 0.25))
        Moments(weight=4.0, weight_of_squares=4.0, mean=2.5, var=1.25)

    Source: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979),
    equation 2.1.
    """
    weight = a.weight + b.weight
    share = b.weight / (weight + (weight == 0.0))
    rest = 1.0 - share
    delta = b.mean - a.mean
    var = rest * a.var + share * (b.var + rest * delta * delta)
    return Moments(weight, a.weight_of_squares + b.weight_of_squares, a.mean + share * delta, var)


def remove(whole: Moments[Array], part: Moments[Array]) -> Moments[Array]:
    """Moments of what remains when a part is taken out of a whole: `merge` solved for its second argument.

    Digits are lost where the part holds nearly everything.

    Args:
        whole: moments of both sets; more weight than `part`.
        part: moments of the set to take out.

    Returns:
        Moments of the rest.

    Example:
        >>> remove(Moments(4.0, 4.0, 2.5, 1.25), Moments(2.0, 2.0, 1.5, 0.25))
        Moments(weight=2.0, weight_of_squares=2.0, mean=3.5, var=0.25)
    """
    weight = whole.weight - part.weight
    share = weight / whole.weight
    delta = (whole.mean - part.mean) / share
    var = (whole.var - (1.0 - share) * (part.var + share * delta * delta)) / share
    return Moments(weight, whole.weight_of_squares - part.weight_of_squares, part.mean + delta, var)


def forget(moments: Moments[Array], factor: Weight) -> Moments[Array]:
    """Scale the weight of everything seen so far; mean and variance stay.

    W <- f W,  Q <- f^2 Q

    With f = beta^n before `merge` with a batch of n this is exponential forgetting per sample. It is bias-corrected
    from the first update on, because an empty state has weight 0 and so no say.

    Args:
        moments: what to age.
        factor: f in [0, 1].

    Returns:
        The same mean and variance at less weight.

    Example:
        >>> forget(Moments(2.0, 2.0, 1.5, 0.25), 0.5)
        Moments(weight=1.0, weight_of_squares=0.5, mean=1.5, var=0.25)
    """
    return Moments(moments.weight * factor, moments.weight_of_squares * (factor * factor), moments.mean, moments.var)


def moments_of(samples: Tensor, dim: int = -1) -> Moments[Tensor]:
    """Mean and variance of samples along one axis, in float64 and two passes.

    Args:
        samples: [..., B, ...] real tensor with B >= 1 samples along `dim`.
        dim: the axis of the samples.

    Returns:
        Moments with `mean` and `var` of the shape of `samples` without `dim`, weight B.

    Raises:
        InvalidArgument: no sample, or numbers that are not real.

    Example:
        >>> moments = moments_of(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> moments.mean.item(), moments.var.item(), round(moments.sample_var.item(), 9)
        (2.5, 1.25, 1.666666667)
    """
    if samples.is_complex() or samples.dtype == torch.bool:
        raise InvalidArgument(f"`samples` has dtype {samples.dtype}, but moments need real numbers; convert it first.")
    n_samples = samples.shape[dim] if samples.dim() else 0
    if n_samples == 0:
        raise InvalidArgument(
            f"`samples` has shape {tuple(samples.shape)}, but moments need at least one sample along axis {dim}; "
            "leave empty sets out."
        )
    exact = samples.to(torch.float64)
    # distances from one of the samples are small where the numbers are not, so their mean keeps all digits
    origin = exact.narrow(dim, 0, 1)
    offset = (exact - origin).mean(dim, keepdim=True)
    var = (exact - origin - offset).square().mean(dim)
    return Moments(float(n_samples), float(n_samples), (origin + offset).squeeze(dim), var)


def running(seen: int | float, horizon: float | None) -> tuple[float, float]:
    """Weights that a state has after a number of samples that came one at a time.

    W = (1 - beta^n) / (1 - beta),  Q = (1 - beta^2n) / (1 - beta^2),  beta = 1 - 1 / horizon

    Args:
        seen: n >= 0, samples seen.
        horizon: in samples, None where nothing is forgotten (then W = Q = n).

    Returns:
        W and Q.

    Example:
        >>> running(3, None)
        (3.0, 3.0)
        >>> running(2, 2.0)
        (1.5, 1.25)
    """
    if horizon is None:
        return float(seen), float(seen)
    beta = 1.0 - 1.0 / horizon
    squared = beta * beta
    return (1.0 - beta**seen) / (1.0 - beta), (1.0 - squared**seen) / (1.0 - squared)
