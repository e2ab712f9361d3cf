"""Replay: bit-equal to one pass after another whatever the model does, within its bytes, nothing computed twice."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
import torch
from model_zoo import CASES
from replay_models import Program
from torch import nn

from accredit.models.batches import ForwardPass
from accredit.models.component import Component
from accredit.models.loop import OneAfterAnother
from accredit.models.replay import NotReplayable, Replay
from accredit.models.switchable import SwitchableModel


def outputs(mechanism, switchable, batch, coalitions):
    """Copies of what a mechanism gives."""
    with switchable.evaluating():
        forward = ForwardPass(switchable.model, switchable.forward, batch)
        return [output.clone() for output in mechanism.outputs(forward, coalitions)]


def every(n_players, levels=(1.0, 0.0)):
    """All coalitions, sorted, all-on first."""
    return list(itertools.product(levels, repeat=n_players))


def assert_replayed(build, components, batch, *, off="zero", levels=(1.0, 0.0), max_bytes=1 << 30):
    """Replay against the loop, each on players of its own; returns the replay."""
    model = build().eval()
    plain, shared = (SwitchableModel(model, components, off=off) for _ in range(2))
    coalitions = every(len(plain.players), levels)
    replay = Replay(shared, max_bytes=max_bytes)
    wanted = outputs(OneAfterAnother(plain), plain, batch, coalitions)
    for coalition, one, other in zip(coalitions, wanted, outputs(replay, shared, batch, coalitions), strict=True):
        assert torch.equal(one, other), coalition
    return replay


class Counting(nn.Module):
    """A linear layer that counts how often it is computed."""

    def __init__(self, name, counts):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        # a function, for a module that changes what hangs on it does not run as one value
        self.count = lambda: counts.update([name])

    def forward(self, x):
        self.count()
        return self.linear(x).tanh()


class Stream(nn.Module):
    """Counting blocks that add to a stream."""

    def __init__(self, n_blocks, counts):
        super().__init__()
        self.blocks = nn.ModuleList(Counting(number, counts) for number in range(n_blocks))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture
def batch():
    """Four examples [4, 6]."""
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(80))
def test_random_programs_give_what_the_loop_gives(seed):
    """Views, writes in place, .data, NumPy, attributes, branches, nested players, blends and any budget."""
    generator = random.Random(seed)
    torch.manual_seed(seed)
    model = Program(seed).eval()
    paths = [path for path, _ in model.named_modules() if path and "inner" not in path and not path.endswith("parts")]
    generator.shuffle(paths)
    players = {f"player {number}": path for number, path in enumerate(paths[: generator.randrange(1, 5)])}
    batch = torch.randn(4, 6)
    before = batch.clone()
    off = generator.choice(["zero", "identity", "resample", lambda given, output: output * 0.3])
    plain, shared = (SwitchableModel(model, players, off=off) for _ in range(2))
    coalitions = every(len(players), generator.choice([(1.0, 0.0), (1.0, 0.4, 0.0)]))
    if generator.random() < 0.3:
        generator.shuffle(coalitions)
    replay = Replay(shared, max_bytes=generator.choice([1 << 30, 1000, 400, 0]))
    wanted = outputs(OneAfterAnother(plain), plain, batch, coalitions)
    found = outputs(replay, shared, batch, coalitions)
    for coalition, one, other in zip(coalitions, wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True, msg=str(coalition))
    assert torch.equal(batch, before)
    assert replay.peak_bytes <= replay.max_bytes


@pytest.mark.parametrize("off", ["zero", "identity", "mean", "resample", lambda given, output: given - output])
@pytest.mark.parametrize("max_bytes", [0, 500, 1 << 30])
def test_every_kind_of_off_and_blends_equal_the_loop(off, max_bytes, batch):
    """[R2] Weights between 0 and 1 among them."""
    model = Stream(3, Counter()).eval()
    switchable = SwitchableModel(model, ["blocks.*"], off=off, reference=[(batch, None)])
    coalitions = every(3, (1.0, 0.25, 0.0))
    wanted = outputs(OneAfterAnother(switchable), switchable, batch, coalitions)
    replay = Replay(switchable, max_bytes=max_bytes)
    found = outputs(replay, switchable, batch, coalitions)
    assert all(map(torch.equal, wanted, found))
    assert replay.peak_bytes <= max_bytes


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_and_tuples_equal_the_loop(kind):
    """Hidden states come as tuples, of which one part is used."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = kind(6, 6, batch_first=True), kind(6, 6, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            x, hidden = self.first(x)
            y, _ = self.second(x, hidden)
            z, weights = self.attention(x, y, y)
            return z + weights.sum()

    replay = assert_replayed(Net, ["first", "second", "attention"], torch.randn(3, 5, 6))
    assert replay.hits > 0


def test_each_block_is_computed_once_per_prefix(batch):
    """Block i depends on the players before it: 2^i values while it is on, 255 in all instead of 1024."""
    counts = Counter()
    replay = Replay(SwitchableModel(Stream(8, counts).eval(), ["blocks.*"]), max_bytes=1 << 30)
    outputs(replay, replay.switchable, batch, every(8))
    assert counts == {block: 2**block for block in range(8)}


