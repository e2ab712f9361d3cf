"""What a normalizer has to say about itself: fields for events and logs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from accredit.normalize.observation import RunningMeanStd


@dataclass(frozen=True, kw_only=True)
class NormalizerStatus:
    """One reading of a normalizer, as plain numbers."""

    count: int
    """Samples seen; never decays."""
    effective_count: float
    """Samples the statistics are worth; equals `count` without a horizon."""
    dropped: int
    """Rows left out because a number was not finite: a fault upstream."""
    masked: int
    """Rows left out because the caller said so."""
    std_smallest: float
    """Smallest standard deviation of a feature; at or below the square root of epsilon that feature is constant."""
    std_largest: float
    """Largest standard deviation of a feature."""
    drift: float | None
    """Largest move of a mean since the earlier reading, in its standard deviations then; None without one."""


def status(
    statistics: RunningMeanStd, *, mean_before: Tensor | None = None, std_before: Tensor | None = None
) -> NormalizerStatus:
    """Read a normalizer; synchronises with its device.

    Args:
        statistics: what to read.
        mean_before: `statistics.mean` at the earlier reading that drift is measured from.
        std_before: `statistics.std` at that reading.

    Returns:
        The reading.

    Example:
        >>> import torch
        >>> statistics = RunningMeanStd(1)
        >>> statistics.update(torch.tensor([[0.0], [2.0]]))
        >>> mean, std = statistics.mean, statistics.std
        >>> statistics.update(torch.tensor([[5.0], [5.0]]))
        >>> reading = status(statistics, mean_before=mean, std_before=std)
        >>> reading.count, reading.drift
        (4, 2.0)
    """
    drift = None
    if mean_before is not None and std_before is not None:
        floor = statistics.epsilon**0.5
        drift = float(((statistics.mean - mean_before).abs() / std_before.clamp(min=floor)).max())
    std = statistics.std
    return NormalizerStatus(
        count=int(statistics.count),
        effective_count=float(statistics.effective_count),
        dropped=int(statistics.dropped),
        masked=int(statistics.masked),
        std_smallest=float(std.min()),
        std_largest=float(std.max()),
        drift=drift,
    )
