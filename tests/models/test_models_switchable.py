"""Players of a model: how they are named, what off means, and what is refused."""

import copy
import pickle

import pytest
import torch
from model_zoo import Residual, mlp_block, multilayer, nested, vectors
from torch import nn

from accredit.errors import InvalidArgument, UnknownName
from accredit.models.component import Component
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
    on, half, off = (switchable(inputs, weights=[weight]) for weight in (1.0, 0.5, 0.0))
    assert torch.equal(on, model(inputs))
    torch.testing.assert_close(half, (on + off) / 2, rtol=1e-5, atol=1e-6)


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
