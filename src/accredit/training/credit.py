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
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution.coalition import factorial_masks, table_index
from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.matrix import CounterfactualMatrix
from accredit.attribution.output import Output
from accredit.errors import EvaluationError, InvalidArgument
from accredit.growth.hosts import Games, HostEvaluation, Hosts, Players, games_of
from accredit.growth.metric import Score
from accredit.telemetry.event import Origin
from accredit.training.credit_tables import LARGEST_TABLE, AttributionEvent, Floats, events_of_row, exact_tables
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
    """When `examples` are used."""
    examples: int = 100
    """Examples of the reward split that a measurement takes, at most and always the same, >= 2. What attribution costs
    is proportional to it, and the standard error of a contribution to the root of its inverse."""
    examples_between: int = 50
    """Examples in the other steps, >= 0; with 0 nothing is measured there and contributions are unknown. A graft that
    blends before it could be pruned (3 steps) is then never proven as a candidate."""
    max_evaluations: int = 64
    """Most coalitions of a host, game and step, >= 16. All of them, and so an exact answer, up to 6 players in 64;
    beyond, complement pairs."""
    seed: int = 0
    """Of the coalitions where they are sampled, and of their bootstrap, >= 0."""

    def __post_init__(self) -> None:
        least = {"examples": 2, "examples_between": 0, "max_evaluations": FEWEST_EVALUATIONS, "seed": 0}
        for name, wanted in least.items():
            got = vars(self)[name]
            if got < wanted:
                raise InvalidArgument(
                    f"`attribution.{name}` is {got}, wanted at least {wanted}; correct the configuration."
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


class Creditor:
    """Measures hosts.

    Args:
        slot_names: S names, the players.
        confidence: level at which a contribution counts as positive, in (0, 1).
        rule: whether the grafts of a host are tested alone or together; `ANY` marks them as `SIGNIFICANT` does.
        attribution: budget.
        on_event: gets the events of every game, when they are told.
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
        self._untold: list[Callable[[], Sequence[AttributionEvent]]] = []
        config = CounterfactualConfig(
            strategy="auto",
            max_evaluations=self.attribution.max_evaluations,
            outputs=OUTPUTS,
            confidence=confidence,
            seed=self.attribution.seed,
            bootstrap_replicates=50,
        )
        # A length for each player would take ten times as long to fit, too long for every step of every host.
        self._engine = CounterfactualEngine(
            config, on_event=on_event and self._keep, estimator=PairProcess(individual_share=0.0)
        )

    def tell(self) -> None:
        """Make and send the events of what was measured since the last time."""
        untold, self._untold = self._untold, []
        if self.on_event is not None:
            for events in untold:
                for event in events():
                    self.on_event(event)

    def fits_a_table(self, players: int) -> bool:
        """Whether all coalitions of so many players fit the budget, so that the answer is exact."""
        return 2**players <= self.attribution.max_evaluations and players <= LARGEST_TABLE

    def matrix(
        self, evaluation: HostEvaluation, row: int, slots: tuple[int, ...], origin: Origin
    ) -> CounterfactualMatrix:
        """Return and tell the matrix of one host from an evaluation of all coalitions.

        It takes as many of them as the budget allows.

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

        matrix = self._engine.compute_matrix([self.slot_names[slot] for slot in slots], value, origin=origin)
        self.tell()
        return matrix

    def matrix_of_host(
        self, hosts: Hosts, row: int, slots: tuple[int, ...], examples: Examples, *, players: Players, origin: Origin
    ) -> CounterfactualMatrix:
        """Return the matrix of one host with any number of players, exact or sampled as the budget says.

        Its events wait for `tell`.

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
        players: Games,
        plays: NDArray[np.bool_],
        origins: Sequence[Origin],
        live: Score | None = None,
    ) -> Credit:
        """Return what each player of each host earns; a host that is not finite has nothing that could be known.

        Events wait for `tell`, so that the time of listeners is not that of measuring.

        Args:
            hosts: E hosts.
            rows: R of them.
            examples: what they are evaluated on.
            players: the game, or that of each row.
            plays: which slots have a player, [R, S].
            origins: what the events carry, one a row.
            live: of the live networks of these rows on these examples, [R, B]; None: not known.
        """
        games = games_of(players, len(rows))
        credit = Credit(values=np.full((4, *plays.shape), np.nan), is_positive=np.zeros(plays.shape, dtype=bool))
        # Hosts with other players share a pass where the union of all players fits the budget.
        together = self.fits_a_table(int(plays.any(axis=0).sum()))
        for at in [np.arange(len(rows))] if together else _parts(plays):
            chosen, playing = [rows[one] for one in at.tolist()], [games[one] for one in at.tolist()]
            if together or self.fits_a_table(int(plays[at[0]].sum())):
                mine = live and live.of_rows(at)
                outcome = hosts.evaluate(chosen, examples.inputs, examples.labels, players=playing, live=mine)
                self._note_tables(credit, outcome, at, plays[at], origins=origins)
                continue
            slots = tuple(np.flatnonzero(plays[at[0]]).tolist())
            for one, row in zip(at.tolist(), chosen, strict=True):
                try:
                    matrix = self.matrix_of_host(hosts, row, slots, examples, players=games[one], origin=origins[one])
                except EvaluationError as error:
                    if error.__cause__ is not None:
                        raise
                    continue  # values that are not finite: nothing is known of this host
                self._note_matrix(credit, one, slots, matrix)
        return credit

    def _keep(self, event: AttributionEvent) -> None:
        """Let an event of the engine wait."""
        self._untold.append(lambda: (event,))

    def _note_tables(
        self,
        credit: Credit,
        outcome: HostEvaluation,
        rows: NDArray[np.int64],
        plays: NDArray[np.bool_],
        *,
        origins: Sequence[Origin],
    ) -> None:
        """Note and tell what the players of hosts earn, which `outcome` holds in the order of `rows` of the credit."""
        if not outcome.slots:
            return
        finite = torch.isfinite(outcome.log_loss).flatten(1).all(1)
        rows, own = rows[finite.numpy()], plays[finite.numpy()][:, outcome.slots]
        coalitions = torch.from_numpy(table_index(factorial_masks(len(outcome.slots))))
        both = torch.stack((outcome.log_loss, outcome.is_correct))  # in the order of OUTPUTS
        known = both if finite.all() else both[:, finite]
        tables = exact_tables(OUTPUTS, known.index_select(2, coalitions).double().numpy())
        here = np.ix_(rows, np.array(outcome.slots))
        for number, table in enumerate(tables):
            credit.values[2 * number][here] = np.where(own, table.contributions, np.nan)
            credit.values[2 * number + 1][here] = np.where(own, table.stderr, np.nan)
        losses = tables[0]
        credit.is_positive[here] = self._positive(
            np.where(own, losses.contributions, np.nan), losses.stderr, losses.degrees_of_freedom
        )
        if self.on_event is None:
            return
        names = tuple(self.slot_names[slot] for slot in outcome.slots)
        for at, (row, mine) in enumerate(zip(rows.tolist(), own.tolist(), strict=True)):
            self._untold.append(
                partial(
                    events_of_row,
                    tables,
                    at,
                    players=names,
                    plays=tuple(mine),
                    origin=origins[row],
                    level=self.confidence,
                )
            )

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
            stderr,
            degrees_of_freedom=degrees_of_freedom,
            level=self.confidence,
            together=self.rule == CommitRule.SIGNIFICANT_HOLM,
        )


def _parts(plays: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of `plays` [R, S] that are alike, and have a player at all."""
    patterns, which = np.unique(plays, axis=0, return_inverse=True)
    for number in np.flatnonzero(patterns.any(axis=1)):
        yield np.flatnonzero(which.reshape(-1) == number)
