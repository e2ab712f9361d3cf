"""Many coalitions of a network: shared evaluation beside the loops that a user would write, in one run.

    python -m benchmarks.evaluation [--json FILE] [--quick] [--seed N] [--only NAME]

Processor time of one thread, sides taking turns, medians of ratios. `ceiling_vs_skip` is what computing nothing twice
would gain over the loop that skips, counted from distinct parts and the measured time of each; `share_of_ceiling` is
what of it is reached. Figures are warm unless they say cold: see `evaluation_timing`. --quick: one repetition of four
networks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from benchmarks.evaluation_memory import memory_rows
from benchmarks.evaluation_models import cases
from benchmarks.evaluation_timing import designed, measured
from benchmarks.evaluation_workers import two_workers

MORE = {"exportable": 1, "eager": 1, "worst": 12}
"""Times as many repetitions: 4 of what is bound by dispatch, 12 where a hundredth decides."""
QUICK = ("CNN", "GPT-2 with cache", "tiny MLP", "branches")


def over_all(networks: dict[str, dict[str, object]]) -> dict[str, float | None]:
    """The worst of every kind; None where none of it was measured."""

    def least(key: str, kind: str) -> float | None:
        found = [float(str(each[key])) for each in networks.values() if each["kind"] == kind]
        return min(found, default=None)

    return {
        "share_of_ceiling_exportable_min": least("share_of_ceiling", "exportable"),
        "share_of_ceiling_eager_min": least("share_of_ceiling", "eager"),
        "tiny_speedup_min": least("speedup_vs_skip", "tiny"),
        "worst_case_speedup": least("speedup_vs_skip", "worst"),
    }


def run(*, seed: int, quick: bool, only: str) -> dict[str, object]:
    started = time.perf_counter()
    torch.set_num_threads(1)
    repetitions = 1 if quick else 3
    networks: dict[str, dict[str, object]] = {}
    for name, (build, which) in cases().items():
        if (quick and name not in QUICK) or (only and name != only):
            continue
        torch.manual_seed(seed)
        case = build()
        masks = designed(which, seed=seed)
        networks[name] = {"kind": case.kind, "coalitions": which}
        # where little is at stake and a pass is short, the noise of a busy machine decides: look more often
        more = 1 if quick else MORE.get(case.kind, 4)
        networks[name].update(measured(case, masks, repetitions=more * repetitions, slow_repetitions=min(more, 4)))
        sys.stderr.write(f"{name}: {json.dumps(networks[name])}\n")
    result: dict[str, object] = dict(over_all(networks))
    if not only:
        workers = two_workers(seed=seed, repetitions=repetitions)
        result["two_workers_share"], result["two_workers"] = workers["share"], workers
        result["memory"] = memory_rows(seed=seed, repetitions=repetitions)
    seconds = round(time.perf_counter() - started)
    result["networks"] = networks
    result["settings"] = {"seed": seed, "quick": quick, "torch": torch.__version__, "gpu": None, "seconds": seconds}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="name of one network")
    arguments = parser.parse_args()
    result = run(seed=arguments.seed, quick=arguments.quick, only=arguments.only)
    for key, value in result.items():
        if key != "networks":
            sys.stdout.write(f"{key:32} {json.dumps(value)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
