"""The one-call form of an attribution."""

from __future__ import annotations

from collections.abc import Sequence

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.evaluation import ValueFunction
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output


def attribute(
    value_function: ValueFunction,
    players: Sequence[str],
    *,
    outputs: Sequence[Output] = (Output("value", "1", True),),
    max_evaluations: int = 1024,
    seed: int = 0,
) -> CounterfactualMatrix:
    """Evaluate coalitions of the players and return the matrix: exact where 2^N fits the budget, else sampled.

    Args:
        value_function: masks [M, N], bool -> values [M] or, per example, [M, B], for every output.
        players: N names in the order of the columns of the masks.
        outputs: what the value function returns.
        max_evaluations: most coalitions to evaluate.
        seed: of the design and of the bootstrap.

    Returns:
        The matrix; `shapley(output)`, `interactions(output)` and the rest follow from it.

    Raises:
        BudgetError: `max_evaluations` is below 2 N + 2 and 2^N.
        EvaluationError: the value function failed; `matrix` of the error has what was finished.

    Example:
        The second part is worth 1 by itself, and 2 more together with the first.

        >>> def accuracy(masks):
        ...     first, second = masks.double().T
        ...     return {"value": second + 2 * first * second}
        >>> attribute(accuracy, ["first", "second"]).shapley("value").value.tolist()
        [1.0, 2.0]
    """
    config = CounterfactualConfig(max_evaluations=max_evaluations, outputs=tuple(outputs), seed=seed)
    return CounterfactualEngine(config).compute_matrix(players, value_function)
