"""Batches and metrics as a value function: what it measures, and what it refuses."""

import itertools
import random

import numpy as np
import pytest
import torch
from model_zoo import CLASSES, multilayer, vectors
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from accredit import CounterfactualConfig, CounterfactualEngine, Output, attribute
from accredit.errors import EvaluationError, InvalidArgument, StateMismatch
from accredit.errors import OutOfMemory as OutOfMemoryRaised
from accredit.models.batches import ForwardPass, checksum, default_forward, default_target
from accredit.models.inspection import count_work
from accredit.models.metrics import (
    Metric,
    Weighted,
    absolute_error,
    accuracy,
    class_recalls,
    log_loss,
    squared_error,
    token_log_loss,
)
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue

ALL = torch.ones(1, 4, dtype=torch.bool)


def switchable(**more):
    """Four blocks as players."""
    return SwitchableModel(multilayer().eval(), ["blocks.*"], **more)


def value(batches=None, metrics=None, **more):
    """Log-loss of four blocks on 13 vectors, or what else is asked for."""
    metrics = [log_loss()] if metrics is None else metrics
    return ModelValue(switchable(), vectors() if batches is None else batches, metrics, **more)


def test_metrics_equal_their_definitions_over_all_examples():
    """[R3] Log-loss, accuracy and recalls of batches of 8 and 5, against one pass over all 13 examples."""
    model, batches = multilayer().eval(), vectors()
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        logits = model(inputs).double()
    found = value(metrics=[log_loss(), accuracy(), *class_recalls(CLASSES)])(ALL)
    wanted = -logits.log_softmax(dim=1)[torch.arange(13), labels]
    torch.testing.assert_close(found["loss"][0], wanted, rtol=1e-6, atol=1e-7)
    assert found["accuracy"].mean().item() == pytest.approx((logits.argmax(dim=1) == labels).double().mean().item())
    for label in labels.unique().tolist():
        of_class = labels == label
        recall = (logits.argmax(dim=1)[of_class] == label).double().mean().item()
        assert found[f"recall {label}"].mean().item() == pytest.approx(recall)
        assert found[f"recall {label}"].shape == (1, 13)


def test_a_short_last_batch_weighs_as_what_it_is():
    """The same examples in batches of 13, of 8 and 5, and of 1 give the same means."""
    inputs, labels = (torch.cat(parts) for parts in zip(*vectors(), strict=True))
    means = [
        value(batches=list(zip(inputs.split(size), labels.split(size), strict=True)))(ALL)["loss"].mean().item()
        for size in (13, 8, 1)
    ]
    assert means == pytest.approx([means[0]] * 3, rel=1e-6)


def test_tokens_weigh_as_tokens():
    """Sentences of 1 and 3 counted tokens: the mean is over the 4 tokens, not over the 2 sentences."""
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1, -100, -100], [2, 3, 4]])
    model = nn.Sequential(nn.Identity()).eval()
    token = ModelValue(SwitchableModel(model, ["0"]), [(logits, target)], [token_log_loss()])
    losses = -logits.double().log_softmax(dim=2)
    wanted = (losses[0, 0, 1] + losses[1, 0, 2] + losses[1, 1, 3] + losses[1, 2, 4]) / 4
    assert token(torch.ones(1, 1, dtype=torch.bool))["loss"].mean().item() == pytest.approx(wanted.item())


def test_next_tokens_are_compared_with_the_logits_before_them():
    """The target of position t is the token at t + 1."""
    logits, tokens = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])
    logits[0, 0, 1] = logits[0, 1, 2] = 50.0
    measured = token_log_loss(next_token=True).measure(logits, tokens)
    assert measured.numerator.item() == pytest.approx(0.0, abs=1e-12)
    assert measured.weight.item() == 2.0


def test_regression_errors_are_means_over_all_but_examples():
    """Squared and absolute error of [B, 2] against hand-made numbers; a target [B] fits an output [B, 1]."""
    output, target = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert squared_error().measure(output, target).tolist() == [0.5, 5.0]
    assert absolute_error().measure(output, target).tolist() == [0.5, 2.0]
    assert squared_error().measure(output[:, :1], torch.tensor([0.0, 2.0])).tolist() == [1.0, 4.0]


