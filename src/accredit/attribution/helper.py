"""The bridge to a training loop: which coalitions are wanted, contributions from evaluations here or elsewhere, events.

Axes: N players, M coalitions, B examples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from accredit.attribution.coalition import check_players
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.evaluation import ValueFunction
from accredit.attribution.events import coalitions_evaluated, contributions_estimated
from accredit.attribution.interaction import InteractionResult
from accredit.attribution.joining import evaluations_from_results
from accredit.attribution.matrix import CounterfactualMatrix, shapley_where_known
from accredit.attribution.plan import make_plan
from accredit.attribution.provenance import Cost, Provenance
from accredit.attribution.session import OnEvent
from accredit.errors import EvaluationError, InvalidArgument, MissingValue
from accredit.telemetry.event import Origin


class CounterfactualHelper:
    """Contributions inside a training loop, for any number of environments, with a cache of stated size.

    It keeps the last matrix of each of the `kept_matrices` environments that were attributed last, and nothing else:
    its memory is that of so many matrices, however many calls are made. Two environments never mix: each call names
    its own.

    Args:
        config: strategy, budget, outputs; the same for all calls.
        on_event: called with `CoalitionsEvaluated` and `ContributionsEstimated`, which carry environment, episode and
        step. kept_matrices: bound of the cache, at least 1.

    Example:
        >>> helper = CounterfactualHelper(CounterfactualConfig())
        >>> masks = helper.required_coalitions(["a", "b"])
        >>> values = {"value": masks.all(dim=1).double()}
        >>> matrix = helper.contributions_from_results(["a", "b"], masks, values, environment="host-0", step=3)
        >>> matrix.shapley("value").contributions.tolist()
        [0.5, 0.5]
        >>> helper.interaction_terms("value")[("a", "b")].value
        1.0
    """

    def __init__(
        self, config: CounterfactualConfig, on_event: OnEvent | None = None, *, kept_matrices: int = 8
    ) -> None:
        if kept_matrices < 1:
            raise InvalidArgument(
                f"`kept_matrices` is {kept_matrices}, wanted at least 1; pass how many environments are to be "
                "remembered."
            )
        self.config = config
        self.on_event = on_event
        self.kept_matrices = kept_matrices
        self._engine = CounterfactualEngine(config)
        self._design = ComplementPairDesign()
        self._matrices: OrderedDict[str | None, CounterfactualMatrix] = OrderedDict()

    def required_coalitions(self, players: Sequence[str]) -> Tensor:
        """Masks [M, N], bool, that the strategy wants evaluated: none and all first, no row twice.

        Raises:
            BudgetError: `max_evaluations` is below the minimum of the strategy.
        """
        plan = make_plan(self.config, len(check_players(players)), design=self._design)
        return torch.from_numpy(plan.masks.copy())

    def compute_contributions(
        self,
        players: Sequence[str],
        value_function: ValueFunction,
        *,
        environment: str | None = None,
        episode: int | None = None,
        step: int | None = None,
        shapley: bool = True,
    ) -> CounterfactualMatrix:
        """Evaluate the required coalitions and send the events.

        Args:
            players: names in the order of the columns of the masks.
            value_function: masks [M, N] -> values [M] or [M, B] for every declared output.
            environment: who is attributed; also the key of the cache.
            episode: of that environment.
            step: of that episode.
            shapley: whether Shapley values are computed and sent now; the matrix gives them later in any case.

        Returns:
            The matrix, from which `shapley(output)`, `leave_one_out(output)` and the rest follow.

        Raises:
            EvaluationError: the value function failed; `matrix` of the error has what was finished.
        """
        origin = Origin(environment=environment, episode=episode, step=step)
        try:
            matrix = self._engine.compute_matrix(players, value_function, origin=origin)
        except EvaluationError as error:
            self._report(error.matrix, origin, shapley=False)
            raise
        return self._keep(matrix, origin, shapley=shapley)

    def contributions_from_results(
        self,
        players: Sequence[str],
        masks: Tensor,
        values: Mapping[str, Tensor],
        *,
        environment: str | None = None,
        episode: int | None = None,
        step: int | None = None,
        shapley: bool = True,
    ) -> CounterfactualMatrix:
        """A matrix from coalitions that were evaluated elsewhere, such as inside validation, and its events.

        Args:
            players: names in the order of the columns of the masks.
            masks: bool [M, N], no row twice, in any order.
            values: for every declared output [M] or, per example, [M, B].
            environment: as in `compute_contributions`, like the arguments after it.
            episode: of that environment.
            step: of that episode.
            shapley: whether Shapley values are computed and sent now.

        Raises:
            InvalidArgument: masks of another width or dtype, or a coalition twice.
            EvaluationError: outputs that were not declared, wrong shapes or values that are not finite; `matrix` of
                the error has the good rows.
        """
        names = check_players(players)
        rows, failures = evaluations_from_results(names, masks, values, outputs=self.config.outputs)
        origin = Origin(environment=environment, episode=episode, step=step)
        matrix = CounterfactualMatrix(
            players=names,
            config=self.config,
            evaluations=rows,
            failures=failures,
            provenance=Provenance(
                strategy="results",
                strategy_reason="the coalitions were evaluated elsewhere",
                stop_reason="failure" if failures else "complete",
            ),
            cost=Cost(n_evaluations=len(rows), duration_s=0.0),
        )
        if matrix.failures:
            self._report(matrix, origin, shapley=False)
            raise EvaluationError(
                f"`values` has {len(matrix.failures)} failed coalition(s), the first {matrix.failures[0].players}: "
                f"{matrix.failures[0].message} The good rows are in `matrix` of this error.",
                matrix=matrix,
            )
        return self._keep(matrix, origin, shapley=shapley)

    @property
    def last_matrix(self) -> CounterfactualMatrix | None:
        """The matrix of the last call that ended well, of whichever environment; None before the first."""
        return next(reversed(self._matrices.values()), None)

    def matrix_of(self, environment: str | None) -> CounterfactualMatrix | None:
        """The last matrix of one environment; None where there is none or `kept_matrices` others came after it."""
        return self._matrices.get(environment)

    def interaction_terms(self, output: str, *, order: int = 2) -> InteractionResult:
        """Shapley interactions of the last matrix.

        Raises:
            MissingValue: nothing has been attributed since the start or the last `reset`.
        """
        if self.last_matrix is None:
            raise MissingValue(
                "`interaction_terms` got no matrix, wanted one call of `compute_contributions` or "
                "`contributions_from_results` before it; attribute first."
            )
        return self.last_matrix.interactions(output, order=order)

    def reset(self, environment: str | None = None) -> None:
        """Forget the matrix of one environment, or of all where none is named."""
        if environment is None:
            self._matrices.clear()
        else:
            self._matrices.pop(environment, None)

    def _keep(self, matrix: CounterfactualMatrix, origin: Origin, *, shapley: bool) -> CounterfactualMatrix:
        """Remember a matrix within the bound and send its events."""
        self._matrices[origin.environment] = matrix
        self._matrices.move_to_end(origin.environment)
        # the environment that was attributed longest ago goes first
        while len(self._matrices) > self.kept_matrices:
            self._matrices.popitem(last=False)
        self._report(matrix, origin, shapley=shapley)
        return matrix

    def _report(self, matrix: CounterfactualMatrix, origin: Origin, *, shapley: bool) -> None:
        """Send the events of a matrix; Shapley values only of outputs that have them."""
        if self.on_event is None:
            return
        outputs = matrix.config.outputs
        self.on_event(
            coalitions_evaluated(
                matrix.evaluations, matrix.failures, players=matrix.players, outputs=outputs, origin=origin
            )
        )
        for result in shapley_where_known(matrix).values() if shapley else ():
            self.on_event(contributions_estimated(result, origin=origin))
