"""Shapley values from complement pairs, and the fitted lengths of players."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_truth import all_masks, shapley_matrix, unanimity_sum
from scipy.optimize import approx_fprime
from scipy.stats import t as student

from accredit.attribution.design import ComplementPairDesign
from accredit.attribution.estimators.conditioning import Posterior, average
from accredit.attribution.estimators.kernel import PairGeometry
from accredit.attribution.estimators.mixture import ROUGH, tempered_weights
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.estimators.pairing import paired_values
from accredit.attribution.estimators.player_lengths import PlayerLengths, _objective, fit_player_lengths
from accredit.errors import InvalidArgument

ESTIMATE = PairProcess()


def design(n_players: int, per_player: int, *, seed: int = 0) -> np.ndarray:
    return ComplementPairDesign()(n_players, per_player * n_players, seed=seed)


@pytest.mark.parametrize("per_player", [2, 4, 16])
def test_values_sum_to_all_minus_none_to_rounding(per_player: int) -> None:
    """[R4] Efficiency, at every budget, for several columns at once."""
    masks = design(10, per_player)
    values = np.stack([unanimity_sum(masks, seed=seed)[0] for seed in range(3)], axis=1)
    fitted = ESTIMATE(masks, values)
    np.testing.assert_allclose(fitted.value.sum(axis=0), values[1] - values[0], atol=1e-12)


def test_error_of_a_game_with_interactions_falls_with_the_budget() -> None:
    """[R38] Sums of unanimity games with a closed form: 16 evaluations a player leave a few per cent."""
    errors = []
    for per_player in (4, 16, 64):
        masks = design(12, per_player)
        values, exact = unanimity_sum(masks, seed=4)
        errors.append(np.linalg.norm(ESTIMATE(masks, values[:, None]).value[:, 0] - exact) / np.linalg.norm(exact))
    assert errors[0] < 0.5
    assert errors[1] < 0.1
    assert errors[2] < errors[1] / 3


def test_additive_games_are_all_but_exact() -> None:
    """[R4] The linear part is shrunk by no more than a hundred-thousandth."""
    masks = design(9, 8)
    weights = np.arange(9.0)
    fitted = ESTIMATE(masks, masks @ weights[:, None])
    np.testing.assert_allclose(fitted.value[:, 0], weights, atol=2e-4)
    assert fitted.stderr is not None
    assert (fitted.stderr < 0.02).all()


def test_intervals_cover_games_with_interactions() -> None:
    """[R8] 40 games times 12 players: nominal 95 %; at a true 94 % fewer than 410 happen by chance less than 1e-6."""
    covered = 0
    for seed in range(40):
        masks = design(12, 8, seed=seed)
        values, exact = unanimity_sum(masks, seed=seed)
        fitted = ESTIMATE(masks, values[:, None])
        assert fitted.stderr is not None
        half_width = student.ppf(0.975, fitted.degrees_of_freedom) * fitted.stderr[:, 0]
        covered += int((np.abs(fitted.value[:, 0] - exact) <= half_width).sum())
        assert half_width.mean() < 0.575 * np.abs(exact).mean()
    assert covered >= 410


def test_scale_and_offset_of_the_values_pass_through() -> None:
    """[R8] A change of unit changes nothing else, however large its numbers."""
    masks = design(8, 10)
    values = unanimity_sum(masks, seed=1)[0][:, None]
    plain, scaled = ESTIMATE(masks, values), ESTIMATE(masks, values * 2.0**300)
    np.testing.assert_allclose(scaled.value / 2.0**300, plain.value, rtol=1e-12)
    np.testing.assert_allclose(ESTIMATE(masks, values + 100.0).value, plain.value, atol=1e-9)


def test_only_the_coalitions_given_are_used() -> None:
    """[R5] A coalition without its complement changes nothing, and the count says so."""
    masks = design(7, 8)
    values = unanimity_sum(masks, seed=2)[0][:, None]
    whole = ESTIMATE(masks[:-2], values[:-2])
    lonely = ESTIMATE(masks[:-1], np.concatenate([values[:-2], [[99.0]]]))
    np.testing.assert_array_equal(whole.value, lonely.value)
    assert whole.n_evaluations == lonely.n_evaluations == len(masks) - 2


def test_the_order_of_the_rows_changes_no_digit() -> None:
    """[R10] Whatever order workers finish in, with more pairs than the screening looks at."""
    masks = design(10, 30)
    values = unanimity_sum(masks, seed=2)[0][:, None]
    order = np.random.default_rng(1).permutation(len(masks))
    plain, shuffled = ESTIMATE(masks, values), ESTIMATE(masks[order], values[order])
    np.testing.assert_array_equal(plain.value, shuffled.value)
    assert plain.covariance is not None
    assert shuffled.covariance is not None
    np.testing.assert_array_equal(plain.covariance, shuffled.covariance)


def test_further_columns_do_not_change_the_first() -> None:
    """[R7] Replicates of the validation set leave the estimate itself alone, with screening too."""
    masks = design(8, 28)
    values = np.stack([unanimity_sum(masks, seed=seed)[0] for seed in range(3)], axis=1)
    np.testing.assert_allclose(
        ESTIMATE(masks, values).value[:, 0], ESTIMATE(masks, values[:, :1]).value[:, 0], rtol=1e-9
    )


def test_columns_are_screened_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """[R7] A rough second column keeps hypotheses that the first has ruled out; they get no say in the first."""
    monkeypatch.setattr("accredit.attribution.estimators.pair_process.SCREEN_MARGIN", 0.5)
    masks = design(12, 24)
    for seed in range(4):
        smooth, _ = unanimity_sum(masks, seed=seed)
        votes = (masks @ np.random.default_rng(seed).integers(1, 9, size=12) > 25).astype(float)
        both = ESTIMATE(masks, np.stack([smooth, votes], axis=1))
        np.testing.assert_allclose(both.value[:, 0], ESTIMATE(masks, smooth[:, None]).value[:, 0], rtol=1e-9)


def test_lengths_of_players_pay_where_few_of_them_interact() -> None:
    """[R38] A random table over 4 of 12 players: the error falls below half of that with all players alike."""
    masks = design(12, 16)
    table = np.random.default_rng(3).normal(size=16)
    values = table[masks[:, :4] @ (1 << np.arange(4))][:, None]
    exact = np.concatenate([shapley_matrix(4) @ table, np.zeros(8)])
    both, alike = (PairProcess(individual_share=share)(masks, values) for share in (0.9, 0.0))
    own_error, error = (np.linalg.norm(fitted.value[:, 0] - exact) for fitted in (both, alike))
    assert own_error < 0.5 * error


def test_share_of_the_lengths_grows_where_their_evidence_is_clearly_ahead() -> None:
    """[R8] A game of 4 players out of 12: a share of one half or of nine tenths comes to all but the same."""
    masks = design(12, 16)
    values = np.random.default_rng(3).normal(size=16)[masks[:, :4] @ (1 << np.arange(4))][:, None]
    none, half, most = (PairProcess(individual_share=share)(masks, values).value for share in (0.0, 0.5, 0.9))
    assert np.abs(half - most).max() < 0.05 * np.abs(none - most).max()


def test_share_of_the_lengths_grows_with_the_pairs() -> None:
    """[R8] With C pairs it is min(1, C / 4N) of its full size: half of it at C = 2N."""
    masks = design(8, 4)
    values = unanimity_sum(masks, seed=3)[0][:, None]
    pairs = paired_values(masks, values)
    own = ESTIMATE._individual(pairs.masks, pairs.odd)
    own_value, _ = average([own], tempered_weights(own.log_evidence))
    alike, both = (PairProcess(individual_share=share)(masks, values).value for share in (0.0, 0.6))
    np.testing.assert_allclose(both - alike, 0.3 * (own_value - alike), rtol=0.01, atol=1e-6)
    assert np.abs(both - alike).max() > 1e-3


def test_covariance_agrees_with_the_standard_errors_and_with_efficiency() -> None:
    """[R8] Differences between players need it; the sum of all values is known, so it has no variance."""
    masks = design(8, 8)
    fitted = ESTIMATE(masks, unanimity_sum(masks, seed=3)[0][:, None])
    assert fitted.covariance is not None
    assert fitted.stderr is not None
    np.testing.assert_allclose(np.sqrt(np.diag(fitted.covariance[0])), fitted.stderr[:, 0])
    assert fitted.covariance[0].sum() < 1e-4 * np.trace(fitted.covariance[0])


def test_few_pairs_give_a_caution_and_two_no_standard_error() -> None:
    """[R6] [R8] An unknown spread is None, never 0; where intervals are too narrow the result says so."""
    masks = design(8, 8)
    values = unanimity_sum(masks, seed=3)[0][:, None]
    two, few, enough = (ESTIMATE(masks[:count], values[:count]) for count in (4, 32, 64))
    assert two.stderr is None
    assert "no standard error" in str(two.caution)
    assert "too narrow" in str(few.caution)
    assert enough.caution is None


def test_values_of_few_levels_give_a_caution() -> None:
    """[R8] Where a kind of game is known to do worse, the result says so."""
    masks = design(9, 12)
    votes = (masks @ np.arange(1.0, 10.0) > 22.5).astype(float)[:, None]
    assert "only 2 levels" in str(ESTIMATE(masks, votes).caution)


def test_a_constant_game_is_zero_for_everybody() -> None:
    """[R4] Nothing divides by its spread."""
    masks = design(6, 6)
    assert (ESTIMATE(masks, np.full((len(masks), 1), 7.0)).value == 0.0).all()


def test_screening_changes_the_estimate_by_less_than_a_tenth_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """[R8] Hypotheses pruned on the first pairs are those that would not have mattered."""
    masks = design(12, 32)
    values = unanimity_sum(masks, seed=6)[0][:, None]
    screened = ESTIMATE(masks, values)
    monkeypatch.setattr("accredit.attribution.estimators.pair_process.SCREEN_MARGIN", 1e9)
    whole = ESTIMATE(masks, values)
    assert whole.stderr is not None
    assert (np.abs(screened.value - whole.value) < 0.1 * whole.stderr).all()


def test_arguments_of_the_estimator_are_checked() -> None:
    """[R37] Each in one sentence."""
    with pytest.raises(InvalidArgument, match=r"`individual_share` is 1\.0, but .* pass a share in \[0, 1\)"):
        PairProcess(individual_share=1.0)
    with pytest.raises(InvalidArgument, match=r"`noise` is 0\.0, but .* pass a number above 0"):
        PairProcess(noise=0.0)
    with pytest.raises(InvalidArgument, match=r"`widening` is 0\.0, but .* pass a factor above 0"):
        PairProcess(widening=0.0)


def test_widening_scales_standard_error_and_covariance_and_moves_no_value() -> None:
    """[R8] [R37] The factor is on the standard error, so its square is on the covariance."""
    masks = design(8, 8)
    values = (masks[:, :1] * (1.0 + masks[:, 1:2]) + 0.3 * masks[:, 2:3] * masks[:, 3:4]).astype(float)
    plain, wide = PairProcess(widening=1.0)(masks, values), PairProcess(widening=2.0)(masks, values)
    np.testing.assert_array_equal(plain.value, wide.value)
    assert plain.stderr is not None
    assert plain.stderr.min() > 0
    np.testing.assert_allclose(wide.stderr, 2 * plain.stderr, rtol=1e-12)
    np.testing.assert_allclose(wide.covariance, 4 * plain.covariance, rtol=1e-12)


def test_noise_widens_the_intervals() -> None:
    """[R37] `noise` is used."""
    masks = design(8, 8)
    values = unanimity_sum(masks, seed=3)[0][:, None]
    quiet, noisy = PairProcess()(masks, values), PairProcess(noise=0.5)(masks, values)
    assert quiet.stderr is not None
    assert noisy.stderr is not None
    assert (noisy.stderr > quiet.stderr).all()


def test_average_of_posteriors_has_the_moments_of_the_mixture() -> None:
    """[R8] Two hypotheses that disagree: the variance within and the variance between."""
    apart = [
        Posterior(
            log_evidence=np.zeros((1, 1)),
            mean=np.array([[[mean], [0.0]]]),
            scale=np.array([[2.0]]),
            covariance=np.eye(2)[None],
        )
        for mean in (1.0, 5.0)
    ]
    mean, covariance = average(apart, np.array([[0.25], [0.75]]))
    np.testing.assert_allclose(mean[:, 0], [4.0, 0.0])
    np.testing.assert_allclose(covariance[0], [[2.0 + 0.25 * 9 + 0.75 * 1, 0.0], [0.0, 2.0]])


def test_tempered_weights_by_hand() -> None:
    """[R8] exp(0.4 x), nothing beyond 7 below the best."""
    weight = tempered_weights(np.array([[0.0], [-5.0], [-7.5]]))
    np.testing.assert_allclose(weight[:, 0], np.array([1.0, np.exp(-2.0), 0.0]) / (1 + np.exp(-2.0)))


def test_player_lengths_covariances_are_the_definition() -> None:
    """[R8] Quadrature against the matrix of the Shapley values on a complete table."""
    lengths = PlayerLengths(rate=np.array([0.02, 1.5, 0.3, 0.1, 0.7, 3.0]), rough_share=0.1)
    masks = all_masks(6)
    power = np.exp(-((masks[:, None] ^ masks) @ lengths.rate))
    odd = (power - power[::-1]) / 2
    gram = odd / odd[0, 0]
    shapley = shapley_matrix(6)
    np.testing.assert_allclose(lengths.gram(masks), gram, atol=1e-12)
    np.testing.assert_allclose(lengths.shapley_covariance(masks), (shapley @ gram).T, atol=1e-12)
    np.testing.assert_allclose(lengths.shapley_prior(), shapley @ gram @ shapley.T, atol=1e-12)


def test_gradient_of_the_fit_is_the_slope_of_its_objective() -> None:
    """[R8] A wrong gradient would stop the search anywhere."""
    generator = np.random.default_rng(0)
    masks = all_masks(6)[:20]
    sign, odd = np.where(masks, 1.0, -1.0), generator.normal(size=(20, 3))
    rough = ROUGH.gram(PairGeometry.of(masks))
    point = generator.normal(size=8) * 0.5 - 1
    slope = approx_fprime(point, lambda at: _objective(at, sign, odd, rough)[0], 1e-7)
    np.testing.assert_allclose(_objective(point, sign, odd, rough)[1], slope, atol=1e-4)


def test_fit_finds_the_players_that_interact() -> None:
    """[R38] A random table over the first four players; the other six do nothing."""
    masks = design(10, 16)[::2]
    table = np.random.default_rng(1).normal(size=16)
    place = 1 << np.arange(4)
    odd = (table[masks[:, :4] @ place] - table[~masks[:, :4] @ place])[:, None] / 2
    rate = fit_player_lengths(masks, odd, rough=ROUGH.gram(PairGeometry.of(masks))).rate
    assert rate[:4].min() > 30 * rate[4:].max()
