"""Which way coalitions are evaluated: what chooses, what may not, and what happens where a way cannot go on."""

import itertools
import pickle

import pytest
import torch
from model_zoo import multilayer, vectors
from torch import nn

from accredit.errors import EvaluationError, InvalidArgument, StateMismatch
from accredit.models import sharing
from accredit.models.graph_capture import NotCapturable
from accredit.models.loop import OneAfterAnother
from accredit.models.metrics import log_loss
from accredit.models.replay import NotReplayable
from accredit.models.stack import NotStackable
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue

MASKS = torch.tensor(list(itertools.product([True, False], repeat=4)))


class Clock:
    """A clock that says what the test wants: every way has a price per pass."""

    def __init__(self, prices):
        self.prices, self.now = prices, 0.0

    def perf_counter(self):
        return self.now


class Way:
    """A way to evaluate that is the loop, but for its name, its price, and what else the test wants of it."""

    peak_bytes = 7

    def __init__(self, name, switchable, clock, *, factor=1.0, error=None, fails_at=0):
        self.name, self.loop, self.clock = name, OneAfterAnother(switchable), clock
        self.factor, self.error, self.fails_at = factor, error, fails_at

    def outputs(self, forward, coalitions):
        for number, output in enumerate(self.loop.outputs(forward, coalitions)):
            if self.error is not None and number == self.fails_at:
                raise self.error
            self.clock.now += self.clock.prices[self.name]
            yield output * self.factor


def arranged(monkeypatch, prices, *, model=None, batches=None, **ways):
    """A value whose ways are made up: `graph` and `replay` give the keywords of `Way`."""
    monkeypatch.setattr(sharing, "DISPATCH_BOUND", 0.0)
    value = ModelValue(
        SwitchableModel(multilayer().eval() if model is None else model, ["blocks.*"]),
        vectors() if batches is None else batches,
        [log_loss()],
    )
    clock = Clock(prices)
    monkeypatch.setattr(sharing, "time", clock)
    made = {name: Way(name, value.switchable, clock, **ways.get(name, {})) for name in ("loop", "graph", "replay")}
    value.choice.loop = made["loop"]
    value.choice._made = made.__getitem__
    return value, made


def plain(batches=None):
    """What the plain loop gives."""
    model = SwitchableModel(multilayer().eval(), ["blocks.*"])
    return ModelValue(model, vectors() if batches is None else batches, [log_loss()], sharing="loop")(MASKS)["loss"]


SECONDS = {"loop": 1.0, "graph": 0.25, "replay": 0.5}


def test_the_fastest_of_the_bit_equal_ways_is_chosen_and_said(monkeypatch):
    """By a clock on which a pass of the graph takes a quarter of one of the loop."""
    value, _ = arranged(monkeypatch, SECONDS)
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.report.mechanism == "loop, graph"
    assert value.report.reason == "4.0 x as fast as the loop on the first 8 coalitions"
    assert [(trial.mechanism, trial.speedup, trial.reason) for trial in value.report.trials] == [
        ("graph", 4.0, "bit-equal")
    ]
    assert value.report.peak_bytes == 7


def test_a_faster_way_that_is_not_bit_equal_is_not_chosen(monkeypatch):
    """[R10] The clock never chooses between values that differ: the graph is fastest, but off by one rounding."""
    value, _ = arranged(monkeypatch, SECONDS, graph={"factor": 1.0 + 2.0**-20})
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.report.mechanism == "loop, replay"
    assert [(trial.speedup, trial.reason) for trial in value.report.trials] == [
        (None, "it is not bit-equal to the loop"),
        (2.0, "bit-equal"),
    ]


def test_a_way_that_is_refused_says_why_and_the_next_is_tried(monkeypatch):
    """The reason of the graph stands in the report."""
    value, _ = arranged(monkeypatch, SECONDS, graph={"error": NotCapturable("it looks at the data")})
    value(MASKS)
    assert value.choice.chosen.name == "replay"
    assert value.report.trials[0].reason == "it looks at the data"


def test_a_way_without_memory_is_not_chosen(monkeypatch):
    """Nor is the job lost."""
    value, _ = arranged(monkeypatch, SECONDS, graph={"error": MemoryError()}, replay={"error": MemoryError()})
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.choice.chosen.name == "loop"
    assert [trial.reason for trial in value.report.trials] == ["it ran out of memory"] * 2
    assert value.report.reason == "no other way was faster on the first coalitions"


def test_other_errors_of_a_way_are_not_hidden(monkeypatch):
    """A mistake in a way is no reason to go on by another one."""
    value, _ = arranged(monkeypatch, SECONDS, graph={"error": KeyError("a mistake")})
    with pytest.raises(KeyError, match="a mistake"):
        value(MASKS)


