"""Do intervals hold against re-drawn validation sets, and where sampling stopped by looking at them?

    python -m benchmarks.attribution_coverage [--json FILE] [--quick] [--seed N]

Networks are trained from --seed on half of scikit-learn's digits. Redrawn: the other half is the population, whose
complete table gives the truth; validation sets of 256 are drawn from it with replacement, and the interval of every
player is asked for the population's value. Stopped: one fixed validation set, sampling until every half-width is below
a target (10 % and 5 % of the mean absolute Shapley value), 30 designs, asked for that set's exact value. Nominal 95 %.

Axes: M coalitions, N players, B examples.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from benchmarks.attribution_networks import builders, train
from benchmarks.attribution_truth import exact_shapley
from sklearn.datasets import load_digits
from torch import Tensor

from accredit import CounterfactualConfig, CounterfactualEngine, Output

OUTPUTS = (Output("loss", "nat", False), Output("accuracy", "share", True))
NETWORKS = ("residual10", "sublayers12", "heads12", "channels12")
VALIDATION = 256

Tables = dict[str, Tensor]
ValueFunction = Callable[[Tensor], Mapping[str, Tensor]]


@torch.no_grad()
def population(name: str, *, seed: int) -> tuple[Tables, int]:
    """Train a network and return its values per held-out example under all coalitions, [2^N, B] each."""
    torch.manual_seed(seed)
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images, labels = torch.tensor(digits.data / 16.0, dtype=torch.float32)[order], torch.tensor(digits.target)[order]
    network, n_players = builders()[name]()
    with torch.enable_grad():
        train(network, n_players, images[:900], labels[:900])
    network.eval()
    images, labels = images[900:], labels[900:]
    masks = ((torch.arange(2**n_players)[:, None] >> torch.arange(n_players)) & 1).float()
    losses, hits = [], []
    for mask in masks:
        logits = network(images, mask.expand(len(labels), -1)).double()
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
        hits.append((logits.argmax(dim=1) == labels).double())
    return {"loss": torch.stack(losses), "accuracy": torch.stack(hits)}, n_players


def lookup(tables: Tables, n_players: int) -> ValueFunction:
    """Return the value function that reads from complete tables."""
    place = 2 ** torch.arange(n_players)
    return lambda masks: {output: table[masks.long() @ place] for output, table in tables.items()}


def redrawn(tables: Tables, n_players: int, *, draws: int, budget: int) -> dict[str, float]:
    """Return per output the share of intervals that hold the population's value."""
    hits: dict[str, list[np.ndarray]] = {output.name: [] for output in OUTPUTS}
    truth = {name: exact_shapley(table.mean(1).numpy()) for name, table in tables.items()}
    for seed in range(draws):
        chosen = torch.randint(tables["loss"].shape[1], (VALIDATION,))
        value = lookup({name: table[:, chosen] for name, table in tables.items()}, n_players)
        config = CounterfactualConfig(max_evaluations=budget, outputs=OUTPUTS, seed=seed, max_example_bytes=2**31)
        matrix = CounterfactualEngine(config).compute_matrix([f"p{i}" for i in range(n_players)], value)
        for name in hits:
            result = matrix.shapley(name)
            hits[name].append(np.abs(result.value - truth[name]) <= result.half_widths())
    return {name: round(float(np.mean(found)), 4) for name, found in hits.items()}


def stopped(tables: Tables, n_players: int, *, designs: int, target: float) -> dict[str, float]:
    """Return per output the share of intervals that hold where sampling stopped by their width, and its evaluations."""
    found: dict[str, float] = {}
    for output in OUTPUTS:
        table = tables[output.name][:, :VALIDATION].mean(1)
        truth = exact_shapley(table.numpy())
        width, hits, evaluations = target * float(np.abs(truth).mean()), [], []
        for seed in range(designs):
            config = CounterfactualConfig(
                strategy="shapley", max_evaluations=2**n_players // 2, outputs=(output,), seed=seed,
                target_half_width=width,
            )  # fmt: skip
            value = lookup({output.name: table}, n_players)
            matrix = CounterfactualEngine(config).compute_matrix([f"p{i}" for i in range(n_players)], value)
            result = matrix.shapley(output.name)
            hits.append(np.abs(result.value - truth) <= result.half_widths())
            evaluations.append(len(matrix.masks))
        found[output.name] = round(float(np.mean(hits)), 4)
        found[f"{output.name}, evaluations"] = round(float(np.mean(evaluations)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {"seed": arguments.seed}
    for name in NETWORKS[:1] if arguments.quick else NETWORKS:
        sys.stderr.write(f"training {name}, evaluating all of its coalitions\n")
        tables, n_players = population(name, seed=arguments.seed)
        exact, sampled, many = (5, 5, 5) if arguments.quick else (400, 100, 30)
        result[f"{name} redrawn exact"] = redrawn(tables, n_players, draws=exact, budget=2**n_players)
        result[f"{name} redrawn 16n"] = redrawn(tables, n_players, draws=sampled, budget=16 * n_players)
        for target in (0.1, 0.05):
            result[f"{name} stopped at {target:.0%}"] = stopped(tables, n_players, designs=many, target=target)
        for key, value in list(result.items())[-4:]:
            sys.stdout.write(f"{key:32} {json.dumps(value)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