def test_parallel_branches_are_computed_once(batch):
    """A branch does not depend on the players of the other one, wherever they stand in the order."""
    counts = Counter()

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = Counting("left", counts), Counting("right", counts)

        def forward(self, x):
            return self.left(x) + self.right(x)

    replay = Replay(SwitchableModel(Branches().eval(), ["left", "right"]), max_bytes=1 << 30)
    outputs(replay, replay.switchable, batch, every(2))
    assert counts == {"left": 1, "right": 1}


def test_without_room_it_computes_again_and_keeps_nothing(batch):
    """[R16] The bound holds, and what is given stays the same."""
    replay = assert_replayed(lambda: Stream(5, Counter()), ["blocks.*"], batch, max_bytes=0)
    assert replay.peak_bytes == 0
    size = batch.numel() * batch.element_size()
    small = assert_replayed(lambda: Stream(5, Counter()), ["blocks.*"], batch, max_bytes=4 * size)
    large = assert_replayed(lambda: Stream(5, Counter()), ["blocks.*"], batch)
    assert 0 < small.peak_bytes <= 4 * size < large.peak_bytes
    assert small.misses > large.misses


def test_weights_changed_between_calls_are_seen(batch):
    """What is kept does not outlive a call of `outputs`."""
    model = Stream(2, Counter()).eval()
    switchable = SwitchableModel(model, ["blocks.*"])
    replay = Replay(switchable, max_bytes=1 << 30)
    before = outputs(replay, switchable, batch, every(2))
    with torch.no_grad():
        model.blocks[0].linear.weight.mul_(2.0)
        model.blocks[1].linear.bias.data = torch.ones(6)
    after = outputs(replay, switchable, batch, every(2))
    assert not torch.equal(before[0], after[0])
    assert all(map(torch.equal, after, outputs(OneAfterAnother(switchable), switchable, batch, every(2))))


