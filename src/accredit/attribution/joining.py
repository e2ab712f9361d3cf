"""Matrices from results that were evaluated elsewhere, and two matrices of one game as one.

Axes: N players, M coalitions, K outputs, B examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from accredit.attribution.coalition import check_masks, check_players, coalition_keys, coalition_names
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.evaluation import Evaluations, Failure, join, n_examples, read_values
from accredit.attribution.output import Output
from accredit.attribution.prepared import EXACT
from accredit.attribution.provenance import Provenance
from accredit.errors import InvalidArgument, StateMismatch


def evaluations_from_results(
    players: Sequence[str], masks: Tensor, values: Mapping[str, Tensor], *, outputs: tuple[Output, ...]
) -> tuple[Evaluations, tuple[Failure, ...]]:
    """Rows and failures from masks [M, N] and values [M] or [M, B] per output.

    Raises:
        InvalidArgument: masks of another width or dtype, no row, or a coalition twice.
        EvaluationError: outputs that were not declared, or another shape.
    """
    names = check_players(players)
    rows = check_masks(masks.detach().cpu().numpy(), n_players=len(names))
    n_different = len(set(coalition_keys(rows)))
    if n_different != len(rows) or not len(rows):
        raise InvalidArgument(
            f"`masks` has {len(rows)} rows of which {n_different} differ, wanted at least one and each coalition "
            "once; leave repeated rows out."
        )
    result = read_values(values, rows, players=names, outputs=outputs)
    return result.finished, result.failures


def merge_evaluations(first: Evaluations, second: Evaluations, *, players: tuple[str, ...]) -> Evaluations:
    """Rows of both, those of the first in front; no coalition twice.

    Raises:
        StateMismatch: values over other examples, or another value for the same coalition: two games, not one.
    """
    if not len(first) or not len(second):
        return second if not len(first) else first
    widths = [[n_examples(block) for block in part.examples] for part in (first, second)]
    if widths[0] != widths[1]:
        raise StateMismatch(
            f"`other` has values over {widths[1]} examples, wanted {widths[0]} (None: averaged) as in this matrix; "
            "merge matrices of one validation set."
        )
    place = {key: at for at, key in enumerate(coalition_keys(first.masks))}
    partner = np.array([place.get(key, -1) for key in coalition_keys(second.masks)], dtype=np.intp)
    shared = np.flatnonzero(partner >= 0)
    # equal to the last bit: values of one game over the same data are, and a tolerance would hide other data
    differs = (first.means[:, partner[shared]] != second.means[:, shared]).any(axis=0)
    if differs.any():
        named = coalition_names(players, second.masks[shared[differs][0]])
        raise StateMismatch(
            f"`other` has another value for {named} and {int(differs.sum())} coalition(s) in all, wanted the same "
            "values where both have one; merge matrices of one game over the same data."
        )
    return join([first, second.take(np.flatnonzero(partner < 0))])


def merge_failures(failures: tuple[Failure, ...], masks: Sequence[str]) -> tuple[Failure, ...]:
    """Failures of coalitions that still have no value, each once."""
    valued = set(masks)
    return tuple({failure.coalition: failure for failure in failures if failure.coalition not in valued}.values())


def check_same_game(
    players: tuple[str, ...],
    outputs: tuple[Output, ...],
    *,
    other_players: tuple[str, ...],
    config: CounterfactualConfig,
) -> None:
    """Refuse to put rows of other players or outputs into one matrix.

    Raises:
        StateMismatch: players, their order or outputs differ.
    """
    if players != other_players or outputs != config.outputs:
        before, now = ([output.name for output in declared] for declared in (outputs, config.outputs))
        raise StateMismatch(
            f"`matrix` has players {list(players)} and outputs {before}, wanted {list(other_players)} and {now} "
            "with the same units and directions; put only rows of one game together."
        )


def numerics_of(evaluations: Evaluations, provenance: Provenance) -> str | None:
    """Numerics of the rows of a matrix; None where there are no rows, whatever was going to be evaluated."""
    return provenance.numerics if len(evaluations) else None


def join_numerics(here: str | None, other: str | None, *, what: str) -> str:
    """Numerics of a matrix with rows of both: a function that tells nothing evaluates one coalition after another.

    Args:
        here: of the rows that are there; None where there are none.
        other: of the rows that are to be added, likewise.
        what: the argument that they come from, for the message.

    Raises:
        StateMismatch: the two differ in rounding.
    """
    if here is None or other is None or here == other or {here, other} == {EXACT, ""}:
        return here or other or ""
    raise StateMismatch(
        f"`{what}` has values of the numerics {other or 'unknown'!r}, wanted {here or 'unknown'!r} as in the matrix, "
        "for the two differ in rounding; evaluate all coalitions of one matrix in the same way, or begin a new matrix."
    )


def merge_provenance(first: Provenance, second: Provenance, *, numerics: str) -> Provenance:
    """That of the first, with what the second adds."""
    return replace(
        first,
        strategy_reason=f"{first.strategy_reason}; merged with: {second.strategy_reason}",
        # rows that a look chose to stop at stay chosen, whichever of the two was looked at
        error_share=min(first.error_share, second.error_share),
        mechanism=join_mechanisms(first.mechanism, second.mechanism),
        numerics=numerics,
    )


def join_mechanisms(first: str, second: str) -> str:
    """Names of the mechanisms of both, each once.

    Example:
        >>> join_mechanisms("loop, replay", "replay"), join_mechanisms("", "graph")
        ('loop, replay', 'graph')
    """
    return ", ".join(dict.fromkeys(name for text in (first, second) for name in text.split(", ") if name))
