"""The page of docs/evidence that a full run of `benchmarks.normalization` writes.

python -m benchmarks.normalization_page RESULTS.json PAGE.md
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from benchmarks.normalization_peers import PEERS

# at most this share of the best peer's time
TARGETS = {
    "1x48": 1.0,
    "8x48": 1.0,
    "64x48": 1.0,
    "1024x48": 0.9,
    "4096x48": 0.9,
    "64x1024": 0.9,
    "8x28224": 1.0,
}
MEAN_LIMIT, VARIANCE_LIMIT = 2e-5, 1e-5

TOP = """# Normalization: the full run

    make bench-normalization ARGS="--seed {seed} --json FILE.json --markdown FILE.md"

This page is written by that command. One thread of a shared two-core machine; {minutes:.1f} minutes, of which
{speed:.1f} are speed, {accuracy:.1f} accuracy. Versions: {versions}.{missing}

## Speed

Microseconds of processor time for one update and one normalization of the same batch of environments x
features. In each of 61 rounds every library takes a turn, in another order each time: one call, three that are
not timed, then 40 (16 for large batches), of which the table has the median. `copy` clones the batch: nothing
that returns a new tensor is faster. Peers run as each ships it, on the arrays it is made for, with their
forgetting set to none; ours is `update_and_normalize`. `accredit compiled` is `update` and `normalize` in one graph
of `torch.compile(fullgraph=True)`; the ratio is not taken of it.
"""

READING = """
The best peer is another one from column to column, and is chosen after the fact. Where it is TorchRL's VecNorm,
compare its row below the streams: it keeps float32 sums of x and x^2, and what it saves is the float64 state. At
8x28224 a third of our time goes to one number per feature, in float64 and float32, which only 8 rows share.

The batch is standard normal, so that no feature has a mean of many standard deviations. Where one has, large
batches take one more pass over the data, because sums about 0 would lose digits. Small batches are bound by the
cost of Python calls: the ratio there compares how many calls each makes, and moves by several hundredths from
run to run on a busy machine.

The first call of a turn finds the caches full of what the others used. Ours runs code of two libraries, NumPy
and torch, and pays more for that than peers that run one; `best peer` is the one of the table above:
"""

REWARD = """
## Reward scaling
"""

ACCURACY = """
## Accuracy

Largest error over eight features on each of 21 streams, against NumPy in float64 over all of the data: of the
mean in standard deviations, of the variance relative (absolute where it is 0). Streams have means of 1e6,
float16 beyond its range, single rows, statistics resumed at 2^24 and 1e8 samples, heavy tails, integers. A
library that does not take a dtype has failed that stream. The limits are {mean:.0e} and {variance:.0e}.

| | worst mean | worst variance | streams beyond a limit | not taken or not finite |
|---|---|---|---|---|
"""

REST = """
## The rest

| | measured | target |
|---|---|---|
| compiled statistics equal eager ones | {compiled_equals_eager} | True |
| compiled again after the third batch | {recompiles} | 0 |
| error of two ranks, unequal, empty, with NaN, mean 1e6, in sigma | {ddp_error_sigma:.1e} | {ddp_target:.0e} |
| change of an output by one PopArt update, float64 | {popart_output_error:.1e} | 1e-06 |
"""


def page(results: dict) -> str:
    """Markdown of the results of a full run."""
    minutes = {name: seconds / 60 for name, seconds in results["duration_s"].items()}
    absent = results["missing_peers"]
    top = TOP.format(
        seed=results["seed"],
        minutes=sum(minutes.values()),
        speed=minutes["speed"],
        accuracy=minutes["accuracy"],
        versions=", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        missing=f" Not installed, and left out: {', '.join(absent)}." if absent else "",
    )
    rest = REST.format(**results, ddp_target=1e-6)
    accuracy = ACCURACY.format(mean=MEAN_LIMIT, variance=VARIANCE_LIMIT) + accuracy_rows(results["errors"])
    speed = speed_table(results) + READING + first_call_table(results["first_call_us"])
    return top + speed + REWARD + reward_table(results) + accuracy + rest


def speed_table(results: dict) -> str:
    times = results["times_us"]
    lines = [row("", *times), rule(len(times))]
    names = next(iter(times.values()))
    lines.extend(row(name, *(f"{found[name]:.1f}" for found in times.values())) for name in names)
    lines.append(row("best peer", *(best_peer(found) for found in times.values())))
    ratios = results["time_ratio_best_peer"]
    lines.append(row("**ours / best peer**", *(f"**{ratio:.2f}**" for ratio in ratios.values())))
    lines.append(row("target, at most", *(f"{TARGETS[shape]:.1f}" for shape in ratios)))
    lines.append(row("ours / copy", *(f"{ratio:.1f}" for ratio in results["time_ratio_floor"].values())))
    missed = [shape for shape, ratio in ratios.items() if ratio > TARGETS[shape]]
    verdict = f"Missed: {', '.join(missed)}." if missed else "All targets are met."
    return "\n" + "\n".join(lines) + f"\n\n{verdict}\n"


def best_peer(times: dict[str, float]) -> str:
    return min((name for name in times if name in PEERS and name != "accredit"), key=times.__getitem__)


def first_call_table(first: dict) -> str:
    ours = [found["accredit"] for found in first.values()]
    best = [found[best_peer(found)] for found in first.values()]
    lines = [
        row("first call of a turn", *first),
        rule(len(first)),
        row("accredit", *(f"{value:.0f}" for value in ours)),
        row("best peer", *(f"{value:.0f}" for value in best)),
        row("ours / best peer", *(f"{mine / theirs:.2f}" for mine, theirs in zip(ours, best, strict=True))),
    ]
    return "\n" + "\n".join(lines) + "\n"


def reward_table(results: dict) -> str:
    times = results["reward_times_us"]
    lines = [row("4096 environments, one step", *times), rule(len(times))]
    lines.append(row("microseconds", *(f"{value:.1f}" for value in times.values())))
    ratio = results["reward_ratio_best_peer"]
    verdict = "met" if ratio <= 1.0 and results["reward_us_4096"] <= 40.0 else "missed"
    return (
        "\n"
        + "\n".join(lines)
        + f"\n\n{ratio:.2f} of the best peer's time; the target, at most 1.0 and 40 microseconds, is {verdict}.\n"
    )


def accuracy_rows(errors: dict) -> str:
    lines = []
    for name, streams in errors.items():
        mean = [error["mean"] for error in streams.values()]
        variance = [error["variance"] for error in streams.values()]
        pairs = list(zip(mean, variance, strict=True))
        beyond = sum(not (m <= MEAN_LIMIT and v <= VARIANCE_LIMIT) for m, v in pairs)
        lost = sum(not (math.isfinite(m) and math.isfinite(v)) for m, v in pairs)
        lines.append(row(name, largest(mean), largest(variance), f"{beyond} of {len(pairs)}", str(lost)))
    return "\n".join(lines) + "\n"


def largest(values: list[float]) -> str:
    """The largest finite one."""
    return f"{max((value for value in values if math.isfinite(value)), default=math.nan):.1e}"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def rule(n_columns: int) -> str:
    return "|---" * (n_columns + 1) + "|"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(page(json.loads(source.read_text())))
