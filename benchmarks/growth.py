"""Growth under PPO: learned against rules and large networks, with and without its parts, and what it costs.

    python -m benchmarks.growth [--json FILE] [--quick] [--seed N] [--seeds N] [--only STUDY,...] [--runs FILE]
        [--processes N]

Studies (benchmarks/growth_studies.py) train a policy on each of 10 seeds, from --seed on, and measure it on 64 hosts
that nothing else has met; seeds from 1000 on were used for no choice of the design.  Intervals are Student t over the
means of the seeds, since hosts of one seed share a policy.  Baselines are tuned once a study, on the reward split of
design hosts of the first seed, and measured on the hosts of every seed.  `costs` measures speed, memory and exactness
and wants a machine with nothing else to do; `planted` repeats benchmarks.growth_planted.

Finished runs are kept in --runs (default build/growth-*.jsonl): an interrupted study goes on where it was, with the
same command.  A table of what is finished is printed at the end.  --quick takes 2 seeds and runs that learn little.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from benchmarks.growth_costs import costs
from benchmarks.growth_planted import study as planted_study
from benchmarks.growth_planted import summarize as planted_summary
from benchmarks.growth_studies import ROOT, STUDIES, Record, configuration, widths_of, work
from benchmarks.growth_tables import page, save_picture, summarize

from accredit.training.config_record import differing_fields, to_plain
from accredit.training.task import find_task

COSTS, PLANTED = "costs", "planted"
FIRST_SEED = 1000
OF_THE_POLICY = ("ppo", "updates", "checkpoint")
"""How the fields begin that a baseline does not depend on."""


def jobs(kind: str, names: list[str], seeds: range, *, quick: bool) -> list[Record]:
    """Runs of one kind, one study after the other, so that an interrupted start has finished the first ones."""
    return [
        {"kind": kind, "study": name, "seed": seed, "quick": quick}
        for name in names
        if kind == "policy" or STUDIES[name].has_baselines
        for seed in seeds
    ]


def key_of(record: Record) -> tuple[object, ...]:
    return tuple(record[name] for name in ("kind", "study", "seed", "quick"))


def read_runs(path: Path) -> list[Record]:
    """Finished runs of earlier starts whose configuration is still that of their study; a torn last line is left out.

    Where a field was changed or added since, old runs stay in the file and count no more.
    """
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [record for record in records if record["study"] in STUDIES and not changes(record)]


def changes(record: Record) -> list[str]:
    """Return how the study's configuration differs from that of a run, in what the run depends on.

    Baselines do not know how the policy learns.
    """
    wanted = to_plain(configuration(record["study"], record["seed"], quick=record["quick"]))
    different = differing_fields(record["config"], wanted)
    if record["kind"] == "policy":
        return different
    different = [name for name in different if not name.startswith(OF_THE_POLICY)]
    widths = set(map(int, record["tuned"]["learning_rates"])) if "tuned" in record else widths_of(record["policies"])
    sizes = set(find_task(STUDIES[record["study"]].task).large_widths)
    return different if widths == sizes else [*different, f"sizes: {sorted(widths)} -> {sorted(sizes)}"]


def prepare_worker() -> None:
    """Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def finish(todo: list[Record], *, processes: int) -> Iterator[Record]:
    """Results as they come, from one process a run; one that is killed ends the study, which then goes on from here."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=prepare_worker, max_tasks_per_child=1) as pool:
        try:
            for done in as_completed([pool.submit(work, job) for job in todo]):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def study(wanted: list[Record], path: Path, *, processes: int) -> list[Record]:
    """Run what is not in the file yet; return all results that were wanted."""
    done = read_runs(path)
    finished = {key_of(record) for record in done}
    todo = [job for job in wanted if key_of(job) not in finished]
    sys.stderr.write(f"{len(todo)} of {len(wanted)} runs to do; finished ones are kept in {path}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with path.open("a", buffering=1) as file:
        if file.tell() and not path.read_text().endswith("\n"):
            file.write("\n")  # behind a line that an interruption tore
        for count, record in enumerate(finish(todo, processes=processes) if todo else (), start=1):
            file.write(json.dumps(record) + "\n")
            done.append(record)
            left = (time.monotonic() - started) * (len(todo) - count) / count
            end = f", failed: {record['failure']}" if "failure" in record else ""
            what = f"{record['study']}, {record['kind']}, seed {record['seed']}: {record['duration_s']:.0f} s"
            sys.stderr.write(f"{count}/{len(todo)}, {left / 60:.0f} min left: {what} of processor time{end}\n")
    order = {key_of(job): index for index, job in enumerate(wanted)}
    return sorted((record for record in done if key_of(record) in order), key=lambda record: order[key_of(record)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here, and the picture beside it")
    parser.add_argument("--quick", action="store_true", help="2 seeds, runs that learn little")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, help="how many; 10, or 2 with --quick")
    parser.add_argument("--only", help=f"some of {', '.join(STUDIES)}, {COSTS}, {PLANTED}; separated by commas")
    parser.add_argument("--runs", type=Path, help="keep finished runs here, and go on from those that it holds")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    everything = [*STUDIES, COSTS, PLANTED]
    chosen = options.only.split(",") if options.only else everything
    unknown = sorted(set(chosen) - set(everything))
    if unknown:
        parser.error(f"--only got {', '.join(unknown)}, wanted some of {', '.join(everything)}")
    name = f"growth-{'quick' if options.quick else 'full'}-{options.seed}.jsonl"
    path = options.runs or ROOT / "build" / name
    names = [study_name for study_name in STUDIES if study_name in chosen]
    n_seeds = options.seeds or (2 if options.quick else 10)
    seeds = range(options.seed, options.seed + n_seeds)
    try:
        records = study(jobs("policy", names, seeds, quick=options.quick), path, processes=options.processes)
        # One tuning a study, on design hosts of the first seed.
        tuned = study(jobs("tuning", names, seeds[:1], quick=options.quick), path, processes=options.processes)
        found = {record["study"]: record["tuned"] for record in tuned}
        wanted = jobs("baselines", names, seeds, quick=options.quick)
        measured = [job | {"tuning": found[job["study"]]} for job in wanted]
        records += study(measured, path, processes=options.processes)
    except (KeyboardInterrupt, BrokenProcessPool) as end:
        what = "interrupted" if isinstance(end, KeyboardInterrupt) else "a process that did a run was killed"
        raise SystemExit(f"{what}; the same command goes on from `{path}`.") from None
    results = summarize(records)
    if COSTS in chosen:
        results |= costs(quick=options.quick)
    if PLANTED in chosen:
        planted = planted_summary(planted_study(runs=20 if options.quick else 100, seed=options.seed))
        results |= {key: planted[key] for key in ("planted_ranked_right", "null_called_significant")}
    sys.stdout.write(page(results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
        save_picture(results, options.json)


if __name__ == "__main__":
    main()
