"""Which blocks of a trained network earn what, with honest uncertainty.

A small residual network learns to tell four noisy spirals apart. Its eight blocks are then switched off in all 256
combinations on held-out examples, and the page prints

1. a table: what each block takes off the loss, with 95 % intervals over validation examples, largest first;
2. the signs that stay certain when eight blocks are tested at once (Holm), and whether the two best blocks differ;
3. what the lowest block earns where all others are on: a block can harm coalitions that training never met, those in
   which the blocks are missing whose output it learned to expect, and yet help the network as it is;
4. the pair of blocks that works together best, and the pair that helps each other least;
5. the same ranking from a quarter of the evaluations, as it would be done with 64 blocks or an expensive loss.

    python examples/01_rank_components.py            about 20 seconds on one core
    python examples/01_rank_components.py --quick    a few seconds: less training, five blocks
    python examples/01_rank_components.py --save contributions.png

A contribution is a cost of removal in this network, not what training without the block would have come to: see
docs/removal_cost.md. None of the numbers is a promise; the sampled intervals rest on a model (docs/estimators.md).
"""

import argparse
import math

import torch
from torch import Tensor, nn

from accredit import CounterfactualConfig, CounterfactualEngine, Output, attribute

LOSS = Output("loss", unit="nat", higher_is_better=False)
ACCURACY = Output("accuracy", unit="share", higher_is_better=True)


def spirals(n_examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [B, 2] on four noisy spirals, and which spiral each is on [B]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_examples) % 4
    radius = torch.rand(n_examples, generator=generator).sqrt()
    angle = 5.0 * radius + labels * math.pi / 2 + 0.25 * torch.randn(n_examples, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), labels


class ResidualNetwork(nn.Module):
    """Blocks that add to a stream, so that each can be left out."""

    def __init__(self, n_blocks: int, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(2, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(n_blocks)
        )
        self.last = nn.Linear(width, 4)

    def forward(self, inputs: Tensor, on: Tensor) -> Tensor:
        """Logits [B, 4] with only those blocks on that `on` [N] names."""
        stream = self.first(inputs)
        for block, is_on in zip(self.blocks, on.tolist(), strict=True):
            if is_on:
                stream = stream + block(stream)
        return self.last(stream)


def train(network: ResidualNetwork, *, steps: int) -> None:
    """Adam on the training points, with all blocks on."""
    inputs, labels = spirals(2000, seed=1)
    everything = torch.ones(len(network.blocks), dtype=torch.bool)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs, everything), labels).backward()
        optimizer.step()


def main() -> None:
    """Train, attribute, print."""
    arguments = argparse.ArgumentParser(description="Rank the blocks of a residual network by what they earn.")
    arguments.add_argument("--quick", action="store_true", help="less training, five blocks")
    arguments.add_argument("--save", metavar="FILE", help="write a picture of the contributions (extra `report`)")
    options = arguments.parse_args()

    torch.manual_seed(0)
    n_blocks = 5 if options.quick else 8
    network = ResidualNetwork(n_blocks)
    train(network, steps=150 if options.quick else 600)
    inputs, labels = spirals(500 if options.quick else 1000, seed=2)  # examples that training never met

    # a value function: coalitions [M, N] -> one value per coalition and example [M, B], for every output
    @torch.no_grad()
    def evaluate(masks: Tensor) -> dict[str, Tensor]:
        logits = torch.stack([network(inputs, mask) for mask in masks])
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels.expand(len(masks), -1), reduction="none")
        return {"loss": loss, "accuracy": (logits.argmax(dim=2) == labels).double()}

    blocks = [f"block {at}" for at in range(n_blocks)]
    matrix = attribute(evaluate, blocks, outputs=(LOSS, ACCURACY))
    loss = matrix.shapley("loss")
    print(f"All blocks off: loss {loss.value_none:.3f} nat; all on: {loss.value_all:.3f} nat.\n")
    print(loss)

    certain = [name for name, p_value in loss.holm().items() if p_value is not None and p_value < 0.05]
    ranked = sorted(loss, key=lambda name: -loss[name].contribution)
    lead = loss.difference(ranked[0], ranked[1])
    reach = lead.interval(0.95)[1] - lead.value
    print(f"\nSigns certain together: {', '.join(certain) or 'none'}.")
    print(f"{ranked[0]} beyond {ranked[1]}: {lead.contribution:.4f} +- {reach:.4f} nat.")
    last, alone = ranked[-1], matrix.leave_one_out("loss")[ranked[-1]]
    print(f"{last} earns {loss[last].contribution:+.4f} nat on average, {alone.contribution:+.4f} with all others on.")

    pairs = sorted(matrix.interactions("loss").items(), key=lambda item: item[1].contribution)
    for (names, pair), what in ((pairs[-1], "Best together"), (pairs[0], "Worst together")):
        print(f"{what}: {' and '.join(names)}, {pair.contribution:+.4f} nat ({pair.regime(threshold=0.01)}).")

    budget = 2**n_blocks // 4 if not options.quick else 16
    config = CounterfactualConfig(strategy="shapley", max_evaluations=budget, outputs=(LOSS, ACCURACY))
    sampled = CounterfactualEngine(config).compute_matrix(blocks, evaluate).shapley("loss")
    inside = sum(low <= loss[name].value <= high for name in sampled for low, high in [sampled[name].interval()])
    print(
        f"\nThe same from {budget} of {2**n_blocks} coalitions; {inside} of {n_blocks} intervals hold the exact value:"
    )
    print(f"\n{sampled}")

    if options.save:
        loss.plot("bar").savefig(options.save, dpi=150)
        print(f"\nThe picture is in {options.save}.")


if __name__ == "__main__":
    main()
