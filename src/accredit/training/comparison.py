"""What the final comparison found: records that go into `evaluation.json`, the tables and the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from accredit.moments import moments_of


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over hosts with its Student t interval; the hosts are independent draws of the seed."""

    mean: float
    lower: float | None
    """None where fewer than two hosts leave the uncertainty unknown."""
    upper: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float) -> Interval:
        """Return the interval of the mean of `values`.

        Example:
            >>> Interval.of([1.0], 0.95)
            Interval(mean=1.0, lower=None, upper=None, count=1)
        """
        array = np.asarray(values, dtype=np.float64)
        if len(array) < 2:
            return cls(mean=float(array.mean()), lower=None, upper=None, count=len(array))
        moments = moments_of(torch.from_numpy(array))
        mean = float(moments.mean)
        stderr = float((moments.sample_var / len(array)).sqrt())
        half = float(stats.t.ppf(0.5 + confidence / 2, len(array) - 1)) * stderr
        return cls(mean=mean, lower=mean - half, upper=mean + half, count=len(array))


@dataclass(frozen=True, kw_only=True)
class PolicyRow:
    """One policy in the comparison; differences are paired by host, in log-loss: negative is better."""

    policy: str
    accuracy: Interval
    log_loss: Interval
    parameters: Interval
    minus_no_growth: Interval | None
    """Its log-loss minus that of no growth; None for no growth itself."""
    learned_minus: Interval | None
    """The learned policy's log-loss minus its own; None for the learned policy itself."""


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """A network that was large from the start: a point of the frontier of quality against parameters."""

    width: int
    """As `Task.widened` takes it."""
    learning_rate: float
    """Of Adam, the best of those tried, on the reward split of design hosts."""
    parameters: int
    accuracy: Interval
    log_loss: Interval
    learned_minus: Interval
    """The learned policy's log-loss minus its own, paired by host."""


@dataclass(frozen=True, kw_only=True)
class GraftRow:
    """What grafts of one kind in one slot earned where the learned policy committed them, on the test split."""

    slot: str
    kind: str
    log_loss: Interval
    """Contribution (Shapley value, positive helps) in nats."""
    accuracy: Interval
    """Contribution in share of the examples."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The outcome of a run."""

    policies: tuple[PolicyRow, ...]
    sizes: tuple[SizeRow, ...]
    """Fixed large networks of every size that was tried, ascending; the row `fixed large` is one of them."""
    grafts: tuple[GraftRow, ...]
    hosts: int
    confidence: float
    schedule: str
    """Which schedule did best on the reward split."""
    calibrated_kinds: tuple[str, ...]
    """Which kind earned most in each slot on the reward split."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dataclasses.asdict(self)
