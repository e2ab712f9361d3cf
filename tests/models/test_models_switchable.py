"""Players of a model: how they are named, what off means, and what is refused."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from model_zoo import Residual, mlp_block, multilayer, nested, vectors
from torch import nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.models.component import Component
from accredit.models.off import Resample
from accredit.models.switchable import SwitchableModel


@pytest.fixture
def model():
    """Four blocks on a stream of width 6."""
    return multilayer().eval()


@pytest.fixture
def inputs():
    """Eight vectors."""
    return vectors()[0][0]


def test_a_glob_gives_a_player_per_module_and_stays_on_its_level(model):
    """[R3] Names are paths in the order of the model; what is inside a block is no match of `blocks.*`."""
    assert SwitchableModel(model, ["blocks.*"]).players == ("blocks.0", "blocks.1", "blocks.2", "blocks.3")
    assert SwitchableModel(model, ["blocks.*.0", "head"]).players == (*(f"blocks.{at}.0" for at in range(4)), "head")


def test_a_mapping_names_players_and_groups(model, inputs):
    """A list of paths or a glob is one player: all of it goes off together."""
    switchable = SwitchableModel(model, {"early": ["blocks.0", "blocks.1"], "late": "blocks.[23]"})
    assert switchable.players == ("early", "late")
    stream = model.stem(inputs)
    for block in model.blocks[2:]:
        stream = stream + block(stream)
    assert torch.equal(switchable(inputs, weights={"early": 0.0}), model.head(stream))


def test_off_means_what_its_kind_says(inputs):
    """Zero, identity, mean, resample and a function, each against its definition written out."""
    torch.manual_seed(0)
    first, second = nn.Linear(6, 6), nn.Linear(6, 2)
    model = nn.Sequential(first, second).eval()

    def off(kind, **more):
        return SwitchableModel(model, ["0"], off=kind, **more)(inputs, weights=[0.0])

    with torch.no_grad():
        assert torch.equal(off("zero"), second(torch.zeros(8, 6)))
        assert torch.equal(off("identity"), second(inputs))
        assert torch.equal(off(lambda given, output: 2.0 * given - output), second(2.0 * inputs - first(inputs)))
        batches = vectors()
        everything = torch.cat([batch for batch, _ in batches])
        mean = first(everything).double().mean(dim=0)
        torch.testing.assert_close(off("mean", reference=batches), second(mean.float().expand(8, 6)))
        resampled = off("resample")
        rows = [(resampled == second(first(inputs))[at]).all(dim=1).nonzero().flatten().tolist() for at in range(8)]
        places = [place for found in rows for place in found]
    assert sorted(places) == list(range(8))
    assert all(place != at for at, place in enumerate(places))


def test_a_weight_between_blends_linearly(model, inputs):
    """off + w (on - off), and the ends are on and off to the bit."""
    switchable = SwitchableModel(model, ["blocks.3"])
    on, some, off = (switchable(inputs, weights=[weight]) for weight in (1.0, 0.25, 0.0))
    assert torch.equal(on, model(inputs))
    torch.testing.assert_close(some, 0.25 * on + 0.75 * off, rtol=1e-5, atol=1e-6)


def test_of_nested_players_the_outer_one_decides_first(inputs):
    """While the outer one is off the inner one changes nothing; while it is on the inner one is switched inside it."""
    model = nested().eval()
    switchable = SwitchableModel(model, {"outer": "blocks.0", "inner": "blocks.0.blocks.1"})
    off_both, off_outer = switchable(inputs, weights=[0.0, 0.0]), switchable(inputs, weights=[0.0, 1.0])
    assert torch.equal(off_both, off_outer)
    inner = Residual(model.blocks[0].stem, [model.blocks[0].blocks[0]], model.blocks[0].head)
    without = Residual(model.stem, [inner, model.blocks[1]], model.head)
    assert torch.equal(switchable(inputs, weights={"inner": 0.0}), without(inputs))


def test_what_is_off_is_not_computed(model, inputs):
    """A block that is off does not run, once the shape of its output is known."""
    calls = []
    model.blocks[1].register_forward_pre_hook(lambda module, args: calls.append(module))
    model.blocks[1][0].register_forward_pre_hook(lambda module, args: calls.append(module))
    switchable = SwitchableModel(model, ["blocks.*"])
    switchable(inputs, weights=[1.0] * 4)
    inside = calls.count(model.blocks[1][0])
    switchable(inputs, weights=[1.0, 0.0, 1.0, 1.0])
    assert calls.count(model.blocks[1][0]) == inside


def test_a_function_that_sets_a_weight_is_a_player(inputs):
    """It is called with the weight before the pass and with 1 afterwards."""
    model = multilayer().eval()
    model.scale = 1.0
    told = []

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, given):
            return self.inner(given) * self.inner.scale

    def set_scale(weight):
        told.append(weight)
        model.scale = weight

    switchable = SwitchableModel(Scaled().eval(), {"scale": set_scale, "block": "inner.blocks.0"})
    output = switchable(inputs, weights={"scale": 0.25})
    assert torch.equal(output, 0.25 * model(inputs))
    assert told == [0.25, 1.0]
    assert model.scale == 1.0


def test_a_switchable_model_can_be_copied_and_sent(model, inputs):
    """[R10] Copies and pickles give the same outputs."""
    switchable = SwitchableModel(model, ["blocks.*"], off="mean", reference=vectors())
    weights = [1.0, 0.0, 1.0, 0.0]
    wanted = switchable(inputs, weights=weights)
    assert torch.equal(copy.deepcopy(switchable)(inputs, weights=weights), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(switchable))(inputs, weights=weights), wanted)


@pytest.mark.parametrize(
    ("components", "error", "words"),
    [
        (["block.0"], UnknownName, "`components` has 'block.0', wanted the path of a module or a glob that matches "
         "some; did you mean 'blocks.0'"),
        (["xyz*"], UnknownName, "see `model.named_modules()` for the paths."),
        ([], InvalidArgument, "`components` is empty, wanted at least one player; pass paths of modules"),
        (["head", "head"], InvalidArgument, "`components` has the name 'head' twice, wanted each once; rename one"),
        ({"a": "head", "b": ["stem", "head"]}, InvalidArgument, "'a' and 'b' switch one module, 'head', wanted each "
         "module in one player; make them one component"),
    ],
)  # fmt: skip
def test_components_that_cannot_be_are_refused(model, components, error, words):
    """Each with what, got, wanted and what to do."""
    with pytest.raises(error) as raised:
        SwitchableModel(model, components)
    assert words in str(raised.value)


def test_a_component_switches_modules_or_sets_a_weight():
    """Not both, not neither."""
    with pytest.raises(
        InvalidArgument, match=r"`Component` 'a' has 0 paths and no `set_weight`, wanted either of them; pass"
    ):
        Component(name="a")


def test_kinds_of_off_that_cannot_be_are_refused(model, inputs):
    """A kind that does not exist, a mean of nothing, identity and functions of another shape, one example resampled."""
    with pytest.raises(
        InvalidArgument, match=r"`off` is 'nil', wanted 'zero', 'identity', 'mean', 'resample' or a func"
    ):
        SwitchableModel(model, ["head"], off="nil")
    with pytest.raises(
        InvalidArgument, match=r"`off` is 'mean', but `reference` is None, wanted batches to take the mean"
    ):
        SwitchableModel(model, ["head"], off="mean")
    with pytest.raises(
        InvalidArgument, match=r"`off='identity'` of 'head' got an input of shape \(8, 6\) for an output of"
    ):
        SwitchableModel(model, ["head"], off="identity")(inputs, weights=[0.0])
    with pytest.raises(
        InvalidArgument, match=r"`off` of 'head' returned \(8, 6\), wanted a tensor of shape \(8, 5\) as"
    ):
        SwitchableModel(model, ["head"], off=lambda given, output: given)(inputs, weights=[0.0])
    with pytest.raises(
        InvalidArgument, match=r"`off='resample'` got a batch of 1 example, wanted at least 2 to take oth"
    ):
        SwitchableModel(model, ["head"], off="resample")(inputs[:1], weights=[0.0])
    with pytest.raises(
        InvalidArgument, match=r"`off='mean'` of 'stem' got outputs of shapes \[\(2, 3, 6\)\] and \[\(1, 2, 6\)\], "
    ):
        SwitchableModel(
            model, ["stem"], off="mean", reference=[torch.ones(2, 2, 6), torch.ones(2, 3, 6)],
            forward=lambda model, batch: model.stem(batch),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (
            [1.0, 1.0],
            r"`weights` is \[1.0, 1.0\], wanted 4 numbers between 0 \(off\) and 1 \(on\); pass one per player",
        ),
        ([1.0, 1.5, 0.0, 0.0], r"`weights` is \[1.0, 1.5, 0.0, 0.0\], wanted 4 numbers"),
        ({"blocks.9": 0.0}, r"`weights` names 'blocks.9', wanted players among blocks.0, blocks.1"),
    ],
)
def test_weights_that_cannot_be_are_refused(model, inputs, weights, words):
    """Another number of them, outside 0 to 1, or for nobody."""
    with pytest.raises(InvalidArgument, match=words):
        SwitchableModel(model, ["blocks.*"])(inputs, weights=weights)


def test_off_needs_an_input_where_it_is_made_of_it():
    """A module that is called without tensors has nothing to be replaced by."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self):
            return self.weight * 2

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = Constant()

        def forward(self, given):
            return given + self.constant()

    model = Adds().eval()
    assert SwitchableModel(model, ["constant"])(torch.ones(2), weights=[0.0]).tolist() == [1.0, 1.0]
    with pytest.raises(
        InvalidArgument, match=r"`off` needs an input, but a switched module was called without any tensor"
    ):
        SwitchableModel(model, ["constant"], off="identity")(torch.ones(2), weights=[0.0])


