"""Which of several LoRA adapters help, which get in each other's way, and which to keep.

A small network learns scikit-learn's digits. Four LoRA adapters (package `peft`) then learn, each alone on the frozen
network, to read digits that are changed: mirrored, upside down, moved by two pixels, and moved once more from another
beginning. All four are switched on at once, as adapters from different sources would be, and their 16 combinations are
evaluated on each kind of image. `lora_components` makes a player of each adapter: off, it adds nothing to any layer,
and the network below stays on. The page prints

1. a table per kind of image: what each adapter takes off the loss where others are on or off, with 95 % intervals;
2. the pair of adapters that gets most in each other's way;
3. the adapters to keep for that kind of image: the best of all 16 combinations, and what it is worth;
4. the loss with one adapter at half its strength: weights between 0 and 1 blend.

    python examples/04_lora_adapters.py            about half a minute on one core
    python examples/04_lora_adapters.py --quick    a few seconds: less training

Choosing the best of 16 on the same examples flatters it a little: judge the choice on other examples. Needs the extra
`peft`, and scikit-learn (extra `grow`).
"""

import argparse

import torch
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits
from torch import Tensor, nn

from accredit import attribute
from accredit.integrations.peft import lora_components
from accredit.models import ModelValue, SwitchableModel, accuracy, log_loss

KINDS = {
    "plain": lambda images: images,
    "mirrored": lambda images: images.flip(2),
    "upside down": lambda images: images.flip(1),
    "moved": lambda images: images.roll(2, dims=1),
}
ADAPTERS = {"mirror": "mirrored", "turn": "upside down", "move": "moved", "move_again": "moved"}


def digits() -> tuple[Tensor, Tensor]:
    """Images [1797, 8, 8] from 0 to 1 and labels [1797], shuffled once."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.images, dtype=torch.float32)[order] / 16, torch.tensor(data.target)[order]


def train(model: nn.Module, images: Tensor, labels: Tensor, *, steps: int) -> None:
    """Adam on what can be trained of the model."""
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    model.train()
    for _ in range(steps):
        some = torch.randint(len(labels), (128,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[some]), labels[some]).backward()
        optimizer.step()
    model.eval()


def main() -> None:
    """Train the network and its adapters, attribute, print."""
    arguments = argparse.ArgumentParser(description="What LoRA adapters of one network earn together.")
    arguments.add_argument("--quick", action="store_true", help="less training")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    images, labels = digits()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    train(network, images[:1000], labels[:1000], steps=100 if quick else 500)

    config = LoraConfig(r=8, lora_alpha=8, target_modules=["1", "3", "5"])
    names = list(ADAPTERS)
    model = get_peft_model(network, config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    for name, kind in ADAPTERS.items():
        model.set_adapter(name)
        train(model, KINDS[kind](images[:1000]), labels[:1000], steps=60 if quick else 300)

    model.base_model.set_adapter(names)  # all at once; `model.set_adapter` takes one alone
    switchable = SwitchableModel(model, lora_components(model))
    for kind, change in KINDS.items():
        batches = list(zip(change(images[1000:]).split(400), labels[1000:].split(400), strict=True))
        value = ModelValue(switchable, batches, [log_loss(), accuracy()])
        matrix = attribute(value, switchable.players, outputs=value.outputs)
        loss = matrix.shapley("loss")
        print(f"--- {kind}: no adapter: loss {loss.value_none:.3f} nat; all: {loss.value_all:.3f} nat.\n\n{loss}\n")

        (pair, together) = min(matrix.interactions("loss").items(), key=lambda item: item[1].contribution)
        print(f"Most in each other's way: {' and '.join(pair)}, {together.contribution:+.3f} nat.")
        best = int(matrix.values("loss").argmin())
        kept = [name for name, is_on in zip(names, matrix.masks[best].tolist(), strict=True) if is_on]
        share = float(matrix.values("accuracy")[best])
        print(f"To keep: {', '.join(kept) or 'none'}: loss {float(matrix.values('loss')[best]):.3f} nat, ", end="")
        print(f"accuracy {share:.3f}.\n")

    mirrored, wanted = images[1000:].flip(2), labels[1000:]
    alone = dict.fromkeys(names, 0.0)
    print("Mirrored images, the adapter `mirror` alone:")
    for weight in (0.0, 0.5, 1.0):
        logits = switchable(mirrored, weights=alone | {"mirror": weight})
        print(f"  weight {weight}: loss {float(nn.functional.cross_entropy(logits, wanted)):.3f} nat")


if __name__ == "__main__":
    main()
