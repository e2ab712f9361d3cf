"""How a matrix came to be, and what it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a matrix took."""

    n_evaluations: int
    """Coalitions with values."""
    duration_s: float
    """Seconds inside `compute_matrix`, of all calls that built the matrix together."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a matrix came to hold the coalitions that it holds."""

    strategy: str
    """"full_factorial", "shapley" or "ablation_only": what was evaluated; "results" where it was evaluated
    elsewhere."""
    strategy_reason: str
    """Why that strategy."""
    stop_reason: str
    """Why evaluating ended: "complete", "max_evaluations", "timeout_s", "target_half_width", "stop", "failure",
    "interrupt", "killed" (read from a file that nobody closed)."""
    error_share: float = 1.0
    """Part of the error level that intervals may use after looks by a stop rule."""
    mechanism: str = ""
    """How coalitions were evaluated, such as "replay"; several, joined by ", ", where the matrix was continued by
    another; "" where the value function does not tell."""
    numerics: str = ""
    """How values round: "exact" where they equal, bit for bit, those of one evaluation after another; another text for
    each other rounding; "" where the value function does not tell."""
