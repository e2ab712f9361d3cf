"""Known answers of ValueNormalizer (PopArt)."""

import math

import pytest
import torch
from torch import nn

from accredit.errors import InvalidArgument
from accredit.normalize import ValueNormalizer


def head_and_features(dtype: torch.dtype = torch.float64, n_values: int = 2) -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Linear(5, n_values).to(dtype), torch.randn(32, 5).to(dtype)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
def test_outputs_stay_where_they_were_when_statistics_move(dtype: torch.dtype, limit: float) -> None:
    """[R23] In units of max(sigma, |mu|), through scales from 1e-3 to 1e3; float32 as its bias allows."""
    head, features = head_and_features(dtype)
    normalizer = ValueNormalizer(2, horizon=64)
    generator = torch.Generator().manual_seed(1)
    for step in range(60):
        scale = 10.0 ** (3 * math.sin(step / 4))
        before = normalizer.denormalize(head(features)).double()
        targets = scale * (torch.randn(64, 2, generator=generator, dtype=torch.float64) + 2)
        report = normalizer.update(targets, head=head)
        unit = torch.maximum(
            torch.maximum(report.std_after, report.mean_after.abs()),
            torch.maximum(report.std_before, report.mean_before.abs()),
        )
        assert ((normalizer.denormalize(head(features)).double() - before) / unit).abs().max() < limit


@pytest.mark.long
def test_ten_thousand_updates_over_six_orders_of_magnitude_stay_right() -> None:
    """[R23] A head that starts as the constant 3 in original units still says so at the end."""
    head, features = head_and_features()
    normalizer = ValueNormalizer(2, horizon=256)
    generator = torch.Generator().manual_seed(2)
    original = normalizer.denormalize(head(features))
    for step in range(10_000):
        scale = 10.0 ** (3 * math.sin(step / 300))
        normalizer.update(scale * torch.randn(16, 2, generator=generator, dtype=torch.float64), head=head)
    assert head.weight.isfinite().all()
    torch.testing.assert_close(normalizer.denormalize(head(features)), original, rtol=1e-9, atol=1e-9)


def test_targets_come_out_at_unit_scale() -> None:
    """[R23]"""
    head, _ = head_and_features(n_values=1)
    normalizer = ValueNormalizer()
    targets = torch.tensor([[100.0], [300.0]])
    normalizer.update(targets, head=head)
    assert normalizer.normalize(targets).flatten().tolist() == [-1.0, 1.0]
    assert normalizer(torch.tensor([[1.0]])).item() == 300.0


def test_a_nan_target_is_not_made_up() -> None:
    """[R11] [R25] Statistics leave it out and count it; the target itself stays NaN."""
    head, _ = head_and_features(n_values=1)
    normalizer = ValueNormalizer()
    targets = torch.tensor([[1.0], [3.0], [math.nan]])
    normalizer.update(targets, head=head)
    assert normalizer.statistics.mean.item() == 2.0
    assert int(normalizer.statistics.dropped) == 1
    assert normalizer.normalize(targets)[2].isnan()


def test_masked_targets_do_not_count() -> None:
    """[R25]"""
    head, _ = head_and_features(n_values=1)
    normalizer = ValueNormalizer()
    normalizer.update(torch.tensor([[1.0], [3.0], [900.0]]), head=head, mask=torch.tensor([True, True, False]))
    assert normalizer.statistics.mean.item() == 2.0


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD])
def test_optimizer_moments_equal_those_of_gradients_taken_after_the_move(make) -> None:
    """[R23] The gradient with respect to the new parameters is measured, not derived."""
    settings = {"momentum": 0.9} if make is not torch.optim.Adam else {"amsgrad": True}

    def gradients(head: nn.Linear, normalizer: ValueNormalizer, features: torch.Tensor, targets: torch.Tensor):
        head.zero_grad()
        (head(features) - normalizer.normalize(targets)).square().sum().backward()
        return head.weight.grad.clone(), head.bias.grad.clone()

    head, features = head_and_features()
    normalizer = ValueNormalizer(2)
    targets = torch.randn(32, 2, dtype=torch.float64) * 3 + 1
    normalizer.update(targets, head=head)
    optimizer = make(head.parameters(), lr=0.0, **settings)
    gradients(head, normalizer, features, targets)
    optimizer.step()
    before = {
        id(p): {k: v.clone() for k, v in optimizer.state[p].items() if torch.is_tensor(v)} for p in head.parameters()
    }
    old = gradients(head, normalizer, features, targets)
    report = normalizer.update(targets * 40 - 9, head=head, optimizer=optimizer)
    new = gradients(head, normalizer, features, targets)
    assert report.optimizer_entries
    for parameter, was, now in zip(head.parameters(), old, new, strict=True):
        ratio = now / was
        for name in report.optimizer_entries:
            power = 2 if "sq" in name else 1
            expected = before[id(parameter)][name] * ratio**power
            torch.testing.assert_close(optimizer.state[parameter][name], expected, rtol=1e-9, atol=0)


def test_eval_mode_moves_neither_statistics_nor_head() -> None:
    """[R28]"""
    head, _ = head_and_features()
    normalizer = ValueNormalizer(2).eval()
    weight = head.weight.clone()
    report = normalizer.update(torch.randn(8, 2), head=head)
    assert torch.equal(head.weight, weight)
    assert torch.equal(report.std_before, report.std_after)


class Signs(torch.optim.SGD):
    """An optimizer that keeps something nobody knows."""


def unknown_optimizer(head: nn.Linear) -> torch.optim.Optimizer:
    optimizer = Signs(head.parameters(), lr=0.1)
    optimizer.state[head.weight]["sign_votes"] = torch.zeros_like(head.weight)
    return optimizer


def update(normalizer: ValueNormalizer, head: nn.Linear, **more: torch.optim.Optimizer) -> None:
    normalizer.update(torch.ones(3, normalizer.n_values), head=head, **more)


HEAD = nn.Linear(5, 2)
REFUSALS = [
    (
        lambda n: update(n, nn.Linear(5, 2, bias=False)),
        r"`head` has no bias, but a moving mean has to go somewhere; build",
    ),
    (lambda n: update(n, nn.Linear(5, 3)), r"`head` has 3 outputs, but the normalizer has 2 values; build both for"),
    (
        lambda n: update(n, nn.Linear(5, 2, device="meta")),
        r"`head` is on meta, but the statistics are on cpu; move one",
    ),
    (
        lambda n: update(n, HEAD, optimizer=unknown_optimizer(HEAD)),
        r"`optimizer` keeps `sign_votes` for the head, but .* use",
    ),
    (lambda n: n.update(torch.ones(3, 4), head=HEAD), r"`x` has shape \(3, 4\), but the features have shape \(2,\)"),
    (
        lambda n: n.normalize(torch.ones(3, 4)),
        r"`targets` has shape \(3, 4\), but the features have shape \(2,\); pass",
    ),
    (
        lambda n: n.denormalize(torch.ones(3, 2).long()),
        r"`outputs` has dtype torch.int64, but values at unit scale need",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_bad_value_input_is_refused_with_both_sides_named(call, message: str) -> None:
    """[R21] [R37] And neither head nor statistics have moved."""
    weight = HEAD.weight.clone()
    normalizer = ValueNormalizer(2)
    with pytest.raises(InvalidArgument, match=message):
        call(normalizer)
    assert int(normalizer.statistics.count) == 0
    assert torch.equal(HEAD.weight, weight)