@pytest.mark.parametrize("write", [lambda output: output.mul_(2.0), lambda output: output.numpy().fill(7.0)])
def test_a_caller_may_write_into_what_it_gets(write, batch):
    """Also where the next pass has the same output, by torch or unseen by NumPy."""
    model = Stream(2, Counter()).eval()
    switchable = SwitchableModel(model, {"first": "blocks.0", "unused": Component(name="x", paths=("blocks.1",))})
    coalitions = [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    wanted = outputs(OneAfterAnother(switchable), switchable, batch, coalitions)
    with switchable.evaluating():
        forward = ForwardPass(model, switchable.forward, batch)
        for one, other in zip(wanted, Replay(switchable, max_bytes=1 << 30).outputs(forward, coalitions), strict=True):
            assert torch.equal(one, other)
            write(other)


def test_a_model_is_as_before(batch):
    """[R14] Weights, forwards, hooks and torch's own classes."""
    model = CASES["remembering"].build().eval()
    switchable = SwitchableModel(model, ["blocks.*"])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = [dict(vars(module)) for module in model.modules()]
    setter = nn.Module.__setattr__
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    outputs(Replay(switchable, max_bytes=1 << 30), switchable, batch, every(len(switchable.players)))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    for module, earlier in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == earlier.keys()
        assert all(vars(module)[name] is value for name, value in earlier.items())
    assert nn.Module.__setattr__ is setter
    assert torch.equal(generators[0], torch.get_rng_state())
    assert generators[1] == random.getstate()
    assert (generators[2] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_hooks_inside_a_part_run_in_every_pass(batch):
    """A part whose hooks tell others something does not run as one value."""

    class Hooked(nn.Module):
        def __init__(self):
            super().__init__()
            self.player, self.rest = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())
            self.seen = {}
            self.rest[0].register_forward_hook(lambda module, given, output: self.seen.update(last=output))

        def forward(self, x):
            return self.rest(self.player(x)) + self.rest(x) + self.seen["last"]

    assert_replayed(Hooked, ["player"], batch)


class Depends(nn.Module):
    """A player, and something that goes another way while the player is off."""

    def __init__(self, give):
        super().__init__()
        self.player, self.reader, self.give = nn.Linear(6, 6), Scaled(), give

    def forward(self, x):
        y = self.player(x)
        return y + self.give(self, x, bool((y == 0).all()))


class Scaled(nn.Module):
    """Multiplies by an attribute."""

    def __init__(self):
        super().__init__()
        self.scale = 1.0

    def forward(self, x):
        return x * self.scale


def another_default(model, x, is_off):
    """An integer times a number has the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if is_off else before)
    try:
        return (x.long() * 0.1).double()
    finally:
        torch.set_default_dtype(before)


def autocast(model, x, is_off):
    """A product rounds to the type of autocast."""
    with torch.autocast("cpu", torch.bfloat16, enabled=is_off):
        return (x @ x.t()).float().mean()


def another_type(model, x, is_off):
    """1 and 1.0 are equal, and halves of them are not."""
    return torch.full((6,), 1 if is_off else 1.0).element_size() * x


def true_or_one(model, x, is_off):
    """True is a bool."""
    return torch.full((6,), True if is_off else 1).element_size() * x


def another_sign(model, x, is_off):
    """0.0 and -0.0 are equal, and one over them is not."""
    return (1 / torch.full((6,), 0.0 if is_off else -0.0)).sign()


def another_object(model, x, is_off):
    """Equal tensors are two: a write into a view changes the one that it is a view of."""
    one, two = torch.relu(x), torch.relu(x)
    if is_off:
        two.view(-1).add_(1)
    else:
        one.view(-1)
    return one + 3 * two


def attribute_in_between(model, x, is_off):
    """A part without players is changed by its parent, and changed back."""
    if is_off:
        model.reader.scale = 2.0
    output = model.reader(x)
    if is_off:
        model.reader.scale = 1.0
    return output


@pytest.mark.parametrize(
    "give",
    [another_default, autocast, another_type, true_or_one, another_sign, another_object, attribute_in_between],
)
def test_calls_that_only_look_alike_are_told_apart(give, batch):
    """What was kept with the player on is no answer for what is asked with it off."""
    assert_replayed(lambda: Depends(give), ["player"], batch * 3)


class Calls(nn.Module):
    """Calls a module that has players, and the players."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner.second(self.inner.first(self.inner(x)))


class Draws(nn.Module):
    """Draws random numbers in every pass."""

    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class WritesParameter(nn.Module):
    """Counts in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x):
        self.steps += 1
        return x


class OwnTensor(torch.Tensor):
    """A tensor with a behaviour of its own."""


class MakesOwnTensor(nn.Module):
    """Uses such a tensor."""

    def forward(self, x):
        return (x.as_subclass(OwnTensor) * 2).as_subclass(torch.Tensor)


class SetsStorage(nn.Module):
    """Puts another memory under a tensor."""

    def forward(self, x):
        y = x.clone()
        other = torch.zeros(1)
        other.set_(y)
        other.add_(1)
        return y


class CallsOutside(nn.Module):
    """Calls a module that it does not contain."""

    def __init__(self, other):
        super().__init__()
        self.others = [other]

    def forward(self, x):
        return self.others[0](x)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Draws, "`forward` draws random numbers"),
        (WritesParameter, "`forward` writes into a parameter, a buffer or its input"),
        (MakesOwnTensor, "`forward` uses tensors of its own kind, OwnTensor"),
        (SetsStorage, "`forward` puts another memory under a tensor .`set_`."),
    ],
)
def test_what_replay_cannot_follow_is_refused(part, reason, batch):
    """The reason says what it is; nothing wrong is given before."""
    model = part()
    model.add_module("first", nn.Linear(6, 6))
    model.add_module("second", nn.Linear(6, 6))
    switchable = SwitchableModel(Calls(model).eval(), ["inner.first", "inner.second"])
    with pytest.raises(NotReplayable, match=reason):
        outputs(Replay(switchable, max_bytes=1 << 30), switchable, batch, every(2))


def test_a_player_that_is_called_from_elsewhere_is_refused(batch):
    """What calls it would be taken for a part without players."""
    player = nn.Linear(6, 6)
    switchable = SwitchableModel(nn.Sequential(CallsOutside(player), player).eval(), ["1"])
    with pytest.raises(NotReplayable, match="a player is called out of a module that does not contain it"):
        outputs(Replay(switchable, max_bytes=1 << 30), switchable, batch, every(1))


def test_players_that_set_weights_are_refused(batch):
    """Nothing is known of what such a function changes."""
    model = nn.Linear(6, 6).eval()
    switchable = SwitchableModel(model, {"weight": lambda weight: None})
    with pytest.raises(NotReplayable, match="players that set weights change what replay cannot see"):
        outputs(Replay(switchable, max_bytes=1 << 30), switchable, batch, every(1))


def test_hooks_on_all_modules_are_refused(batch):
    """They would not run for modules that are not called."""
    switchable = SwitchableModel(Stream(2, Counter()).eval(), ["blocks.*"])
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, output: None)
    try:
        with pytest.raises(NotReplayable, match="hooks on all modules would not run"):
            outputs(Replay(switchable, max_bytes=1 << 30), switchable, batch, every(2))
    finally:
        handle.remove()


def test_a_language_model_with_a_cache_equals_the_loop():
    """The cache is an object of its own that every block adds to."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=3, n_embd=16, n_head=2, vocab_size=20, n_positions=16, use_cache=True, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    switchable = SwitchableModel(
        model, ["transformer.h.*.attn", "transformer.h.*.mlp"], forward=lambda model, batch: model(batch).logits
    )
    batch = torch.randint(0, 20, (3, 7))
    replay = Replay(switchable, max_bytes=1 << 30)
    wanted = outputs(OneAfterAnother(switchable), switchable, batch, every(6))
    assert all(map(torch.equal, wanted, outputs(replay, switchable, batch, every(6))))
    assert replay.hits > 2 * replay.misses