def test_batches_come_as_loader_list_or_factory():
    """The same values whichever it is; means where values per example are not wanted."""
    inputs, labels = (torch.cat(parts) for parts in zip(*vectors(), strict=True))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=5)
    listed = list(loader)
    wanted = value(batches=listed)(ALL)["loss"]
    from_loader = value(batches=loader)
    before = torch.get_rng_state()
    assert torch.equal(from_loader(ALL)["loss"], wanted)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(value(batches=lambda: iter(listed))(ALL)["loss"], wanted)
    mean = value(batches=listed, per_example=False)(ALL)["loss"]
    torch.testing.assert_close(mean, wanted.mean(dim=1))


def test_progress_counts_passes_to_their_end():
    """[R9] A pass is a coalition on a batch; the last report says that all are done."""
    seen = []
    counted = value(progress=lambda done, total: seen.append((done, total)), sharing="loop")
    counted(torch.eye(4, dtype=torch.bool))
    assert seen == [(done, 8) for done in range(1, 9)]


def test_a_matrix_of_a_model_is_exact_and_says_how_it_was_made():
    """[R1] [R4] Contributions sum to the fall of the loss; the mechanism and its numerics stand in the matrix."""
    model_value = value()
    matrix = attribute(model_value, model_value.switchable.players, outputs=model_value.outputs)
    result = matrix.shapley("loss")
    assert result.value.sum() == pytest.approx(result.value_all - result.value_none, abs=1e-12)
    assert matrix.provenance.numerics == "exact"
    assert matrix.provenance.mechanism == model_value.mechanism() == "loop"
    assert model_value.report.mechanism == "loop"


def test_a_matrix_keeps_to_its_numerics():
    """[R10] What was begun with stacks goes on with stacks of that size, or is refused; and the other way round."""
    config = CounterfactualConfig(strategy="shapley", max_evaluations=10, outputs=(log_loss().output,))
    more = CounterfactualConfig(max_evaluations=16, outputs=(log_loss().output,))
    players = switchable().players
    stacked = CounterfactualEngine(config).compute_matrix(players, value(sharing="stack"))
    assert stacked.provenance.numerics == "stack of 16"
    gone_on = CounterfactualEngine(more).compute_matrix(players, value(), matrix=stacked)
    assert (gone_on.provenance.numerics, gone_on.provenance.mechanism) == ("stack of 16", "stack")
    with pytest.raises(
        StateMismatch, match=r"numerics 'stack of 16', but `sharing` is 'loop', wanted to go on with the"
    ):
        CounterfactualEngine(more).compute_matrix(players, value(sharing="loop"), matrix=stacked)
    exact = CounterfactualEngine(config).compute_matrix(players, value(sharing="loop"))
    assert CounterfactualEngine(more).compute_matrix(players, value(), matrix=exact).provenance.numerics == "exact"
    with pytest.raises(
        StateMismatch, match=r"numerics 'exact', but `sharing` is 'stack', wanted another way to go on; p"
    ):
        CounterfactualEngine(more).compute_matrix(players, value(sharing="stack"), matrix=exact)


def test_a_model_that_draws_is_evaluated_from_the_same_state_every_time():
    """[R10] [R14] Dropout that is always on: coalitions are paired, and values repeat."""

    class Drops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, CLASSES)

        def forward(self, inputs):
            return self.layer(nn.functional.dropout(inputs, 0.5, training=True))

    model = Drops().eval()
    drawing = ModelValue(SwitchableModel(model, ["layer"]), vectors(), [log_loss()])
    before = torch.get_rng_state()
    first = drawing(torch.ones(2, 1, dtype=torch.bool))["loss"]
    assert torch.equal(first[0], first[1])
    assert torch.equal(torch.get_rng_state(), before)
    assert drawing.report.reason == "a pass of the model draws random numbers"
    with pytest.raises(
        InvalidArgument, match=r"`sharing` is 'graph', but a pass of the model draws random numbers, want"
    ):
        ModelValue(SwitchableModel(model, ["layer"]), vectors(), [log_loss()], sharing="graph")(ALL[:, :1])


