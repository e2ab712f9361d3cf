"""One network: ours, the loops, captum and the floor, taking turns, in processor time of one thread.

All figures of a repetition are measured within it, so that a busy machine slows both sides of a ratio. Warm: a
`ModelValue` that has chosen its way before, as every call after the first of a training loop is. Cold: a new one, with
looking at the model, the trial of ways and the capture of a graph in the price.

Axes: M coalitions, N players.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.evaluation_models import Case, measure
from numpy.typing import NDArray
from torch import Tensor

from accredit.attribution.design import ComplementPairDesign
from accredit.models.metrics import log_loss, token_log_loss
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue

Masks = NDArray[np.bool_]
MAX_BYTES = 1 << 30
FIRST_CALLS = 30
"""Most calls until a way is chosen: a job that is too short to earn it stays with the loop."""


def designed(which: str, *, seed: int) -> Masks:
    """Masks [M, N]: every coalition of 8, or 96 complement pairs of 12."""
    if which == "all of 8":
        return (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
    return ComplementPairDesign()(12, 192, seed=seed)


def new_value(case: Case, *, sharing: str = "auto", max_bytes: int = MAX_BYTES) -> ModelValue:
    """The model as a value function that has seen nothing yet."""
    switchable = SwitchableModel(case.model, case.components, off=case.off)
    metrics = [token_log_loss() if case.batch[1].dim() > 1 else log_loss()]
    return ModelValue(switchable, [case.batch], metrics, sharing=sharing, max_bytes=max_bytes)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    with torch.no_grad():
        work()
    return time.process_time() - started


def part_seconds(case: Case, *, at_least_s: float) -> list[float]:
    """Time of each part, the median over short runs that take turns among the parts."""
    found: list[list[float]] = [[] for _ in case.parts]
    began = time.process_time()
    while time.process_time() - began < at_least_s or len(found[0]) < 5:
        for part, times in zip(case.parts, found, strict=True):
            times.append(seconds(part.run))
    return [statistics.median(times) for times in found]


def counted(case: Case, masks: Masks, times: list[float]) -> tuple[float, float]:
    """Seconds that the loop that skips, and the floor, cost by the times of their parts."""
    skip = sum(part.count_skipping(masks) * each for part, each in zip(case.parts, times, strict=True))
    floor = sum(part.count(masks) * each for part, each in zip(case.parts, times, strict=True))
    return skip, floor


def by_hand(case: Case, masks: Masks, *, skip: bool) -> Tensor:
    """Values [M, B] as a user would write them."""
    inputs, labels = case.batch
    rows = masks.astype(np.float32).tolist()
    return torch.stack([measure(case.loop(inputs, row, skip), labels) for row in rows])


class Captum:
    """Shapley values by captum's sampling over the loop that skips, with about as many evaluations."""

    def __init__(self, case: Case, masks: Masks) -> None:
        from captum.attr import ShapleyValueSampling

        self.case, self.n_players = case, masks.shape[1]
        self.n_samples = max(1, round((len(masks) - 1) / self.n_players))
        self.n_evaluations = 0
        self.sampling = ShapleyValueSampling(self.value)

    def value(self, weights: Tensor) -> Tensor:
        """The mean loss of one coalition [1, N]."""
        self.n_evaluations += 1
        inputs, labels = self.case.batch
        return measure(self.case.loop(inputs, weights[0].tolist(), True), labels).mean()[None]

    def __call__(self) -> object:
        self.n_evaluations = 0
        on = torch.ones(1, self.n_players)
        return self.sampling.attribute(on, baselines=torch.zeros_like(on), n_samples=self.n_samples)


@dataclass
class Warm:
    """A value function that has chosen, and what that cost."""

    value: ModelValue
    first_s: float
    """The first call: what a single job costs."""
    calls: int
    """Until a way was chosen."""
    choosing_s: float
    """The call in which it was."""


