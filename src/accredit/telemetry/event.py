"""The kinds of events: frozen records with a version, an origin and nothing but plain values.

Every event says where it happened: `environment` (one host being trained), `episode` and `step` within it; each is
None where it does not apply. A measurement that was not made is None, never 0. Lists are tuples, mappings are plain
dicts of strings, so that an event written as JSON and read back is equal to the one that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an event happened."""

    environment: str | None = None
    """The host that was being trained, or None."""
    episode: int | None = None
    """Episodes of that environment before this one, from 0."""
    step: int | None = None
    """Steps of the episode before this one, from 0."""


@dataclass(frozen=True, kw_only=True)
class CoalitionsEvaluated:
    """Coalitions of one matrix were evaluated; the events of a matrix, joined in order, equal the matrix."""

    origin: Origin
    players: tuple[str, ...]
    coalitions: tuple[str, ...]
    """One string per coalition, a character per player in the order of `players`: 1 = on."""
    values: Mapping[str, tuple[float | None, ...]]
    """Per output one value per coalition (the mean over examples), None where the coalition failed."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Coalition -> message, for those that failed."""


@dataclass(frozen=True, kw_only=True)
class ContributionsEstimated:
    """Shapley values of one output: over players the raw values sum to `value_all` - `value_none`."""

    origin: Origin
    output: str
    unit: str
    higher_is_better: bool
    players: tuple[str, ...]
    values: tuple[float, ...]
    """Raw Shapley values in the unit of the output."""
    contributions: tuple[float, ...]
    """The same, signed by the declared direction: positive helps."""
    stderr: tuple[float | None, ...]
    lower: tuple[float | None, ...]
    """Lower end of the interval of the raw value at `level`; None where the uncertainty is unknown."""
    upper: tuple[float | None, ...]
    level: float
    value_all: float
    value_none: float
    estimator: str
    n_evaluations: int
