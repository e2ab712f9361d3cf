"""Accuracy and speed of running normalizers, side by side in one run.

    python -m benchmarks.normalization [--json FILE] [--quick] [--seed N] [--no-install]

Peers that are missing are installed into an environment of their own (build/normalization-peers), from where the
benchmark then runs; --no-install compares with what is here. Times are medians over interleaved rounds, one thread,
processor time. --quick measures the accuracy of ours only.

Axes: B environments, D features.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from benchmarks.normalization_peers import REQUIREMENTS, installed, reward_peers

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
from running_streams import Stream, streams  # noqa: E402 - test data, not a package

SHAPES = [(1, 48), (8, 48), (64, 48), (1024, 48), (4096, 48), (64, 1024), (8, 28224)]
N_ENVS = 4096


def run_in_an_environment_with_peers() -> None:
    """Install the peers beside, not into, the environment in use, and start over there."""
    folder = ROOT / "build" / "normalization-peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        paths = [path for path in sys.path if path.endswith("site-packages")] + [str(ROOT / "src")]
        library = next(folder.glob("lib/python*/site-packages"))
        (library / "outer.pth").write_text("\n".join(paths))
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *REQUIREMENTS], check=True)
    os.execv(python, [str(python), "-m", "benchmarks.normalization", "--no-install", *sys.argv[1:]])


def median_us(calls: dict[str, Callable[[], object]], *, rounds: int, repeat: int) -> dict[str, float]:
    """Median time of each call, the calls taking turns, so that a busy machine is busy for all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(rounds):
        for name, call in calls.items():
            # processor time of this thread: what others do on the machine in the meantime is not counted
            start = time.thread_time()
            for _ in range(repeat):
                call()
            times[name].append((time.thread_time() - start) / repeat * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def speed(makers: dict, *, quick: bool, seed: int) -> dict[str, dict[str, float]]:
    table = {}
    for n_envs, width in SHAPES:
        x = torch.randn(n_envs, width, generator=torch.Generator().manual_seed(seed))
        array = x.numpy()
        calls: dict[str, Callable[[], object]] = {"copy": x.clone}
        for name, make in makers.items():
            peer = make(width)
            calls[name] = partial(peer.step, array if peer.takes_numpy else x)
        large = n_envs * width > 10_000
        calls["accredit compiled"] = compiled_step(x)
        rounds = 15 if quick else 61
        table[f"{n_envs}x{width}"] = median_us(calls, rounds=rounds, repeat=4 if large else 40)
    return table


def compiled_step(x: torch.Tensor) -> Callable[[], object]:
    from accredit.normalize import RunningMeanStd

    torch._dynamo.reset()
    it = RunningMeanStd(x.shape[1])

    def step(batch: torch.Tensor) -> torch.Tensor:
        it.update(batch)
        return it.normalize(batch)

    compiled = torch.compile(step, fullgraph=True)
    return lambda: compiled(x)


def accuracy(makers: dict) -> dict[str, dict[str, dict[str, float]]]:
    """Errors of every peer on every stream: mean in sigma, variance relative, inf where something is not finite."""
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in makers}
    for stream in streams():
        batches = [cast(stream, batch) for batch in stream.batches()]
        mean, var = stream.truth(lambda x, s=stream: cast(s, x).double().numpy())
        unit = np.where(var > 0, np.sqrt(var), 1.0)
        for name, make in makers.items():
            peer = make(8)
            if stream.resume is not None:
                peer.resume(*stream.resume)
            try:
                for batch in batches:
                    given = batch.float().numpy() if batch.dtype == torch.bfloat16 else batch.numpy()
                    peer.step(given if peer.takes_numpy else batch)
                found_mean, found_var = (np.asarray(values, np.float64) for values in peer.read())
                mean_error = float(np.abs((found_mean - mean) / unit).max())
                var_error = float((np.abs(found_var - var) / np.where(var > 0, var, 1.0)).max())
            except (RuntimeError, TypeError):
                mean_error = var_error = math.nan  # the library does not take this dtype
            table[name][stream.name] = {"mean": mean_error, "variance": var_error}
    return table


