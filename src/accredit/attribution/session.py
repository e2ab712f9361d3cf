"""One call of `compute_matrix`: evaluates the rounds of a plan, keeps what is finished, records why it ended.

Axes: N players, M coalitions, K outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

import numpy as np

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.dispatch import Dispatch, Task, dispatch
from accredit.attribution.evaluation import CallResult, Recorder, ValueFunction, calls_of
from accredit.attribution.events import coalitions_evaluated, contributions_estimated
from accredit.attribution.joining import join_mechanisms
from accredit.attribution.matrix import CounterfactualMatrix, matrix_rows, shapley_where_known
from accredit.attribution.plan import Plan, rows_at_look
from accredit.attribution.prepared import PreparedEvaluation
from accredit.attribution.protocols import Estimator, InteractionEstimator, MaskArray
from accredit.attribution.provenance import Cost, Provenance
from accredit.attribution.stop import HalfWidthReached, Look, error_share
from accredit.attribution.storage import Journal
from accredit.errors import EvaluationError, EvaluationInterrupted
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin

OnEvent: TypeAlias = Callable[[CoalitionsEvaluated | ContributionsEstimated], None]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of planned coalitions that have a value, and the number planned."""


_CALL_S = 5.0  # of evaluation in one call: what Ctrl-C can lose and progress be silent for


