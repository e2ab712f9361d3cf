"""One PPO run, and one stream of observations, on a task whose observations are distorted.

Axes: E environments, D features of an observation.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env import VecNormalize as TheirVecNormalize

from accredit.integrations.stable_baselines3 import VecNormalize as OurVecNormalize

N_ENVS = 8
LAST_SHARE = 0.25
"""Part of the steps at the end of a run whose episodes are its final return."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of Gymnasium, how long it is trained, and with which settings of PPO (chosen on VecNormalize)."""

    environment: str
    """Its name in Gymnasium; observations are float64."""
    n_steps: int
    """Steps of all environments together."""
    rollout: int
    """Steps an environment between two updates."""
    batch_size: int
    n_epochs: int
    learning_rate: float
    gamma: float
    gae_lambda: float
    log_std: float
    """Of actions at the start."""
    bin_steps: int
    """Steps of one point of the learning curve."""

    def settings(self) -> dict[str, Any]:
        """What the results depend on, as plain types."""
        return asdict(self) | {"n_envs": N_ENVS, "last_share": LAST_SHARE}


TASKS = {
    "InvertedPendulum": Task(
        environment="InvertedPendulum-v5",
        n_steps=40_000,
        rollout=128,
        batch_size=128,
        n_epochs=8,
        learning_rate=1e-3,
        gamma=0.99,
        gae_lambda=0.95,
        log_std=0.0,
        bin_steps=4_000,
    ),
    "HalfCheetah": Task(
        environment="HalfCheetah-v5",
        n_steps=100_000,
        rollout=256,
        batch_size=256,
        n_epochs=8,
        learning_rate=1e-3,
        gamma=0.98,
        gae_lambda=0.92,
        log_std=-1.5,
        bin_steps=8_000,
    ),
}
QUICK = {"InvertedPendulum": 8_000, "HalfCheetah": 32_000}
"""Steps of --quick: at least four episodes of HalfCheetah an environment."""

NORMALIZERS: dict[str, Callable[[VecEnv, float], VecEnv]] = {
    "nothing": lambda venv, gamma: venv,  # noqa: ARG005 - one signature for all
    "VecNormalize": lambda venv, gamma: TheirVecNormalize(venv, gamma=gamma),
    "accredit": lambda venv, gamma: OurVecNormalize(venv, gamma=gamma),
}


@dataclass(frozen=True)
class Variant:
    """What happens to the observations of a task: scale x + shift, and one row of NaN half way."""

    scale: float = 1.0
    shift: float = 0.0
    has_nan: bool = False


VARIANTS = {
    "plain": Variant(),
    "scaled 1e3": Variant(scale=1e3),
    "shifted 1e6": Variant(shift=1e6),
    "one NaN row": Variant(has_nan=True),
}


class Distorted(gymnasium.ObservationWrapper):
    """Observations in float64 in another unit, about another zero, or with one row of NaN."""

    def __init__(self, env: gymnasium.Env, variant: Variant, nan_from: int | None) -> None:
        super().__init__(env)
        if env.observation_space.dtype != np.float64:
            raise TypeError(
                f"`env` observes {env.observation_space.dtype}, but 1e6 + x needs float64; pass another environment."
            )
        self.variant, self.nan_from, self.n_steps = variant, nan_from, 0

    def observation(self, observation: NDArray[np.float64]) -> NDArray[np.float64]:
        return observation * self.variant.scale + self.variant.shift

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self.observation(observation)
        self.n_steps += 1
        # not the last of an episode: those are read for bootstrapping alone, if at all
        if self.nan_from is not None and self.n_steps >= self.nan_from and not (terminated or truncated):
            observation, self.nan_from = np.full_like(observation, np.nan), None
        return observation, reward, terminated, truncated, info


def environments(task: Task, variant: str, seed: int) -> DummyVecEnv:
    """E environments; the NaN comes in the first of them, half way through the run."""

    def maker(index: int) -> Callable[[], gymnasium.Env]:
        half = task.n_steps // N_ENVS // 2 if VARIANTS[variant].has_nan and index == 0 else None
        return lambda: Monitor(Distorted(gymnasium.make(task.environment), VARIANTS[variant], half))

    venv = DummyVecEnv([maker(index) for index in range(N_ENVS)])
    venv.seed(seed)
    return venv


class Episodes(BaseCallback):
    """Ends of episodes with their returns in the unit of the task."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.episodes.append((self.num_timesteps, float(info["episode"]["r"])))
        return True


def first_line(error: Exception) -> str:
    """Without the tensors that torch prints below it."""
    return (str(error).splitlines() or [""])[0].removesuffix(", but found invalid values:")


def learner(task: Task, venv: VecEnv, seed: int) -> PPO:
    """PPO that has learned nothing yet."""
    return PPO(
        "MlpPolicy",
        venv,
        n_steps=task.rollout,
        batch_size=task.batch_size,
        n_epochs=task.n_epochs,
        learning_rate=task.learning_rate,
        gamma=task.gamma,
        gae_lambda=task.gae_lambda,
        policy_kwargs={"log_std_init": task.log_std},
        seed=seed,
        device="cpu",
    )


def train(name: str, variant: str, normalizer: str, *, seed: int, n_steps: int | None = None) -> dict[str, Any]:
    """Train once.

    Returns:
        The cell, its episodes as (step at their end, return), and the failure, None where there was none.
    """
    torch.set_num_threads(1)
    task = TASKS[name] if n_steps is None else replace(TASKS[name], n_steps=n_steps)
    started, recorder, failure = time.perf_counter(), Episodes(), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        venv = NORMALIZERS[normalizer](environments(task, variant, seed), task.gamma)
        model = learner(task, venv, seed)
        try:
            model.learn(task.n_steps, callback=recorder)
        except Exception as error:  # foreign code; what it raised is the result
            failure = {"step": model.num_timesteps, "message": f"{type(error).__name__}: {first_line(error)}"}
    venv.close()
    return {
        "kind": "training",
        "task": name,
        "variant": variant,
        "normalizer": normalizer,
        "seed": seed,
        "n_steps": task.n_steps,
        "episodes": recorder.episodes,
        "failure": failure,
        "duration_s": time.perf_counter() - started,
    }
