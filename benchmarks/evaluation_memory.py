"""What less memory costs: time, never a value."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from benchmarks.evaluation_models import convolutional
from benchmarks.evaluation_timing import designed, new_value, seconds

BOUNDS_MIB = (256, 16, 8, 4, 2, 1, 0)


def memory_rows(*, seed: int, repetitions: int) -> list[dict[str, Any]]:
    """All coalitions of the CNN of 8 blocks under several bounds, by graph and by replay."""
    torch.manual_seed(seed)
    case = convolutional(32, 8, 64, hosts=False, kind="exportable")
    given = torch.from_numpy(designed("all of 8", seed=seed))
    plain = new_value(case, sharing="loop")
    wanted = plain(given)["loss"]
    rows = []
    for sharing in ("graph", "replay"):
        values = {bound: new_value(case, sharing=sharing, max_bytes=bound << 20) for bound in BOUNDS_MIB}
        equal = {bound: bool(torch.equal(value(given)["loss"], wanted)) for bound, value in values.items()}
        speedups: dict[int, list[float]] = {bound: [] for bound in BOUNDS_MIB}
        for _ in range(min(3, repetitions)):
            loop_s = seconds(lambda: plain(given))
            for bound, value in values.items():
                speedups[bound].append(loop_s / seconds(lambda value=value: value(given)))
        rows += [
            {
                "mechanism": value.mechanism(),
                "max_bytes": bound << 20,
                "peak_bytes": value.report.peak_bytes,
                "speedup_vs_plain_loop": round(statistics.median(speedups[bound]), 3),
                "bit_equal": equal[bound],
            }
            for bound, value in values.items()
        ]
    return rows
