"""What every normalizer refuses, by its text, and that nothing has changed then."""

import math
import re

import pytest
import torch
from torch import nn

from accredit.errors import InvalidArgument, StateMismatch
from accredit.normalize import (
    ChannelNormalizer,
    NestedNormalizer,
    RewardNormalizer,
    RolloutStatistics,
    RunningMeanStd,
    ValueNormalizer,
    synchronized_update,
)

HEAD = nn.Linear(3, 2)
GO_ON = torch.zeros(2, dtype=torch.bool)
WRONG = {
    "shape": (torch.ones(4, 3), r"has shape \(4, 3\), but the features have shape \(2,\); pass \(\.\.\., \*\(2,\)\)"),
    "one sample": (
        torch.ones(2),
        r"has shape \(2,\), which is one sample, but an update takes a batch; pass x\[None\]",
    ),
    "complex": (torch.ones(4, 2, dtype=torch.cdouble), r"has dtype torch.complex128, but statistics need real numbers"),
    "bool": (torch.ones(4, 2, dtype=torch.bool), r"has dtype torch.bool, but statistics need real numbers; convert it"),
    "device": (torch.ones(4, 2, device="meta"), r"is on meta, but the statistics are on cpu; move one of them with"),
}


def by_value(x: torch.Tensor):
    normalizer = ValueNormalizer(2)
    with pytest.raises(InvalidArgument) as error:
        normalizer.update(x, head=HEAD)
    return normalizer.statistics, str(error.value)


def by_update(x: torch.Tensor):
    statistics = RunningMeanStd(2)
    with pytest.raises(InvalidArgument) as error:
        statistics.update(x)
    return statistics, str(error.value)


def by_ranks(x: torch.Tensor):
    statistics = RunningMeanStd(2)
    with pytest.raises(InvalidArgument) as error:
        synchronized_update(statistics, x)
    return statistics, str(error.value)


def by_parts(x: torch.Tensor):
    statistics = RunningMeanStd(2)
    with pytest.raises(InvalidArgument) as error:
        NestedNormalizer({"a": statistics}).update({"a": x})
    return statistics, str(error.value)


def by_channels(x: torch.Tensor):
    normalizer = ChannelNormalizer(2, axis=-1)
    with pytest.raises(InvalidArgument) as error:
        normalizer.update(x)
    return normalizer.statistics, str(error.value)


def by_rollout(x: torch.Tensor):
    statistics = RunningMeanStd(2)
    rollout = RolloutStatistics({"a": statistics})
    with pytest.raises(InvalidArgument) as error:
        rollout.collect({"a": x})
    rollout.commit()
    return statistics, str(error.value)


