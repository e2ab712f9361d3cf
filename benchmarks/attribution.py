"""Attribution side by side with its peers: errors, intervals, times, failures, in one run.

    python -m benchmarks.attribution [--json FILE] [--quick] [--seed N] [--peers PYTHON]

Trains its networks and draws its games from --seed, so that other seeds are other networks and other games. The peers
(shapiq needs Python 3.12 and no torch) run in an environment of their own, .venv-attribution-peers, which is made at
the first run; --peers names the Python of one that is there already. --quick takes fewer networks and 3 designs a cell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.attribution_accuracy import our_cells, summary
from benchmarks.attribution_faults import lost_and_duplicated
from benchmarks.attribution_games import GAMES, drawn_table
from benchmarks.attribution_networks import builders, trained_tables
from benchmarks.attribution_speed import exact_ms, fit_ms, overhead_us
from benchmarks.attribution_truth import exact_interactions, exact_shapley

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-attribution-peers"
REQUIREMENTS = ["shapiq>=1.8", "shap", "xgboost", "lightgbm"]
QUICK_NETWORKS = ("residual10", "channels12")


def python_of_peers(given: Path | None) -> Path:
    """Return the Python of the peers' environment, made where there is none."""
    if given is not None:
        return given
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        found = [shutil.which("python3.12"), *sorted(map(str, Path.home().glob(".pyenv/versions/3.12*/bin/python")))]
        working = [path for path in found if path and subprocess.run([path, "-V"], capture_output=True).returncode == 0]
        if not working:
            raise SystemExit("`python3.12` was not found, but the peers need it; install it or pass `--peers PYTHON`.")
        subprocess.run([working[0], "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def write_tables(folder: Path, *, seed: int, quick: bool) -> None:
    """Train the networks and draw the games; one file each, with the exact answers."""
    tables: dict[str, np.ndarray] = {}
    for name in QUICK_NETWORKS if quick else builders():
        for output, table in trained_tables(name, seed=seed).items():
            tables[f"network {name} {output}"] = table
    for name in GAMES:
        tables[f"game {name}"] = drawn_table(name, seed=seed)
    for name, table in tables.items():
        np.savez(
            folder / f"{name}.npz", table=table, shapley=exact_shapley(table), interactions=exact_interactions(table)
        )


def run(*, seed: int, quick: bool, peers: Path) -> dict[str, object]:
    started = time.perf_counter()
    seeds, pair_seeds, runs = (3, 2, 5) if quick else (30, 10, 25)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.stderr.write("training the networks, drawing the games\n")
        write_tables(folder, seed=seed, quick=quick)
        found = folder / "peers.json"
        command = [peers, HERE / "attribution_peers.py", folder, found]
        counts = ["--seeds", str(seeds), "--pair-seeds", str(pair_seeds)]
        subprocess.run([*command, *counts], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=folder)
        their_cells = json.loads(found.read_text())
        ours = our_cells(folder, seeds=seeds, first_seed=1000 * seed)
        faults = lost_and_duplicated(folder)
    result: dict[str, object] = summary(ours, their_cells)
    result.update(
        faults,
        overhead_us=overhead_us(runs=runs),
        fit_ms=fit_ms(runs=runs),
        exact_ms=exact_ms(runs=runs),
        cells={cell: {"ours": ours[cell], "peers": their_cells["cells"].get(cell)} for cell in ours},
        peers={"versions": their_cells["versions"], "failed": their_cells["failed"]},
        settings={"seed": seed, "quick": quick, "designs": seeds, "seconds": round(time.perf_counter() - started)},
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    result = run(seed=arguments.seed, quick=arguments.quick, peers=python_of_peers(arguments.peers))
    for key, value in result.items():
        if key not in ("cells", "ratios"):
            sys.stdout.write(f"{key:30} {json.dumps(value)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
