"""What each expert of a mixture earns, told apart from how often the router asks for it.

A sparse mixture of experts learns a function of the plane that differs from quarter to quarter. A router sends every
point to its two best experts and adds their answers, weighed. "Without an expert" can mean two things, which are two
games, and the page plays both:

- silenced: the expert gives zeros, while the router still counts on it (components by path, off="zero");
- rerouted: the router cannot choose the expert and asks the next best (a function that sets the weight of a player,
  here an entry of the router's `open`). With no expert open, the answer is zero in both games.

It prints

1. a table for each game: what each expert takes off the squared error, with 95 % intervals over held-out points;
2. the share of the weight that the router gives each expert, beside both contributions: how often an expert is asked
   is not what it earns; and what pruning it alone would cost, rerouted with all others open. An expert can do harm on
   average and yet be missed: where most are closed, the rest answer for places of which they learned nothing;
3. the experts that one could prune together, the least costly first, and the error that is left: read from the matrix
   of the second game, in which every combination was evaluated already.

    python examples/05_experts_of_a_mixture.py            about half a minute on one core
    python examples/05_experts_of_a_mixture.py --quick    a few seconds: less training, four experts

A contribution is a cost of removal, here without training the router again: see docs/removal_cost.md.
"""

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from accredit import CounterfactualMatrix, attribute
from accredit.models import ModelValue, SwitchableModel, squared_error


class Router(nn.Module):
    """Weights [B, K] of the experts for points [B, 2]: zero but for the two best that are open."""

    def __init__(self, n_experts: int) -> None:
        super().__init__()
        self.scores = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, n_experts))
        self.open = [1.0] * n_experts

    def forward(self, points: Tensor) -> Tensor:
        scores = self.scores(points)
        if self.training:  # noise, so that an expert that is asked by nobody is asked again
            scores = scores + 0.5 * torch.randn_like(scores)
        shares = scores.softmax(dim=1) * torch.tensor(self.open)
        best = shares.topk(2, dim=1)
        chosen = torch.zeros_like(shares).scatter(1, best.indices, best.values)
        return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1e-9)  # none is open: no weight for anyone

    def set_open(self, expert: int, weight: float) -> None:
        """Let an expert be chosen (1), not be chosen (0), or stand back (between)."""
        self.open[expert] = weight


class Mixture(nn.Module):
    """Answers [B, 1] for points [B, 2]."""

    def __init__(self, n_experts: int) -> None:
        super().__init__()
        self.router = Router(n_experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)) for _ in range(n_experts)
        )

    def forward(self, points: Tensor) -> Tensor:
        weights = self.router(points)
        answer = torch.zeros(len(points), 1)
        for number, expert in enumerate(self.experts):
            rows = weights[:, number].nonzero().squeeze(1)  # an expert sees the points that were sent to it
            if len(rows):
                answer = answer.index_add(0, rows, expert(points[rows]) * weights[rows, number, None])
        return answer


def quarters(n_examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [B, 2] and a wave [B, 1] of another direction and length in every quarter of the plane."""
    points = torch.rand(n_examples, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    x, y = points.T
    waves = torch.stack([torch.sin(4 * x), torch.cos(5 * y), torch.sin(3 * (x + y)), 2 * x * y])
    quarter = 2 * (x > 0).long() + (y > 0).long()
    return points, waves.gather(0, quarter[None]).T


def train(mixture: Mixture, *, steps: int) -> None:
    """Adam; a small cost keeps the router from giving everything to one expert (Shazeer et al. 2017, eq. 6-7)."""
    points, wanted = quarters(2000, seed=1)
    optimizer = torch.optim.Adam(mixture.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        load = mixture.router(points).mean(dim=0)
        cost = nn.functional.mse_loss(mixture(points), wanted) + 0.05 * load.var() / load.mean() ** 2
        cost.backward()
        optimizer.step()


def print_pruning(matrix: CounterfactualMatrix) -> None:
    """The best combination of each size, from the matrix alone."""
    errors, sizes = matrix.values("squared error"), matrix.masks.sum(dim=1)
    for size in range(len(matrix.players) - 1, 0, -1):
        rows = (sizes == size).nonzero().squeeze(1)
        best = int(rows[errors[rows].argmin()])
        pruned = [name for name, is_on in zip(matrix.players, matrix.masks[best].tolist(), strict=True) if not is_on]
        print(f"  without {', '.join(pruned)}: squared error {float(errors[best]):.4f}")


def main() -> None:
    """Train, attribute twice, print."""
    arguments = argparse.ArgumentParser(description="What the experts of a mixture earn, silenced and rerouted.")
    arguments.add_argument("--quick", action="store_true", help="less training, four experts")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    n_experts = 4 if quick else 8
    mixture = Mixture(n_experts)
    train(mixture, steps=150 if quick else 1000)
    mixture.eval()
    points, wanted = quarters(500 if quick else 1000, seed=2)  # points that training never met
    batches = [(points, wanted)]  # one batch: every expert that takes part must be asked for in the first one

    games = {
        "silenced": {f"expert {at}": f"experts.{at}" for at in range(n_experts)},
        "rerouted": {f"expert {at}": partial(mixture.router.set_open, at) for at in range(n_experts)},
    }
    matrices = {}
    for game, components in games.items():
        switchable = SwitchableModel(mixture, components)
        value = ModelValue(switchable, batches, [squared_error()])
        matrices[game] = attribute(value, switchable.players, outputs=value.outputs)
        error = matrices[game].shapley("squared error")
        print(f"--- {game}: no expert: squared error {error.value_none:.4f}; all: {error.value_all:.4f}.\n\n{error}\n")
        print(f"Evaluated by: {value.report.mechanism} ({value.report.reason}).\n")

    load = mixture.router(points).detach().mean(dim=0).tolist()
    silenced, rerouted = (matrix.shapley("squared error") for matrix in matrices.values())
    alone = matrices["rerouted"].leave_one_out("squared error")
    for share, name in sorted(zip(load, silenced, strict=True), reverse=True):
        print(f"{name}: {share:.1%} of the router's weight; silenced {silenced[name].contribution:+.4f}, ", end="")
        print(f"rerouted {rerouted[name].contribution:+.4f}, with all others open {alone[name].contribution:+.4f}.")
    print("\nTo prune, the least costly combination of each size:")
    print_pruning(matrices["rerouted"])


if __name__ == "__main__":
    main()