def test_state_carried_across_passes_is_refused_and_put_back():
    """[R14] A running sum in a buffer and a counter in an attribute: named, and as before."""

    class Carries(nn.Module):
        def __init__(self, kind) -> None:
            super().__init__()
            self.layer, self.kind, self.calls = nn.Linear(6, CLASSES), kind, 0
            self.register_buffer("total", torch.zeros(1))

        def forward(self, inputs):
            if self.kind == "buffer":
                self.total += 1.0
                return self.layer(inputs) + self.total
            self.calls += 1
            return self.layer(inputs) * self.calls

    for kind, name in (("buffer", "total"), ("attribute", "Carries.calls")):
        model = Carries(kind).eval()
        carrying = ModelValue(SwitchableModel(model, ["layer"]), vectors(), [log_loss()])
        with pytest.raises(
            InvalidArgument, match=rf"`model` carries state from pass to pass \({name}\), wanted the same"
        ):
            carrying(ALL[:, :1])
        assert (model.total.item(), model.calls) == (0.0, 0)


def test_a_component_that_is_never_called_is_refused():
    """[R11] It would be worth exactly nothing, silently."""
    model = multilayer().eval()
    model.spare = nn.Linear(6, 6)
    with pytest.raises(
        InvalidArgument, match=r"`components` has 'spare' \(spare\), which the model did not call on any b"
    ):
        ModelValue(SwitchableModel(model, ["spare"]), vectors(), [log_loss()])(ALL[:, :1])


def test_kinds_of_off_are_checked_before_anything_is_evaluated():
    """Identity between shapes that differ is refused with all on, not at the first coalition without it."""
    with pytest.raises(InvalidArgument, match=r"`off='identity'` of 'head' got an input of shape"):
        ModelValue(SwitchableModel(multilayer().eval(), ["head"], off="identity"), vectors(), [log_loss()])(ALL[:, :1])


def test_batches_that_change_are_refused():
    """[R11] Shuffled, longer, or shorter at the second pass: found by their sums and number."""
    inputs, labels = (torch.cat(parts) for parts in zip(*vectors(), strict=True))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=4, shuffle=True)

    def passes(batches):
        changing = value(batches=batches)
        changing(ALL)
        torch.manual_seed(99)
        changing(ALL)

    with pytest.raises(
        StateMismatch, match=r"`batches` gave batch 0 with other contents than in the first pass, wanted t"
    ):
        passes(loader)
    lengths = itertools.count()

    def shrinking():
        return vectors()[: 1 if next(lengths) >= 2 else 2]

    with pytest.raises(
        StateMismatch, match=r"`batches` gave 1 batches, wanted 2 as in the first pass; pass batches that"
    ):
        passes(shrinking)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "`batches` is empty, wanted at least one batch; pass the examples to evaluate on."),
        (iter(vectors()), "which can be gone through only once, wanted batches for many passes; pass a list"),
        (
            [(torch.ones(2, 6),)],
            "`batches` gave a tuple of one item, wanted a tensor, a tuple (inputs..., target) or a",
        ),
        (
            [torch.ones(2, 6)],
            "`batches` give no target, wanted a tensor for log_loss; give batches (inputs..., target)",
        ),
    ],
)
def test_batches_that_cannot_be_are_refused(batches, words):
    """Empty ones, an iterator that is used up, and shapes that nobody can read."""
    with pytest.raises(InvalidArgument) as raised:
        value(batches=batches)(ALL)
    assert words in str(raised.value)


def test_metrics_that_cannot_be_are_refused():
    """[R11] A wrong length, none at all, a name twice, weights that move, and no example that counts."""
    with pytest.raises(
        InvalidArgument, match=r"`metrics` measure \[\], wanted at least one output and no name twice; pas"
    ):
        value(metrics=[])
    with pytest.raises(InvalidArgument, match=r"`metrics` measure \['loss', 'loss'\], wanted"):
        value(metrics=[log_loss(), log_loss()])
    wrong = Metric(Output("wrong", "1", True), lambda output, target: output)
    with pytest.raises(
        EvaluationError, match=r"metric 'wrong' returned the shape \(8, 5\) for .*, wanted one number per"
    ):
        value(metrics=[wrong])(ALL)
    short = Metric(Output("short", "1", True), lambda output, target: output[:-1, 0])
    with pytest.raises(EvaluationError, match=r"metric 'short' returned 7 numbers for .*, wanted 8, one per example"):
        value(metrics=[short])(ALL)
    moving = Metric(
        Output("moving", "1", True),
        lambda output, target: Weighted(output[:, 0], output[:, 0].abs()),
    )
    with pytest.raises(
        EvaluationError, match=r"metric 1 of 1 weighed 8 examples otherwise than for the coalition before"
    ):
        value(metrics=[moving])(torch.tensor([[True] * 4, [False] * 4, [True, False] * 2]))
    with pytest.raises(
        EvaluationError, match=r"a metric found no example that counts among 13, wanted at least one; eva"
    ):
        value(metrics=[class_recalls(CLASSES + 2)[-1]])(ALL)


