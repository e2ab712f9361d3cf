"""Running mean and standard deviation of observations: exact, or forgetting, and where the data is.

Axes: B rows of a batch (all leading axes taken together), D features (all axes of `shape` taken together).
"""

from __future__ import annotations

import math
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from accredit.errors import InvalidArgument
from accredit.moments import Moments, forget, merge, running
from accredit.normalize import host
from accredit.normalize.batch import Batch, masked_moments, standardize
from accredit.normalize.checks import check_batch, check_device, check_mask, explain, fits
from accredit.normalize.host_fused import update_and_standardize
from accredit.normalize.host_large import standardize_large, update_large
from accredit.normalize.state import Statistics

_WIDE = frozenset((torch.float64, torch.int64, torch.int32))


class RunningMeanStd(Statistics):
    """Running mean and standard deviation per feature, over all leading axes of what it is fed.

    W <- beta^n W + n;  w = n / W;  d = m - mean;  var <- (1-w) var + w v + w (1-w) d^2;  mean <- mean + w d

    for a batch of n rows with mean m and variance v. Without a horizon beta is 1: the exact statistics of everything
    seen, however it was cut into batches. With one, beta = 1 - 1/horizon per sample. State is float64 whatever the data
    is, and stays so under `.half()`.

    Before the first update mean is 0 and variance 1, so that `normalize` only clips; the first update equals the
    statistics of its batch. `update` does nothing in eval mode or after `freeze()`. A row with a NaN or an infinity, or
    one that the mask leaves out, changes nothing and is counted. What one step sees does not include that step unless
    you update first.

    Threads: any number may call `normalize` at once. `update`, `merge`, `reset`, loading and moving need the object to
    themselves.

    Args:
        shape: of one sample, without batch axes; () or an int for scalars or vectors.
        horizon: in samples, at least 1: how far back the statistics reach; None forgets nothing.
        clip: bound of the normalized output, above 0; math.inf for none.
        epsilon: floor on the variance, above 0; a variance above it is used as it is.
        device: of the statistics.

    Raises:
        InvalidArgument: an argument out of range.

    Example:
        >>> statistics = RunningMeanStd(2)
        >>> statistics.update(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        >>> statistics.mean.tolist(), statistics.std.tolist(), int(statistics.count)
        ([2.0, 20.0], [1.0, 10.0], 2)
        >>> statistics(torch.tensor([3.0, 0.0]))
        tensor([ 1., -2.])

    Source: Chan, Golub & LeVeque (1979) for the merge; unlike common libraries there is no initial pseudo-count, and
    epsilon is a floor rather than an addition, so that features of small variance are not squashed.
    """

    @classmethod
    def from_moments(
        cls,
        mean: Tensor,
        var: Tensor,
        count: float,
        *,
        horizon: float | None = None,
        clip: float = 10.0,
        epsilon: float = 1e-8,
    ) -> Self:
        """Statistics that go on from a known mean, population variance and number of samples.

        Args:
            mean: [*shape], finite.
            var: [*shape], finite and not negative.
            count: samples behind them, at least 0; with a horizon they count as having come one at a time.
            horizon: see the class.
            clip: see the class.
            epsilon: see the class.

        Returns:
            Statistics on the device of `mean`.

        Raises:
            InvalidArgument: shapes that differ, or numbers that no data could have.

        Example:
            >>> statistics = RunningMeanStd.from_moments(torch.tensor([5.0]), torch.tensor([4.0]), 100)
            >>> statistics(torch.tensor([[9.0]])).item()
            2.0
        """
        if mean.shape != var.shape:
            raise InvalidArgument(
                f"`var` has shape {tuple(var.shape)}, but `mean` has shape {tuple(mean.shape)}; pass one variance per "
                "mean."
            )
        if not (
            count >= 0.0 and bool(torch.isfinite(mean).all()) and bool((var >= 0.0).all() & torch.isfinite(var).all())
        ):
            raise InvalidArgument(
                f"`mean`, `var` and `count` (count is {count}) hold numbers no data has, but statistics go on from "
                "them; pass finite means, variances >= 0 and a count >= 0."
            )
        self = cls(tuple(mean.shape), horizon=horizon, clip=clip, epsilon=epsilon, device=mean.device)
        if count > 0:
            self.moments.copy_(torch.stack((mean, var)).reshape(2, -1))
            self.tallies[:3].copy_(torch.tensor((*running(count, horizon), round(count)), dtype=torch.float64))
        return self

    def update(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Take a batch into the statistics; nothing happens in eval mode, after `freeze()`, or for an empty batch.

        Args:
            x: [..., *shape] with at least one batch axis; any real dtype, on the device of the statistics.
            mask: bool [...], True where a row counts; None for all.

        Raises:
            InvalidArgument: another shape, device or dtype, or a single sample without a batch axis.
        """
        rows, mask = self.as_rows(x, mask)
        if self.frozen or not self.training:
            return
        if torch.compiler.is_compiling() or not rows.is_cpu:
            self.absorb(masked_moments(rows, mask))
        elif mask is None:
            self.absorb_rows(rows)
        else:
            kept = rows[mask]
            self.tallies[4:].add_(len(rows) - len(kept))
            self.absorb_rows(kept)

    def as_rows(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A batch as flat rows [B, D] without a gradient, and its mask as [B]; refuses what is no batch of ours."""
        buffer = cast("Tensor", self._buffers["moments"])
        if not fits(x, buffer, self.shape) or x.dim() == len(self.shape):
            explain(x, buffer.device, self.shape, "x")
            check_batch(x, self.shape, "x")
        if mask is not None:
            check_mask(mask, tuple(x.shape[: x.dim() - len(self.shape)]))
            check_device(mask, buffer.device, "mask")
            mask = mask.reshape(-1)
        rows = x.detach() if x.requires_grad else x
        return (rows if rows.dim() == 2 and len(self.shape) == 1 else rows.reshape(-1, self.n_features)), mask

    def absorb_rows(self, rows: Tensor, *, are_finite: bool = False) -> None:
        """Merge rows [B, D] on the CPU outside compiled regions; what is not finite is left out and counted."""
        n_rows, width = rows.shape
        if n_rows == 0:
            return
        state, tallies, *_ = self.on_host()
        weight, weight_of_squares = self._aged(tallies, n_rows)
        share = n_rows / (weight + n_rows)
        is_small = n_rows * width <= host.SMALL
        if share > host.LARGEST_SHARE or are_finite or (not is_small and width > 1 and rows.dtype in _WIDE):
            old = Moments(weight, weight_of_squares, self.moments[0], self.moments[1])
            done = self._merge_exactly(rows, old, limit=math.inf if are_finite else host.LARGEST**2)
        elif width == 1:
            with np.errstate(over="ignore", invalid="ignore"):
                done = host.update_column(state, rows.reshape(-1).double().numpy(), share=share)
        elif is_small:
            numbers = (rows if rows.dtype in host.NUMPY_DTYPES else rows.float()).numpy()
            done = host.update_small(state, numbers, share=share)
        else:
            done = update_large(state, rows, share=share)
        if done:
            _count(tallies, n_rows, weight=weight, weight_of_squares=weight_of_squares)
        else:
            self._drop_and_update(rows)

    def absorb_values(self, values: host.Exact) -> None:
        """`absorb_rows` of float64 numbers [B] of one feature."""
        state, tallies, *_ = self.on_host()
        weight, weight_of_squares = self._aged(tallies, len(values))
        share = len(values) / (weight + len(values))
        if share <= host.LARGEST_SHARE and host.update_column(state, values, share=share):
            _count(tallies, len(values), weight=weight, weight_of_squares=weight_of_squares)
        else:
            self.absorb_rows(torch.from_numpy(values).unsqueeze(-1))

    def _aged(self, tallies: host.Exact, n_rows: int) -> tuple[float, float]:
        """W and Q after the next rows have pushed the earlier ones back."""
        weight, weight_of_squares, *_ = tallies.tolist()
        if self.horizon is None:
            return weight, weight_of_squares
        kept = (1.0 - 1.0 / self.horizon) ** n_rows
        return weight * kept, weight_of_squares * kept * kept

    def _merge_exactly(self, rows: Tensor, old: Moments[Tensor], *, limit: float) -> bool:
        new = host.exact_moments(rows, old.mean, limit=limit)
        if new is None:
            return False
        merged = merge(old, new)
        self.moments[0] = merged.mean
        self.moments[1] = merged.var
        return True

    def _drop_and_update(self, rows: Tensor) -> None:
        """Leave out and count the rows that are not finite; the others give the bits they would have given alone."""
        finite = host.finite_rows(rows)
        kept = rows[finite]
        self.tallies[3:4].add_(len(rows) - len(kept))
        # all finite: only their squares were too large for the dtype of the work
        self.absorb_rows(kept, are_finite=len(kept) == len(rows))

    def absorb(self, batch: Batch) -> None:
        """Merge flat moments [D] of a batch that were taken elsewhere, for example on other ranks; no host sync."""
        old = self.as_moments()
        if self.horizon is not None:
            old = forget(old, (1.0 - 1.0 / self.horizon) ** batch.moments.weight)
        self.write(merge(old, batch.moments))
        self.tallies[2:].add_(torch.stack((batch.moments.weight, batch.dropped.double(), batch.masked.double())))

    def normalize(self, x: Tensor) -> Tensor:
        """Standard scores, clipped: clip((x - mean) / sqrt(max(var, epsilon))).

        Args:
            x: [..., *shape]; batch axes are optional here.

        Returns:
            Tensor like `x` (integers come out in the default dtype) within [-clip, clip], with a gradient to `x` and
            none to the statistics. A NaN comes out as 0, the mean; an infinity as the bound.

        Raises:
            InvalidArgument: another shape, device or dtype.
        """
        moments = cast("Tensor", self._buffers["moments"])
        if not fits(x, moments, self.shape):
            explain(x, moments.device, self.shape, "x")
        if torch.compiler.is_compiling() or not x.is_cpu or (x.requires_grad and torch.is_grad_enabled()):
            mean, var = moments.view(2, *self.shape).unbind(0)
            return standardize(x, mean, var=var, epsilon=self.epsilon, clip=self.clip)
        return self._normalize_on_host(x.detach() if x.requires_grad else x, self.on_host().moments)

    def _normalize_on_host(self, x: Tensor, state: host.Exact) -> Tensor:
        """`normalize` on a view of the state, without autograd."""
        dtype = x.dtype
        is_vector = len(self.shape) == 1
        if x.numel() <= host.SMALL:
            numbers = (x if dtype in host.NUMPY_DTYPES else x.float()).numpy()
            rows = numbers if is_vector else numbers.reshape(-1, self.n_features)
            work = np.float32 if dtype == torch.float32 else np.float64
            normalized = host.standardize_small(rows, state, epsilon=self.epsilon, clip=self.clip, dtype=work)
        else:
            flat = x if is_vector and x.dim() == 2 else x.reshape(-1, self.n_features)
            normalized = standardize_large(flat, state, epsilon=self.epsilon, clip=self.clip)
        if normalized.dtype != dtype:
            normalized = normalized.to(dtype if dtype.is_floating_point else torch.get_default_dtype())
        return normalized if is_vector and x.dim() <= 2 and normalized.dim() == x.dim() else normalized.view(x.shape)

    def update_and_normalize(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`update` and then `normalize` of the same batch, at a lower price on the CPU.

        Args:
            x: [..., *shape] with at least one batch axis.
            mask: bool [...], True where a row counts for the statistics; all rows are normalized.

        Returns:
            What `normalize` returns; equal to the two calls to float32 rounding (1e-6 of a standard deviation).

        Raises:
            InvalidArgument: another shape, device or dtype, or a single sample without a batch axis.

        Example:
            >>> RunningMeanStd(1).update_and_normalize(torch.tensor([[1.0], [3.0]])).flatten().tolist()
            [-1.0, 1.0]
        """
        apart = torch.compiler.is_compiling() or not x.is_cpu or x.requires_grad or mask is not None
        if apart or self.frozen or not self.training:
            self.update(x, mask)
            return self.normalize(x)
        rows, _ = self.as_rows(x, None)
        scores = self._absorb_and_standardize(rows)
        if scores is None:
            self.absorb_rows(rows)
            return self._normalize_on_host(x, self.on_host().moments)
        return scores if x is rows else scores.view(x.shape)

    def _absorb_and_standardize(self, rows: Tensor) -> Tensor | None:
        """Both at once for large float32 batches; None, and nothing done, where that does not go."""
        n_rows, width = rows.shape
        if n_rows * width <= host.SMALL or width == 1 or rows.dtype != torch.float32:
            return None
        state, tallies, *_ = self.on_host()
        weight, weight_of_squares = self._aged(tallies, n_rows)
        share = n_rows / (weight + n_rows)
        scores = update_and_standardize(state, rows, share=share, epsilon=self.epsilon, clip=self.clip)
        if scores is not None:
            _count(tallies, n_rows, weight=weight, weight_of_squares=weight_of_squares)
        return scores

    def forward(self, x: Tensor) -> Tensor:
        """`normalize`: statistics move only where `update` is called."""
        return self.normalize(x)

    def denormalize(self, x: Tensor) -> Tensor:
        """Back to original units: x sqrt(max(var, epsilon)) + mean; what was clipped stays clipped.

        Args:
            x: [..., *shape] of normalized numbers.

        Returns:
            Tensor like `x`, computed in float64 before it is rounded to the dtype of `x`.
        """
        if not fits(x, self.moments, self.shape):
            explain(x, self.moments.device, self.shape, "x")
        restored = x.double() * self.var.clamp(min=self.epsilon).sqrt() + self.mean
        return restored.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())

    @torch.no_grad()
    def merge(self, other: RunningMeanStd) -> None:
        """Take in what another exact normalizer of the same shape has seen; the result is that of both streams.

        Raises:
            InvalidArgument: another shape or device, or one of the two forgets: then no order of the samples is known.
        """
        if self.horizon is not None or other.horizon is not None:
            raise InvalidArgument(
                f"`merge` got horizons {self.horizon} and {other.horizon}, but two forgetting streams have no order in "
                "time; merge statistics with horizon=None, or update one of them with the data."
            )
        if other.shape != self.shape:
            raise InvalidArgument(
                f"`other` has shape {other.shape}, but these statistics have shape {self.shape}; merge equal shapes."
            )
        check_device(other.moments, self.moments.device, "other")
        self.write(merge(self.as_moments(), other.as_moments()))
        self.tallies[2:].add_(other.tallies[2:])

    def freeze(self, frozen: bool = True) -> Self:
        """Stop (or with False, resume) updates whatever the mode of the surrounding module; `normalize` goes on."""
        self.frozen = frozen
        return self


def _count(tallies: host.Exact, n_rows: int, *, weight: float, weight_of_squares: float) -> None:
    """Note rows that have been merged, given W and Q without them."""
    tallies[0], tallies[1], tallies[2] = weight + n_rows, weight_of_squares + n_rows, tallies[2] + n_rows
