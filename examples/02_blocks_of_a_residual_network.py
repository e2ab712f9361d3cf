"""Which blocks of a convolutional network earn what: loss, accuracy and the recall of every digit in one run.

A small residual network learns scikit-learn's 8 x 8 digits. `SwitchableModel` makes players of its blocks without a
change to the model; each block is `stream + f(stream)`, so switched off it must pass its stream on: off="identity".
All combinations of blocks are evaluated on examples that training never met, and the page prints

1. a table: what each block takes off the loss, with 95 % intervals over the examples, largest first;
2. for each block the accuracy that it earns, and the digit whose recall it earns most of: the same passes gave all;
3. the pair of blocks that works together best, and the one that helps each other least;
4. how the passes shared their work: which way was chosen, why, and what it needed;
5. what "off" does to the answer. The branches f are made the players instead, and off gives zeros (the same game as
   identity of the block), their mean over training examples, or their output for other examples ("resample").

    python examples/02_blocks_of_a_residual_network.py            about a minute on one core
    python examples/02_blocks_of_a_residual_network.py --quick    a few seconds: less training, four blocks

A contribution is a cost of removal in this network, not what training without the block would have come to: see
docs/removal_cost.md. Needs scikit-learn (extra `grow`).
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from accredit import CounterfactualMatrix, attribute
from accredit.models import ModelValue, SwitchableModel, accuracy, class_recalls, log_loss

METRICS = (log_loss(), accuracy(), *class_recalls(10))


class Block(nn.Module):
    """Adds to its stream [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, stream: Tensor) -> Tensor:
        return stream + self.branch(stream)


class ResidualNetwork(nn.Module):
    """Logits [B, 10] of images [B, 1, 8, 8]."""

    def __init__(self, n_blocks: int, channels: int = 12) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(n_blocks)))
        self.last = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * channels, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(images)))


def digits() -> tuple[Tensor, Tensor]:
    """Images [1797, 1, 8, 8] from 0 to 1 and labels [1797], shuffled once."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.data, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    return images[order], torch.tensor(data.target)[order]


def train(network: ResidualNetwork, images: Tensor, labels: Tensor, *, steps: int) -> None:
    """Adam on batches of 64 examples."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        some = torch.randint(len(labels), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[some]), labels[some]).backward()
        optimizer.step()


def print_contributions(matrix: CounterfactualMatrix) -> None:
    """Tables of loss, accuracy and recall, and the most telling pairs."""
    loss = matrix.shapley("loss")
    print(f"All blocks off: loss {loss.value_none:.3f} nat; all on: {loss.value_all:.3f} nat.\n")
    print(f"{loss}\n")
    for block in matrix.players:
        share = matrix.shapley("accuracy")[block]
        recalls = [matrix.shapley(f"recall {digit}")[block].contribution for digit in range(10)]
        best = max(range(10), key=recalls.__getitem__)
        print(f"{block}: {share.contribution:+.3f} of accuracy; of recall most for digit {best}: {recalls[best]:+.3f}.")
    pairs = sorted(matrix.interactions("loss").items(), key=lambda item: item[1].contribution)
    for (names, pair), what in ((pairs[-1], "Best together"), (pairs[0], "Worst together")):
        print(f"{what}: {' and '.join(names)}, {pair.contribution:+.3f} nat ({pair.regime(threshold=0.01)}).")


def main() -> None:
    """Train, attribute, print."""
    arguments = argparse.ArgumentParser(description="What the blocks of a convolutional network earn.")
    arguments.add_argument("--quick", action="store_true", help="less training, four blocks")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    images, labels = digits()
    network = ResidualNetwork(n_blocks=4 if quick else 8)
    train(network, images[:1000], labels[:1000], steps=100 if quick else 400)
    network.eval()
    n_examples = 200 if quick else 700
    batches = list(zip(images[-n_examples:].split(100), labels[-n_examples:].split(100), strict=True))

    switchable = SwitchableModel(network, ["blocks.*"], off="identity")
    value = ModelValue(switchable, batches, METRICS)
    print_contributions(attribute(value, switchable.players, outputs=value.outputs))
    report = value.report
    print(f"\nEvaluated by: {report.mechanism} ({report.reason}); {report.peak_bytes / 2**20:.1f} MiB kept at most.")
    for trial in report.trials:
        pace = "not used" if trial.speedup is None else f"{trial.speedup:.1f} x as fast as the loop"
        print(f"  {trial.mechanism}: {pace} ({trial.reason})")

    reference = images[:1000].split(100)
    print("\nContributions [nat] when the branches are switched off by:")
    for off in ("zero", "mean", "resample"):
        switchable = SwitchableModel(network, ["blocks.*.branch"], off=off, reference=reference)
        value = ModelValue(switchable, batches, METRICS[:1])
        loss = attribute(value, switchable.players, outputs=value.outputs).shapley("loss")
        numbers = "  ".join(f"{estimate.contribution:+.3f}" for estimate in loss.values())
        print(f"{off:>8}: {numbers}   (all off: loss {loss.value_none:.3f})")


if __name__ == "__main__":
    main()