def test_a_model_whose_output_cannot_be_read_is_refused():
    """A metric needs a tensor, a tuple or logits, or a function of its own."""

    class Says(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, inputs):
            self.layer(inputs)
            return "no"

    with pytest.raises(
        InvalidArgument, match=r"`metrics` got a str from the model, wanted a tensor, a tuple or somethin"
    ):
        ModelValue(SwitchableModel(Says().eval(), ["layer"]), vectors(), [log_loss()])(ALL[:, :1])
    with pytest.raises(
        InvalidArgument, match=r"`squared_error` got an output of shape \(8, 5\) for a target of shape \(8,"
    ):
        value(metrics=[squared_error()])(ALL)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sharing": "fast"}, r"`sharing` is 'fast', wanted one of auto, loop, replay, graph, stack; pass one"),
        ({"max_bytes": -1}, r"`max_bytes` is -1, wanted at least 0; pass a number of bytes"),
    ],
)
def test_options_out_of_range_are_refused(arguments, words):
    """Each names what is wanted."""
    with pytest.raises(InvalidArgument, match=words):
        value(**arguments)


def test_masks_of_another_width_or_kind_are_refused():
    """A column per player, bool or weights."""
    for masks in (torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 4, dtype=torch.int64), torch.ones(4)):
        with pytest.raises(
            InvalidArgument, match=r"`masks` has the shape .*, wanted bool, or weights, of shape \(coaliti"
        ):
            value()(masks)


class Heavy(nn.Module):
    """Runs out of memory above a number of examples, as a device would."""

    def __init__(self, most) -> None:
        super().__init__()
        self.inner, self.most = multilayer(), most

    def forward(self, inputs):
        """Logits."""
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("out of memory, said the device")
        return self.inner(inputs)


def test_a_stack_that_does_not_fit_is_made_smaller_and_then_a_clear_error_follows():
    """[R9] Stacks of 16 and 8 batches do not fit where 40 examples do: 4 of 8 go together."""
    players = ["inner.blocks.*"]
    smaller = ModelValue(SwitchableModel(Heavy(40).eval(), players), vectors(), [log_loss()], sharing="stack")
    plain = ModelValue(SwitchableModel(Heavy(40).eval(), players), vectors(), [log_loss()], sharing="loop")
    masks = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    torch.testing.assert_close(smaller(masks)["loss"], plain(masks)["loss"], rtol=1e-6, atol=1e-6)
    assert smaller.choice.stack_size == 4
    full = ModelValue(SwitchableModel(Heavy(7).eval(), players), vectors(), [log_loss()])
    with pytest.raises(
        OutOfMemoryRaised, match=r"`batches` gave a batch that does not fit into memory beside the model"
    ):
        full(masks)


