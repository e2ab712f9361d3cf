"""Advantages against a table computed by hand.

T = 3 steps, E = 2 environments, gamma 0.9, lambda 0.8, so that gamma lambda = 0.72.
"""

import pytest
import torch

from accredit.ppo.rollout import Rollout
from accredit.ppo.update import Decisions

VALUES = [[0.5, 0.1], [0.4, 0.2], [0.3, 0.3]]
REWARDS = [[1.0, 1.0], [0.0, 2.0], [2.0, 3.0]]
LAST = torch.tensor([0.2, 0.7])
# environment 0 never ends:       delta = .86, -.13, 1.88;  A = .86 + .72 * 1.2236, -.13 + .72 * 1.88, 1.88
# environment 1 ends at its 2nd:  delta = 1.08, 1.8, 3.33;  A = 1.08 + .72 * 1.8, 1.8, 3.33
ADVANTAGES = [[1.740992, 2.376], [1.2236, 1.8], [1.88, 3.33]]


def decisions(*, terminated: list[list[bool]], gamma: float = 0.9, gae_lambda: float = 0.8) -> Decisions:
    rollout = Rollout()
    for step in range(3):
        rollout.observations.append(torch.tensor([[step, 0.0], [step, 1.0]]))
        rollout.masks.append(torch.tensor([[True, step == 0], [True, False]]))
        rollout.actions.append(torch.tensor([2 * step, 2 * step + 1]))
        rollout.log_probabilities.append(torch.tensor([-0.1 * step, -0.2 * step]))
        rollout.values.append(torch.tensor(VALUES[step]))
        rollout.rewards.append(torch.tensor(REWARDS[step]))
        rollout.terminated.append(torch.tensor(terminated[step]))
    return rollout.decisions(LAST, gamma=gamma, gae_lambda=gae_lambda)


def test_advantages_equal_the_table_also_where_an_episode_ends():
    """[R35] Nothing flows over a terminal state: neither its value nor the advantages behind it."""
    flat = decisions(terminated=[[False, False], [False, True], [False, False]])
    wanted = torch.tensor(ADVANTAGES)
    assert torch.allclose(flat.advantages, wanted.flatten(), atol=1e-6)
    assert torch.allclose(flat.value_targets, (wanted + torch.tensor(VALUES)).flatten(), atol=1e-6)


def test_an_end_at_the_last_step_takes_nothing_from_the_next_episode():
    """[R35] delta = r - V there: 2 - .3 and 3 - .3."""
    flat = decisions(terminated=[[False, False], [False, False], [True, True]])
    assert flat.advantages[-2:].tolist() == pytest.approx([1.7, 2.7], abs=1e-6)


def test_without_discount_and_with_lambda_one_targets_are_the_rewards_that_follow():
    """[R35]"""
    flat = decisions(terminated=[[False, False], [False, False], [True, True]], gamma=1.0, gae_lambda=1.0)
    assert flat.value_targets.tolist() == pytest.approx([3.0, 6.0, 2.0, 5.0, 2.0, 3.0], abs=1e-6)


def test_a_flat_rollout_keeps_each_decision_together():
    """[R35] Step after step, environments side by side; observation, mask, action and log-probability of one row."""
    flat = decisions(terminated=[[False, False]] * 3)
    assert len(flat) == 6
    assert flat.actions.tolist() == [0, 1, 2, 3, 4, 5]
    assert flat.observations.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert flat.masks[:, 1].tolist() == [True, False, False, False, False, False]
    assert flat.log_probabilities.tolist() == pytest.approx([0, 0, -0.1, -0.2, -0.2, -0.4])


def test_a_rollout_with_a_memory_says_which_decisions_follow_one_another():
    """[R35] Without one it says nothing, and each decision stands for itself."""
    assert decisions(terminated=[[False, False]] * 3).sequences is None
    rollout, memory = Rollout(memory=torch.arange(8.0).view(2, 4)), [[True, False], [False, False], [False, True]]
    for step in range(3):
        for column in (rollout.values, rollout.rewards, rollout.log_probabilities):
            column.append(torch.zeros(2))
        rollout.observations.append(torch.zeros(2, 1))
        rollout.masks.append(torch.ones(2, 2, dtype=torch.bool))
        rollout.actions.append(torch.zeros(2, dtype=torch.int64))
        rollout.terminated.append(torch.zeros(2, dtype=torch.bool))
        rollout.begins.append(torch.tensor(memory[step]))
    sequences = rollout.decisions(LAST, gamma=1.0, gae_lambda=1.0).sequences
    assert sequences is not None
    assert sequences.begins.tolist() == memory
    assert rollout.memory is not None
    assert torch.equal(sequences.memory, rollout.memory)
