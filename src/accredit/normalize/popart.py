"""Value targets at unit scale, and a value head whose outputs stay where they were when that scale moves (PopArt).

Axes: B samples, V values (outputs of the head), H inputs of the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from accredit.errors import InvalidArgument
from accredit.normalize.checks import check_device, check_features, check_numbers
from accredit.normalize.observation import RunningMeanStd

# what optimizers of torch keep per parameter, by the power of the gradient it grows with
_POWER = {
    "momentum_buffer": 1,
    "exp_avg": 1,
    "exp_avg_sq": 2,
    "max_exp_avg_sq": 2,
    "square_avg": 2,
    "sum": 2,
    "exp_inf": 1,
}


@dataclass(frozen=True, kw_only=True)
class HeadRescaling:
    """What one update did to the value head."""

    mean_before: Tensor
    """[V], in the unit of the targets."""
    mean_after: Tensor
    """[V]."""
    std_before: Tensor
    """[V], with the floor applied."""
    std_after: Tensor
    """[V]."""
    optimizer_entries: tuple[str, ...]
    """Names of the optimizer's entries that were scaled along."""


class ValueNormalizer(nn.Module):
    """Running mean and standard deviation of value targets, with the head rescaled at every update.

    y = (target - mu) / sigma;   on (mu, sigma) -> (mu', sigma'):   W <- W sigma / sigma',
    b <- (b sigma + mu - mu') / sigma',   so that sigma' (W' h + b') + mu' = sigma (W h + b) + mu

    sigma is sqrt(max(population variance, epsilon)). Gradients with respect to W' and b' are sigma / sigma' times those
    with respect to W and b, so the optimizer's moments of the head scale along with them. The rescaling is done in
    float64 and rounded once to the dtype of the head: in float64 outputs move by rounding only; a float32 head moves by
    about 1e-7 (|mu| + |mu'|) / sigma' in units of sigma', because that is what its bias can hold.

    Targets are not clipped, and a NaN target stays NaN: a target made up for it would be learned.

    Args:
        n_values: V, outputs of the head.
        horizon: in samples, how far the statistics reach back; None forgets nothing.
        epsilon: floor on the variance.
        device: of the statistics.

    Raises:
        InvalidArgument: an argument out of range.

    Example:
        >>> head, features = nn.Linear(3, 1).double(), torch.ones(1, 3, dtype=torch.float64)
        >>> normalizer = ValueNormalizer()
        >>> before = normalizer.denormalize(head(features))
        >>> report = normalizer.update(torch.tensor([[100.0], [300.0]]), head=head)
        >>> report.mean_after.item(), report.std_after.item()
        (200.0, 100.0)
        >>> bool(torch.allclose(normalizer.denormalize(head(features)), before, rtol=0, atol=1e-10))
        True

    Source: van Hasselt et al., Learning values across many orders of magnitude (2016), equations 5-8; the optimizer's
    moments are not treated there.
    """

    def __init__(
        self,
        n_values: int = 1,
        *,
        horizon: float | None = None,
        epsilon: float = 1e-8,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.n_values = n_values
        self.statistics = RunningMeanStd(n_values, horizon=horizon, clip=math.inf, epsilon=epsilon, device=device)

    def update(
        self, targets: Tensor, *, head: nn.Linear, mask: Tensor | None = None, optimizer: Optimizer | None = None
    ) -> HeadRescaling:
        """Take targets into the statistics and rescale the head, so that its outputs in original units stay.

        Call it between an optimizer step and the next forward pass, never between a forward pass and its backward.

        Args:
            targets: [..., V] in original units.
            head: the linear layer whose outputs are the normalized values; it needs a bias.
            mask: bool [...], True where a target counts.
            optimizer: of the head; its moments are scaled in the same call.

        Returns:
            What changed. In eval mode, and where no target counts, nothing did.

        Raises:
            InvalidArgument: a head without bias, of another width or on another device, or an optimizer that keeps
                something per parameter of which it is not known how it scales.
        """
        return self.move(lambda statistics: statistics.update(targets, mask), head=head, optimizer=optimizer)

    @torch.no_grad()
    def move(
        self, change: Callable[[RunningMeanStd], None], *, head: nn.Linear, optimizer: Optimizer | None = None
    ) -> HeadRescaling:
        """Let something else change the statistics, and rescale the head as `update` does.

        For statistics that are the same on every rank: `lambda statistics: synchronized_update(statistics, targets)`
        or `lambda statistics: rollout.commit()`. The head must have been the same on every rank, and is after.

        Args:
            change: called with the statistics, which it may update.
            head: see `update`.
            optimizer: see `update`.

        Returns:
            What changed.

        Raises:
            InvalidArgument: see `update`; then nothing has changed.

        Example:
            >>> head, normalizer = nn.Linear(3, 1), ValueNormalizer()
            >>> targets = torch.tensor([[100.0], [300.0]])
            >>> normalizer.move(lambda statistics: statistics.update(targets), head=head).mean_after.item()
            200.0
        """
        self._check_head(head)
        powers = {} if optimizer is None else _powers(head, optimizer)
        mean_before, std_before = self.statistics.mean, self.scale
        change(self.statistics)
        mean_after, std_after = self.statistics.mean, self.scale
        ratio = std_before / std_after
        head.weight.copy_(head.weight.double() * ratio.unsqueeze(-1))
        head.bias.copy_((head.bias.double() * std_before + (mean_before - mean_after)) / std_after)
        if optimizer is not None:
            for parameter, factor in ((head.weight, ratio.unsqueeze(-1)), (head.bias, ratio)):
                for name in powers.keys() & optimizer.state[parameter].keys():
                    entry = optimizer.state[parameter][name]
                    if entry is not None:
                        entry.copy_(entry.double() * factor ** powers[name])
        return HeadRescaling(
            mean_before=mean_before,
            mean_after=mean_after,
            std_before=std_before,
            std_after=std_after,
            optimizer_entries=tuple(sorted(powers)),
        )

    def normalize(self, targets: Tensor) -> Tensor:
        """(targets - mu) / sigma, computed in float64; [..., V] in, the same shape and dtype out."""
        self._check_values(targets, "targets")
        return ((targets.double() - self.statistics.mean) / self.scale).to(targets.dtype)

    def denormalize(self, outputs: Tensor) -> Tensor:
        """Outputs of the head in original units, sigma y + mu; [..., V] in, the same shape and dtype out."""
        self._check_values(outputs, "outputs")
        return (outputs.double() * self.scale + self.statistics.mean).to(outputs.dtype)

    def forward(self, outputs: Tensor) -> Tensor:
        """`denormalize`, so that the module can stand behind the head."""
        return self.denormalize(outputs)

    @property
    def scale(self) -> Tensor:
        """Sigma [V], float64: sqrt(max(variance, epsilon)); 1 before the first update."""
        return self.statistics.var.clamp(min=self.statistics.epsilon).sqrt()

    def _check_values(self, values: Tensor, name: str) -> None:
        check_numbers(values, name)
        if not values.is_floating_point():
            raise InvalidArgument(
                f"`{name}` has dtype {values.dtype}, but values at unit scale need fractions; convert it with .float()."
            )
        check_features(values, self.statistics.shape, name)
        check_device(values, self.statistics.moments.device, name)

    def _check_head(self, head: nn.Linear) -> None:
        if head.bias is None:
            raise InvalidArgument(
                "`head` has no bias, but a moving mean has to go somewhere; build it with nn.Linear(..., bias=True)."
            )
        if head.out_features != self.n_values:
            raise InvalidArgument(
                f"`head` has {head.out_features} outputs, but the normalizer has {self.n_values} values; build both "
                "for the same number."
            )
        check_device(head.weight, self.statistics.moments.device, "head")


def _powers(head: nn.Linear, optimizer: Optimizer) -> dict[str, int]:
    """Which entries of the optimizer's state of the head scale with which power of the gradient."""
    powers: dict[str, int] = {}
    for parameter in (head.weight, head.bias):
        for name, entry in optimizer.state.get(parameter, {}).items():
            if not isinstance(entry, Tensor) or entry.shape != parameter.shape:
                continue
            if name not in _POWER:
                raise InvalidArgument(
                    f"`optimizer` keeps `{name}` for the head, but it is not known how that scales with the gradient; "
                    f"use an optimizer that keeps only {', '.join(_POWER)}."
                )
            powers[name] = _POWER[name]
    return powers