def test_blocks_can_be_switched_inside_a_module_that_is_in_two_places():
    """One module, one switch, wherever it stands."""
    torch.manual_seed(0)
    block = mlp_block()
    model = Residual(nn.Identity(), [block, block], nn.Identity()).eval()
    switchable = SwitchableModel(model, ["blocks.*"])
    assert switchable.players == ("blocks.0",)
    inputs = torch.randn(3, 6)
    assert torch.equal(switchable(inputs, weights=[0.0]), inputs)


@pytest.mark.parametrize("off", ["identity", lambda given, output: given])
def test_a_module_that_writes_to_its_input_is_off_by_what_it_was_given(off):
    """relu in place: half of it is half of the input and half of its positive part."""
    model = nn.Sequential(nn.ReLU(inplace=True)).eval()
    inputs = torch.tensor([[-2.0, 2.0]])
    assert SwitchableModel(model, ["0"], off=off)(inputs.clone(), weights=[0.0]).tolist() == [[-2.0, 2.0]]
    assert SwitchableModel(model, ["0"], off=off)(inputs.clone(), weights=[0.5]).tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize("given", [torch.arange(12.0).view(2, 6)[:, 3:], torch.ones(3).expand(2, 3), torch.ones(0, 3)])
def test_a_function_of_the_input_gets_it_with_its_strides(given):
    """A sum over other strides may round otherwise, and ways that share work give the input itself."""
    seen = []

    def half(inputs, output):
        seen.append(inputs)
        return output * 0.5

    switchable = SwitchableModel(nn.Sequential(nn.Linear(3, 3)).eval(), ["0"], off=half)
    switchable(given, weights=[0.0])
    assert seen[0].stride() == given.stride()
    assert torch.equal(seen[0], given)
    assert seen[0].data_ptr() != given.data_ptr() or not given.numel()


