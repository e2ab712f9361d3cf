"""What an event costs, against the least that a line of JSON in a file can cost.

    python -m benchmarks.events [--json FILE] [--quick] [--seed N]

For every kind of event: `JsonlSink` on the event against `json.dumps`, `write` and `flush` on the same entries as a
plain dictionary, in turns within one process, so that whatever else the machine does falls on both.  The bytes of both
files are compared as well, but for the time.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accredit.telemetry import (
    CoalitionsEvaluated,
    ContributionsEstimated,
    Event,
    HostDiverged,
    HostGrown,
    JsonlSink,
    Origin,
    RunCompleted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.record import encode

TARGET = 1.5
"""Times the cost of the plain line, at most."""


def sample_events(draw: random.Random) -> dict[str, Event]:
    """One event of every kind that a run writes often, with numbers as long as real ones; coalitions in two sizes."""
    origin = Origin(environment="train-007", episode=3, step=11, game="live")
    names = [name for name in UpdateCompleted.__dataclass_fields__ if name not in ("origin", "action_frequencies")]
    operations = {name: draw.random() for name in ("wait", "graft", "blend", "commit", "prune")}
    update: dict[str, Any] = {name: draw.random() for name in names}
    return {
        "StepCompleted": StepCompleted(
            origin=origin, host_seed=123456, action="graft affine into hidden1", log_loss=draw.random(),
            accuracy=draw.random(), graft_parameters=64, gain=draw.random(), control_gain=draw.random(),
            rent=draw.random(), graft_cost=0.0, reward=draw.random(),
        ),
        "StageChanged": StageChanged(
            origin=origin, slot="hidden1", kind="affine", operation="graft", source="empty", target="training"
        ),
        "HostDiverged": HostDiverged(origin=origin),
        "CoalitionsEvaluated, 8": coalitions(origin, 3, draw),
        "CoalitionsEvaluated, 256": coalitions(origin, 8, draw),
        "ContributionsEstimated": contributions(origin, 3, draw),
        "UpdateCompleted": UpdateCompleted(**update | {"action_frequencies": operations}),
        "HostGrown": HostGrown(
            origin=origin, policy="learned", host_seed=123456, log_loss=draw.random(), accuracy=draw.random(),
            parameters=839, committed=("input:affine", "hidden1:affine"),
        ),
        "RunCompleted": RunCompleted(updates=40),
        "with a number not finite": replace(contributions(origin, 3, draw), value_all=math.inf),
    }  # fmt: skip


def coalitions(origin: Origin, n_players: int, draw: random.Random) -> CoalitionsEvaluated:
    names = tuple(f"slot-{at}" for at in range(n_players))
    rows = tuple(format(at, f"0{n_players}b") for at in range(2**n_players))
    values = {output: tuple(draw.random() for _ in rows) for output in ("log_loss", "accuracy")}
    return CoalitionsEvaluated(origin=origin, players=names, coalitions=rows, values=values)


def contributions(origin: Origin, n_players: int, draw: random.Random) -> ContributionsEstimated:
    def numbers() -> tuple[float, ...]:
        return tuple(draw.random() for _ in range(n_players))

    return ContributionsEstimated(
        origin=origin, output="log_loss", unit="nat", higher_is_better=False,
        players=tuple(f"slot-{at}" for at in range(n_players)), values=numbers(), contributions=numbers(),
        stderr=numbers(), lower=numbers(), upper=numbers(), level=0.95, value_all=draw.random(),
        value_none=draw.random(), estimator="exact", n_evaluations=8,
    )  # fmt: skip


def plain_writer(file: Any) -> Callable[[object], None]:
    """What it costs at least: dump, write, flush."""

    def write(entries: object) -> None:
        file.write(json.dumps(entries) + "\n")
        file.flush()

    return write


def seconds(action: Callable[[Any], None], things: Sequence[object]) -> float:
    start = time.perf_counter()
    for thing in things:
        action(thing)
    return time.perf_counter() - start


def measure(event: Event, *, calls: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds a call of both, in turns; the median of the ratios of neighbours is robust to whatever else goes on."""
    entries = json.loads(encode(event, time_s=1763914387.123))
    given, dictionaries = [event] * calls, [entries] * calls
    plain_path, sink_path = folder / "plain.jsonl", folder / "sink.jsonl"
    with plain_path.open("w") as file, JsonlSink(sink_path) as sink:
        plain = plain_writer(file)
        pairs = []
        for at in range(rounds):
            if at % 2:
                first = seconds(plain, dictionaries)
                pairs.append((seconds(sink, given), first))
            else:
                first = seconds(sink, given)
                pairs.append((first, seconds(plain, dictionaries)))
    lines = [re.sub(r'"time": [\d.]+', "", path.read_text()) for path in (plain_path, sink_path)]
    for path in (plain_path, sink_path):
        path.unlink()
    ratios = [sink_s / plain_s for sink_s, plain_s in pairs]
    return {
        "bytes": len(lines[0].splitlines()[0]),
        "sink_us": 1e6 * statistics.median(sink_s for sink_s, _ in pairs) / calls,
        "plain_us": 1e6 * statistics.median(plain_s for _, plain_s in pairs) / calls,
        "ratio": statistics.median(ratios),
        "best_ratio": min(sink_s for sink_s, _ in pairs) / min(plain_s for _, plain_s in pairs),
        "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "same_bytes_but_for_the_time": lines[0] == lines[1],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    calls, rounds = (20, 50) if options.quick else (20, 1000)
    print(f"{'event':<26}{'bytes':>7}{'sink, us':>10}{'plain, us':>11}{'ratio':>7}   quartiles")
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, event in sample_events(random.Random(options.seed)).items():
            row = rows[name] = measure(event, calls=calls, rounds=rounds, folder=Path(folder))
            low, high = row["ratio_quartiles"]
            print(
                f"{name:<26}{row['bytes']:>7}{row['sink_us']:>10.1f}{row['plain_us']:>11.1f}{row['ratio']:>7.2f}"
                f"   {low:.2f} to {high:.2f}{'' if row['same_bytes_but_for_the_time'] else '   OTHER BYTES'}"
            )
    worst = max(row["ratio"] for row in rows.values())
    print(f"\nworst median ratio {worst:.2f}, target {TARGET}")
    if options.json:
        record = {"python": sys.version.split()[0], "seed": options.seed, "calls": calls, "rounds": rounds}
        options.json.write_text(json.dumps(record | {"target": TARGET, "events": rows}, indent=1))
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