def test_a_gain_within_the_noise_is_not_worth_its_memory(monkeypatch):
    """2 % faster is not faster."""
    value, _ = arranged(monkeypatch, {"loop": 1.0, "graph": 0.98, "replay": 0.98})
    value(MASKS)
    assert value.report.mechanism == "loop"


def test_a_slow_moment_does_not_choose(monkeypatch):
    """Where ways are close the best of three looks counts: a graph that another program held up at first is chosen."""
    value, made = arranged(monkeypatch, {"loop": 1.0, "graph": 0.8, "replay": 2.0})
    calls = iter((0.8, 1.3, 0.8, 0.8))

    def outputs(forward, coalitions, inner=made["graph"].outputs):
        value.choice.loop.clock.prices["graph"] = next(calls, 0.8)
        yield from inner(forward, coalitions)

    made["graph"].outputs = outputs
    value(MASKS)
    assert value.choice.chosen is made["graph"]


def test_a_short_job_stays_with_the_loop_until_calls_add_up(monkeypatch):
    """16 coalitions on 2 batches in sight at 10 ms each are 0.32 s; the patience of 1 s ends in the third call."""
    value, _ = arranged(monkeypatch, {"loop": 0.01, "graph": 0.001, "replay": 0.005})
    chosen = []
    for _ in range(4):
        value(MASKS)
        chosen.append(value.choice.chosen and value.choice.chosen.name)
    assert chosen.index("graph") in (1, 2)
    assert chosen[0] is None
    assert chosen[-1] == "graph"


@pytest.mark.parametrize("error", [NotCapturable("this form"), NotReplayable("this form")])
def test_the_loop_takes_over_in_the_middle_of_a_batch(monkeypatch, error):
    """[R11] A way that cannot go on loses nothing: every value is that of the loop, and other batches still try it."""
    value, made = arranged(monkeypatch, SECONDS)
    value(MASKS)
    made["graph"].error, made["graph"].fails_at = error, 5
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.choice.chosen is made["graph"]
    made["graph"].error = None
    assert torch.equal(value(MASKS)["loss"], plain())


def test_the_loop_is_chosen_after_three_batches_that_a_way_refused(monkeypatch):
    """Two batches a call: the second call has the third refusal."""
    value, made = arranged(monkeypatch, SECONDS)
    value(MASKS)
    made["graph"].error = NotCapturable("this form")
    value(MASKS)
    assert value.choice.chosen is made["graph"]
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.choice.chosen.name == "loop"
    assert value.report.reason == "graph did not work for 3 batches: this form"


def test_a_way_that_runs_out_of_memory_is_left_at_once(monkeypatch):
    """The loop gives the rest."""
    value, made = arranged(monkeypatch, SECONDS)
    value(MASKS)
    made["graph"].error, made["graph"].fails_at = MemoryError(), 3
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.report.reason == "graph ran out of memory"


def test_a_real_graph_leaves_batches_of_too_many_forms_to_the_loop():
    """Nine lengths of batches, and a graph for eight: the ninth is evaluated all the same."""
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(b, 6, generator=generator), torch.zeros(b, dtype=torch.long)) for b in range(1, 10)]
    value = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), batches, [log_loss()], sharing="graph")
    assert torch.equal(value(MASKS)["loss"], plain(batches))
    assert value.report.mechanism == "graph, loop"