def test_what_is_made_up_for_a_module_follows_its_input():
    """[R14] Zeros of the type, of the constants and of the numbers of this call, not of an earlier one."""

    class Repeats(nn.Module):
        def forward(self, given, times=1):
            return given.repeat(1, times)

    class Calls(nn.Module):
        def __init__(self, part) -> None:
            super().__init__()
            self.part = part

        def forward(self, given, **more):
            return self.part(given, **more)

    class Positive(nn.Module):
        def forward(self, given):
            return given[given > 0]

    given = torch.ones(2, 3)
    plain = SwitchableModel(Calls(Repeats()).eval(), ["part"])
    for weight in (1.0, 0.0):
        assert plain(given, weights=[weight], times=1).shape == (2, 3)
        assert plain(given, weights=[weight], times=2).shape == (2, 6)
        assert plain(given.double(), weights=[weight]).dtype == torch.float64
        assert plain(given, weights=[weight]).dtype == torch.float32
    fresh = SwitchableModel(Calls(Repeats()).eval(), ["part"])
    fresh(given, weights=[1.0], times=1)
    assert fresh(given, weights=[0.0], times=2).shape == (2, 6)
    fresh(given, weights=[1.0])
    assert fresh(given.double(), weights=[0.0]).dtype == torch.float64
    chosen = SwitchableModel(Calls(Positive()).eval(), ["part"])
    few, many = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([1.0, 1.0, -1.0])
    assert (len(chosen(few, weights=[1.0])), len(chosen(many, weights=[1.0]))) == (1, 2)
    assert chosen(few, weights=[0.0]).tolist() == [0.0]


@pytest.mark.parametrize("off", ["identity", "mean"])
def test_what_takes_the_place_of_an_output_may_be_written_to(off):
    """[R14] Neither the input that others read nor the mean changes by it."""

    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Identity()

        def forward(self, given):
            return torch.stack([self.part(given).mul_(2.0), given])

    given = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), Writes()).eval()
    switchable = SwitchableModel(model, ["1.part"], off=off, reference=[given.clone()])
    off_value = [4.0, 4.0]  # twice the mean, which the module that writes has doubled while it was taken
    switchable.switched[0].means[:] = [torch.tensor([[2.0]], dtype=torch.float64)]
    switchable(given[:1].clone(), weights=[1.0])
    for n_examples in (1, 2, 1, 2):
        batch = given[:n_examples].clone()
        found = switchable(batch, weights=[0.0])[0].flatten().tolist()
        assert found == ([2.0, 6.0] if off == "identity" else off_value)[:n_examples]
        if off == "identity":
            assert torch.equal(batch, given[:n_examples])


