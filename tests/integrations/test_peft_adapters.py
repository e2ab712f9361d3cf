"""LoRA adapters as players, against the weights of a model that was built without them."""

import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from accredit import SwitchableModel
from accredit.errors import InvalidArgument, UnknownName
from accredit.integrations.peft import lora_components

NAMES = ("first", "second")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def adapted(model, targets, *, active=NAMES, **options):
    """The model with two adapters that do something: every weight of them is drawn, none is zero."""
    config = LoraConfig(r=2, lora_alpha=6, target_modules=list(targets), **options)
    model = get_peft_model(model, config, adapter_name="first")
    model.add_adapter("second", config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight))
    model.base_model.set_adapter(list(active))
    return model.eval()


@torch.no_grad()
def by_hand(model, inputs, weights):
    """The two linear layers with s B A of the adapters added to their weights."""
    layers = []
    for at in ("0", "2"):
        layer = model.base_model.model.get_submodule(at)
        change = sum(
            w * layer.lora_B[name].weight @ layer.lora_A[name].weight * (6 / 2)
            for name, w in zip(NAMES, weights, strict=True)
        )
        layers.append((layer.base_layer.weight + change, layer.base_layer.bias))
    (first, bias), (second, last_bias) = layers
    return torch.tanh(inputs @ first.T + bias) @ second.T + last_bias


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 1.0)])
def test_an_adapter_adds_its_share_and_nothing_while_off(weights):
    """[R14] Linear in the weight; the model is as it was."""
    model, inputs = adapted(network(), ["0", "2"]), torch.randn(5, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    switchable = SwitchableModel(model, lora_components(model))
    assert switchable.players == NAMES
    assert not switchable.has_setters
    torch.testing.assert_close(switchable(inputs, weights=weights), by_hand(model, inputs, weights))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("use_dora", [False, True])
def test_all_adapters_off_is_the_model_below(use_dora):
    model, inputs = adapted(network(), ["0", "2"], use_dora=use_dora), torch.randn(5, 4)
    switchable = SwitchableModel(model, lora_components(model))
    assert torch.equal(switchable(inputs, weights=(0, 0)), network()(inputs))


def test_one_dora_adapter_off_is_the_other_one_alone():
    """The other is what peft makes of it when nothing else is active."""
    model, inputs = adapted(network(), ["0", "2"], use_dora=True), torch.randn(5, 4)
    off = SwitchableModel(model, lora_components(model))(inputs, weights={"first": 0.0})
    model.set_adapter("second")
    torch.testing.assert_close(off, model(inputs))


def test_convolutions_are_switched_too():
    torch.manual_seed(0)
    model, images = adapted(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()), ["0"]), torch.randn(2, 1, 5, 5)
    switchable = SwitchableModel(model, lora_components(model))
    off = switchable(images, weights={"second": 0.0})
    model.set_adapter("first")
    torch.testing.assert_close(off, model(images))
    assert not switchable.has_setters


def test_adapters_of_embeddings_are_switched_by_their_scaling():
    """They have no module for what they add; afterwards the scaling is what it was, to the bit."""
    torch.manual_seed(0)
    model = adapted(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), ["0", "1"])
    tokens = torch.tensor([[0, 3], [4, 1]])
    switchable = SwitchableModel(model, lora_components(model))
    assert switchable.has_setters
    both, off = model(tokens), switchable(tokens, weights={"first": 0.0})
    assert torch.equal(model(tokens), both)
    assert model.base_model.model[0].scaling == {"first": 3.0, "second": 3.0}
    model.set_adapter("second")
    torch.testing.assert_close(off, model(tokens))


def test_players_are_the_active_adapters_or_the_named_ones_in_their_order():
    model = adapted(network(), ["0"])
    assert [component.name for component in lora_components(model, ["second", "first"])] == ["second", "first"]
    model.set_adapter("second")
    assert [component.name for component in lora_components(model)] == ["second"]


def test_names_with_special_characters_lead_to_their_own_modules():
    config = LoraConfig(target_modules=["0"])
    model = get_peft_model(network(), config, adapter_name="a*")
    model.add_adapter("ab", config)
    model.base_model.set_adapter(["a*", "ab"])
    players = SwitchableModel(model, lora_components(model)).components
    assert [player.paths for player in players] == [
        ("base_model.model.0.lora_B.a*",),
        ("base_model.model.0.lora_B.ab",),
    ]


def test_a_model_without_adapters_is_refused():
    with pytest.raises(
        InvalidArgument, match="`model` is a Sequential without LoRA layers, wanted adapters of peft; pa"
    ):
        lora_components(network())


def test_an_adapter_that_does_not_exist_is_refused():
    with pytest.raises(UnknownName, match="`adapters` has 'third', wanted LoRA adapters among first, second; pass one"):
        lora_components(adapted(network(), ["0"]), ["third"])


def test_an_adapter_that_no_pass_would_use_is_refused():
    model = adapted(network(), ["0"], active=["first"])
    wanted = (
        r"`adapters` has 'second', but active are first; call model.base_model.set_adapter\(\['first', 'second'\]\)"
    )
    with pytest.raises(InvalidArgument, match=wanted):
        lora_components(model, ["second"])


def test_merged_adapters_are_refused():
    model = adapted(network(), ["0"])
    model.merge_adapter(["first"])
    wanted = "the adapters first merged into 'base_model.model.0', wanted adapters apart from the base; call model.unm"
    with pytest.raises(InvalidArgument, match=wanted):
        lora_components(model)


def test_disabled_adapters_are_refused():
    model = adapted(network(), ["0"])
    wanted = "`model` has disabled the adapters of 'base_model.model.0', wanted them enabled; leave `disable_adapter"
    with model.disable_adapter(), pytest.raises(InvalidArgument, match=wanted):
        lora_components(model)


def test_attention_into_which_adapters_are_merged_is_refused():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

    model = get_peft_model(Attends(), LoraConfig(target_modules=["attention"]), adapter_name="first")
    wanted = "has 'first' on 'base_model.model.attention', an nn.MultiheadAttention, into which peft merges adapters in"
    with pytest.raises(InvalidArgument, match=wanted):
        lora_components(model)


@pytest.mark.parametrize("plain", [(), (0,), (1,)])
def test_dora_where_only_scaling_could_switch_is_refused(plain):
    """It does not vanish with its scaling: refused on the embedding, and beside one."""
    model = adapted(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), ["0", "1"], use_dora=True)
    for at in plain:
        model.base_model.model[at].lora_variant.pop("first")
    at, kind = (1, "DoraLinearVariant") if plain == (0,) else (0, "DoraEmbeddingVariant")
    wanted = f"has 'first' on 'base_model.model.{at}' as {kind}, wanted plain LoRA, or DoRA on linear and convolutional"
    with pytest.raises(InvalidArgument, match=wanted):
        lora_components(model)


def test_missing_peft_is_told_with_the_extra():
    """[R37] In a process of its own, where peft cannot be imported."""
    code = "import sys; sys.modules['peft'] = None; import accredit.integrations.peft"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert "MissingExtra: `accredit.integrations.peft` needs the package peft" in run.stderr
    assert "pip install 'accredit[peft]'" in run.stderr
