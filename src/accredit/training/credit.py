"""Who earns what, now: Shapley values of the grafts of many hosts, exact where the coalitions fit the budget.

Two games, never mixed in one matrix.  `live`: the players are the live grafts, on means the current blend weight; a
value says what removal would cost.  `candidates`: the players are the grafts in training, on means alpha = 1; a value
says what insertion would bring to a host that has not adapted to the graft.  The two are not the same, and neither is a
causal contribution: a host adapts even to a graft that harms it, and then misses it when it is gone.

S slots, R rows, B examples.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution.coalition import factorial_masks
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.errors import EvaluationError, InvalidArgument
from accredit.growth.hosts import HostEvaluation, Hosts, Players
from accredit.telemetry.event import Origin
from accredit.training.credit_tables import LARGEST_TABLE, AttributionEvent, Floats, events_of_row, exact_table
from accredit.training.data import Examples
from accredit.training.proof import CommitRule, are_positive

LOG_LOSS = Output("log_loss", "nat", False)
ACCURACY = Output("accuracy", "share", True)
OUTPUTS = (LOG_LOSS, ACCURACY)
FEWEST_EVALUATIONS = 16


class Cadence(enum.StrEnum):
    """When grafts are measured."""

    EVERY_STEP = "every-step"
    """After every step in which one of them waits for a decision."""
    WHEN_LEGAL = "when-legal"
    """Where it is legal to commit or prune one of them; on fewer examples in the steps between."""


@dataclass(frozen=True, kw_only=True)
class AttributionConfig:
    """When grafts are measured in training, and by how much work."""

    cadence: Cadence = Cadence.EVERY_STEP
    """When all examples of the reward split are used."""
    examples_between: int = 100
    """Examples in the other steps, >= 0; with 0 nothing is measured there and contributions are unknown. A graft that
    blends before it could be pruned (3 steps) is then never proven as a candidate."""
    max_evaluations: int = 64
    """Most coalitions of a host, game and step, >= 16. All of them, and so an exact answer, up to 6 players in 64;
    beyond, complement pairs."""
    seed: int = 0
    """Of the coalitions where they are sampled, and of their bootstrap, >= 0."""

    def __post_init__(self) -> None:
        if self.examples_between < 0 or self.max_evaluations < FEWEST_EVALUATIONS or self.seed < 0:
            raise InvalidArgument(
                f"`attribution` got examples_between {self.examples_between}, max_evaluations {self.max_evaluations} "
                f"and seed {self.seed}, wanted at least 0, {FEWEST_EVALUATIONS} and 0; correct the configuration."
            )


@dataclass(frozen=True, kw_only=True)
class Credit:
    """Contributions of the slots of R hosts; NaN where a slot has no player, or nothing is known."""

    values: Floats
    """Contribution to the log-loss (nats, positive helps), its standard error over the examples, contribution to the
    accuracy (positive helps), its standard error, [4, R, S]."""
    is_positive: NDArray[np.bool_]
    """Contribution to the log-loss positive with significance, [R, S]."""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Which contributions were measured, [R, S]."""
        return np.asarray(np.isfinite(self.values[0]))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of hosts that play with the same slots."""

    rows: NDArray[np.int64]
    """Of the R rows that are measured."""
    slots: tuple[int, ...]
    """Ascending."""


class Creditor:
    """Measures hosts.

    Args:
        slot_names: S names, the players.
        confidence: level at which a contribution counts as positive, in (0, 1).
        rule: whether the grafts of a host are tested alone or together; `ANY` marks them as `SIGNIFICANT` does.
        attribution: budget.
        on_event: gets the events of every game.
    """

    def __init__(
        self,
        slot_names: tuple[str, ...],
        *,
        confidence: float,
        rule: CommitRule = CommitRule.SIGNIFICANT,
        attribution: AttributionConfig | None = None,
        on_event: Callable[[AttributionEvent], None] | None = None,
    ) -> None:
        self.slot_names, self.confidence, self.rule = slot_names, confidence, rule
        self.attribution, self.on_event = attribution or AttributionConfig(), on_event
        config = CounterfactualConfig(
            strategy="auto",
            max_evaluations=self.attribution.max_evaluations,
            outputs=OUTPUTS,
            confidence=confidence,
            seed=self.attribution.seed,
            bootstrap_replicates=50,
        )
        # A length for each player would take ten times as long to fit, too long for every step of every host.
        self._engine = CounterfactualEngine(config, on_event=on_event, estimator=PairProcess(individual_share=0.0))

    def matrix(
        self, evaluation: HostEvaluation, row: int, slots: tuple[int, ...], origin: Origin
    ) -> CounterfactualMatrix:
        """Return the matrix of one host from an evaluation of all coalitions, of which it takes what the budget allows.

        Args:
            evaluation: of all coalitions, of a group of hosts.
            row: the host in that group.
            slots: its players, a part of `evaluation.slots`.
            origin: what the events carry.
        """
        bits = torch.tensor([1 << evaluation.slots.index(slot) for slot in slots])

        def value(masks: Tensor) -> Mapping[str, Tensor]:
            coalitions = (masks * bits).sum(1)
            return {
                LOG_LOSS.name: evaluation.log_loss[row, coalitions],
                ACCURACY.name: evaluation.is_correct[row, coalitions],
            }

        return self._engine.compute_matrix([self.slot_names[slot] for slot in slots], value, origin=origin)

    def matrix_of_host(
        self, hosts: Hosts, row: int, slots: tuple[int, ...], examples: Examples, *, players: Players, origin: Origin
    ) -> CounterfactualMatrix:
        """Return the matrix of one host with any number of players, exact or sampled as the budget says.

        Args:
            hosts: the host is one of them.
            row: which.
            slots: its players.
            examples: what it is evaluated on.
            players: the game.
            origin: what the events carry.
        """

        def value(masks: Tensor) -> Mapping[str, Tensor]:
            on = torch.zeros(len(masks), len(self.slot_names), dtype=torch.bool)
            on[:, list(slots)] = masks
            score = hosts.evaluate_coalitions(row, on, examples.inputs, examples.labels, players=players)
            return {LOG_LOSS.name: score.log_loss, ACCURACY.name: score.is_correct}

        return self._engine.compute_matrix([self.slot_names[slot] for slot in slots], value, origin=origin)

    def measure(
        self,
        hosts: Hosts,
        rows: Sequence[int],
        examples: Examples,
        *,
        players: Players,
        plays: NDArray[np.bool_],
        origins: Sequence[Origin],
    ) -> Credit:
        """Return what each player of each host earns; a host that is not finite has nothing that could be known.

        Args:
            hosts: E hosts.
            rows: R of them.
            examples: what they are evaluated on.
            players: the game.
            plays: which slots have a player, [R, S].
            origins: what the events carry, one a row.
        """
        credit = Credit(values=np.full((4, *plays.shape), np.nan), is_positive=np.zeros(plays.shape, dtype=bool))
        # Rows with other players share a pass where the union of all players fits the budget.
        together = self._fits_a_table(int(plays.any(axis=0).sum()))
        everybody = hosts.evaluate(rows, examples.inputs, examples.labels, players=players) if together else None
        for part in _parts(plays):
            here = part.rows.tolist()
            if everybody is not None:
                self._exact(credit, part, everybody, places=part.rows, origins=origins)
            elif self._fits_a_table(len(part.slots)):
                chosen = [rows[at] for at in here]
                outcome = hosts.evaluate(chosen, examples.inputs, examples.labels, players=players)
                self._exact(credit, part, outcome, places=np.arange(len(here)), origins=origins)
            else:
                for at in here:
                    try:
                        matrix = self.matrix_of_host(
                            hosts, rows[at], part.slots, examples, players=players, origin=origins[at]
                        )
                    except EvaluationError as error:
                        if error.__cause__ is not None:
                            raise
                        continue  # values that are not finite: nothing is known of this host
                    self._note_matrix(credit, at, part.slots, matrix)
        return credit

    def _fits_a_table(self, players: int) -> bool:
        return 2**players <= self.attribution.max_evaluations and players <= LARGEST_TABLE

    def _exact(
        self,
        credit: Credit,
        part: Part,
        outcome: HostEvaluation,
        *,
        places: NDArray[np.int64],
        origins: Sequence[Origin],
    ) -> None:
        """Note and tell what the players of `part` earn, whose hosts stand at `places` of `outcome`."""
        bits = np.array([1 << outcome.slots.index(slot) for slot in part.slots])
        coalitions = torch.from_numpy(factorial_masks(len(part.slots)) @ bits)
        losses = outcome.log_loss[torch.from_numpy(places)][:, coalitions]
        finite = torch.isfinite(losses).flatten(1).all(1).numpy()
        rows, found = part.rows[finite], torch.from_numpy(places[finite])
        if not len(rows):
            return
        correct = outcome.is_correct[found][:, coalitions]
        tables = tuple(
            exact_table(output, examples.double().numpy())
            for output, examples in zip(OUTPUTS, (losses[torch.from_numpy(finite)], correct), strict=True)
        )
        for number, table in enumerate(tables):
            credit.values[np.ix_([2 * number], rows, part.slots)] = table.contributions
            credit.values[np.ix_([2 * number + 1], rows, part.slots)] = table.stderr
        credit.is_positive[np.ix_(rows, part.slots)] = self._positive(
            tables[0].contributions, tables[0].stderr, tables[0].degrees_of_freedom
        )
        if self.on_event is None:
            return
        names = tuple(self.slot_names[slot] for slot in part.slots)
        for at, row in enumerate(rows.tolist()):
            for event in events_of_row(tables, at, players=names, origin=origins[row], level=self.confidence):
                self.on_event(event)

    def _note_matrix(self, credit: Credit, row: int, slots: tuple[int, ...], matrix: CounterfactualMatrix) -> None:
        for number, output in enumerate(OUTPUTS):
            result = matrix.shapley(output.name)
            credit.values[2 * number, row, list(slots)] = result.contributions
            if result.stderr is not None:
                credit.values[2 * number + 1, row, list(slots)] = result.stderr
        losses = matrix.shapley(LOG_LOSS.name)
        if losses.stderr is not None:
            degrees = min(losses.sampling_degrees_of_freedom, losses.data_degrees_of_freedom)
            credit.is_positive[row, list(slots)] = self._positive(losses.contributions, losses.stderr, degrees)

    def _positive(self, contributions: Floats, stderr: Floats, degrees_of_freedom: float) -> NDArray[np.bool_]:
        return are_positive(
            contributions,
            np.nan_to_num(stderr, nan=np.inf),
            degrees_of_freedom=degrees_of_freedom,
            level=self.confidence,
            together=self.rule == CommitRule.SIGNIFICANT_HOLM,
        )


def _parts(plays: NDArray[np.bool_]) -> Iterator[Part]:
    """Yield the rows that play with the same slots, for all that play at all."""
    patterns, which = np.unique(plays, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield Part(rows=np.flatnonzero(which.reshape(-1) == number), slots=tuple(np.flatnonzero(pattern).tolist()))