def warmed(case: Case, masks: Tensor) -> Warm:
    """Call a new value function until it has chosen its way."""
    value, times = new_value(case), []
    for _ in range(FIRST_CALLS):
        times.append(seconds(lambda: value(masks)))
        if value.choice.chosen is not None:
            break
    value(masks)  # a graph plans anew for the coalitions that the trial had left over
    return Warm(value, times[0], len(times), times[-1])


def measured(case: Case, masks: Masks, *, repetitions: int, slow_repetitions: int) -> dict[str, object]:
    """All figures of one network.

    Args:
        case: the network.
        masks: [M, N].
        repetitions: of ours, of the loop that skips and of the parts.
        slow_repetitions: of the loop that multiplies by 0 and of captum, among them.
    """
    torch.manual_seed(0)
    given = torch.from_numpy(masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warm = warmed(case, given)
        captum = Captum(case, masks)
        rows: dict[str, list[float]] = {}
        for repetition in range(repetitions):
            found = one_repetition(
                case,
                masks,
                warm,
                captum=captum if repetition < slow_repetitions else None,
                ours_first=repetition % 2 == 0,
            )
            for name, ratio in found.items():
                rows.setdefault(name, []).append(ratio)
        figures: dict[str, object] = {name: round(statistics.median(found), 4) for name, found in rows.items()}
        warm_s = statistics.median(rows["warm_s"])
        figures.update(
            cold_speedup_vs_skip=round(statistics.median(rows["skip_s"]) / warm.first_s, 3),
            calls_until_chosen=warm.calls,
            prepare_s=round(warm.choosing_s - warm_s, 3),
            mechanism=warm.value.choice.chosen.name if warm.value.choice.chosen else "loop",
            reason=warm.value.choice.reason,
            peak_bytes=warm.value.report.peak_bytes,
            **equality(case, masks, warm.value),
        )
    return figures


def one_repetition(
    case: Case, masks: Masks, warm: Warm, *, captum: Captum | None, ours_first: bool
) -> dict[str, float]:
    """Everything once; ours and the loop that skips between the halves of the measurement of the parts."""
    given = torch.from_numpy(masks)
    before = part_seconds(case, at_least_s=0.1)
    ours = seconds(lambda: warm.value(given)) if ours_first else 0.0
    skip = seconds(lambda: by_hand(case, masks, skip=True))
    # who comes first finds other data in the caches: they take turns at that too
    ours = ours or seconds(lambda: warm.value(given))
    after = part_seconds(case, at_least_s=0.1)
    skip_counted, floor = counted(case, masks, [(a + b) / 2 for a, b in zip(before, after, strict=True)])
    found = {
        "ceiling_vs_skip": skip_counted / floor,
        "share_of_ceiling": skip / ours / (skip_counted / floor),
        "ratio_to_floor": ours / floor,
        "speedup_vs_skip": skip / ours,
        "warm_s": ours,
        "skip_s": skip,
        "floor_s": floor,
        "skip_by_parts": skip / skip_counted,
    }
    if captum is not None:
        found["speedup_vs_multiply"] = seconds(lambda: by_hand(case, masks, skip=False)) / ours
        found["speedup_vs_captum"] = seconds(captum) / captum.n_evaluations * len(masks) / ours
    return found


def equality(case: Case, masks: Masks, value: ModelValue) -> dict[str, object]:
    """Whether values equal those of the plain loop bit for bit, and by how much they differ at most."""
    given = torch.from_numpy(masks)
    shared, plain = (each(given)["loss"] for each in (value, new_value(case, sharing="loop")))
    with torch.no_grad():
        handmade = by_hand(case, masks, skip=True)
    if not torch.allclose(plain, handmade, rtol=1e-4, atol=1e-6):
        raise SystemExit("`by_hand` gives other values than the plain loop, but both are the same game; mend the case.")
    error = ((shared - plain).abs().amax() / plain.abs().amax()).item()
    return {"bit_equal": bool(torch.equal(shared, plain)), "relative_error": error}
