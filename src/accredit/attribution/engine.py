"""From a configuration and a value function to a matrix.

The engine keeps nothing between calls: the same configuration, players and value function give the same matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from accredit.attribution.coalition import check_players
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.evaluation import Recorder, ValueFunction
from accredit.attribution.joining import check_same_game, join_numerics, numerics_of
from accredit.attribution.matrix import CounterfactualMatrix, matrix_of
from accredit.attribution.plan import Plan, count_foreign, make_plan, within_budget
from accredit.attribution.prepared import PreparedEvaluation
from accredit.attribution.protocols import Design, Estimator, InteractionEstimator
from accredit.attribution.saved_estimator import estimator_texts
from accredit.attribution.session import OnEvent, Progress, Session
from accredit.attribution.storage import Journal, Stored, create, publish, read, reopen
from accredit.errors import InvalidArgument, RunFolderError
from accredit.telemetry.event import Origin


class CounterfactualEngine:
    """Evaluates the coalitions that a configuration asks for; holds no state between calls.

    Args:
        config: strategy, budgets, outputs, seed.
        on_event: called with `CoalitionsEvaluated` after every round and `ContributionsEstimated` for every output at
            the end; together they equal the matrix.
        design: order of the sampled coalitions; default: complement pairs, the most informative first.
        estimator: Shapley values from an incomplete table; default: the process on complement pairs.
        interaction_estimator: pair interactions from an incomplete table; default: the process on complement pairs.

    Example:
        Two parts that only work together earn half of their product each.

        >>> import torch
        >>> engine = CounterfactualEngine(CounterfactualConfig())
        >>> matrix = engine.compute_matrix(["a", "b"], lambda masks: {"value": 3.0 * masks.all(dim=1)})
        >>> print(matrix.shapley("value"))
        player  contribution    +- 95%   of value [1]
        a                1.5     unknown
        b                1.5     unknown
        exact, 4 coalitions: all 4 coalitions were evaluated
    """

    def __init__(
        self,
        config: CounterfactualConfig,
        on_event: OnEvent | None = None,
        *,
        design: Design | None = None,
        estimator: Estimator | None = None,
        interaction_estimator: InteractionEstimator | None = None,
    ) -> None:
        self.config = config
        self.on_event = on_event
        self.design = ComplementPairDesign() if design is None else design
        self.estimator = PairProcess() if estimator is None else estimator
        self.interaction_estimator = PairInteractions() if interaction_estimator is None else interaction_estimator

    def compute_matrix(
        self,
        players: Sequence[str],
        value_function: ValueFunction,
        *,
        matrix: CounterfactualMatrix | None = None,
        progress: Progress | None = None,
        executor: Executor | None = None,
        origin: Origin | None = None,
        path: str | Path | None = None,
    ) -> CounterfactualMatrix:
        """Evaluate the coalitions of the plan that have no value yet.

        Args:
            players: names in the order of the columns of the masks.
            value_function: masks [M, N] -> values [M] or, per example, [M, B], for every declared output. Called with
                at most `coalitions_per_call` coalitions; with one where it is `SingleCoalitions` or `PlayerWeights`,
                in an order of its own where it is a `PreparedEvaluation`.
            matrix: an earlier matrix of the same players and outputs to continue; nothing in it is evaluated again.
            progress: called after every call of the value function with the coalitions done and planned.
            executor: evaluates calls concurrently; the value function must then be safe to call so, and picklable for
                processes. The matrix is the same as without.
            origin: where this happens, for the events.
            path: a file that grows with every finished call, safe against a kill at any moment. Where it exists
                already its matrix is continued, so that the same call again finishes what was begun.

        Returns:
            The matrix; also where a timeout or a stop rule ended it early, then with none and all in it.

        Raises:
            BudgetError: `max_evaluations` is below the minimum of the strategy.
            EvaluationError: the value function failed; `matrix` of the error has what was finished.
            EvaluationInterrupted: Ctrl-C; likewise.
            StateMismatch: `matrix`, or that in the file, has other players or outputs, or values of other numerics.
            InvalidArgument: `matrix` is given and the file exists: which one is to be continued?
            FileDamaged: the file is no matrix, or was altered.
            RunFolderError: another process writes the file.
        """
        names = check_players(players)
        plan = make_plan(self.config, len(names), design=self.design)
        stored = _stored(path, matrix)
        if stored is not None:
            matrix = matrix_of(stored)
        if matrix is not None:
            check_same_game(matrix.players, matrix.config.outputs, other_players=names, config=self.config)
            foreign = count_foreign(matrix.evaluations.masks, plan)
            plan = within_budget(plan, foreign, budget=self.config.max_evaluations)
        recorder = Recorder(
            names,
            n_outputs=len(self.config.outputs),
            earlier=None if matrix is None else matrix.evaluations,
            most_columns=self.config.max_example_bytes / (8 * len(plan.masks)),
        )
        numerics = _begin(value_function, matrix)
        journal = None
        if path is not None:
            journal = self._journal(Path(path), names, plan, stored=stored, matrix=matrix, numerics=numerics)
        session = Session(
            config=self.config,
            players=names,
            plan=plan,
            value_function=value_function,
            estimator=self.estimator,
            interaction_estimator=self.interaction_estimator,
            recorder=recorder,
            origin=Origin() if origin is None else origin,
            on_event=self.on_event,
            progress=progress,
            executor=executor,
            journal=journal,
            earlier_s=0.0 if matrix is None else matrix.cost.duration_s,
            earlier_mechanism="" if matrix is None else matrix.provenance.mechanism,
            numerics=numerics,
        )
        try:
            return session.run()
        finally:
            if journal is not None:
                journal.close()

    def _journal(
        self,
        path: Path,
        players: tuple[str, ...],
        plan: Plan,
        *,
        stored: Stored | None,
        matrix: CounterfactualMatrix | None,
        numerics: str,
    ) -> Journal:
        """The file that this call appends to: reopened where it was there, else begun with the rows to be continued."""
        texts = estimator_texts(self.estimator, self.interaction_estimator)
        if stored is not None:
            journal = reopen(path, stored)
            journal.call(self.config, strategy=plan.strategy, reason=plan.reason, numerics=numerics, estimators=texts)
            return journal
        journal = create(
            path,
            players=players,
            config=self.config,
            strategy=plan.strategy,
            reason=plan.reason,
            numerics=numerics,
            estimators=texts,
        )
        try:
            if matrix is not None:
                journal.rows(matrix.evaluations)
            publish(path, replaces=False)
        except RunFolderError:
            journal.close()
            raise
        return journal


def _begin(value_function: ValueFunction, matrix: CounterfactualMatrix | None) -> str:
    """Let the value function prepare itself; numerics of the matrix that it will make or continue.

    Raises:
        StateMismatch: the values would differ in rounding from those of the matrix.
    """
    earlier = None if matrix is None else numerics_of(matrix.evaluations, matrix.provenance)
    numerics = value_function.begin(earlier or None) if isinstance(value_function, PreparedEvaluation) else ""
    return join_numerics(earlier, numerics, what="value_function")


def _stored(path: str | Path | None, matrix: CounterfactualMatrix | None) -> Stored | None:
    """What the file holds; None where there is none."""
    if path is None or not Path(path).exists():
        return None
    if matrix is not None:
        raise InvalidArgument(
            f"`path` is {str(path)!r}, where a matrix is stored, but `matrix` has {matrix.cost.n_evaluations} "
            "coalitions too, wanted one to continue; leave one of them out, or merge them first."
        )
    return read(Path(path), recover=True)
