"""What a normalizer makes of distorted observations, beside what it makes of the plain ones.

Axes: T steps, E environments, D features.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from benchmarks.ppo_normalizers_runs import NORMALIZERS, TASKS, VARIANTS, environments
from numpy.typing import NDArray


def normalized(name: str, variant: str, normalizer: str, *, seed: int, n_steps: int) -> NDArray[np.float32]:
    """Normalized observations [T + 1, E, D] of random actions, the same for every variant and normalizer."""
    task = replace(TASKS[name], n_steps=n_steps)
    venv = NORMALIZERS[normalizer](environments(task, variant, seed), task.gamma)
    rng = np.random.default_rng(seed)
    box = venv.action_space
    observations = [venv.reset()]
    for _ in range(n_steps // venv.num_envs):
        actions = rng.uniform(box.low, box.high, (venv.num_envs, *box.shape)).astype(np.float32)
        observations.append(venv.step(actions)[0])
    venv.close()
    return np.stack(observations)


def largest_difference(plain: NDArray[np.float32], other: NDArray[np.float32], *, skip: int | None) -> float | None:
    """Largest difference of two normalized observations, in standard deviations; None where one is not a number.

    Args:
        plain: [T + 1, E, D].
        other: [T + 1, E, D].
        skip: step at which the first environment observed NaN; that one row has no counterpart.
    """
    distance = np.abs(other.astype(np.float64) - plain)
    if skip is not None:
        distance[skip, 0] = 0.0
    return None if np.isnan(distance).any() else float(distance.max())


def differences(name: str, variant: str, *, seed: int, n_steps: int | None = None) -> dict[str, Any]:
    """Compare a variant with the plain task.

    Returns:
        For each normalizer the largest difference over a whole stream, None where it became NaN.
    """
    torch.set_num_threads(1)
    started, n_steps = time.perf_counter(), n_steps or TASKS[name].n_steps
    skip, found = None, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if VARIANTS[variant].has_nan:
            raw = normalized(name, variant, "nothing", seed=seed, n_steps=n_steps)
            skip = int(np.flatnonzero(np.isnan(raw[:, 0]).any(1)).item())
        for normalizer in ("VecNormalize", "accredit"):
            plain, other = (
                normalized(name, which, normalizer, seed=seed, n_steps=n_steps) for which in ("plain", variant)
            )
            found[normalizer] = largest_difference(plain, other, skip=skip)
    return {
        "kind": "observations",
        "task": name,
        "variant": variant,
        "seed": seed,
        "n_steps": n_steps,
        "differences": found,
        "duration_s": time.perf_counter() - started,
    }
