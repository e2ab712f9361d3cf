"""Agents of others train on `GrowthEnv`: a random one over masks, and SB3-contrib's MaskablePPO."""

import dataclasses
import warnings

import gymnasium
import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from training_toys import SHORT, TOY

from accredit.training.environment import GrowthEnv

STEPS = 256


class Watched(gymnasium.Wrapper):
    """Counts what an agent does that it should not."""

    def __init__(self, env: GrowthEnv) -> None:
        super().__init__(env)
        self.taken, self.illegal = 0, 0
        self.returns: list[float] = []

    def reset(self, **options: object) -> tuple[np.ndarray, dict]:
        self.returns.append(0.0)
        return self.env.reset(**options)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.taken += 1
        self.illegal += not self.env.action_masks()[action]
        outcome = self.env.step(action)
        assert self.observation_space.contains(outcome[0])
        self.returns[-1] += outcome[1]
        return outcome

    def action_masks(self) -> np.ndarray:
        return self.env.action_masks()


def watched() -> Watched:
    return Watched(GrowthEnv(task=TOY, config=dataclasses.replace(SHORT, host_seeds=2)))


def test_a_random_agent_plays_episodes_through_the_mask_of_the_info():
    """[R35] Gymnasium's own sampling takes the mask; both conventions agree at every step."""
    env = watched()
    env.action_space.seed(0)
    for episode in range(4):
        _, info = env.reset(seed=episode)
        ended, length = False, 0
        while not ended:
            assert np.array_equal(info["action_mask"], env.action_masks())
            action = env.action_space.sample(mask=info["action_mask"].astype(np.int8))
            _, reward, ended, truncated, info = env.step(action)
            assert np.isfinite(reward)
            assert not truncated
            length += 1
        assert length == SHORT.steps
    assert (env.taken, env.illegal) == (4 * SHORT.steps, 0)


def test_maskable_ppo_learns_on_it_without_an_illegal_action():
    """[R35] Its weights move and stay finite, and its policy plays on."""
    env = watched()
    assert is_masking_supported(env)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of theirs
        agent = MaskablePPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu")
        before = torch.cat([weight.detach().flatten() for weight in agent.policy.parameters()])
        agent.learn(STEPS)
        after = torch.cat([weight.detach().flatten() for weight in agent.policy.parameters()])
        observation, _ = env.reset(seed=1)
        action, _ = agent.predict(observation, action_masks=get_action_masks(env), deterministic=True)
    assert env.taken == STEPS
    assert env.illegal == 0
    assert bool(torch.isfinite(after).all())
    assert not torch.equal(before, after)
    assert np.isfinite(env.returns).all()
    assert env.action_masks()[int(action)]