@dataclass(kw_only=True, eq=False)
class Session:
    """What one call of `compute_matrix` works with."""

    config: CounterfactualConfig
    players: tuple[str, ...]
    plan: Plan
    value_function: ValueFunction
    estimator: Estimator
    interaction_estimator: InteractionEstimator
    recorder: Recorder
    origin: Origin
    on_event: OnEvent | None
    progress: Progress | None
    executor: Executor | None
    journal: Journal | None
    """File that every finished row is appended to, or None."""
    earlier_s: float
    """Seconds that earlier calls took."""
    earlier_mechanism: str
    """How earlier calls evaluated."""
    numerics: str
    """How the values of this matrix round."""
    started: float = field(default_factory=time.perf_counter)
    evaluated: int = 0
    """Coalitions that this call evaluated."""
    seconds_each: float | None = None
    """Seconds that the last call of the value function took for each of its coalitions; None before the first."""
    planned_before: int = 0
    """Coalitions of the plan that were there before."""
    reported: int = 0
    """Coalitions of the matrix that were there before, or that an event told of."""

    def run(self) -> CounterfactualMatrix:
        """Evaluate the plan and return the matrix.

        Raises:
            EvaluationError: the value function failed; what was finished is in its `matrix`.
            EvaluationInterrupted: Ctrl-C; likewise.
        """
        self.reported = len(self.recorder.known)
        self.planned_before = len(self.plan.masks) - len(self.recorder.missing(self.plan.masks))
        stop_reason, share, begin = "max_evaluations", 1.0, 0
        for number, end in enumerate(self.plan.round_ends, start=1):
            last = end == self.plan.round_ends[-1]
            in_time = self._evaluate_round(self.plan.masks[begin:end])
            self._report_rows()
            if not in_time:
                stop_reason = "timeout_s"
                break
            if self._has_stop_rule:
                # after the last round nothing is left to decide, so that its look may use all of the error that remains
                share = error_share(number, last=last)
                reason = None if last else self._look(end, share)
                if reason is not None:
                    stop_reason = reason
                    break
            begin = end
        if len(self.recorder.known) == 1 << len(self.players) or (not self.plan.sampled and stop_reason != "timeout_s"):
            stop_reason = "complete"
        matrix = self._finished_matrix(stop_reason, share=share)
        self._report_contributions(matrix)
        return matrix

    def _matrix(self, stop_reason: str, *, share: float = 1.0) -> CounterfactualMatrix:
        """The matrix so far."""
        evaluations = self.recorder.evaluations()
        mechanism = self.value_function.mechanism() if isinstance(self.value_function, PreparedEvaluation) else ""
        return CounterfactualMatrix(
            players=self.players,
            config=self.config,
            evaluations=evaluations,
            failures=tuple(self.recorder.failures.values()),
            provenance=Provenance(
                strategy=self.plan.strategy,
                strategy_reason=self.plan.reason,
                stop_reason=stop_reason,
                error_share=share,
                mechanism=join_mechanisms(self.earlier_mechanism, mechanism if self.evaluated else ""),
                numerics=self.numerics,
            ),
            cost=Cost(n_evaluations=len(evaluations), duration_s=self.earlier_s + time.perf_counter() - self.started),
            estimator=self.estimator,
            interaction_estimator=self.interaction_estimator,
        )

    def _finished_matrix(self, stop_reason: str, *, share: float = 1.0) -> CounterfactualMatrix:
        """The matrix, and the end of its file."""
        matrix = self._matrix(stop_reason, share=share)
        if self.journal is not None:
            self.journal.end(matrix.provenance, matrix.failures, duration_s=matrix.cost.duration_s)
        return matrix

    def _evaluate_round(self, masks: MaskArray) -> bool:
        """Evaluate what is missing of a round; False where time ran out before its end."""
        task = Task(value_function=self.value_function, players=self.players, outputs=self.config.outputs)
        calls = dispatch(
            task,
            self.recorder.missing(masks),
            config=self.config,
            n_first=len(self.recorder.missing(self.plan.masks[:2])),
            executor=self.executor,
        )
        try:
            while not self._out_of_time():
                result = self._next(calls)
                if result is None:
                    return True
                if not self._take(result):
                    # calls that had begun will finish anyway; what they found would otherwise be evaluated again
                    self._take_rest(calls, wait=True)
                    self._fail(result)
        except KeyboardInterrupt as interrupt:
            # whoever pressed Ctrl-C does not want to wait for calls that still run
            self._take_rest(calls, wait=False)
            self._interrupt(interrupt)
        self._take_rest(calls, wait=True)
        return not len(self.recorder.missing(masks))

    def _next(self, calls: Dispatch) -> CallResult | None:
        """Result of the next call, with its pace; None where the round is done."""
        begun = time.perf_counter()
        try:
            result = calls.next(self._coalitions_in_next_call())
        except EvaluationError as error:
            # the value function could not say which come next; none and all, if under way, must not be cancelled for it
            while (before := calls.next(1)) is not None:
                self._keep(before)
            self._report_rows()
            raise EvaluationError(
                f"{error} {len(self.recorder.known)} finished coalitions are in `matrix` of this error; pass it as "
                "`matrix=` to go on.",
                matrix=self._finished_matrix("failure"),
            ) from error.__cause__
        if result is not None:
            n_coalitions = len(result.finished) + len(result.failures)
            self.seconds_each = (time.perf_counter() - begun) / max(1, n_coalitions)
        return result

    def _take(self, result: CallResult) -> bool:
        """Keep what a call finished and tell how far it is; False where something failed."""
        kept = self._keep(result)
        if self.progress is not None:
            self.progress(self.planned_before + self.evaluated, len(self.plan.masks))
        return kept

    def _keep(self, result: CallResult) -> bool:
        """Keep what a call finished; False where something failed."""
        taken = self.recorder.add(result)
        if self.journal is not None:
            # before the next evaluation begins, or a kill would lose a finished one
            self.journal.rows(taken.finished)
        self.evaluated += len(taken.finished)
        return not taken.failures

    def _take_rest(self, calls: Dispatch, *, wait: bool) -> None:
        """Begin nothing more and keep what had begun; no callback now, for it could interrupt again."""
        for result in calls.stop(wait=wait):
            self._keep(result)

    def _out_of_time(self) -> bool:
        """Whether no further call may begin; none and all are evaluated in any case."""
        timeout_s = self.config.timeout_s
        if timeout_s is None or time.perf_counter() - self.started < timeout_s:
            return False
        return not len(self.recorder.missing(self.plan.masks[:2]))

    def _coalitions_in_next_call(self) -> int:
        """How many to hand over: under a timeout only as many as should fit, beginning with none and all.

        Without one a prepared evaluation gets as many as should take `_CALL_S`. The clock decides how many go together,
        never which.
        """
        most = calls_of(self.value_function, self.config.coalitions_per_call)
        if self.config.timeout_s is None:
            if not isinstance(self.value_function, PreparedEvaluation):
                return most
            # a continued matrix has none and all already, and nothing is known of the pace before the first call
            return min(most, 2 if self.seconds_each is None else int(_CALL_S / max(self.seconds_each, 1e-9)) or 1)
        spent_s = time.perf_counter() - self.started
        if not self.evaluated or spent_s <= 0.0:
            return min(most, 2)
        return max(1, min(most, int(self.evaluated / spent_s * (self.config.timeout_s - spent_s))))

    def _fail(self, result: CallResult) -> NoReturn:
        """Raise what went wrong, with everything that is finished."""
        self._report_rows()
        failures = tuple(self.recorder.failures.values())
        named = ", ".join(failure.players for failure in failures[:3]) + (" and more" if len(failures) > 3 else "")
        raise EvaluationError(
            f"`value_function` failed for {len(failures)} coalition(s), {named}: {failures[0].message} "
            f"{len(self.recorder.known)} finished coalitions are in `matrix` of this error; mend the value function "
            "and pass it as `matrix=` to go on.",
            matrix=self._finished_matrix("failure"),
        ) from result.cause

    def _interrupt(self, interrupt: KeyboardInterrupt) -> NoReturn:
        """Pass Ctrl-C on, with everything that is finished."""
        self._report_rows()
        raise EvaluationInterrupted(
            f"`compute_matrix` got an interrupt after {len(self.recorder.known)} coalitions, wanted "
            f"{len(self.plan.masks)}; pass `matrix` of this error as `matrix=` to go on.",
            matrix=self._finished_matrix("interrupt"),
        ) from interrupt

    @property
    def _has_stop_rule(self) -> bool:
        """Whether looks can end this plan."""
        return self.plan.sampled and (self.config.stop is not None or self.config.target_half_width is not None)

    def _look(self, end: int, share: float) -> str | None:
        """Name of the rule that lets sampling end after the first `end` coalitions; None where none does."""
        matrix = self._matrix("look", share=share)
        # an earlier matrix may hold rows of later rounds, which an uninterrupted run would not have seen here
        rows = rows_at_look(matrix.evaluations.masks, self.plan, end)
        if len(rows) < len(matrix.evaluations):
            matrix = matrix_rows(matrix, rows)
        results = [matrix.shapley(output.name) for output in self.config.outputs]
        reach = [result.half_widths() for result in results]
        look = Look(
            n_evaluations=len(rows),
            contribution=np.stack([result.contributions for result in results]),
            half_width=np.stack([np.full(len(self.players), np.inf) if width is None else width for width in reach]),
        )
        if self.config.target_half_width is not None and HalfWidthReached(self.config.target_half_width)(look):
            return "target_half_width"
        return "stop" if self.config.stop is not None and self.config.stop(look) else None

    def _report_rows(self) -> None:
        """Send what was evaluated since the last report."""
        if self.on_event is None:
            return
        rows, failures = self.recorder.evaluations(), tuple(self.recorder.failures.values())
        if len(rows) == self.reported and not failures:
            return
        fresh = rows if self.reported == 0 else rows.take(range(self.reported, len(rows)))
        self.reported = len(rows)
        self.on_event(
            coalitions_evaluated(fresh, failures, players=self.players, outputs=self.config.outputs, origin=self.origin)
        )

    def _report_contributions(self, matrix: CounterfactualMatrix) -> None:
        """Send the Shapley values of every output that has them."""
        if self.on_event is None:
            return
        for result in shapley_where_known(matrix).values():
            self.on_event(contributions_estimated(result, origin=self.origin))
