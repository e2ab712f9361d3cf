"""Covariances that treat players alike: against their definitions on complete tables."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_truth import all_masks, interaction_matrix, shapley_matrix

from accredit.attribution.estimators.kernel import (
    DistanceKernel,
    EvenMixture,
    LinearKernel,
    Mixture,
    OddKernel,
    PairGeometry,
    QuadraticKernel,
    UnanimityKernel,
    expected_power,
    interaction_covariance,
    shapley_covariance,
)

ODD = [
    DistanceKernel(correlation=0.7),
    DistanceKernel(correlation=0.9, size_width=0.2),
    UnanimityKernel(growth=0.6),
    LinearKernel(),
    Mixture(parts=((0.3, DistanceKernel(correlation=0.5)), (2.0, UnanimityKernel(growth=2.0)))),
]
EVEN = [
    DistanceKernel(correlation=0.7),
    DistanceKernel(correlation=0.9, size_width=0.2),
    QuadraticKernel(),
    EvenMixture(parts=((0.3, DistanceKernel(correlation=0.5)), (2.0, QuadraticKernel()))),
]


def raw_covariance(kernel: DistanceKernel | UnanimityKernel, n_players: int) -> np.ndarray:
    masks = all_masks(n_players)
    covariance = np.empty((len(masks), len(masks)))
    for row, first in enumerate(masks):
        for column, second in enumerate(masks):
            if isinstance(kernel, UnanimityKernel):
                covariance[row, column] = (1 + kernel.growth) ** int((first & second).sum())
            else:
                gap = (first.sum() - second.sum()) / (kernel.size_width * n_players)
                covariance[row, column] = kernel.correlation ** int((first ^ second).sum()) * np.exp(-(gap**2) / 2)
    return covariance


def part(covariance: np.ndarray, sign: int) -> np.ndarray:
    half = (covariance + sign * covariance[::-1]) / 2
    return (half + sign * half[:, ::-1]) / 2


def mean_variance_over_sizes(covariance: np.ndarray, n_players: int) -> float:
    size = all_masks(n_players).sum(axis=1)
    return float(np.mean([np.diag(covariance)[size == s].mean() for s in range(n_players + 1)]))


@pytest.mark.parametrize("kernel", ODD[:3])
def test_odd_part_is_that_of_the_formula_scaled_to_mean_variance_one(kernel: OddKernel) -> None:
    """[R8] The covariance of (f(S) - f(S^c)) / 2 from that of f, on all coalitions of 5 players."""
    assert isinstance(kernel, DistanceKernel | UnanimityKernel)
    odd = part(raw_covariance(kernel, 5), -1)
    np.testing.assert_allclose(
        kernel.gram(PairGeometry.of(all_masks(5))), odd / mean_variance_over_sizes(odd, 5), atol=1e-12
    )


@pytest.mark.parametrize("kernel", EVEN[:2])
def test_even_part_is_that_of_the_formula_scaled_to_mean_variance_one(kernel: DistanceKernel) -> None:
    """[R12] The covariance of (f(S) + f(S^c)) / 2 from that of f, on all coalitions of 5 players."""
    even = part(raw_covariance(kernel, 5), 1)
    np.testing.assert_allclose(
        kernel.even_gram(PairGeometry.of(all_masks(5))), even / mean_variance_over_sizes(even, 5), atol=1e-12
    )


@pytest.mark.parametrize("n_players", [1, 2, 5, 6])
@pytest.mark.parametrize("kernel", ODD)
def test_covariance_with_shapley_values_is_the_definition(kernel: OddKernel, n_players: int) -> None:
    """[R8] cov(phi, o(T)) = (matrix of the Shapley values) times the covariance, on complete tables."""
    masks = all_masks(n_players)
    gram = kernel.gram(PairGeometry.of(masks))
    shapley = shapley_matrix(n_players)
    table = kernel.shapley_table(n_players)
    np.testing.assert_allclose(shapley_covariance(masks, table=table), (shapley @ gram).T, atol=1e-12)
    np.testing.assert_allclose(2 * table.mean(), np.diag(shapley @ gram @ shapley.T), atol=1e-12)


@pytest.mark.parametrize("n_players", [2, 3, 6])
@pytest.mark.parametrize("kernel", EVEN)
def test_covariance_with_interactions_is_the_definition(
    kernel: DistanceKernel | QuadraticKernel | EvenMixture, n_players: int
) -> None:
    """[R12] cov(I, e(T)) = (matrix of the interactions) times the covariance, on complete tables."""
    masks = all_masks(n_players)
    gram = kernel.even_gram(PairGeometry.of(masks))
    matrix = interaction_matrix(n_players)
    table = kernel.interaction_table(n_players)
    np.testing.assert_allclose(interaction_covariance(masks, table=table), (matrix @ gram).T, atol=1e-12)
    prior = (table[2] - 2 * table[1] + table[0]).mean()
    np.testing.assert_allclose(prior, np.diag(matrix @ gram @ matrix.T), atol=1e-12)


def test_expected_power_is_the_mean_over_subsets_of_a_size() -> None:
    """[R16] By listing all subsets of 6 items."""
    masks = all_masks(6)
    size = masks.sum(axis=1)
    mean = expected_power(0.3, 6)
    for fixed in (0b000000, 0b000111, 0b011011, 0b111111):
        power = 0.3 ** (masks ^ masks[fixed]).sum(axis=1)
        by_size = [power[size == s].mean() for s in range(7)]
        np.testing.assert_allclose(mean[:, fixed.bit_count()], by_size, rtol=1e-12)


@pytest.mark.parametrize("kernel", [*ODD[:3], DistanceKernel(correlation=0.99)])
def test_tables_stay_finite_for_many_players(kernel: OddKernel) -> None:
    """[R16] Where factorials and powers overflow."""
    table = kernel.shapley_table(400)
    assert np.isfinite(table).all()
    assert (table > 0).all()
