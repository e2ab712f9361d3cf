"""What a graph is made for, what it leaves out, and what has no graph."""

import random

import pytest
import torch
from torch import nn

from accredit.models.batches import ForwardPass, default_forward
from accredit.models.compare import bit_equal
from accredit.models.graph import Graph
from accredit.models.graph_capture import NotCapturable
from accredit.models.loop import OneAfterAnother
from accredit.models.switchable import SwitchableModel

PLENTY = 1 << 40


def test_batches_of_other_strides_constants_and_settings_have_graphs_of_their_own():
    """[R10] A view of one layout is no view of another; 1 is not 1.0, and True is not 1."""

    class Reshapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.memory = nn.Linear(6, 6), nn.Identity()

        def forward(self, inputs, scale=1.0):
            stream = self.layer(self.memory(inputs).reshape(-1, 6)) * scale
            return stream.bool() if scale is True else stream * torch.ones(()) * torch.tensor(0.5)

    torch.manual_seed(0)
    switchable = SwitchableModel(Reshapes().eval(), ["layer"])
    graph, plain = Graph(switchable, max_bytes=PLENTY), torch.randn(6, 6)

    def forward(model, batch):
        return model(**batch)

    for inputs, scale in ((plain, 1.0), (plain.t(), 1.0), (plain, True), (plain, 1), (plain, 2.0)):
        for coalitions in ([(1.0,), (0.0,)], [(0.0,), (1.0,)]):
            forward_pass = ForwardPass(switchable.model, forward, {"inputs": inputs, "scale": scale})
            with switchable.evaluating():
                wanted = list(OneAfterAnother(switchable).outputs(forward_pass, coalitions))
                found = list(graph.outputs(forward_pass, coalitions))
                assert all(map(bit_equal, wanted, found)), (scale, coalitions)
    forward_pass = ForwardPass(switchable.model, forward, {"inputs": plain, "scale": 1.0})
    with switchable.evaluating(), torch.autocast("cpu", torch.bfloat16):
        (found,) = graph.outputs(forward_pass, [(1.0,)])
        assert bit_equal(found, forward_pass())


def test_a_function_of_what_is_off_is_not_computed_while_it_is_on():
    switchable = SwitchableModel(nn.Sequential(nn.Linear(6, 6)).eval(), ["0"], off=lambda _, output: output * 0.5)
    graph = Graph(switchable, max_bytes=PLENTY)
    with switchable.evaluating():
        list(graph.outputs(ForwardPass(switchable.model, default_forward, torch.ones(1, 6)), [(1.0,)]))
    assert graph.segments_run == 1


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_every_kind_of_hook_is_refused(register):
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).eval()
    getattr(model[1], register)(lambda *_: None)
    switchable = SwitchableModel(model, ["0"])
    with switchable.evaluating(), pytest.raises(NotCapturable, match="a Linear has forward hooks"):
        list(
            Graph(switchable, max_bytes=PLENTY).outputs(ForwardPass(model, default_forward, torch.ones(1, 6)), [(1.0,)])
        )


def test_a_model_that_draws_outside_of_torch_has_no_graph():
    """[R14] Tracing would take the number for a constant; the generator is put back."""

    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, inputs):
            return self.layer(inputs) * random.random()

    switchable = SwitchableModel(Draws().eval(), ["layer"])
    forward_pass = ForwardPass(switchable.model, default_forward, torch.ones(1, 6))
    with switchable.evaluating():
        before = random.getstate()
        with pytest.raises(NotCapturable, match="a pass draws random numbers"):
            list(Graph(switchable, max_bytes=PLENTY).outputs(forward_pass, [(1.0,)]))
        assert random.getstate() == before
