"""What replay refuses although a pass hides it, and hooks of every kind."""

import random

import pytest
import torch
from torch import nn

from accredit.models.batches import ForwardPass
from accredit.models.replay import NotReplayable, Replay
from accredit.models.switchable import SwitchableModel


def outputs(switchable, batch, coalitions):
    """All that replay gives."""
    with switchable.evaluating():
        forward = ForwardPass(switchable.model, switchable.forward, batch)
        return list(Replay(switchable, max_bytes=1 << 30).outputs(forward, coalitions))


@pytest.fixture
def batch():
    """Four examples [4, 6]."""
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


class DrawsWhileOff(nn.Module):
    """Draws only where its inner module is off."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        x = self.inner(x)
        return x if bool(x.any()) else x + torch.rand(6)


class DrawsFromPython(nn.Module):
    """Draws from a generator that is none of torch's."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        return self.inner(x) * random.random()


class Hides(nn.Module):
    """Catches what replay says."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        try:
            self.inner.weight.mul_(1.0)
        except Exception:
            x = x + 1.0
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (DrawsWhileOff, "`forward` draws random numbers"),
        (DrawsFromPython, "`forward` draws random numbers"),
        (Hides, "`forward` writes into a parameter, a buffer or its input"),
    ],
)
def test_what_is_refused_late_or_hidden_is_refused(model, reason, batch):
    """[R10] In a later pass, by another generator, or where the model catches the exception."""
    switchable = SwitchableModel(model().eval(), ["inner"])
    with pytest.raises(NotReplayable, match=reason):
        outputs(switchable, batch, [(1.0,), (0.0,)])


@pytest.mark.parametrize("register", ["register_module_forward_hook", "register_module_forward_pre_hook"])
def test_every_kind_of_hook_on_all_modules_is_refused(register, batch):
    switchable = SwitchableModel(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).eval(), ["0", "1"])
    handle = getattr(nn.modules.module, register)(lambda *_: None)
    try:
        with pytest.raises(NotReplayable, match="hooks on all modules would not run"):
            outputs(switchable, batch, [(1.0, 1.0), (0.0, 0.0)])
    finally:
        handle.remove()


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_every_kind_of_hook_inside_a_part_runs_in_every_pass(register, batch):
    """A part without players that carries one inside does not run as one value."""
    calls = []
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 6)), nn.Linear(6, 6)).eval()
    getattr(model[0][0], register)(lambda *_: calls.append(1))
    switchable = SwitchableModel(model, ["1"])
    outputs(switchable, batch, [(1.0,), (0.0,)])
    assert len(calls) == 2
