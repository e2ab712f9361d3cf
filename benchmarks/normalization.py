"""Accuracy and speed of running normalizers, side by side in one run.

    python -m benchmarks.normalization [--json FILE] [--markdown FILE] [--quick] [--seed N]
        [--no-install]

Peers that are missing are installed into an environment of their own (build/normalization-peers), from where the
benchmark then runs; --no-install compares with what is here. Times are medians over interleaved rounds, one thread,
processor time. --quick measures the accuracy of ours only.

Axes: B environments, D features.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from benchmarks.normalization_page import page
from benchmarks.normalization_peers import PEERS, REQUIREMENTS, installed, reward_peers

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


def median_us(
    calls: dict[str, Callable[[], object]], *, rounds: int, repeat: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median time of each call in a turn of many, and of the first call of a turn.

    The calls take turns, so that a busy machine is busy for all, in another order each round: the first call of a turn
    fetches what the others pushed out of the caches, less of it after a library that makes the same calls.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    first: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls.items()), random.Random(0).shuffle
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(rounds):
        shuffle(order)
        for name, call in order:
            first[name].append(processor_us(call, 1))
            for _ in range(3):
                call()
            times[name].append(processor_us(call, repeat))
    return tuple({name: statistics.median(values) for name, values in found.items()} for found in (times, first))


def processor_us(call: Callable[[], object], repeat: int) -> float:
    """Processor time of this thread: what others do on the machine in the meantime is not counted."""
    start = time.thread_time()
    for _ in range(repeat):
        call()
    return (time.thread_time() - start) / repeat * 1e6


Times = dict[str, dict[str, float]]


def speed(makers: dict, *, quick: bool, seed: int) -> tuple[Times, Times]:
    """Microseconds per shape and peer, in a turn of many calls and of its first call."""
    table, first = {}, {}
    for n_envs, width in SHAPES:
        x = torch.randn(n_envs, width, generator=torch.Generator().manual_seed(seed))
        array = x.numpy()
        calls: dict[str, Callable[[], object]] = {"copy": x.clone}
        for name, make in makers.items():
            peer = make(width)
            calls[name] = partial(peer.step, array if peer.takes_numpy else x)
        large = n_envs * width > 10_000
        calls["accredit compiled"] = compiled_step(x)
        shape = f"{n_envs}x{width}"
        table[shape], first[shape] = median_us(calls, rounds=15 if quick else 61, repeat=16 if large else 40)
    return table, first


def compiled_step(x: torch.Tensor) -> Callable[[], object]:
    from accredit.normalize import RunningMeanStd

    torch._dynamo.reset()
    it = RunningMeanStd(x.shape[1])

    def step(batch: torch.Tensor) -> torch.Tensor:
        it.update(batch)
        return it.normalize(batch)

    compiled = torch.compile(step, fullgraph=True)
    return lambda: compiled(x)


def accuracy(names: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Errors of every peer on every stream: mean in sigma, variance relative, inf where something is not finite.

    Nothing is timed here, so that streams are shared out over the processors; one row at a time takes peers minutes.
    """
    pairs = [(index, name) for index in range(len(streams())) for name in names]
    # a spawned process has no threads of this one to wait for
    with ProcessPoolExecutor(mp_context=mp.get_context("spawn")) as pool:
        found = list(pool.map(stream_error, pairs))
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    for (index, name), errors in zip(pairs, found, strict=True):
        table[name][streams()[index].name] = errors
    return table


def stream_error(pair: tuple[int, str]) -> dict[str, float]:
    """Errors of the peer of that name on the stream of that index."""
    quiet()
    index, name = pair
    stream, peer = streams()[index], PEERS[name](8)
    mean, var = stream_truth(index)
    unit = np.where(var > 0, np.sqrt(var), 1.0)
    if stream.resume is not None:
        peer.resume(*stream.resume)
    try:
        for batch in (cast(stream, numbers) for numbers in stream.batches()):
            given = batch.float().numpy() if batch.dtype == torch.bfloat16 else batch.numpy()
            peer.step(given if peer.takes_numpy else batch)
        found_mean, found_var = (np.asarray(values, np.float64) for values in peer.read())
        mean_error = float(np.abs((found_mean - mean) / unit).max())
        var_error = float((np.abs(found_var - var) / np.where(var > 0, var, 1.0)).max())
    except (RuntimeError, TypeError):
        mean_error = var_error = math.nan  # the library does not take this dtype
    return {"mean": mean_error, "variance": var_error}


@lru_cache(maxsize=1)
def stream_truth(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance in float64 of what the stream is after its cast."""
    stream = streams()[index]
    return stream.truth(lambda x: cast(stream, x).double().numpy())


def quiet() -> None:
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    torch.set_num_threads(1)


def cast(stream: Stream, batch: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(batch)
    return tensor.bfloat16() if stream.cast == "bfloat16" else tensor


def reward_times(*, quick: bool, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    reward, done = rng.standard_normal(N_ENVS).astype(np.float32), rng.random(N_ENVS) < 0.01
    calls = {name: (lambda s=step: s(reward, done)) for name, step in reward_peers(N_ENVS).items()}
    return median_us(calls, rounds=15 if quick else 61, repeat=40)[0]


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
    start = time.monotonic()
    makers, missing = installed()
    times, first = speed(makers, quick=quick, seed=seed)
    rewards = reward_times(quick=quick, seed=seed)
    timed = time.monotonic()
    errors = accuracy(["accredit"] if quick else list(makers))
    compared = time.monotonic()
    equal, recompiles = compiled_equals_eager(seed)
    ours = errors["accredit"].values()
    others = [name for name in makers if name != "accredit"]
    nonfinite = sum(not (math.isfinite(e["mean"]) and math.isfinite(e["variance"])) for e in ours)
    results = {
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
        "first_call_us": first,
        "reward_times_us": rewards,
        "errors": errors,
    }
    seconds = {"speed": timed - start, "accuracy": compared - timed, "rest": time.monotonic() - compared}
    return {**results, "duration_s": seconds, "seed": seed, "versions": versions()}


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name in ("torch", "numpy", *REQUIREMENTS[:6]):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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
        if key not in {"times_us", "first_call_us", "errors", "versions"}:
            print(f"{key}: {json.dumps(value)}")


def strict(value: object) -> object:
    """What JSON can hold: null for what a library does not take, "inf" for what it cannot hold."""
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--markdown", type=Path, help="write the page of docs/evidence here")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and accuracy of ours only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-install", action="store_true", help="compare with what is installed here")
    options = parser.parse_args()
    if not options.no_install:
        run_in_an_environment_with_peers()
    quiet()
    results = measure(quick=options.quick, seed=options.seed)
    show(results)
    if options.json:
        options.json.write_text(json.dumps(strict(results), indent=1, allow_nan=False) + "\n")
    if options.markdown:
        options.markdown.write_text(page(results))


if __name__ == "__main__":
    main()