class Looking(nn.Module):
    """A block whose operations depend on its numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, stream):
        return self.layer(stream) if stream.sum() > -1e9 else stream


def looking():
    """Two such blocks."""
    model = nn.Module()
    model.blocks = nn.ModuleList([Looking(), Looking()])
    model.forward = lambda stream: stream + model.blocks[1](stream + model.blocks[0](stream))
    return model.eval()


def test_a_way_that_was_asked_for_and_does_not_work_is_refused():
    """With the reason."""
    value = ModelValue(SwitchableModel(looking(), ["blocks.*"]), vectors(), [log_loss()], sharing="graph")
    with pytest.raises(InvalidArgument, match=r"`sharing` is 'graph', but that does not work here: .*; pass sharing="):
        value.begin(None)


def test_a_stack_for_a_model_that_looks_at_its_numbers_is_refused():
    """One branch would be taken for all coalitions of the stack."""
    value = ModelValue(SwitchableModel(looking(), ["blocks.*"]), vectors(), [log_loss()], sharing="stack")
    with pytest.raises(InvalidArgument, match="'stack', but a pass looks at the numbers to decide what to do, wanted"):
        value.begin(None)


def test_an_unknown_way_is_refused():
    """With those that there are."""
    with pytest.raises(InvalidArgument, match="`sharing` is 'fast', wanted one of auto, loop, replay, graph, stack"):
        ModelValue(SwitchableModel(multilayer(), ["blocks.*"]), vectors(), [log_loss()], sharing="fast")


@pytest.mark.parametrize("way", ["replay", "graph", "stack"])
def test_players_that_set_weights_know_only_the_loop(way):
    """What such a player changes is not known."""
    model = multilayer().eval()
    value = ModelValue(SwitchableModel(model, {"set": lambda weight: None}), vectors(), [log_loss()], sharing=way)
    with pytest.raises(
        InvalidArgument, match=f"`sharing` is '{way}', but a component is a function that sets a weight"
    ):
        value.begin(None)


def test_numerics_of_a_matrix_are_kept_or_refused():
    """[R10] Exact rows are not continued by a stack, nor stacked rows by the loop."""
    stacked = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()], sharing="stack")
    assert stacked.begin(None) == "stack of 16"
    with pytest.raises(StateMismatch, match="`matrix` holds values of the numerics 'exact', but `sharing` is 'stack'"):
        stacked.begin("exact")
    looped = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()], sharing="loop")
    assert looped.begin("exact") == "exact"
    with pytest.raises(StateMismatch, match="numerics 'stack of 16', but `sharing` is 'loop', wanted to go on with"):
        looped.begin("stack of 16")
    with pytest.raises(StateMismatch, match="but there are stack of 16, stack of 8, stack of 4, stack of 2 only"):
        looped.begin("stack of 5")
    auto = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()])
    assert auto.begin("stack of 4") == "stack of 4"
    assert auto.choice.chosen.size == 4


def test_a_batch_that_cannot_be_stacked_is_an_error_that_says_so(monkeypatch):
    """Its values could not stand beside the others."""
    value = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()], sharing="stack")
    value.begin(None)

    def outputs(forward, coalitions):
        raise NotStackable("it mixes examples")
        yield

    monkeypatch.setattr(value.choice.chosen, "outputs", outputs)
    with pytest.raises(EvaluationError, match=r"`batches` gave a batch that cannot be stacked \(it mixes examples\)"):
        value(MASKS)


def test_what_a_clock_chose_does_not_travel(monkeypatch):
    """Another machine has another clock."""
    value, _ = arranged(monkeypatch, SECONDS)
    value(MASKS)
    assert value.choice.chosen.name == "graph"
    value.choice.loop = OneAfterAnother(value.switchable)
    del value.choice._made
    assert pickle.loads(pickle.dumps(value)).choice.chosen is None


@pytest.mark.parametrize("way", ["replay", "stack"])
def test_what_was_asked_for_travels(way):
    """A stack or a named way is used wherever the value goes."""
    value = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()], sharing=way)
    value(MASKS)
    assert pickle.loads(pickle.dumps(value)).choice.chosen.name == way


def test_a_way_that_is_wrong_for_one_coalition_is_not_chosen(monkeypatch):
    """[R10] All of the first coalitions are compared, not some."""
    value, made = arranged(monkeypatch, SECONDS)
    right = made["graph"].outputs

    def wrong(forward, coalitions):
        for number, output in enumerate(right(forward, coalitions)):
            yield output * 2.0 if number == 5 else output

    made["graph"].outputs = wrong
    assert torch.equal(value(MASKS)["loss"], plain())
    assert value.report.mechanism == "loop, replay"


class Table(nn.Module):
    """Adds a table that belongs to no example, through a module of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs, table):
        return self.layer(inputs) + self.table(table).sum(dim=0)


def test_what_is_no_example_is_not_stacked():
    """[R10] Another length goes in as it is; a player that has no row per example is refused."""
    torch.manual_seed(0)
    batches = [(torch.randn(4, 6), torch.randn(5, 6), torch.tensor([0, 1, 2, 0]))]
    model, masks = Table().eval(), torch.tensor([[True], [False]])
    stacked, single = (
        ModelValue(SwitchableModel(model, ["layer"]), batches, [log_loss()], sharing=way) for way in ("stack", "loop")
    )
    torch.testing.assert_close(stacked(masks)["loss"], single(masks)["loss"], rtol=1e-6, atol=1e-6)
    refused = ModelValue(SwitchableModel(model, ["table"]), batches, [log_loss()], sharing="stack")
    with pytest.raises(InvalidArgument, match=r"a switched module gives the shape \(5, 3\), not one row per example"):
        refused(masks)


def test_a_value_that_began_with_stacks_gives_exact_values_to_an_exact_matrix():
    """[R10] The same object, asked for another matrix."""
    value = ModelValue(SwitchableModel(multilayer().eval(), ["blocks.*"]), vectors(), [log_loss()])
    assert value.begin("stack of 4") == "stack of 4"
    assert value.begin("exact") == "exact"
    assert torch.equal(value(MASKS)["loss"], plain())
    assert "stack" not in value.report.mechanism
