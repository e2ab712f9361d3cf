"""Which way to evaluate the coalitions of a model: decided once per model, and said.

Without a clock, before anything is evaluated: whether coalitions are stacked, for stacking rounds differently and a
matrix keeps to its numerics. It is done where a pass is bound by dispatch (little work per operation), the model cannot
be captured as a graph, and a trial against the plain loop agrees to 1e-6.

With the clock: among ways that are bit-equal to the plain loop (the loop itself, replay, a graph), the fastest on the
first coalitions, each checked bit by bit against the loop on them. As their values are the same, the clock cannot
change a result. A job too short to earn back what preparing costs stays with the loop; time spent adds up over calls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from accredit.errors import EvaluationError, InvalidArgument, StateMismatch
from accredit.models.batches import ForwardPass
from accredit.models.compare import bit_equal, largest_error
from accredit.models.gate import Weights
from accredit.models.graph import Graph
from accredit.models.graph_capture import NotCapturable
from accredit.models.inspection import Inspection, count_work
from accredit.models.loop import OneAfterAnother
from accredit.models.mechanism import EXACT, Mechanism
from accredit.models.memory import out_of_memory
from accredit.models.replay import NotReplayable, Replay
from accredit.models.stack import NotStackable, Stack
from accredit.models.switchable import SwitchableModel

Sharing: TypeAlias = Literal["auto", "loop", "replay", "graph", "stack"]
SHARING: tuple[Sharing, ...] = ("auto", "loop", "replay", "graph", "stack")
TRIAL = 8
"""Coalitions on which ways are compared: the first of the sorted ones, which share as much as neighbours do."""
PATIENCE_S = 1.0
"""Preparing a graph takes about this long; before so much evaluating is done or in sight, the loop goes on."""
DISPATCH_BOUND = 30_000.0
"""Work per operation below which calling it costs more than doing it, on a CPU: about 5 us at 6 operations per ns."""
REFUSALS = 3
"""Batches that a chosen way may refuse, each tried anew, before the loop is chosen: a short last one costs no more."""
CLEAR = 1.5
"""A way that is faster or slower by more than this is judged by one look at the clock, others by the best of three."""
LEAST_GAIN = 1.03
"""Times as fast as the loop that a way must be: a gain within the noise is not worth its memory."""
STACKED_TOLERANCE = 1e-6
STACK_SIZES = (16, 8, 4, 2)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one way did on the first coalitions."""

    mechanism: str
    speedup: float | None
    """Times as fast as the plain loop; None where it cannot be used."""
    reason: str
    """Why it cannot be used, or "bit-equal"."""


