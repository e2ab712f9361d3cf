"""Stop rules look again and again; the intervals hold at the end all the same."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, HalfWidthReached, SignsDecided, TopDecided
from accredit.attribution.games import player_names
from accredit.attribution.protocols import FittedValues
from accredit.attribution.stop import error_share
from accredit.errors import InvalidArgument

RUNS, N_PLAYERS, BUDGET = 400, 10, 700  # looks after 40, 80, 160, 320, 640 and 700 evaluations


@given(st.integers(1, 200))
def test_shares_of_all_looks_together_are_the_error(n_looks):
    """[R8] [R9] However many looks there are, the last one included."""
    shares = [error_share(number) for number in range(1, n_looks)] + [error_share(n_looks, last=True)]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0.0


@dataclass(frozen=True)
class NormalErrors:
    """The truth is 0 for everybody; the error of each look is a new normal draw, whose size is told exactly.

    Independent looks are the worst case: they give a rule the most chances to stop at an error.
    """

    seed: int

    def __call__(self, masks, values):
        n_players, generator = masks.shape[1], np.random.default_rng([self.seed, len(masks)])
        # half of the players err one way and half the other: the error alone decides signs and the top
        sides = np.where(np.arange(n_players) < n_players // 2, 1.0, -1.0)
        stderr = generator.uniform(0.5, 1.5)
        return FittedValues(
            value=np.repeat(stderr * generator.normal() * sides[:, None], values.shape[1], axis=1),
            stderr=np.full((n_players, values.shape[1]), stderr),
            degrees_of_freedom=np.inf,
            estimator="normal_errors",
            n_evaluations=len(masks),
        )


@dataclass(frozen=True)
class StopsAtAnError:
    """The worst rule there can be: it knows the truth and stops as soon as an interval misses it."""

    def __call__(self, look):
        return bool((np.abs(look.contribution) > look.half_width).any())


def counting_design(n_players, n_evaluations, *, seed):
    """Binary numbers as masks, none and all first: the estimator above asks for no better design."""
    numbers = np.array([0, 2**n_players - 1, *range(1, 2**n_players - 1)][:n_evaluations])
    return (numbers[:, None] >> np.arange(n_players) & 1).astype(bool)


def ends_of_runs(rule):
    """For each run whether the final interval misses the truth, and whether the rule stopped it."""
    missed, early = [], []
    for run in range(RUNS):
        config = CounterfactualConfig(
            strategy="shapley", max_evaluations=BUDGET, stop=rule, coalitions_per_call=1024, seed=run
        )
        engine = CounterfactualEngine(config, design=counting_design, estimator=NormalErrors(run))
        matrix = engine.compute_matrix(player_names(N_PLAYERS), lambda masks: {"value": masks[:, 0].double()})
        result = matrix.shapley("value")
        missed.append(bool(np.abs(result.value[0]) > result.half_widths(0.95)[0]))
        early.append(matrix.provenance.stop_reason == "stop")
    return np.array(missed), np.array(early)


@pytest.mark.parametrize("rule", [StopsAtAnError(), SignsDecided(), TopDecided(5), HalfWidthReached(2.0)])
def test_intervals_hold_whatever_rule_stopped_at_them(rule):
    """[R8] [R9] Six looks at 95 % each would let a quarter of the runs end in an error; 5 % plus 5 standard errors."""
    missed, early = ends_of_runs(rule)
    assert early.any()
    assert missed.mean() <= 0.05 + 5 * np.sqrt(0.05 * 0.95 / RUNS)


def test_the_error_is_spent_and_not_given_away():
    """[R8] The worst rule misses nearly as often as it may: 4.9 % are expected, less than 1 % is 5 deviations off."""
    missed, _ = ends_of_runs(StopsAtAnError())
    assert missed.mean() > 0.01


def test_an_empty_top_is_refused():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`count` is 0, wanted at least 1 player; pass how many are to be found"):
        TopDecided(0)
