"""How the time of an attribution grows with players, examples and worker processes.

    python -m benchmarks.evaluation_scaling --json FILE [--quick] [--seed N]

A residual network of n blocks of width 128, off = identity, loss per example. Every process, this one too, has one
thread.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from torch import nn

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.models.metrics import log_loss
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue
from accredit.models.workers import ProcessWorkers

WIDTH, BATCH = 128, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, inputs):
        return inputs + self.inner(inputs)


def model_value(n_players, n_examples, seed, sharing):
    torch.manual_seed(seed)
    model = nn.Sequential(*(Block() for _ in range(n_players)), nn.Linear(WIDTH, 10)).eval()
    inputs, labels = torch.randn(n_examples, WIDTH), torch.randint(0, 10, (n_examples,))
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    switchable = SwitchableModel(model, [str(at) for at in range(n_players)], off="identity")
    return ModelValue(switchable, batches, [log_loss()], sharing=sharing)


def measure(n_players, n_examples, n_workers, *, seed, sharing="auto"):
    """Seconds of the second of two matrices: processes are up and hold the model, and ways to share are found."""
    value = model_value(n_players, n_examples, seed, sharing)
    config = CounterfactualConfig(outputs=value.outputs, strategy="full_factorial", max_evaluations=1 << n_players)
    engine, players = CounterfactualEngine(config), value.switchable.players

    def twice(function, executor):
        begun = time.perf_counter()
        engine.compute_matrix(players, function, executor=executor)
        middle = time.perf_counter()
        matrix = engine.compute_matrix(players, function, executor=executor)
        return matrix, middle - begun, time.perf_counter() - middle

    if n_workers == 0:
        matrix, first_s, second_s = twice(value, None)
    else:
        with ProcessWorkers(value, n_workers, threads=1) as workers:
            matrix, first_s, second_s = twice(workers.value, workers.executor)
    return {
        "players": n_players,
        "coalitions": matrix.cost.n_evaluations,
        "examples": n_examples,
        "workers": n_workers,
        "sharing": sharing,
        "mechanism": matrix.provenance.mechanism,
        "first_s": round(first_s, 3),
        "second_s": round(second_s, 3),
        "ms_per_coalition": round(1e3 * second_s / matrix.cost.n_evaluations, 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base_players, base_examples = (4, 512) if arguments.quick else (8, 2048)
    cells = [(n_players, base_examples, 0) for n_players in range(base_players - 2, base_players + 3, 2)]
    cells += [(base_players, base_examples * factor, 0) for factor in (2, 4)]
    cells += [(base_players + 2, base_examples, n_workers) for n_workers in (1, 2)]
    rows = []
    for sharing in ("loop", "auto"):
        for cell in cells:
            rows.append(measure(*cell, seed=arguments.seed, sharing=sharing))
            print(rows[-1], flush=True)
    if arguments.json:
        record = {"cores": os.cpu_count(), "torch": torch.__version__, "load": os.getloadavg(), "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
