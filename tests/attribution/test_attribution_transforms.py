from itertools import combinations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from brute_force import interaction, random_game, shapley_by_orders, table_of

from accredit.attribution.transforms import (
    banzhaf_weights,
    beta_weights,
    interaction_index,
    moebius,
    shapley_values,
    shapley_weights,
    superset_sums,
    value_coefficients,
)
from accredit.errors import InvalidArgument

GOLDEN = Path(__file__).parent.parent / "golden" / "attribution_digits8.npz"


@pytest.mark.parametrize("n_players", [1, 2, 3, 6])
def test_shapley_values_are_the_mean_over_all_orders(n_players):
    """[R4] [R38]"""
    game = random_game(n_players, seed=n_players)
    expected = shapley_by_orders(game, n_players)
    np.testing.assert_allclose(shapley_values(table_of(game, n_players)), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_shapley_interactions_follow_their_definition_at_any_order(order):
    """[R4] [R12]"""
    n_players = 5
    game = random_game(n_players, seed=7)

    def weight(size):
        return factorial(size) * factorial(n_players - size - order) / factorial(n_players - order + 1)

    expected = [interaction(game, n_players, group, weight) for group in combinations(range(n_players), order)]
    weights = shapley_weights(n_players, order=order)
    found = interaction_index(table_of(game, n_players), weights, order=order)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2])
def test_weighted_banzhaf_follows_its_definition(order):
    """[R3]"""
    n_players = 4
    game = random_game(n_players, seed=1)

    def weight(size):
        return 0.3**size * 0.7 ** (n_players - order - size)

    expected = [interaction(game, n_players, group, weight) for group in combinations(range(n_players), order)]
    weights = banzhaf_weights(n_players, order=order, probability=0.3)
    found = interaction_index(table_of(game, n_players), weights, order=order)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_beta_shapley_with_integer_parameters_has_rational_weights():
    """[R3] Beta(2, 1), N = 3: w(s) = B(s + 1, 4 - s) / B(2, 1) = 2 s! (3 - s)! / 4!."""
    expected = [2 * factorial(s) * factorial(3 - s) / factorial(4) for s in range(3)]
    np.testing.assert_allclose(beta_weights(3, alpha=2.0, beta=1.0), expected, rtol=1e-12)


def test_golden_network_values_and_interactions():
    """[R4] [R38] A trained network of eight parts, answers computed by another program."""
    with np.load(GOLDEN, allow_pickle=False) as golden:
        for output in ("loss", "acc"):
            table = golden[output]
            np.testing.assert_allclose(shapley_values(table), golden[f"sv_{output}"], rtol=0, atol=1e-13)
            pairs = interaction_index(table, shapley_weights(8, order=2), order=2)
            expected = golden[f"sii2_{output}"][np.triu_indices(8, 1)]
            np.testing.assert_allclose(pairs, expected, rtol=0, atol=1e-12)


def test_moebius_coefficients_rebuild_the_table():
    """[R3] v(S) = sum of m(T) over T in S."""
    game = random_game(4, seed=2)
    coefficients = moebius(table_of(game, 4))
    rebuilt = [sum(coefficients[part] for part in range(16) if part & whole == part) for whole in range(16)]
    np.testing.assert_allclose(rebuilt, table_of(game, 4), rtol=0, atol=1e-13)


def test_all_outputs_are_transformed_at_once():
    """[R3]"""
    tables = np.random.default_rng(0).normal(size=(3, 2, 16))
    together = interaction_index(tables, shapley_weights(4, order=2), order=2)
    apart = [[interaction_index(row, shapley_weights(4, order=2), order=2) for row in rows] for rows in tables]
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-14)


def test_superset_sums_add_what_contains_the_group():
    """[R4]"""
    table = np.random.default_rng(0).normal(size=32)
    expected = [
        sum(table[whole] for whole in range(32) if all(whole >> player & 1 for player in group))
        for group in combinations(range(5), 3)
    ]
    np.testing.assert_allclose(superset_sums(table, order=3), expected, rtol=0, atol=1e-13)


def test_coefficients_for_rows_in_any_order_agree_with_the_table():
    """[R4]"""
    generator = np.random.default_rng(5)
    order = generator.permutation(16)
    masks = (order[:, None] >> np.arange(4) & 1).astype(bool)
    table = generator.normal(size=16)
    found = value_coefficients(masks, shapley_weights(4)).T @ table[order]
    np.testing.assert_allclose(found, shapley_values(table), rtol=0, atol=1e-14)


def test_a_large_offset_of_the_whole_game_costs_no_digits():
    """[R4] [R16] An offset of 1e6 leaves the values of a table as they are, up to the rounding of the table itself."""
    table = np.random.default_rng(3).integers(-8, 8, size=2**10).astype(np.float64)
    np.testing.assert_allclose(shapley_values(table + 2.0**20), shapley_values(table), rtol=0, atol=1e-13)


def test_efficiency_holds_to_rounding_for_twenty_players():
    """[R4]"""
    table = np.random.default_rng(4).normal(size=2**20)
    assert abs(shapley_values(table).sum() - (table[-1] - table[0])) < 1e-12


def test_a_table_that_is_no_power_of_two_is_refused():
    """[R4]"""
    with pytest.raises(InvalidArgument, match=r"`table` has 6 values, wanted 2\^n of them.*pass one value for every"):
        shapley_values(np.zeros(6))


def test_an_order_beyond_the_players_is_refused():
    """[R12]"""
    with pytest.raises(InvalidArgument, match=r"`order` is 3 with 1 weights, wanted an order from 1 to 2"):
        interaction_index(np.zeros(4), np.ones(1), order=3)


def test_a_probability_of_one_is_refused():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`probability` is 1.0, wanted a number between 0 and 1"):
        banzhaf_weights(3, probability=1.0)


def test_beta_parameters_must_be_positive():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`alpha` and `beta` are 0.0 and 1.0, wanted both above 0"):
        beta_weights(3, alpha=0.0, beta=1.0)