def test_an_expert_may_be_called_on_a_later_batch_alone():
    """A mixture that sends nobody to one expert in the first batch; its player is no mistake."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.usual, self.rare = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)

        def forward(self, inputs):
            return self.rare(inputs) if len(inputs) == 5 else self.usual(inputs)

    torch.manual_seed(0)
    mixture = ModelValue(SwitchableModel(Mixture().eval(), ["usual", "rare"]), vectors(), [log_loss()], sharing="loop")
    losses = mixture(torch.tensor([[True, True], [True, False]]))["loss"]
    assert torch.equal(losses[0, :8], losses[1, :8])
    assert not (losses[0, 8:] == losses[1, 8:]).any()


@pytest.mark.parametrize(
    "second",
    [
        {"inputs": torch.zeros(3, 4), "scale": 1.0},
        {"inputs": torch.zeros(4, 3), "scale": 2.0},
        {"inputs": torch.zeros(4, 3).int(), "scale": 1.0},
    ],
)
def test_a_checksum_sees_shapes_types_and_constants(second):
    """[R11] The bytes of the tensors are the same."""
    assert checksum({"inputs": torch.zeros(4, 3), "scale": 1.0}) != checksum(second)


def test_more_batches_than_in_the_first_pass_are_refused():
    """[R11] They would be values of other examples."""
    lengths = itertools.count()
    growing = value(batches=lambda: vectors()[: 2 if next(lengths) >= 2 else 1])
    growing(ALL)
    with pytest.raises(StateMismatch, match="`batches` gave batch 1 with other contents than in the first pass"):
        growing(ALL)


@pytest.mark.parametrize("name", ["labels", "label", "targets", "target", "y"])
def test_the_target_of_a_mapping_does_not_reach_the_model(name):
    """Under each of its names."""
    batch = {"input": torch.ones(2, 3), name: torch.zeros(2)}
    assert default_forward(nn.Identity(), batch).shape == (2, 3)
    assert default_target(batch) is batch[name]


def test_a_buffer_that_every_pass_writes_to_is_named_though_the_output_is_the_same():
    """[R14] What is counted there would count passes of the evaluation."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, CLASSES)
            self.register_buffer("passes", torch.zeros(1))

        def forward(self, inputs):
            self.passes += 1.0
            return self.layer(inputs)

    model = Counts().eval()
    with pytest.raises(InvalidArgument, match=r"`model` carries state from pass to pass \(passes\), wanted the same"):
        ModelValue(SwitchableModel(model, ["layer"]), vectors(), [log_loss()])(ALL[:, :1])
    assert model.passes.item() == 0.0


def test_players_are_ordered_by_their_first_execution():
    """Not by their columns, nor by the order of the modules of a group."""
    players = {"late": ["blocks.3"], "wide": ["blocks.0", "blocks.2"], "early": ["blocks.1"]}
    ordered = ModelValue(SwitchableModel(multilayer().eval(), players), vectors(), [log_loss()])
    ordered.begin(None)
    assert ordered.inspection.order == (1, 2, 0)
    assert ordered.calls(np.eye(3, dtype=bool), 8)[0].tolist() == [
        [False, True, False],
        [False, False, True],
        [True, False, False],
    ]


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(()).item()])
def test_whoever_draws_is_evaluated_by_the_loop(draw):
    """[R10] [R14] From torch, NumPy or Python: every pass from one state, and nothing shared."""

    class Draws(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, CLASSES)

        def forward(self, inputs):
            return self.layer(inputs) * draw()

    drawing = ModelValue(SwitchableModel(Draws().eval(), ["layer"]), vectors(), [log_loss()])
    losses = drawing(torch.ones(2, 1, dtype=torch.bool))["loss"]
    assert torch.equal(losses[0], losses[1])
    assert drawing.report.reason == "a pass of the model draws random numbers"


def test_a_view_is_no_work():
    """One sum of six numbers, whatever views are taken before it."""
    forward = ForwardPass(nn.Identity(), lambda model, batch: batch.view(3, 2).t() + 1.0, torch.ones(6))
    assert count_work(forward).per_operation == 6.0


def test_values_come_back_in_the_order_of_the_masks():
    """[R10] Whatever the order in which coalitions are evaluated."""
    masks = torch.tensor(list(itertools.product([True, False], repeat=4)))[torch.tensor([5, 9, 0, 3, 12, 7, 1])]
    together = value(sharing="loop")(masks)["loss"]
    assert torch.equal(together, torch.cat([value(sharing="loop")(mask[None])["loss"] for mask in masks]))


def test_a_target_that_is_written_to_between_passes_is_looked_through_again() -> None:
    metric, logits, target = log_loss(), torch.zeros(3, 2), torch.tensor([0, 1, 1])
    metric.measure(logits, target)
    target[0] = 5
    with pytest.raises(InvalidArgument, match="`log_loss` got the class 5 for logits of 2 classes"):
        metric.measure(logits, target)
    with torch.inference_mode():
        target = torch.tensor([0, 1, 1])
        metric.measure(logits, target)
        target[0] = 5
        with pytest.raises(InvalidArgument, match="got the class 5"):
            metric.measure(logits, target)
