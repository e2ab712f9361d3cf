"""Known numbers of the moments core."""

import math

import numpy as np
import pytest
import torch

from accredit.errors import InvalidArgument
from accredit.moments import Moments, effective_count, forget, merge, moments_of, remove, running, sample_variance


def test_one_to_four_has_sample_variance_five_thirds() -> None:
    """[R6] [R24]"""
    moments = moments_of(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert moments.mean.item() == 2.5
    assert moments.var.item() == 1.25
    assert moments.sample_var.item() == pytest.approx(5 / 3, rel=1e-15)


def test_one_sample_has_an_unknown_variance() -> None:
    """[R6] NaN, not 0, as a tensor and as a float."""
    assert math.isnan(moments_of(torch.tensor([7.0])).sample_var.item())
    assert math.isnan(sample_variance(0.0, 1.0))
    assert math.isnan(sample_variance(1.0, 1.0 + 1e-15))
    assert torch.isnan(sample_variance(torch.ones(2), torch.tensor(1.0))).all()


def test_moments_along_an_axis_equal_numpy() -> None:
    """[R6] Rows of a [players, samples] table, and the leading axis."""
    table = np.random.default_rng(1).standard_normal((3, 50)) + 1e7
    rows = moments_of(torch.from_numpy(table))
    np.testing.assert_allclose(rows.mean, table.mean(1), rtol=1e-15)
    np.testing.assert_allclose(rows.sample_var, table.var(1, ddof=1), rtol=1e-7)
    columns = moments_of(torch.from_numpy(table), dim=0)
    np.testing.assert_allclose(columns.var, table.var(0), rtol=1e-6)
    assert columns.weight == 3.0


def test_half_precision_is_taken_in_float64() -> None:
    """[R16] The square of 300 is beyond float16."""
    samples = torch.tensor([300.0, -300.0], dtype=torch.float16)
    assert moments_of(samples).var.item() == 90_000.0


def test_merge_of_halves_equals_whole() -> None:
    """[R16] [R17] With a large mean, where E[x^2] - E[x]^2 would lose every digit."""
    samples = torch.arange(10.0, dtype=torch.float64) + 1e9
    merged = merge(moments_of(samples[:3]), moments_of(samples[3:]))
    assert merged.mean.item() == 1e9 + 4.5
    assert merged.var.item() == pytest.approx(8.25, rel=1e-12)
    assert merged.weight == merged.weight_of_squares == 10.0


def test_merge_holds_the_variance_between_the_sets() -> None:
    """[R17] Two constant sets at 0 and 2 have variance 1."""
    assert merge(Moments(5.0, 5.0, 0.0, 0.0), Moments(5.0, 5.0, 2.0, 0.0)) == Moments(10.0, 10.0, 1.0, 1.0)


def test_merge_with_an_empty_set_changes_nothing() -> None:
    """[R17] [R25] On either side; and two empty sets stay empty, without NaN."""
    some, none = Moments(2.0, 2.0, 3.0, 4.0), Moments(0.0, 0.0, 0.0, 1.0)
    assert merge(some, none) == some
    assert merge(none, some) == some
    assert merge(none, none) == none


def test_remove_undoes_merge() -> None:
    """[R17] The rest after the first half is taken out of the whole."""
    samples = torch.randn(3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rest = remove(moments_of(samples), moments_of(samples[:, :7]))
    torch.testing.assert_close(rest.mean, samples[:, 7:].mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rest.var, samples[:, 7:].var(1, correction=0), rtol=1e-12, atol=0)
    assert rest.weight == 13.0


def test_nan_comes_out_where_it_went_in() -> None:
    """[R11] Only the feature that holds it, and through a merge."""
    moments = moments_of(torch.tensor([[1.0, math.nan], [1.0, 2.0]]))
    assert moments.mean.isnan().tolist() == [True, False]
    merged = merge(moments, moments_of(torch.ones(2, 4)))
    assert merged.var.isnan().tolist() == [True, False]


def test_forgetting_halves_the_weight_and_keeps_the_moments() -> None:
    """[R17] W = 2 * .5 + 1 and Q = 2 * .25 + 1 after one more sample, by hand."""
    aged = merge(forget(Moments(2.0, 2.0, 1.0, 0.0), 0.5), Moments(1.0, 1.0, 3.0, 0.0))
    assert aged == Moments(2.0, 1.5, 2.0, 1.0)
    assert aged.effective_count == pytest.approx(4 / 1.5)


def test_effective_count_of_unequal_weights_is_that_of_kish() -> None:
    """[R18] Weights 1 and 3: 16 / 10."""
    assert effective_count(4.0, 10.0) == 1.6
    assert effective_count(torch.zeros(()), torch.zeros(())).item() == 0.0


def test_running_weights_equal_the_sum_over_samples() -> None:
    """[R17] [R18] Against the sum that the closed form stands for."""
    beta = 1 - 1 / 50
    weight, squares = running(120, 50.0)
    assert weight == pytest.approx(sum(beta**k for k in range(120)))
    assert squares == pytest.approx(sum(beta ** (2 * k) for k in range(120)))
    assert running(7, None) == (7.0, 7.0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_numbers_that_are_not_real_are_refused(dtype: torch.dtype) -> None:
    """[R6]"""
    with pytest.raises(InvalidArgument, match=rf"`samples` has dtype {dtype}, but moments need real numbers; convert"):
        moments_of(torch.ones(3, dtype=dtype))


def test_no_samples_are_refused() -> None:
    """[R11] The mean of nothing is not 0."""
    with pytest.raises(InvalidArgument, match=r"`samples` has shape \(2, 0\), .* at least one sample along axis -1"):
        moments_of(torch.ones(2, 0))
