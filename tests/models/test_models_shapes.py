"""Shared evaluation of models of many shapes, against plain forward passes whose outputs torch's own hooks replace."""

import itertools
import random

import numpy as np
import pytest
import torch
from model_zoo import CASES
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from accredit.errors import InvalidArgument
from accredit.models.metrics import accuracy, log_loss, main_tensor
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue

WAYS = ("auto", "loop", "replay", "graph", "stack")


@pytest.fixture(autouse=True)
def _no_fast_path():
    """The fast path of attention rounds differently and goes around parts; evaluation has it off, as has the truth."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def plain_losses(model, switchable, batches, masks, autocast):
    """Log-losses [M, B] from ordinary passes: every part is computed, then zeros take the place of what is off."""
    model = getattr(model, "_orig_mod", model)
    rows = []
    for mask in masks:
        off = {each.module for each in switchable.switched if not mask[each.player]}

        def zeros(module, inputs, output, off=off):
            return pytree.tree_map_only(Tensor, torch.zeros_like, output) if module in off else None

        handles = [each.module.register_forward_hook(zeros) for each in switchable.switched]
        losses = []
        for batch in batches:
            with torch.no_grad(), torch.autocast("cpu", autocast, enabled=autocast is not None):
                if isinstance(batch, dict):
                    labels = batch["labels"]
                    output = model(**{name: value for name, value in batch.items() if name != "labels"})
                else:
                    *inputs, labels = batch
                    output = model(*inputs)
            losses.append(nn.functional.cross_entropy(main_tensor(output).double(), labels, reduction="none"))
        for handle in handles:
            handle.remove()
        rows.append(torch.cat(losses))
    return torch.stack(rows)


def fingerprint(model):
    """Everything that evaluating must leave alone."""
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [None if each.grad is None else each.grad.clone() for each in model.parameters()]
    modes = [module.training for module in model.modules()]
    attributes = [
        {name: list(value) if isinstance(value, list) else id(value) for name, value in module.__dict__.items()}
        for module in model.modules()
    ]
    hooks = [(len(module._forward_hooks), "forward" in module.__dict__) for module in model.modules()]
    state = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    fast_path = torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()
    return tensors, grads, modes, attributes, hooks, state, fast_path


def same(first, second):
    """Whether two fingerprints agree to the bit."""
    (tensors, grads, *rest, state, flags), (tensors_, grads_, *rest_, state_, flags_) = first, second
    return (
        all(torch.equal(value, tensors_[name]) for name, value in tensors.items())
        and all((a is None and b is None) or torch.equal(a, b) for a, b in zip(grads, grads_, strict=True))
        and rest == rest_
        and torch.equal(state[0], state_[0])
        and bool((state[1] == state_[1]).all())
        and state[2] == state_[2]
        and flags == flags_
    )


def refused(value, masks):
    """Why a value function cannot be had in the way that was asked for; None where it can."""
    try:
        value(masks[:2])
    except InvalidArgument as error:
        return str(error)
    return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_shared_evaluation_equals_plain_passes_and_leaves_no_trace(name, way):
    """[R2] [R14] Bit-equal unless stacked, then to 1e-6; weights, buffers, modes, attributes and RNG as before."""
    case = CASES[name]
    model = case.build()
    model.eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    batches = case.batches()
    switchable = SwitchableModel(model, case.components, autocast=case.autocast)
    n_players = len(switchable.players)
    masks = torch.tensor(list(itertools.product((True, False), repeat=n_players)))
    masks = masks[torch.randperm(len(masks), generator=torch.Generator().manual_seed(0))]
    truth = plain_losses(model, switchable, batches, masks, case.autocast)
    before = fingerprint(model)
    value = ModelValue(switchable, batches, [log_loss(), accuracy()], sharing=way)
    if (refusal := refused(value, masks)) is not None:
        assert way in {"replay", "graph", "stack"} - set(case.works), refusal
        assert f"`sharing` is '{way}'" in refusal
        assert same(before, fingerprint(model))
        return
    losses = value(masks)["loss"]
    if way != "auto":
        assert value.mechanism() == way
    if value.mechanism() == "stack":
        torch.testing.assert_close(losses, truth, rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(losses, truth)
    assert same(before, fingerprint(model))
    assert losses.shape == (len(masks), truth.shape[1])


def test_train_mode_and_a_batch_norm_are_as_before():
    """[R14] A model in train mode is evaluated in eval mode, said so, and is in train mode again."""
    case = CASES["convolutional"]
    model = case.build().train()
    before = fingerprint(model)
    switchable = SwitchableModel(model, case.components)
    value = ModelValue(switchable, case.batches(), [log_loss()], sharing="loop")
    with pytest.warns(UserWarning, match="is in train mode, wanted eval mode"):
        once = value(torch.ones(1, 4, dtype=torch.bool))["loss"]
    again = value(torch.ones(1, 4, dtype=torch.bool))["loss"]
    assert torch.equal(once, again)
    assert same(before, fingerprint(model))
    assert model.training


@pytest.mark.parametrize("name", ["multilayer", "transformer", "in place", "nested", "convolutional"])
@pytest.mark.parametrize("off", ["zero", "identity", "mean", "resample", "function"])
@pytest.mark.parametrize("way", ["replay", "graph", "stack"])
def test_every_kind_of_off_and_blends_are_shared_rightly(name, off, way):
    """[R14] The same outputs as one pass after another, at weights 0, 1 and between."""
    case = CASES[name]
    components = {"transformer": ["blocks.*.feed"], "nested": ["blocks.0", "blocks.0.blocks.*"]}.get(
        name, case.components
    )
    if name == "in place" and off == "identity":
        components = ["first", "third"]
    model = case.build().eval()
    kind = (lambda given, output: output * 0.5 + given.mean()) if off == "function" else off
    switchable = SwitchableModel(model, components, off=kind, reference=case.batches())
    generator = torch.Generator().manual_seed(3)
    n_players = len(switchable.players)
    rows = torch.randint(0, 5, (12, n_players), generator=generator) / 4
    masks = torch.cat([torch.ones(1, n_players), torch.zeros(1, n_players), rows])
    values = {}
    for sharing in ("loop", way):
        value = ModelValue(switchable, case.batches(), [log_loss()], sharing=sharing)
        if (refusal := refused(value, masks)) is not None:
            # examples that depend on each other cannot go side by side, and a mean over them is such a dependence
            assert (way == "stack" and off == "function") or way not in case.works, refusal
            return
        values[sharing] = value(masks)["loss"]
    if way == "stack":
        torch.testing.assert_close(values[way], values["loop"], rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(values[way], values["loop"])
