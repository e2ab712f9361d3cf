"""PPO that goes on half way with the statistics of its normalizer, and without them.

    python -m benchmarks.ppo_resume [--json FILE] [--quick] [--seed N] [--seeds N] [--processes N]
        [--tasks ...]

Stable-Baselines3's PPO behind accredit's `VecNormalize` on the plain tasks of benchmarks.ppo_normalizers.  Half way it
is saved as users save it, and goes on twice: `kept` loads model and statistics, `lost` loads the model and begins the
statistics anew, as a program does that saved the model alone.  Both begin the environments anew, from one seed, so that
they differ in the statistics only.  10 seeds from --seed on; --quick takes 2 seeds and shorter runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.ppo_normalizers import prepare_worker
from benchmarks.ppo_normalizers_runs import LAST_SHARE, QUICK, TASKS, Episodes, environments, learner
from benchmarks.ppo_normalizers_tables import WINDOW, interval, paired
from stable_baselines3 import PPO

from accredit.integrations.stable_baselines3 import VecNormalize

ARMS = ("kept", "lost")
MEASURES = {
    "before": "the last 8,000 steps before",
    "at once": "the first 8,000 steps after",
    "final": "the last quarter of what follows",
}
Record = dict[str, Any]


def run(name: str, seed: int, *, quick: bool) -> Record:
    """Train to the half, then go on in both ways; mean returns of the episodes that ended in each span of steps."""
    torch.set_num_threads(1)
    task = replace(TASKS[name], n_steps=QUICK[name]) if quick else TASKS[name]
    half, found = task.n_steps // 2, {}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        first, saved, numbers = Episodes(), Path(folder) / "model.zip", Path(folder) / "statistics.pt"
        venv = VecNormalize(environments(task, "plain", seed), gamma=task.gamma)
        model = learner(task, venv, seed)
        model.learn(half, callback=first)
        model.save(saved)
        venv.save(numbers)
        venv.close()
        begun = model.num_timesteps
        before = mean_between(first, begun - WINDOW, begun)
        for arm in ARMS:
            after, plain = Episodes(), environments(task, "plain", seed + 10_000)
            venv = VecNormalize.load(numbers, plain) if arm == "kept" else VecNormalize(plain, gamma=task.gamma)
            model = PPO.load(saved, env=venv, device="cpu")
            model.learn(half, callback=after, reset_num_timesteps=False)
            venv.close()
            last = model.num_timesteps
            found[arm] = {
                "before": before,
                "at once": mean_between(after, begun, begun + WINDOW),
                "final": mean_between(after, last - LAST_SHARE * half, last),
            }
    return {"task": name, "seed": seed, "arms": found}


def mean_between(recorder: Episodes, begin: float, end: float) -> float | None:
    """Mean return of the episodes that ended after step `begin` and until step `end`; None where none did."""
    returns = [value for step, value in recorder.episodes if begin < step <= end]
    return statistics.fmean(returns) if returns else None


def summarize(records: list[Record]) -> dict[str, Any]:
    """Intervals over seeds, and of paired differences, by task."""
    tasks: dict[str, Any] = {}
    for name in dict.fromkeys(record["task"] for record in records):
        mine = sorted((record for record in records if record["task"] == name), key=lambda record: record["seed"])

        def returns(arm: str, measure: str, mine: list[Record] = mine) -> dict[int, float]:
            values = {record["seed"]: record["arms"][arm][measure] for record in mine}
            return {seed: value for seed, value in values.items() if value is not None}

        tasks[name] = {
            "seeds": [record["seed"] for record in mine],
            "returns": {
                measure: {arm: interval(list(returns(arm, measure).values())) for arm in ARMS} for measure in MEASURES
            },
            "lost_minus_kept": {
                measure: paired(returns("lost", measure), returns("kept", measure)) for measure in ("at once", "final")
            },
        }
    return {"window_steps": WINDOW, "tasks": tasks}


def page(results: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = [
        "| task | returns of episodes that ended in | statistics kept | lost | lost minus kept | p |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in results["tasks"].items():
        for measure, what in MEASURES.items():
            kept, lost = (shown(task["returns"][measure][arm]) for arm in ARMS)
            difference = task["lost_minus_kept"].get(measure)
            p = "" if difference is None or difference["p"] is None else f"{difference['p']:.1g}"
            rows.append(f"| {name} | {what} | {kept} | {lost} | {shown(difference) if difference else ''} | {p} |")
    return "\n".join(rows)


def shown(found: dict[str, Any]) -> str:
    """Mean and interval."""
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:.0f}" + ("" if found["low"] is None else f" [{found['low']:.0f}, {found['high']:.0f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--quick", action="store_true", help="2 seeds, 8k and 32k steps")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, help="how many; 10, or 2 with --quick")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    options = parser.parse_args()
    n_seeds = options.seeds or (2 if options.quick else 10)
    jobs = [(name, seed) for seed in range(options.seed, options.seed + n_seeds) for name in options.tasks]
    os.environ["OMP_NUM_THREADS"] = "1"
    records: list[Record] = []
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            options.processes, mp_context=context, initializer=prepare_worker, initargs=(Path(folder),)
        ) as pool,
    ):
        for done in as_completed([pool.submit(run, name, seed, quick=options.quick) for name, seed in jobs]):
            records.append(done.result())
            sys.stderr.write(f"{len(records)} of {len(jobs)} runs done\n")
    results = summarize(records)
    sys.stdout.write(page(results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(results | {"records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
