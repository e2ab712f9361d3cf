"""What attention and feed-forward parts of a Hugging Face model earn, on a task that needs them to work together.

A small GPT-2 is built from its configuration (nothing is downloaded) and trained to write the larger digit of
each pair: `3 1 4 | 2 9 1 = 3 9 4`. Attention has to find the two digits, a feed-forward part to compare them. They are
players by their paths in the model, unmodified; batches are mappings, as the library's data loaders give them. The page
prints

1. a table: what each part takes off the loss per digit of the answer, with 95 % intervals over held-out sequences;
2. the pair that works together best, the one that helps each other least, and how sure that is at a margin of 0.1 nat;
3. the same for whole layers, whose modules are switched as one player, and what each is worth halfway: a layer's parts
   at weight one half;
4. how the passes shared their work.

    python examples/07_hugging_face_model.py            about two minutes on one core
    python examples/07_hugging_face_model.py --quick    seconds: less training, two layers, one digit

A contribution is a cost of removal in this network, not what training without the part would have come to: see
docs/removal_cost.md. Needs the package transformers (it comes with the extra `peft`).
"""

import argparse

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from accredit import attribute
from accredit.models import Component, ModelValue, SwitchableModel, token_log_loss

BAR, EQUALS = 10, 11  # the digits are tokens 0 .. 9


def larger_digits(n_examples: int, n_digits: int, seed: int) -> dict[str, Tensor]:
    """Sequences [B, 3 n + 2], and labels that count the answer alone."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(10, (2, n_examples, n_digits), generator=generator)
    bar, equals = (torch.full((n_examples, 1), token) for token in (BAR, EQUALS))
    tokens = torch.cat([first, bar, second, equals, first.maximum(second)], dim=1)
    labels = tokens.clone()
    labels[:, : 2 * n_digits + 2] = -100
    return {"input_ids": tokens, "labels": labels}


def train(model: nn.Module, *, n_digits: int, steps: int) -> None:
    """Adam on new sequences at every step, on the answers alone."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = larger_digits(128, n_digits, seed=step)
        optimizer.zero_grad()
        logits = model(batch["input_ids"]).logits[:, :-1]
        nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:]).backward()
        optimizer.step()


def main() -> None:
    """Build, train, attribute, print."""
    arguments = argparse.ArgumentParser(description="What the parts of a small GPT-2 earn.")
    arguments.add_argument("--quick", action="store_true", help="less training, two layers, one digit")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    n_layers, n_digits = (2, 1) if quick else (3, 2)
    config = GPT2Config(
        vocab_size=12,
        n_positions=3 * n_digits + 2,
        n_embd=48,
        n_layer=n_layers,
        n_head=4,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=EQUALS,
        eos_token_id=EQUALS,
        use_cache=False,  # a cache is state that grows while a pass runs; evaluation has no use for it
    )
    model = GPT2LMHeadModel(config)
    train(model, n_digits=n_digits, steps=100 if quick else 400)
    model.eval()

    held_out = [larger_digits(200, n_digits, seed=10**6 + number) for number in range(1 if quick else 3)]
    metrics = [token_log_loss(next_token=True)]  # `labels` are the tokens themselves, one place later
    switchable = SwitchableModel(model, ["transformer.h.*.attn", "transformer.h.*.mlp"])
    value = ModelValue(switchable, held_out, metrics)
    matrix = attribute(value, switchable.players, outputs=value.outputs)
    loss = matrix.shapley("loss")
    print(f"All parts off: loss {loss.value_none:.3f} nat/token; all on: {loss.value_all:.3f} nat/token.\n\n{loss}\n")

    pairs = sorted(matrix.interactions("loss").items(), key=lambda item: item[1].contribution)
    for (names, pair), what in ((pairs[-1], "Best together"), (pairs[0], "Worst together")):
        print(f"{what}: {' and '.join(names)}, {pair.contribution:+.3f} nat ({pair.regime(threshold=0.1)}).")

    layers = [
        Component(name=f"layer {at}", paths=(f"transformer.h.{at}.attn", f"transformer.h.{at}.mlp"))
        for at in range(n_layers)
    ]
    whole = SwitchableModel(model, layers)
    value_of_layers = ModelValue(whole, held_out, metrics)
    by_layer = attribute(value_of_layers, whole.players, outputs=value_of_layers.outputs)
    print(f"\n{by_layer.shapley('loss')}\n")
    halves = 1 - 0.5 * torch.eye(n_layers, dtype=torch.float64)  # a row per layer: itself at one half, the others on
    for name, half in zip(whole.players, value_of_layers(halves)["loss"].mean(dim=1).tolist(), strict=True):
        print(f"{name} at one half, the others on: loss {half:.3f} nat/token")

    report = value.report
    print(f"\nEvaluated by: {report.mechanism} ({report.reason}).")
    for trial in report.trials:
        pace = "not used" if trial.speedup is None else f"{trial.speedup:.1f} x as fast as the loop"
        print(f"  {trial.mechanism}: {pace} ({trial.reason})")


if __name__ == "__main__":
    main()
