"""Which coalitions a configuration asks for, in which order, and why: decided before the first evaluation.

Axes: N players, M coalitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.coalition import ablation_masks, coalition_keys, factorial_masks
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.protocols import Design, MaskArray
from accredit.errors import BudgetError


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Coalitions in the order of evaluation, none and all first, cut into rounds."""

    strategy: str
    """"full_factorial", "shapley" or "ablation_only": what `auto` became."""
    reason: str
    """Why this strategy."""
    masks: MaskArray
    """[M, N], no row twice."""
    round_ends: tuple[int, ...]
    """Number of coalitions after each round; stop rules look at these places, and only at sampled plans."""

    @property
    def sampled(self) -> bool:
        """Whether there is a draw that could be stopped early."""
        return self.strategy == "shapley"


def minimum_evaluations(strategy: str, n_players: int) -> int:
    """Fewest coalitions from which a strategy answers: 2^N, N + 2, or min(2^N, 2 N + 2) where it samples.

    Example:
        >>> [minimum_evaluations(name, 5) for name in ("full_factorial", "ablation_only", "shapley")]
        [32, 7, 12]
    """
    everything = 1 << n_players
    if strategy == "full_factorial":
        return everything
    return min(everything, n_players + 2 if strategy == "ablation_only" else 2 * n_players + 2)


def make_plan(config: CounterfactualConfig, n_players: int, *, design: Design) -> Plan:
    """The plan of a configuration for N players.

    Raises:
        BudgetError: `max_evaluations` is below the minimum of the strategy.
    """
    everything, budget = 1 << n_players, config.max_evaluations
    if config.strategy == "auto":
        exact = everything <= budget
        strategy = "full_factorial" if exact else "shapley"
        comparison = (
            f"2^{n_players} = {everything} coalitions {'fit' if exact else 'exceed'} max_evaluations = {budget}"
        )
        reason = f"auto: {comparison}, so {'all are evaluated' if exact else 'they are sampled'}"
    else:
        strategy, reason = str(config.strategy), f"{config.strategy} was asked for"
    wanted = minimum_evaluations(strategy, n_players)
    if budget < wanted:
        raise BudgetError(
            f"`max_evaluations` is {budget}, wanted at least {wanted} for the strategy {strategy!r} with {n_players} "
            "players; raise it, or attribute fewer players."
        )
    if strategy == "full_factorial":
        return Plan(strategy=strategy, reason=reason, masks=factorial_masks(n_players), round_ends=(everything,))
    if strategy == "ablation_only":
        masks = ablation_masks(n_players)
        return Plan(strategy=strategy, reason=reason, masks=masks, round_ends=(len(masks),))
    # the whole design now, not round by round: it depends on no value, so a run that is cut short has a prefix of it
    masks = design(n_players, min(budget, everything), seed=config.seed)
    return Plan(strategy=strategy, reason=reason, masks=masks, round_ends=_doubling(len(masks), 4 * n_players))


def _doubling(total: int, first: int) -> tuple[int, ...]:
    """first, 2 first, 4 first, ... and at last the total.

    Example:
        >>> _doubling(100, 24)
        (24, 48, 96, 100)
    """
    ends = []
    end = first
    while end < total:
        ends.append(end)
        end *= 2
    return (*ends, total)


def within_budget(plan: Plan, foreign: int, *, budget: int) -> Plan:
    """The plan without its last coalitions where earlier ones from elsewhere already took a part of the budget.

    Raises:
        BudgetError: a strategy that cannot be cut would then be incomplete.
    """
    room = budget - foreign
    if len(plan.masks) <= room:
        return plan
    if not plan.sampled or room < 2:
        raise BudgetError(
            f"`max_evaluations` is {budget}, but the matrix already holds {foreign} coalitions that the strategy "
            f"{plan.strategy!r} does not need, wanted room for {len(plan.masks)} more; raise `max_evaluations`."
        )
    # pairs are cut whole: a coalition without its complement would be paid for and not used
    ends = tuple(end for end in plan.round_ends if end < room)
    return Plan(
        strategy=plan.strategy, reason=plan.reason, masks=plan.masks[: room // 2 * 2], round_ends=(*ends, room // 2 * 2)
    )


def rows_at_look(masks: MaskArray, plan: Plan, end: int) -> NDArray[np.intp]:
    """Rows of masks [M, N] that a look after the first `end` coalitions of the plan may use.

    These are the rows among them and those that the plan does not name, but none that it names later: so a matrix that
    was continued looks at the same rows as one that was not interrupted.
    """
    place = {key: at for at, key in enumerate(coalition_keys(plan.masks))}
    return np.array([row for row, key in enumerate(coalition_keys(masks)) if place.get(key, -1) < end], dtype=np.intp)


def count_foreign(masks: MaskArray, plan: Plan) -> int:
    """Number of rows of masks [M, N] that the plan does not name."""
    named = set(coalition_keys(plan.masks))
    return sum(key not in named for key in coalition_keys(masks))
