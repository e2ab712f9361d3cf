"""Known answers of RunningMeanStd."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from accredit.errors import InvalidArgument, StateMismatch
from accredit.normalize import RunningMeanStd
from accredit.normalize.batch import masked_moments

LARGE = (300, 40)
"""More numbers than the small path takes."""


def fed(*batches: torch.Tensor, **settings: float) -> RunningMeanStd:
    statistics = RunningMeanStd(tuple(batches[0].shape[1:]), **settings)
    for batch in batches:
        statistics.update(batch)
    return statistics


def test_before_the_first_update_nothing_is_known_and_output_is_only_clipped() -> None:
    """[R18] No phantom sample."""
    statistics = RunningMeanStd(2)
    assert int(statistics.count) == 0
    assert float(statistics.effective_count) == 0.0
    assert statistics(torch.tensor([3.0, -70.0])).tolist() == [3.0, -10.0]


def test_first_update_equals_the_batch_statistics() -> None:
    """[R18] Bit for bit, with a horizon too."""
    batch = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]])
    for horizon in (None, 7.0):
        statistics = fed(batch, horizon=horizon)
        assert statistics.mean.tolist() == [3.0, 20.0]
        assert statistics.var.tolist() == pytest.approx([8 / 3, 200 / 3], rel=1e-15)
        assert int(statistics.count) == 3
    assert float(fed(batch).effective_count) == 3.0


def test_sample_variance_is_unknown_for_one_sample_and_unbiased_after() -> None:
    """[R6] [R24]"""
    assert fed(torch.ones(1, 2)).sample_var.isnan().all()
    four = fed(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]))
    assert four.sample_var.item() == pytest.approx(5 / 3, rel=1e-14)
    assert four.var.item() == pytest.approx(1.25, rel=1e-14)
    assert four.std.item() == pytest.approx(math.sqrt(1.25), rel=1e-14)


def test_forgetting_reads_the_spread_of_the_stream_after_a_hundred_updates() -> None:
    """[R17] N(100, 10) with momentum .99: where there is no bias correction the standard deviation reads 48.8."""
    rng = torch.Generator().manual_seed(0)
    statistics = RunningMeanStd(1, horizon=100 * 64)
    for _ in range(100):
        statistics.update(100 + 10 * torch.randn(64, 1, generator=rng))
    assert statistics.std.item() == pytest.approx(10.0, rel=0.05)
    assert statistics.mean.item() == pytest.approx(100.0, rel=0.01)


def test_forgetting_saturates_where_the_horizon_says_and_count_never_decays() -> None:
    """[R18] W saturates at about the horizon; equal decaying weights are worth (1 + beta) / (1 - beta) samples."""
    statistics = RunningMeanStd((), horizon=100)
    for value in torch.randn(3000, generator=torch.Generator().manual_seed(1)):
        statistics.update(value[None])
    assert int(statistics.count) == 3000
    assert float(statistics.effective_count) == pytest.approx(1.99 / 0.01, rel=1e-9)


def test_counts_go_on_beyond_what_float32_holds() -> None:
    """[R18] 2^24 + 1 is not a float32."""
    statistics = RunningMeanStd.from_moments(torch.zeros(1), torch.ones(1), 2**24)
    statistics.update(torch.zeros(1, 1))
    assert int(statistics.count) == 2**24 + 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [(6, 4), LARGE])
def test_every_dtype_gives_the_float64_statistics_of_its_numbers(dtype: torch.dtype, size: tuple[int, int]) -> None:
    """[R16] [R17] On the small and the large path, second updates included; output keeps floating dtypes."""
    batches = [torch.randint(0, 200, size, generator=torch.Generator().manual_seed(k)).to(dtype) for k in range(3)]
    statistics = fed(*batches)
    rows = torch.cat(batches).double().numpy()
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-7)
    np.testing.assert_allclose(statistics.var, rows.var(0), rtol=2e-6)
    normalized = statistics(batches[0])
    assert normalized.dtype == (dtype if dtype.is_floating_point else torch.float32)
    truth = (rows[: size[0]] - rows.mean(0)) / rows.std(0)
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(dtype, 1e-5)
    np.testing.assert_allclose(normalized.double(), truth, atol=tolerance)


@pytest.mark.parametrize("size", [(8, 4), LARGE])
def test_output_is_right_at_a_mean_of_a_million(size: tuple[int, int]) -> None:
    """[R17] The remainder of the rounded mean is put back: without it the output is wrong by up to 0.03."""
    generator = torch.Generator().manual_seed(3)
    batch = torch.randn(size, generator=generator, dtype=torch.float64) + 1e6 + torch.rand(size[1], generator=generator)
    statistics = fed(batch)
    asked = batch.float()
    truth = (asked.double() - batch.mean(0)) / batch.std(0, correction=0)
    assert (statistics(asked).double() - truth).abs().max() < 1e-5
    with_gradient = statistics(asked.clone().requires_grad_())
    assert (with_gradient.detach().double() - truth).abs().max() < 1e-5


def test_epsilon_is_a_floor_and_not_an_addition() -> None:
    """[R24] A feature with a standard deviation of 1e-3 comes out at unit scale; a constant one is divided by 1e-4."""
    statistics = fed(torch.tensor([[-1e-3, 5.0], [1e-3, 5.0]], dtype=torch.float64))
    normalized = statistics(torch.tensor([[1e-3, 5.0 + 1e-4]], dtype=torch.float64))
    assert normalized[0, 0].item() == pytest.approx(1.0, rel=1e-12)
    assert normalized[0, 1].item() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("size", [(3, 2), LARGE])
def test_nan_comes_out_as_the_mean_and_infinity_as_the_bound(size: tuple[int, int]) -> None:
    """[R25] And the other rows come out bit-equal."""
    batch = torch.randn(size, generator=torch.Generator().manual_seed(4))
    statistics = fed(batch)
    dirty = batch.clone()
    dirty[0, 0], dirty[0, 1], dirty[1, 1] = math.nan, math.inf, -math.inf
    normalized = statistics(dirty)
    assert normalized[0, 0].item() == 0.0
    assert normalized[0, 1].item() == 10.0
    assert normalized[1, 1].item() == -10.0
    assert torch.equal(normalized[2:], statistics(batch)[2:])
    with_gradient = statistics(dirty.clone().requires_grad_()).detach()
    torch.testing.assert_close(with_gradient, normalized, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [(1, 3), (5, 3), LARGE])
def test_a_bad_row_leaves_the_bits_of_the_statistics_as_without_it(value: float, size: tuple[int, int]) -> None:
    """[R25] In the first batch and in a later one; dropped rows are counted."""
    generator = torch.Generator().manual_seed(5)
    alone, beside = RunningMeanStd(size[1]), RunningMeanStd(size[1])
    for _ in range(3):
        batch = torch.randn(size, generator=generator)
        bad = batch[:1].clone()
        bad[0, -1] = value
        alone.update(batch)
        beside.update(torch.cat([batch, bad]))
    assert torch.equal(alone.moments, beside.moments)
    assert int(beside.dropped) == 3
    assert int(beside.count) == int(alone.count)


def test_masked_rows_count_for_nothing_but_the_tally() -> None:
    """[R25] Over two batch axes; what is masked may be NaN without being called dropped."""
    x = torch.arange(12.0).view(2, 3, 2)
    x[1, 2] = math.nan
    mask = torch.tensor([[True, True, False], [True, True, False]])
    statistics = RunningMeanStd(2)
    statistics.update(x, mask)
    truth = torch.tensor([[0.0, 1], [2, 3], [6, 7], [8, 9]], dtype=torch.float64)
    assert torch.equal(statistics.mean, truth.mean(0))
    assert torch.allclose(statistics.var, truth.var(0, correction=0), rtol=1e-14)
    assert [int(statistics.count), int(statistics.dropped), int(statistics.masked)] == [4, 0, 2]


def test_moments_without_a_look_at_the_numbers_leave_out_what_is_bad_or_masked() -> None:
    """[R19] [R25] What compiled regions and accelerators use, at a mean of a million."""
    rows = 1e6 + torch.randn(9, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    rows[2, 1], rows[4, 0], rows[6, 2] = math.nan, math.inf, math.nan
    mask = torch.ones(9, dtype=torch.bool)
    mask[6] = mask[8] = False
    batch = masked_moments(rows, mask)
    good = rows[[0, 1, 3, 5, 7]]
    torch.testing.assert_close(batch.moments.mean, good.mean(0), rtol=1e-15, atol=0)
    torch.testing.assert_close(batch.moments.var, good.var(0, correction=0), rtol=1e-9, atol=0)
    assert [int(batch.moments.weight), int(batch.dropped), int(batch.masked)] == [5, 2, 2]


def test_finite_numbers_whose_squares_leave_float32_are_kept() -> None:
    """[R16] [R25] 1e30 is a float32, its square is not."""
    batches = [1e30 * torch.randn(LARGE, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    statistics = fed(*batches)
    np.testing.assert_allclose(statistics.std, torch.cat(batches).double().numpy().std(0), rtol=1e-6)
    assert int(statistics.dropped) == 0
    assert statistics(batches[0]).std().item() == pytest.approx(1.0, rel=0.05)


def test_numbers_that_float64_can_just_square_are_kept() -> None:
    """[R16] [R25] In small and large batches; 9e149 is the last one that is."""
    for size in ((4, 20), LARGE):
        batch = torch.full(size, 9e149, dtype=torch.float64)
        batch[::2] *= -1
        statistics = fed(batch, batch)
        assert int(statistics.count) == 2 * size[0]
        assert statistics.std.tolist() == pytest.approx([9e149] * size[1])


def test_statistics_of_huge_numbers_do_not_leak_into_float32() -> None:
    """[R16] A mean of 1e100 in float64, asked in float32: the bound, not NaN."""
    statistics = fed(torch.full((2, 5000), 1e100, dtype=torch.float64))
    assert (statistics(torch.zeros(2, 5000)) == -10.0).all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_any_number_of_batch_axes_before_any_shape(shape: tuple[int, ...]) -> None:
    """[R17]"""
    x = torch.randn(4, 5, *shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    statistics = RunningMeanStd(shape)
    statistics.update(x)
    assert statistics.mean.shape == shape
    torch.testing.assert_close(statistics.mean, x.mean((0, 1)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(statistics(x), (x - x.mean((0, 1))) / x.std((0, 1), correction=0), rtol=1e-9, atol=1e-9)


def test_denormalize_undoes_normalize() -> None:
    """[R17] Within the clip."""
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 7 + 3
    statistics = fed(x)
    torch.testing.assert_close(statistics.denormalize(statistics(x)), x, rtol=1e-12, atol=1e-12)


def test_eval_mode_and_freezing_stop_updates() -> None:
    """[R28] Also where the surrounding module is put back into train mode while frozen."""
    policy = nn.Sequential(RunningMeanStd(2), nn.Linear(2, 1))
    statistics = policy[0]
    policy.eval()
    statistics.update(torch.ones(3, 2))
    assert int(statistics.count) == 0
    statistics.freeze()
    policy.train()
    statistics.update(torch.ones(3, 2))
    assert int(statistics.count) == 0
    statistics.freeze(False).update(torch.ones(3, 2))
    assert int(statistics.count) == 3


def test_an_empty_batch_changes_nothing() -> None:
    """[R25]"""
    statistics = fed(torch.tensor([[1.0], [2.0]]), horizon=10)
    before = copy.deepcopy(statistics.state_dict())
    statistics.update(torch.zeros(0, 1))
    statistics.update(torch.zeros(3, 1), torch.zeros(3, dtype=torch.bool))
    assert torch.equal(statistics.moments, before["moments"])
    assert torch.equal(statistics.tallies[:3], before["tallies"][:3])
    assert statistics(torch.zeros(0, 1)).shape == (0, 1)


def test_reset_gives_the_state_of_a_new_object() -> None:
    """[R18]"""
    statistics = fed(torch.randn(5, 3))
    statistics.reset()
    new = RunningMeanStd(3)
    assert torch.equal(statistics.moments, new.moments)
    assert torch.equal(statistics.tallies, new.tallies)


def test_statistics_go_on_from_given_moments() -> None:
    """[R17] As if the samples behind them had been fed."""
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    going_on = RunningMeanStd.from_moments(rows[:25].mean(0), rows[:25].var(0, correction=0), 25)
    going_on.update(rows[25:])
    torch.testing.assert_close(going_on.mean, rows.mean(0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(going_on.var, rows.var(0, correction=0), rtol=1e-12, atol=0)
    assert int(going_on.count) == 40


def test_gradient_reaches_the_input_and_not_the_statistics() -> None:
    """[R20] d y / d x = 1 / std inside the clip and 0 beyond it."""
    statistics = fed(torch.tensor([[0.0], [4.0]]))
    x = torch.tensor([[3.0], [900.0]], requires_grad=True)
    statistics(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([0.5, 0.0])
    assert not statistics.moments.requires_grad
    statistics.update(x)
    assert not statistics.moments.requires_grad


def test_output_feeds_a_trainable_layer_even_between_updates() -> None:
    """[R20] What inference mode would make impossible: the layer needs the output for its backward."""
    statistics, layer = fed(torch.randn(10, 3)), nn.Linear(3, 1)
    for size in (10, 3000):
        loss = layer(statistics(torch.randn(size, 3))).sum()
        statistics.update(torch.randn(size, 3))
        loss.backward()
    assert layer.weight.grad is not None


def test_returned_statistics_do_not_move_later() -> None:
    """[R17] A mean that was read stays what it was."""
    statistics = fed(torch.zeros(2, 1))
    mean = statistics.mean
    statistics.update(torch.ones(2, 1))
    assert mean.item() == 0.0


def test_merge_adds_counts_and_tallies() -> None:
    """[R17] [R25]"""
    a, b = fed(torch.tensor([[1.0], [math.nan]])), fed(torch.tensor([[3.0], [5.0]]))
    a.merge(b)
    assert a.mean.item() == 3.0
    assert [int(a.count), int(a.dropped)] == [3, 1]


REFUSALS = [
    (lambda s: s.update(torch.ones(4, 3)), r"`x` has shape \(4, 3\), but the features have shape \(2,\); pass"),
    (
        lambda s: s.update(torch.ones(2)),
        r"`x` has shape \(2,\), which is one sample, but an update takes a batch; pass x\[",
    ),
    (lambda s: s.update(torch.ones(())), r"`x` has shape \(\), but the features have shape \(2,\)"),
    (
        lambda s: s.update(torch.ones(4, 2, dtype=torch.cfloat)),
        r"`x` has dtype torch.complex64, but statistics need real",
    ),
    (lambda s: s.normalize(torch.ones(4, 2, dtype=torch.bool)), r"`x` has dtype torch.bool, but .* convert it"),
    (lambda s: s.normalize(torch.ones(3)), r"`x` has shape \(3,\), but the features have shape \(2,\)"),
    (lambda s: s.denormalize(torch.ones(3)), r"`x` has shape \(3,\), but the features have shape \(2,\)"),
    (
        lambda s: s.update(torch.ones(4, 2, device="meta")),
        r"`x` is on meta, but the statistics are on cpu; move .* \.to",
    ),
    (lambda s: s.normalize(torch.ones(4, 2, device="meta")), r"`x` is on meta, but the statistics are on cpu"),
    (
        lambda s: s.update(torch.ones(4, 2), torch.ones(4)),
        r"`mask` has dtype torch.float32 and shape \(4,\), but the batch has shape \(4,\); pass a bool",
    ),
    (
        lambda s: s.update(torch.ones(4, 2), torch.ones(3, dtype=torch.bool)),
        r"`mask` .* shape \(3,\), but the batch has",
    ),
    (
        lambda s: s.update(torch.ones(4, 2), torch.ones(4, dtype=torch.bool, device="meta")),
        r"`mask` is on meta, but the statistics are on cpu",
    ),
    (
        lambda s: s.merge(RunningMeanStd(3)),
        r"`other` has shape \(3,\), but these statistics have shape \(2,\); merge equal",
    ),
    (lambda s: s.merge(RunningMeanStd(2, horizon=9)), r"`merge` got horizons None and 9, but two forgetting streams"),
    (lambda s: s.merge(RunningMeanStd(2, device="meta")), r"`other` is on meta, but the statistics are on cpu"),
    (
        lambda s: RunningMeanStd(2, horizon=0.5),
        r"`horizon` is 0.5, but it counts samples; pass a finite number of at least",
    ),
    (lambda s: RunningMeanStd(2, horizon=math.inf), r"`horizon` is inf, but it counts samples"),
    (lambda s: RunningMeanStd(2, clip=0.0), r"`clip` is 0.0, but it bounds a magnitude; pass a number above 0"),
    (lambda s: RunningMeanStd(2, epsilon=0.0), r"`epsilon` is 0.0, but it is a floor on the variance; pass"),
    (lambda s: RunningMeanStd((2, 0)), r"`shape` is \(2, 0\), but statistics need at least one feature; pass sizes"),
    (
        lambda s: RunningMeanStd.from_moments(torch.zeros(2), torch.ones(3), 1),
        r"`var` has shape \(3,\), but `mean` has shape \(2,\); pass one variance per mean",
    ),
    (
        lambda s: RunningMeanStd.from_moments(torch.zeros(2), -torch.ones(2), 1),
        r"`mean`, `var` and `count` \(count is 1\) hold numbers no data has",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_bad_input_is_refused_with_both_sides_named(call, message: str) -> None:
    """[R21] [R37] And nothing has changed."""
    statistics = RunningMeanStd(2)
    with pytest.raises(InvalidArgument, match=message):
        call(statistics)
    assert int(statistics.count) == 0


def test_print_shows_the_configuration() -> None:
    """[R37]"""
    assert repr(RunningMeanStd(2, clip=5.0)) == "RunningMeanStd((2,), horizon=None, clip=5.0, epsilon=1e-08)"


def test_state_of_another_configuration_is_refused_by_name() -> None:
    """[R26] Every difference is named, nothing else, and nothing is loaded."""
    saved = fed(torch.randn(4, 6), horizon=50, clip=5.0).state_dict()
    target = RunningMeanStd((2, 3))
    with pytest.raises(
        StateMismatch, match=r"horizon 50.0 against None; clip 5.0 against 10.0; shape \(6,\) against"
    ) as e:
        target.load_state_dict(saved)
    assert "epsilon" not in str(e.value)
    assert int(target.count) == 0