class Choice:
    """The way that is used for one model, and why.

    Args:
        switchable: the model and its players.
        sharing: "auto", or the one way to use.
        max_bytes: most bytes that results of parts may take while they wait to be used again.
    """

    def __init__(self, switchable: SwitchableModel, *, sharing: Sharing, max_bytes: int) -> None:
        if sharing not in SHARING:
            raise InvalidArgument(
                f"`sharing` is {sharing!r}, wanted one of {', '.join(SHARING)}; pass one of these names."
            )
        self.switchable, self.sharing, self.max_bytes = switchable, sharing, max_bytes
        self.loop = OneAfterAnother(switchable)
        self.chosen: Mechanism | None = None
        self.reason = ""
        self.trials: tuple[Trial, ...] = ()
        self.used: list[str] = []
        self.stack_size = 0
        self._spent_s = 0.0
        self._refusals = 0
        self._graph: Graph | None = None

    def begin(self, forward: ForwardPass, inspection: Inspection, numerics: str | None) -> str:
        """Decide what needs no clock; returns the numerics of the values to come.

        Raises:
            StateMismatch: values of these numerics cannot be given.
            InvalidArgument: the way that was asked for does not work for this model.
        """
        plain = self._only_loop(inspection)
        if plain:
            if self.sharing not in ("auto", "loop"):
                raise InvalidArgument(
                    f"`sharing` is {self.sharing!r}, but {plain}, wanted 'auto' or 'loop'; pass one of these."
                )
            self._choose(self.loop, plain)
        if numerics not in (None, EXACT):
            self._continue_stack(str(numerics))
        elif numerics is None and not self.stack_size and self.chosen is None:
            self._consider_stack(forward)
        if numerics == EXACT and self.sharing == "stack":
            raise StateMismatch(
                "`matrix` holds values of the numerics 'exact', but `sharing` is 'stack', wanted another way to go on; "
                "pass sharing='auto'."
            )
        if self.stack_size and numerics != EXACT:
            self._choose(Stack(self.switchable, size=self.stack_size), self.reason or "the matrix was begun so")
            return f"stack of {self.stack_size}"
        if isinstance(self.chosen, Stack):
            self.chosen = None
        if self.chosen is None and self.sharing != "auto":
            self._choose(self._asked_for(forward), "it was asked for")
        return EXACT

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights], *, n_batches: int) -> Iterator[Any]:
        """Output of the model for each coalition, sorted, by the way that is chosen or by finding it."""
        done = 0
        if self.chosen is None:
            for output in self._trial_outputs(forward, coalitions, n_batches=n_batches):
                done += 1
                yield output
        mechanism = self.chosen or self.loop
        try:
            for output in self._by(mechanism, forward, coalitions[done:]):
                done += 1
                yield output
        except NotStackable as error:
            raise EvaluationError(
                f"`batches` gave a batch that cannot be stacked ({error}), wanted batches like the first, for which "
                "stacking was decided; pass sharing='loop' and begin another matrix."
            ) from error
        except Exception as error:
            self._give_up(mechanism, error)
            # bit-equal, so the loop can take over in the middle
            yield from self._by(self.loop, forward, coalitions[done:])

    def __getstate__(self) -> dict[str, Any]:
        """What was decided without a clock; what a way has prepared or a clock has found stays in its process."""
        kept = self.chosen
        if kept is not None and self.sharing == "auto" and kept.name not in ("loop", "stack"):
            kept = None
        return {
            "arguments": {"switchable": self.switchable, "sharing": self.sharing, "max_bytes": self.max_bytes},
            "stack_size": self.stack_size,
            "kept": kept and kept.name,
            "reason": kept and self.reason,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on as was decided."""
        self.__init__(**state["arguments"])  # type: ignore[misc]
        self.stack_size = state["stack_size"]
        if state["kept"] == "stack":
            self._choose(Stack(self.switchable, size=self.stack_size), state["reason"])
        elif state["kept"]:
            self._choose(self._made(state["kept"]), state["reason"])

    @property
    def peak_bytes(self) -> int:
        """Most bytes that were kept for use again."""
        return 0 if self.chosen is None else self.chosen.peak_bytes

    def _give_up(self, mechanism: Mechanism, error: Exception) -> None:
        """Leave the rest of a batch to the loop, or raise; all that follow too without memory or after enough such."""
        refused = isinstance(error, NotCapturable | NotReplayable)
        if mechanism is self.loop or isinstance(mechanism, Stack) or not (refused or out_of_memory(error)):
            raise error
        self._refusals += 1
        if not refused:
            self._choose(self.loop, f"{mechanism.name} ran out of memory")
        elif self._refusals >= REFUSALS:
            self._choose(self.loop, f"{mechanism.name} did not work for {REFUSALS} batches: {error}")

    def _by(self, mechanism: Mechanism, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Outputs by one way; notes that it was used."""
        if not coalitions:
            return
        if mechanism.name not in self.used:
            self.used.append(mechanism.name)
        yield from mechanism.outputs(forward, coalitions)

    def _trial_outputs(self, forward: ForwardPass, coalitions: Sequence[Weights], *, n_batches: int) -> Iterator[Any]:
        """The first outputs, by the loop; where it pays, the other ways are then tried on the same coalitions."""
        some = list(coalitions[:TRIAL])
        outputs, loop_s = self._timed(lambda: list(self._by(self.loop, forward, some)))
        in_sight_s = loop_s / len(some) * len(coalitions) * n_batches
        if self._spent_s + in_sight_s >= PATIENCE_S and len(some) > 1:
            self._compare(forward, some, outputs, loop_s=loop_s)
        self._spent_s += in_sight_s
        yield from outputs

    def _compare(
        self, forward: ForwardPass, coalitions: Sequence[Weights], outputs: Sequence[Any], *, loop_s: float
    ) -> None:
        """Try the ways that are bit-equal in the order of what they promise; choose the fastest."""
        best: Mechanism = self.loop
        best_speedup, reason, trials = 1.0, "no other way was faster on the first coalitions", []
        for name in ("graph", "replay"):
            trial, mechanism = self._try(name, forward, coalitions, outputs, loop_s=loop_s)
            trials.append(trial)
            if mechanism is not None and trial.speedup is not None and trial.speedup > LEAST_GAIN * best_speedup:
                best, best_speedup = mechanism, trial.speedup
                reason = f"{trial.speedup:.1f} x as fast as the loop on the first {len(coalitions)} coalitions"
            if best.name == "graph":
                break  # replay finds the same sharing at a higher price per operation
        self.trials = tuple(trials)
        self._choose(best, reason)

    def _try(
        self, name: str, forward: ForwardPass, coalitions: Sequence[Weights], outputs: Sequence[Any], *, loop_s: float
    ) -> tuple[Trial, Mechanism | None]:
        """One way on the first coalitions, against the outputs of the loop."""
        mechanism = self._made(name)
        try:
            # the first time prepares it: what is done once is not its pace
            found = list(mechanism.outputs(forward, coalitions))
            seconds, loop_s = self._paces(mechanism, forward, coalitions, loop_s=loop_s)
        except (NotCapturable, NotReplayable) as error:
            return Trial(mechanism=name, speedup=None, reason=str(error)), None
        except Exception as error:
            if not out_of_memory(error):
                raise
            return Trial(mechanism=name, speedup=None, reason="it ran out of memory"), None
        if not all(map(bit_equal, outputs, found)):
            return Trial(mechanism=name, speedup=None, reason="it is not bit-equal to the loop"), None
        return Trial(mechanism=name, speedup=loop_s / seconds, reason="bit-equal"), mechanism

    def _paces(
        self, mechanism: Mechanism, forward: ForwardPass, coalitions: Sequence[Weights], *, loop_s: float
    ) -> tuple[float, float]:
        """Seconds of a way and of the loop, each the best where they are close: other programs may have slowed one."""
        _, seconds = self._timed(lambda: list(mechanism.outputs(forward, coalitions)))
        for _ in range(2):
            if not seconds / CLEAR < loop_s < seconds * CLEAR:
                break
            loop_s = min(loop_s, self._timed(lambda: list(self.loop.outputs(forward, coalitions)))[1])
            seconds = min(seconds, self._timed(lambda: list(mechanism.outputs(forward, coalitions)))[1])
        return seconds, loop_s

    def _timed(self, work: Callable[[], list[Any]]) -> tuple[list[Any], float]:
        """What it gives, and the seconds until the device is done with it."""
        began_s = time.perf_counter()
        result = work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        # a clock may stand still for so short a time, and no ratio may fail for it
        return result, max(time.perf_counter() - began_s, 1e-9)

    def _asked_for(self, forward: ForwardPass) -> Mechanism:
        """The one way that may be used, tried with all on, all off and the first player off."""
        if self.sharing == "loop":
            return self.loop
        n_players = len(self.switchable.players)
        some: list[Weights] = [(1.0,) * n_players, (0.0, *(1.0,) * (n_players - 1)), (0.0,) * n_players]
        outputs = list(self.loop.outputs(forward, some))
        trial, mechanism = self._try(self.sharing, forward, some, outputs, loop_s=math.inf)
        if mechanism is None:
            raise InvalidArgument(
                f"`sharing` is {self.sharing!r}, but that does not work here: {trial.reason}; pass sharing='auto'."
            )
        return mechanism

    def _made(self, name: str) -> Mechanism:
        """A mechanism by its name; there is one graph, for capturing takes long."""
        if name == "graph":
            self._graph = self._graph or Graph(self.switchable, max_bytes=self.max_bytes)
            return self._graph
        if name == "replay":
            return Replay(self.switchable, max_bytes=self.max_bytes)
        return self.loop

    def _choose(self, mechanism: Mechanism, reason: str) -> None:
        """Use this way from now on."""
        self.chosen, self.reason = mechanism, reason

    def _only_loop(self, inspection: Inspection) -> str:
        """Why nothing may be shared; empty where it may."""
        if self.switchable.has_setters:
            return "a component is a function that sets a weight, of which nothing more is known"
        return "a pass of the model draws random numbers" if inspection.draws else ""

    def _continue_stack(self, numerics: str) -> None:
        """Go on as the matrix was begun."""
        sizes = {f"stack of {size}": size for size in STACK_SIZES}
        if numerics not in sizes or self.chosen is self.loop or self.sharing not in ("auto", "stack"):
            why = f"`sharing` is {self.sharing!r}" if self.sharing not in ("auto", "stack") else self.reason
            why = why if numerics in sizes else f"there are {', '.join(sizes)} only"
            raise StateMismatch(
                f"`matrix` holds values of the numerics {numerics!r}, but {why}, wanted to go on with the same; pass "
                "sharing='stack', or begin another matrix."
            )
        self.stack_size = sizes[numerics]

    def _consider_stack(self, forward: ForwardPass) -> None:
        """Whether to stack, and how many: from counts and one trial, never from a clock."""
        if self.sharing not in ("auto", "stack"):
            return
        asked, work = self.sharing == "stack", count_work(forward)
        if not asked and (work.per_operation > DISPATCH_BOUND or self._is_capturable(forward)):
            return
        if work.looks_at_data:
            # a branch that one coalition takes would be taken for all of a stack, which no trial is sure to show
            self.stack_size, why = 0, "a pass looks at the numbers to decide what to do"
        else:
            self.stack_size, why = self._stack_size(forward)
        if self.stack_size:
            self.reason = (
                "it was asked for" if asked else "a pass is bound by dispatch and cannot be captured as a graph"
            )
        elif asked:
            raise InvalidArgument(
                f"`sharing` is 'stack', but {why}, wanted a model that treats examples apart; pass sharing='auto'."
            )

    def _is_capturable(self, forward: ForwardPass) -> bool:
        """Whether the model can be had as a graph, which shares without rounding differently."""
        try:
            list(self._made("graph").outputs(forward, [(1.0,) * len(self.switchable.players)]))
        except NotCapturable:
            return False
        return True

    def _stack_size(self, forward: ForwardPass) -> tuple[int, str]:
        """The largest stack that fits into memory and agrees with the loop, or 0 and why there is none."""
        n_players = len(self.switchable.players)
        # all on, all off and each off: what stacks get wrong (examples that are mixed), they get wrong here
        trial: list[Weights] = [(1.0,) * n_players, (0.0,) * n_players]
        trial += [tuple(float(at != off) for at in range(n_players)) for off in range(min(n_players, 6))]
        # a resampled part keeps its numbers, in another order; a blend of it does not
        trial.append((0.5,) * n_players)
        singles = list(self.loop.outputs(forward, trial))
        for size in STACK_SIZES:
            try:
                found = list(Stack(self.switchable, size=size).outputs(forward, trial))
            except NotStackable as error:
                return 0, str(error)
            except Exception as error:  # of foreign code, which single passes have just got through
                if out_of_memory(error):
                    continue
                return 0, f"a pass over stacked batches failed ({type(error).__name__}: {error})"
            worst = max(map(largest_error, singles, found))
            if worst > STACKED_TOLERANCE:
                return 0, f"stacked outputs differ from single ones by {worst:.1e}"
            return size, ""
        return 0, "not even two coalitions fit into memory side by side"
