"""What the members of an ensemble earn: good ones, copies, and one that learned nonsense.

Eight small networks read scikit-learn's digits; the ensemble answers with the mean of their logits. Among them are two
copies of one network, one that saw few examples, and one that was taught wrong labels. A member that is off must be
left out of the mean, not enter it with zeros, which would only make the others less sure. So each member gives a pair,
its logits and a one per example, and the ensemble divides the sum of the first by the sum of the second: what is off by
zeros then counts for nothing, and no member at all is an even guess, log(10) nat. The page prints

1. a table: what each member takes off the loss, with 95 % intervals over held-out examples;
2. the same as leave-one-out, which asks only what the full ensemble would miss: copies look worthless to it, each
   standing in for the other, while the Shapley value pays both, and alike;
3. the pairs that share their knowledge most (the copies) and complete each other best;
4. the smallest ensemble that is as good as the whole, read from the matrix without another evaluation.

    python examples/06_members_of_an_ensemble.py            about half a minute on one core
    python examples/06_members_of_an_ensemble.py --quick    a few seconds: less training, five members

Choosing a combination on the examples that rank it flatters it a little: judge the choice on others. Needs scikit-learn
(extra `grow`).
"""

import argparse
import copy

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from accredit import CounterfactualMatrix, attribute
from accredit.models import ModelValue, SwitchableModel, accuracy, log_loss


class Member(nn.Module):
    """Logits [B, 10] of images [B, 64], and a one per example [B, 1] that says: I was here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(images), images.new_ones(len(images), 1)


class Ensemble(nn.Module):
    """The mean of the logits of those members that are there."""

    def __init__(self, members: dict[str, Member]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def forward(self, images: Tensor) -> Tensor:
        answers = [member(images) for member in self.members.values()]
        logits, present = (torch.stack(parts).sum(dim=0) for parts in zip(*answers, strict=True))
        return logits / present.clamp(min=1e-9)


def digits() -> tuple[Tensor, Tensor]:
    """Images [1797, 64] from 0 to 1 and labels [1797], shuffled once."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.data, dtype=torch.float32)[order] / 16, torch.tensor(data.target)[order]


def trained(images: Tensor, labels: Tensor, *, width: int, steps: int) -> Member:
    """A member after Adam on batches of 64 examples."""
    member = Member(width)
    optimizer = torch.optim.Adam(member.parameters(), lr=3e-3)
    for _ in range(steps):
        some = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(member(images[some])[0], labels[some]).backward()
        optimizer.step()
    return member


def build(images: Tensor, labels: Tensor, *, steps: int, n_ordinary: int) -> Ensemble:
    """Ordinary members on 300 examples each, and three that are not."""
    members = {}
    for number in range(n_ordinary):
        some = torch.randperm(len(labels))[:300]
        members[f"ordinary {number}"] = trained(images[some], labels[some], width=8 + 8 * number, steps=steps)
    members["copy"] = copy.deepcopy(members["ordinary 0"])
    members["few examples"] = trained(images[:40], labels[:40], width=16, steps=steps)
    members["wrong labels"] = trained(images, labels.roll(1), width=32, steps=steps)
    return Ensemble(members).eval()


def print_smallest(matrix: CounterfactualMatrix) -> None:
    """The smallest combination whose loss is at most that of all members."""
    losses, sizes = matrix.values("loss"), matrix.masks.sum(dim=1)
    everyone = matrix.shapley("loss").value_all
    enough = (losses <= everyone).nonzero().squeeze(1)
    best = int(min(enough.tolist(), key=lambda row: (int(sizes[row]), float(losses[row]))))
    kept = [name for name, is_on in zip(matrix.players, matrix.masks[best].tolist(), strict=True) if is_on]
    right = float(matrix.values("accuracy")[best])
    print(f"Smallest as good as all: {', '.join(kept)}: loss {float(losses[best]):.3f} nat, accuracy {right:.3f}.")


def main() -> None:
    """Train, attribute, print."""
    arguments = argparse.ArgumentParser(description="What the members of an ensemble earn.")
    arguments.add_argument("--quick", action="store_true", help="less training, five members")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    images, labels = digits()
    ensemble = build(images[:1000], labels[:1000], steps=100 if quick else 300, n_ordinary=2 if quick else 5)
    switchable = SwitchableModel(ensemble, {name: f"members.{name}" for name in ensemble.members})
    batches = list(zip(images[1000:].split(400), labels[1000:].split(400), strict=True))
    value = ModelValue(switchable, batches, [log_loss(), accuracy()])
    matrix = attribute(value, switchable.players, outputs=value.outputs)

    loss, alone = matrix.shapley("loss"), matrix.leave_one_out("loss")
    print(f"No member: loss {loss.value_none:.4f} nat; all: {loss.value_all:.4f} nat.\n\n{loss}\n")
    print("Leave one out:")
    for name in sorted(alone, key=lambda name: -alone[name].contribution):
        print(f"  {name}: {alone[name].contribution:+.4f} nat")
    pairs = sorted(matrix.interactions("loss").items(), key=lambda item: item[1].contribution)
    for (names, pair), what in ((pairs[0], "Share most"), (pairs[-1], "Complete each other best")):
        print(f"{what}: {' and '.join(names)}, {pair.contribution:+.4f} nat.")
    print_smallest(matrix)
    print(f"\nEvaluated by: {value.report.mechanism} ({value.report.reason}).")


if __name__ == "__main__":
    main()