@pytest.mark.parametrize("refuse", [by_update, by_value, by_ranks, by_parts, by_channels, by_rollout])
@pytest.mark.parametrize(("x", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data_is_refused_by_every_way_in(refuse, x: torch.Tensor, message: str) -> None:
    """[R21] [R37]"""
    weight = HEAD.weight.clone()
    statistics, text = refuse(x)
    assert re.search(message, text)
    assert int(statistics.count) == 0
    assert torch.equal(HEAD.weight, weight)


@pytest.mark.parametrize("name", ["shape", "complex", "bool", "device"])
def test_wrong_data_is_refused_by_every_way_out(name: str) -> None:
    """[R21] [R37] One sample is fine there."""
    x, message = WRONG[name]
    value = ValueNormalizer(2)
    for call in (RunningMeanStd(2).normalize, RunningMeanStd(2).denormalize, value.normalize, value.denormalize):
        with pytest.raises(InvalidArgument, match=message):
            call(x)
    assert RunningMeanStd(2).normalize(torch.ones(2)).shape == (2,)


@pytest.mark.parametrize("wrong", [-0.5, 1.0001, math.nan, math.inf])
def test_a_discount_out_of_range_is_refused(wrong: float) -> None:
    """[R37]"""
    with pytest.raises(
        InvalidArgument, match=rf"`gamma` is {wrong}, but a discount lies in \[0, 1\]; pass for example"
    ):
        RewardNormalizer(gamma=wrong)


@pytest.mark.parametrize("wrong", [0.99, -5.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "build",
    [
        lambda h: RunningMeanStd(2, horizon=h),
        lambda h: RewardNormalizer(horizon=h),
        lambda h: ValueNormalizer(horizon=h),
        lambda h: ChannelNormalizer(3, horizon=h),
    ],
)
def test_a_horizon_out_of_range_is_refused(build, wrong: float) -> None:
    """[R37]"""
    with pytest.raises(InvalidArgument, match=rf"`horizon` is {wrong}, but it counts samples; pass a finite number of"):
        build(wrong)


def test_another_number_of_environments_than_before_is_refused() -> None:
    """[R21] And the returns of those that were there stay."""
    normalizer = RewardNormalizer(2)
    normalizer.update_and_normalize(torch.tensor([1.0, 2.0]), GO_ON)
    for call in (normalizer.update_and_normalize, normalizer.advance):
        with pytest.raises(
            InvalidArgument,
            match=r"`reward` has shape \(3,\), but there are 2 environments; pass shape \(2,\), or build a RewardNorm",
        ):
            call(torch.ones(3), torch.zeros(3, dtype=torch.bool))
    assert normalizer.returns.tolist() == [1.0, 2.0]
    assert int(normalizer.statistics.count) == 2


@pytest.mark.parametrize(("one", "other"), [(9.0, 9.0), (9.0, 30.0), (9.0, None), (None, 30.0)])
def test_forgetting_statistics_are_not_merged(one: float | None, other: float | None) -> None:
    """[R17] Not even with equal horizons: nobody knows whose samples are older."""
    target = RunningMeanStd(1, horizon=one)
    with pytest.raises(InvalidArgument, match=rf"`merge` got horizons {one} and {other}, but two forgetting .*; merge"):
        target.merge(RunningMeanStd(1, horizon=other))
    assert int(target.count) == 0


MISMATCHES = [
    (
        lambda: RunningMeanStd((2, 2), horizon=4.0, clip=1.0, epsilon=1e-4),
        lambda: RunningMeanStd(3),
        r"\(horizon 4.0 against None; clip 1.0 against 10.0; epsilon 0.0001 against 1e-08; shape \(2, 2\) against \(3,",
    ),
    (
        lambda: RewardNormalizer(3, gamma=0.5, min_effective_count=20.0),
        lambda: RewardNormalizer(2),
        r"\(gamma 0.5 against 0.99; min_effective_count 20.0 against 10.0; shape \(3,\) against \(2,\)\)",
    ),
    (lambda: RewardNormalizer(horizon=4.0), RewardNormalizer, r"\(horizon 4.0 against None\)"),
    (lambda: ValueNormalizer(3), ValueNormalizer, r"\(shape \(3,\) against \(1,\)\)"),
    (lambda: ChannelNormalizer(3, clip=5.0), lambda: ChannelNormalizer(3), r"\(clip 5.0 against 10.0\)"),
    (
        lambda: NestedNormalizer({"a": RunningMeanStd(2)}),
        lambda: NestedNormalizer({"a": RunningMeanStd(1)}),
        r"\(shape \(2,\) against \(1,\)\)",
    ),
]


@pytest.mark.parametrize(("saved", "target", "differences"), MISMATCHES)
def test_a_state_of_another_configuration_is_refused_with_every_difference(saved, target, differences: str) -> None:
    """[R26] Whichever normalizer it is of; nothing is loaded."""
    module = target()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = {name: value + 1 if "_extra" not in name else value for name, value in saved().state_dict().items()}
    with pytest.raises(StateMismatch, match=r"`state_dict` was saved with another configuration .*" + differences):
        module.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_state_without_statistics_is_refused() -> None:
    """[R26] By torch, naming what is missing."""
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"moments\", \"tallies\""):
        RunningMeanStd(2).load_state_dict({})
