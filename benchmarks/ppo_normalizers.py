"""PPO with nothing, with VecNormalize and with our adapter, on plain and on distorted observations.

    python -m benchmarks.ppo_normalizers [--json FILE] [--quick] [--seed N] [--runs FILE] [--processes N]
        [--seeds N] [--tasks ...] [--variants ...] [--normalizers ...]

Stable-Baselines3's PPO on InvertedPendulum (40k steps) and HalfCheetah (100k), float64 observations as they are, scaled
by 1e3, shifted by 1e6, and with one row of NaN half way; 10 seeds from --seed on (--seeds), the same for all. Beside
the returns: normalized observations of the same random actions, compared with those of the plain task, for the first 3
seeds. Writes the picture beside the results. --quick takes 2 seeds and shorter runs (8k and 32k steps).

Finished runs are kept in --runs (default build/ppo_normalizers-*.jsonl, one per choice of seed and quick): an
interrupted study goes on where it was, with the same command.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from benchmarks.ppo_normalizers_observations import differences
from benchmarks.ppo_normalizers_pages import page, save_picture
from benchmarks.ppo_normalizers_runs import NORMALIZERS, QUICK, TASKS, VARIANTS, train
from benchmarks.ppo_normalizers_tables import summarize

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stable_baselines3", "gymnasium", "mujoco", "torch", "numpy")
N_STREAMS = 3
"""Seeds of which the observations are compared: they hardly differ."""
Job = dict[str, Any]


def jobs(*, seed: int, n_seeds: int, quick: bool) -> list[Job]:
    """All runs, a whole set of cells for one seed after the other, so that an interrupted study is a smaller one."""
    made: list[Job] = []
    for number in range(seed, seed + n_seeds):
        for task in reversed(TASKS):
            steps = QUICK[task] if quick else TASKS[task].n_steps
            for variant in VARIANTS:
                job = {"task": task, "variant": variant, "seed": number, "n_steps": steps}
                if variant != "plain" and number < seed + N_STREAMS:
                    made.append({"kind": "observations"} | job)
                made += [{"kind": "training"} | job | {"normalizer": name} for name in NORMALIZERS]
    return made


def run(job: Job) -> Job:
    cell = {"seed": job["seed"], "n_steps": job["n_steps"]}
    if job["kind"] == "observations":
        return differences(job["task"], job["variant"], **cell)
    return train(job["task"], job["variant"], job["normalizer"], **cell)


def settings() -> dict[str, Any]:
    """What a result depends on besides its job."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"tasks": {name: task.settings() for name, task in TASKS.items()}, "versions": versions}


def read_runs(path: Path) -> list[Job]:
    """Finished runs of an earlier start; a last line that an interruption tore is left out.

    Raises:
        SystemExit: the file holds runs with other settings.
    """
    if not path.exists():
        return []
    head, *lines = path.read_text().splitlines(keepends=True) or [""]
    if not head.endswith("\n") or json.loads(head) != settings():
        raise SystemExit(f"`{path}` holds runs with other settings or versions than now; delete it or pass `--runs`.")
    return [json.loads(line) for line in lines if line.endswith("\n")]


def start_file(path: Path, done: list[Job]) -> TextIO:
    """A file to append to, rewritten once so that it ends with a whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".new")
    whole.write_text("".join(json.dumps(line) + "\n" for line in [settings(), *done]))
    whole.replace(path)
    return path.open("a", buffering=1)


def prepare_worker(folder: Path) -> None:
    """Ctrl-C is the parent's to answer, and MuJoCo keeps its log where a process stands."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(folder)
    # it also warns of each HalfCheetah that is made
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def finish(todo: list[Job], folder: Path, *, processes: int) -> Iterator[Job]:
    """Results as they come."""
    # physics and small networks gain nothing from threads
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, prepare_worker, (folder,)) as pool:
        yield from pool.imap_unordered(run, todo)


def key_of(job: Job) -> tuple[Any, ...]:
    return tuple(job.get(name) for name in ("kind", "task", "variant", "normalizer", "seed", "n_steps"))


def study(wanted: list[Job], path: Path, *, processes: int) -> list[Job]:
    """Run what is not in the file yet; returns the wanted results."""
    done = read_runs(path)
    finished = {key_of(record) for record in done}
    todo = [job for job in wanted if key_of(job) not in finished]
    sys.stderr.write(f"{len(todo)} of {len(wanted)} runs to do; finished ones are kept in {path}\n")
    # steps say how much is left better than runs do, which differ tenfold
    total, spent, started = sum(job["n_steps"] for job in todo), 0, time.monotonic()
    with start_file(path, done) as file:
        for record in finish(todo, path.parent, processes=processes) if todo else ():
            file.write(json.dumps(record) + "\n")
            done.append(record)
            spent += record["n_steps"]
            left = (time.monotonic() - started) * (total - spent) / spent
            what = " ".join(str(part) for part in key_of(record)[1:5] if part is not None)
            end = "" if record.get("failure") is None else f", failed at step {record['failure']['step']}"
            sys.stderr.write(
                f"{spent / total:4.0%}, {left / 60:.0f} min left: {what}, {record['duration_s']:.0f} s{end}\n"
            )
    order = {key_of(job): index for index, job in enumerate(wanted)}
    return sorted((record for record in done if key_of(record) in order), key=lambda record: order[key_of(record)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here, and the picture beside it")
    parser.add_argument("--quick", action="store_true", help="2 seeds, 8k and 32k steps")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--runs", type=Path, help="keep finished runs here, and go on from those that it holds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, help="how many; 10, or 2 with --quick")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--normalizers", nargs="+", choices=list(NORMALIZERS), default=list(NORMALIZERS))
    options = parser.parse_args()
    name = f"ppo_normalizers-{'quick' if options.quick else 'full'}-{options.seed}.jsonl"
    path = options.runs or ROOT / "build" / name
    everything = jobs(seed=options.seed, n_seeds=options.seeds or (2 if options.quick else 10), quick=options.quick)
    wanted = [
        job
        for job in everything
        if job["task"] in options.tasks
        and job["variant"] in options.variants
        and job.get("normalizer", "accredit") in options.normalizers
    ]
    try:
        records = study(wanted, path, processes=options.processes)
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted; the same command goes on from `{path}`.") from None
    results = {"versions": settings()["versions"]} | summarize(records, settings=settings()["tasks"])
    sys.stdout.write(page(results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
        save_picture(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