def test_of_several_outputs_the_first_is_replaced_and_indices_are_those_of_this_input():
    """Identity: further tensors are zeros; a function: they stay; indices are computed and kept."""

    class Several(nn.Module):
        def forward(self, given):
            return 2.0 * given, 3.0 * given, given.argmax(dim=1)

    class Pair(nn.Module):
        def forward(self, given):
            return 2.0 * given, 3.0 * given

    given, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
    for kind, first, second in (
        ("identity", [[1.0, 2.0]], [[0.0, 0.0]]),
        (lambda given, output: given + output, [[3.0, 6.0]], [[3.0, 6.0]]),
        ("zero", [[0.0, 0.0]], [[0.0, 0.0]]),
    ):
        for module in (Several(), Pair()):
            switchable = SwitchableModel(nn.Sequential(module).eval(), ["0"], off=kind)
            switchable(other, weights=[1.0])
            found = switchable(given, weights=[0.0])
            assert [found[0].tolist(), found[1].tolist()] == [first, second]
            assert [each.tolist() for each in found[2:]] == [[1]] * (len(found) - 2)


def test_resampling_follows_its_seed():
    """One cycle through all examples, another one for another seed, and no plain shift."""
    orders = [Resample(seed).order(50) for seed in range(3)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(50))
        shift = (order - torch.arange(50)) % 50
        assert len(shift.unique()) > 10
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[1], orders[2])


def test_a_component_in_a_mapping_keeps_its_own_kind_and_a_path_twice_is_one_module(model, inputs):
    """The rest is off by the kind of the model."""
    own = Component(name="unused", paths=("blocks.0", "blocks.[0]"), off="identity")
    switchable = SwitchableModel(model, {"first": own, "last": "blocks.3"}, off="zero")
    assert switchable.players == ("first", "last")
    assert [each.path for each in switchable.switched] == ["blocks.0", "blocks.3"]
    stream = model.stem(inputs)
    stream = stream + stream
    for block in model.blocks[1:3]:
        stream = stream + block(stream)
    assert torch.equal(switchable(inputs, weights=[0.0, 0.0]), model.head(stream))


def test_the_fast_path_of_attention_does_not_go_around_a_switch():
    """[R14] It is off while a model is evaluated, and on again afterwards."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    given = torch.randn(2, 3, 6)
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        found = SwitchableModel(model, ["layers.0.linear2"])(given, weights=[0.0])
        assert torch.backends.mha.get_fastpath_enabled()
        inner = model.layers[0]
        attended = inner.norm1(given + inner.self_attn(given, given, given, need_weights=False)[0])
        torch.testing.assert_close(found, inner.norm2(attended))


def test_a_pass_leaves_no_trace():
    """[R14] Modes of parts, new attributes and the generators of torch, NumPy and Python."""

    class Busy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.drop, self.seen = nn.Linear(3, 3), nn.Dropout(0.5), [1]

        def forward(self, given):
            self.found = torch.rand(1).item() + float(np.random.rand()) + random.random()  # noqa: NPY002
            self.seen.append(2)
            assert not self.drop.training
            return self.drop(self.part(given))

    model = Busy().eval()
    model.drop.train()

    def state():
        numpy = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2:], random.getstate()

    before = state()
    assert not SwitchableModel(model, ["part"])(torch.ones(1, 3), weights=[1.0]).requires_grad
    assert state() == before
    assert (model.training, model.drop.training, model.seen) == (False, True, [1])
    assert not hasattr(model, "found")


def test_a_model_that_compiles_itself_is_not_compiled_while_it_is_switched():
    """[R14] Compiled code would not meet the switch; afterwards the model is compiled as before."""
    compiled = []

    def backend(graph, _inputs):
        compiled.append(graph)
        return graph.forward

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, given):
            return self.last(self.first(given))

    model = Two().eval()
    model.compile(backend=backend)
    call, given = model._compiled_call_impl, torch.ones(1, 3)
    found = SwitchableModel(model, ["first"])(given, weights=[0.0])
    assert torch.equal(found, model.last(torch.zeros(1, 3)))
    assert not compiled
    assert model._compiled_call_impl is call
    model(given)
    assert compiled
