"""What a decision earns, against a table computed by hand.

E environments.
"""

import itertools
import math

import numpy as np
import pytest

from accredit.errors import InvalidArgument
from accredit.training.reward import Reward, RewardConfig, step_reward

CONFIG = RewardConfig(loss_cap=2.5, rent=0.02, graft_cost=0.005)


def reward(before, after, *, control=(0.0, 0.0), share=0.0, grafted=False, config=CONFIG, steps=10) -> Reward:
    return step_reward(
        config,
        losses=(np.array([before]), np.array([after])),
        control_losses=(np.array([control[0]]), np.array([control[1]])),
        graft_share=np.array([share]),
        grafted=np.array([grafted]),
        steps=steps,
    )


@pytest.mark.parametrize(
    ("before", "after", "control", "share", "grafted", "expected"),
    [
        (2.0, 1.5, (2.0, 1.8), 1.0, True, 0.5 - 0.2 - 0.002 - 0.005),
        (2.0, 1.5, (2.0, 1.8), 0.0, False, 0.3),
        (1.0, 1.2, (1.0, 0.9), 2.5, False, -0.2 - 0.1 - 0.005),
        (9.0, 2.0, (2.0, 2.0), 0.0, False, 0.5),
        (2.0, math.inf, (2.0, 1.0), 0.0, False, -0.5 - 1.0),
        (math.inf, math.inf, (math.inf, math.inf), 0.0, False, 0.0),
    ],
)
def test_rewards_equal_the_table(before, after, control, share, grafted, expected):
    """[R35] The sum of gain, control, rent and price, each beside the others."""
    paid = reward(before, after, control=control, share=share, grafted=grafted)
    assert float(paid.total[0]) == pytest.approx(expected, abs=1e-12)
    assert float(paid.rent[0]) == pytest.approx(0.02 * share / 10)
    assert float(paid.graft_cost[0]) == (0.005 if grafted else 0.0)


def test_without_control_variate_the_host_s_own_learning_is_paid():
    """[R35] The table's first row: .5 - rent - price, and a control gain of 0."""
    config = RewardConfig(loss_cap=2.5, rent=0.02, graft_cost=0.005, control_variate=False)
    paid = reward(2.0, 1.5, control=(2.0, 1.8), share=1.0, grafted=True, config=config)
    assert float(paid.control_gain[0]) == 0.0
    assert float(paid.total[0]) == pytest.approx(0.5 - 0.002 - 0.005, abs=1e-12)


def test_gains_telescope_so_that_going_to_and_fro_earns_nothing():
    """[R35] Over an episode the gains sum to the capped first minus the capped last loss, whatever lies between."""
    losses = [2.3, math.inf, 0.4, 7.0, 1.9, 0.8]
    total = sum(float(reward(a, b).gain[0]) for a, b in itertools.pairwise(losses))
    assert total == pytest.approx(2.3 - 0.8)


def test_environments_are_paid_apart():
    """[R32]"""
    paid = step_reward(
        CONFIG,
        losses=(np.array([2.0, 1.0]), np.array([1.0, 1.0])),
        control_losses=(np.array([1.0, 1.0]), np.array([1.0, 0.5])),
        graft_share=np.array([0.0, 1.0]),
        grafted=np.array([False, True]),
        steps=1,
    )
    assert paid.total.tolist() == pytest.approx([1.0, -0.5 - 0.02 - 0.005])


@pytest.mark.parametrize("wrong", [{"loss_cap": 0.0}, {"rent": -0.1}, {"graft_cost": -0.1}])
def test_impossible_prices_are_refused(wrong):
    """[R37]"""
    with pytest.raises(
        InvalidArgument, match=r"`reward` got loss_cap .*, rent .*, graft_cost .*, wanted a positive cap"
    ):
        RewardConfig(**wrong)