def cast(stream: Stream, batch: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(batch)
    return tensor.bfloat16() if stream.cast == "bfloat16" else tensor


def reward_times(*, quick: bool, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    reward, done = rng.standard_normal(N_ENVS).astype(np.float32), rng.random(N_ENVS) < 0.01
    calls = {name: (lambda s=step: s(reward, done)) for name, step in reward_peers(N_ENVS).items()}
    return median_us(calls, rounds=15 if quick else 61, repeat=40)


def compiled_equals_eager(seed: int) -> tuple[bool, int]:
    """Statistics after 20 batches, exact and forgetting; and how often a graph was compiled again after the third."""
    from accredit.normalize import RunningMeanStd

    equal, recompiles = True, 0
    for horizon in (None, 500.0):
        torch._dynamo.reset()
        eager, graph = RunningMeanStd(48, horizon=horizon), RunningMeanStd(48, horizon=horizon)

        def step(batch: torch.Tensor, it: RunningMeanStd = graph) -> torch.Tensor:
            it.update(batch)
            return it.normalize(batch)

        compiled = torch.compile(step, fullgraph=True)
        for index in range(20):
            batch = 3 + torch.randn(64, 48, generator=torch.Generator().manual_seed(seed + index))
            if index == 3:
                torch._dynamo.utils.counters.clear()
            compiled(batch)
            eager.update(batch)
        recompiles += torch._dynamo.utils.counters["stats"]["unique_graphs"]
        close = torch.allclose(graph.moments, eager.moments, rtol=1e-11, atol=1e-11)
        equal = equal and close and torch.equal(graph.tallies, eager.tallies)
    return equal, recompiles


def ddp_rank(rank: int, n_ranks: int, folder: str) -> None:
    from accredit.normalize import RunningMeanStd, synchronized_update

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=n_ranks)
    it = RunningMeanStd(8)
    for step in range(5):
        synchronized_update(it, ddp_batch(rank, step))
    torch.save(it.state_dict(), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def ddp_batch(rank: int, step: int) -> torch.Tensor:
    size = 0 if rank == step % 2 else 7 + 20 * rank
    batch = 1e6 + torch.randn(size, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7 * rank + step))
    if size:
        batch[0, 0] = math.nan
    return batch


def ddp_error_sigma(n_ranks: int = 2) -> float:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(ddp_rank, args=(n_ranks, folder), nprocs=n_ranks)
        states = [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(n_ranks)]
    if not all(torch.equal(states[0]["moments"], state["moments"]) for state in states):
        return math.inf
    rows = torch.cat([ddp_batch(rank, step) for step in range(5) for rank in range(n_ranks)])
    rows = rows[rows.isfinite().all(1)] - 1e6
    return float(((states[0]["moments"][0] - 1e6 - rows.mean(0)).abs() / rows.std(0)).max())


def popart_output_error() -> float:
    """Largest change of an output by one update, in units of max(sigma, |mu|), over six orders of magnitude."""
    from accredit.normalize import ValueNormalizer

    torch.manual_seed(0)
    head, features = torch.nn.Linear(16, 1).double(), torch.randn(64, 16, dtype=torch.float64)
    it, worst = ValueNormalizer(horizon=256), 0.0
    for step in range(300):
        before = it.denormalize(head(features))
        targets = 10.0 ** (3 * math.sin(step / 20)) * (2 + torch.randn(32, 1, dtype=torch.float64))
        report = it.update(targets, head=head)
        unit = max(float(report.std_after), float(report.mean_after.abs()), float(report.std_before))
        worst = max(worst, float((it.denormalize(head(features)) - before).abs().max()) / unit)
    return worst


def measure(*, quick: bool, seed: int) -> dict[str, object]:
    makers, missing = installed()
    times = speed(makers, quick=quick, seed=seed)
    errors = accuracy({"accredit": makers["accredit"]} if quick else makers)
    rewards = reward_times(quick=quick, seed=seed)
    equal, recompiles = compiled_equals_eager(seed)
    ours = errors["accredit"].values()
    others = [name for name in makers if name != "accredit"]
    nonfinite = sum(not (math.isfinite(e["mean"]) and math.isfinite(e["variance"])) for e in ours)
    return {
        "mean_error_sigma_worst": max(e["mean"] for e in ours),
        "variance_error_worst": max(e["variance"] for e in ours),
        "nonfinite": nonfinite,
        "time_ratio_best_peer": {s: t["accredit"] / min(t[name] for name in others) for s, t in times.items()},
        "time_ratio_floor": {s: t["accredit"] / t["copy"] for s, t in times.items()},
        "reward_us_4096": rewards["accredit"],
        "reward_ratio_best_peer": rewards["accredit"] / min(v for k, v in rewards.items() if k != "accredit"),
        "compiled_equals_eager": equal,
        "recompiles": recompiles,
        "ddp_error_sigma": ddp_error_sigma(),
        "popart_output_error": popart_output_error(),
        "missing_peers": missing,
        "times_us": times,
        "reward_times_us": rewards,
        "errors": errors,
    }


def show(results: dict) -> None:
    names = list(next(iter(results["times_us"].values())))
    print(f"{'microseconds':>20} " + " ".join(f"{shape:>9}" for shape in results["times_us"]))
    for name in names:
        print(f"{name:>20} " + " ".join(f"{times[name]:9.1f}" for times in results["times_us"].values()))
    print(f"\n{'worst error':>20} {'mean/sigma':>12} {'variance':>12} streams beyond 2e-5, 1e-5")
    for name, errors in results["errors"].items():
        mean = np.array([error["mean"] for error in errors.values()])
        var = np.array([error["variance"] for error in errors.values()])
        failed = int((~((mean <= 2e-5) & (var <= 1e-5))).sum())
        print(f"{name:>20} {np.nanmax(mean):12.2e} {np.nanmax(var):12.2e} {failed:4d} of {len(mean)}")
    print()
    for key, value in results.items():
        if key not in {"times_us", "errors"}:
            print(f"{key}: {json.dumps(value)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and short streams for the peers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-install", action="store_true", help="compare with what is installed here")
    options = parser.parse_args()
    if not options.no_install:
        run_in_an_environment_with_peers()
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    results = measure(quick=options.quick, seed=options.seed)
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
