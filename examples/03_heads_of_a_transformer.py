"""Which attention heads of a transformer earn what, from a few of the 4096 combinations.

A small transformer learns to write the next character of the help texts that ship with Python. Its 12 heads are the
players. A head is no module where the projections of all heads are one matrix, so the model passes the output of each
head through an `nn.Identity` of its own: it costs nothing, and gives a head a name to be switched by. Off is zero: the
head adds nothing to what the next projection sees. The page prints

1. what each head takes off the loss per character, sampled by pairs of complementary coalitions, with intervals from
   both sources: which coalitions were drawn, and which stretches of text;
2. the same matrix continued to twice as many coalitions: no evaluation is repeated, and the part of the error that
   comes from drawing coalitions shrinks, while that of the text stays;
3. the heads whose sign stays certain when all are tested at once (Holm), and what the least of them would spare;
4. heads and feed-forward parts by layer, a player per group of modules: few enough to be exact.

    python examples/03_heads_of_a_transformer.py            about two minutes on one core
    python examples/03_heads_of_a_transformer.py --quick    a few seconds: less training, six heads

A contribution is a cost of removal in this network, not what training without the head would have come to: see
docs/removal_cost.md. The sampled intervals rest on a model (docs/estimators.md).
"""

import argparse
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn

from accredit import CounterfactualConfig, CounterfactualEngine, attribute
from accredit.models import Component, ModelValue, SwitchableModel, token_log_loss


class Attention(nn.Module):
    """Causal attention of several heads over a stream [B, T, D]."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(width, 3 * width, bias=False)
        self.heads = nn.ModuleList(nn.Identity() for _ in range(n_heads))  # the switches: one module per head
        self.project_out = nn.Linear(width, width, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        queries, keys, values = self.project_in(stream).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True
        )  # [B, heads, T, D / heads]
        parts = [head(part) for head, part in zip(self.heads, seen.unbind(1), strict=True)]
        return self.project_out(torch.cat(parts, dim=-1))


class Layer(nn.Module):
    """Attention, then a feed-forward part; both add to the stream."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(self.norm_attention(stream))
        return stream + self.feed(self.norm_feed(stream))


class Transformer(nn.Module):
    """Logits [B, T, C] of the next character at every position of texts [B, T]."""

    def __init__(self, n_characters: int, *, n_layers: int, n_heads: int, width: int, length: int) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(n_characters, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, n_heads) for _ in range(n_layers))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_characters))

    def forward(self, text: Tensor) -> Tensor:
        stream = self.characters(text) + self.places(torch.arange(text.shape[1], device=text.device))
        for layer in self.layers:
            stream = layer(stream)
        return self.last(stream)


def train(model: Transformer, text: Tensor, *, steps: int, length: int) -> None:
    """Adam on random stretches of the text [characters]."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        begin = torch.randint(len(text) - length - 1, (24, 1), generator=generator)
        stretch = text[begin + torch.arange(length + 1)]
        optimizer.zero_grad()
        logits = model(stretch[:, :-1])
        nn.functional.cross_entropy(logits.transpose(1, 2), stretch[:, 1:]).backward()
        optimizer.step()


def main() -> None:
    """Train, attribute, print."""
    arguments = argparse.ArgumentParser(description="What the heads of a small transformer earn.")
    arguments.add_argument("--quick", action="store_true", help="less training, six heads")
    quick = arguments.parse_args().quick

    torch.manual_seed(0)
    characters = "".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(characters))
    text = torch.tensor([alphabet.index(character) for character in characters[:200_000]])
    length, n_layers, n_heads = (24, 2, 3) if quick else (48, 3, 4)
    model = Transformer(len(alphabet), n_layers=n_layers, n_heads=n_heads, width=12 * n_heads, length=length)
    train(model, text[:150_000], steps=100 if quick else 600, length=length)
    model.eval()

    # stretches [B, T + 1] that training never met; the target is the text one character later
    held_out = text[150_000:].unfold(0, length + 1, 10 * length)[: 40 if quick else 100]
    batches = [(part[:, :-1], part[:, 1:]) for part in held_out.split(50)]
    heads = SwitchableModel(model, ["layers.*.attention.heads.*"])
    value = ModelValue(heads, batches, [token_log_loss()])

    matrix = None
    for budget in (20, 40) if quick else (96, 192):
        config = CounterfactualConfig(strategy="shapley", max_evaluations=budget, outputs=value.outputs)
        matrix = CounterfactualEngine(config).compute_matrix(heads.players, value, matrix=matrix)
        loss = matrix.shapley("loss")
        print(f"All heads off: loss {loss.value_none:.3f} nat/token; all on: {loss.value_all:.3f} nat/token.\n")
        print(loss)
        best = max(loss.values(), key=lambda head: head.contribution)
        drawn, text_part = best.stderr_sampling, best.stderr_data
        print(f"Standard error of {best.player}: {drawn:.5f} from drawing coalitions, {text_part:.5f} from the text.\n")
    certain = [name for name, p_value in loss.holm().items() if p_value is not None and p_value < 0.05]
    least = min(loss.values(), key=lambda head: abs(head.contribution))
    spared = heads(batches[0][0], weights={least.player: 0.0})
    change = (spared.argmax(dim=-1) != model(batches[0][0]).argmax(dim=-1)).double().mean()
    print(f"Signs certain together: {len(certain)} of {len(heads.players)} heads.")
    print(f"Without {least.player} alone the model would write another character in {change:.1%} of the places.\n")

    groups = [Component(name=f"heads {at}", paths=(f"layers.{at}.attention.heads.*",)) for at in range(n_layers)]
    parts = SwitchableModel(model, [*groups, "layers.*.feed"])
    value = ModelValue(parts, batches, [token_log_loss()])
    print(attribute(value, parts.players, outputs=value.outputs).shapley("loss"))
    print(f"\nEvaluated by: {value.report.mechanism}.")


if __name__ == "__main__":
    main()
