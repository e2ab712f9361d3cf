"""The running normalizers that people use, behind one face: `step` is update and normalize, as each ships it.

Statistics are those each library keeps; libraries that forget by default are set to keep everything, so that all answer
one question. A library that is not installed is left out and named.

Axes: B rows of a batch, D features.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from tensordict import TensorDict

Numbers = np.ndarray
Statistics = tuple[Numbers, Numbers]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One normalizer of one width."""

    step: Callable[[Tensor], object]
    """Update by [B, D] and return it normalized."""
    read: Callable[[], Statistics]
    """Mean and variance [D]."""
    resume: Callable[[float, float, float], None]
    """Go on from a mean, variance and count."""
    takes_numpy: bool = False
    """`step` wants NumPy arrays."""


def accredit(width: int) -> Peer:
    from accredit.normalize import RunningMeanStd

    state = {"it": RunningMeanStd(width)}

    def step(x: Tensor) -> Tensor:
        return state["it"].update_and_normalize(x)

    def resume(mean: float, var: float, count: float) -> None:
        state["it"] = RunningMeanStd.from_moments(torch.full((width,), mean), torch.full((width,), var), count)

    return Peer(step=step, read=lambda: (state["it"].mean.numpy(), state["it"].var.numpy()), resume=resume)


def gymnasium(width: int) -> Peer:
    from gymnasium.wrappers.utils import RunningMeanStd

    # dtype and formula as in gymnasium.wrappers.vector.NormalizeObservation
    it = RunningMeanStd(shape=(width,), dtype=np.float32)

    def step(x: Numbers) -> Numbers:
        it.update(x)
        return ((x - it.mean) / np.sqrt(it.var + 1e-8)).astype(np.float32)

    def resume(mean: float, var: float, count: float) -> None:
        it.mean, it.var, it.count = np.full(width, mean, np.float32), np.full(width, var, np.float32), count

    return Peer(step=step, read=lambda: (it.mean, it.var), resume=resume, takes_numpy=True)


def stable_baselines3(width: int) -> Peer:
    from stable_baselines3.common.running_mean_std import RunningMeanStd

    it = RunningMeanStd(shape=(width,))

    def step(x: Numbers) -> Numbers:
        it.update(x)
        return np.clip((x - it.mean) / np.sqrt(it.var + 1e-8), -10.0, 10.0).astype(np.float32)

    def resume(mean: float, var: float, count: float) -> None:
        it.mean, it.var, it.count = np.full(width, mean), np.full(width, var), count

    return Peer(step=step, read=lambda: (it.mean, it.var), resume=resume, takes_numpy=True)


def wrapped(x: Tensor) -> TensorDict:
    """The tensordict that TorchRL's users have at hand; making it is not part of the step, so the last one is kept."""
    if _last.get("x") is not x:
        from tensordict import TensorDict

        _last.update(x=x, data=TensorDict({"x": x}, [len(x)]))
    return _last["data"]


_last: dict = {}


def torchrl_vecnorm(width: int) -> Peer:
    from torchrl.envs.transforms import VecNorm

    it = VecNorm(in_keys=["x"], out_keys=["y"], decay=1.0, new_api=False)

    def step(x: Tensor) -> Tensor:
        return it._call(wrapped(x))["y"]

    def read() -> Statistics:
        total, squares, count = (it._td[f"x_{name}"].double().numpy() for name in ("sum", "ssq", "count"))
        return total / count, squares / count - (total / count) ** 2

    def resume(mean: float, var: float, count: float) -> None:
        step(torch.zeros(1, width))
        it._td["x_sum"].fill_(mean * count)
        it._td["x_ssq"].fill_((var + mean**2) * count)
        it._td["x_count"].fill_(count)

    return Peer(step=step, read=read, resume=resume)


def torchrl_vecnorm_v2(width: int) -> Peer:
    from torchrl.envs.transforms import VecNormV2

    it = VecNormV2(in_keys=["x"], out_keys=["y"], decay=1.0, reduce_batch_dims=True)

    def step(x: Tensor) -> Tensor:
        data = wrapped(x)
        return it._step(data, data)["y"]

    def read() -> Statistics:
        mean, second = it._loc["x"].double().numpy(), it._var["x"].double().numpy()
        return mean, second - mean**2

    def resume(mean: float, var: float, count: float) -> None:
        step(torch.zeros(1, width))
        it._loc["x"].fill_(mean)
        it._var["x"].fill_(var + mean**2)
        it._count["x"].fill_(int(count))

    return Peer(step=step, read=read, resume=resume)


def rsl_rl(width: int) -> Peer:
    # the file alone: the package imports loggers that have nothing to do with it
    found = importlib.util.find_spec("rsl_rl")
    if found is None or found.submodule_search_locations is None:
        raise ImportError("rsl_rl")
    file = Path(next(iter(found.submodule_search_locations))) / "modules" / "normalization.py"
    spec = importlib.util.spec_from_file_location("rsl_rl_normalization", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    it = module.EmpiricalNormalization(width)

    def step(x: Tensor) -> Tensor:
        with torch.no_grad():
            it.update(x)
            return it(x)

    def resume(mean: float, var: float, count: float) -> None:
        it._mean.fill_(mean)
        it._var.fill_(var)
        it.count.fill_(int(count))

    return Peer(step=step, read=lambda: (it._mean[0].numpy(), it._var[0].numpy()), resume=resume)


def skrl(width: int) -> Peer:
    from skrl.resources.preprocessors.torch import RunningStandardScaler

    it = RunningStandardScaler(size=width, device="cpu")

    def resume(mean: float, var: float, count: float) -> None:
        it.running_mean = torch.full((width,), mean, dtype=torch.float64)
        it.running_variance = torch.full((width,), var, dtype=torch.float64)
        it.current_count = torch.tensor(count, dtype=torch.float64)

    return Peer(
        step=lambda x: it(x, train=True),
        read=lambda: (it.running_mean.numpy(), it.running_variance.numpy()),
        resume=resume,
    )


PEERS: dict[str, Callable[[int], Peer]] = {
    "accredit": accredit,
    "stable_baselines3": stable_baselines3,
    "gymnasium": gymnasium,
    "torchrl VecNorm": torchrl_vecnorm,
    "torchrl VecNormV2": torchrl_vecnorm_v2,
    "rsl_rl": rsl_rl,
    "skrl": skrl,
}

REQUIREMENTS = (
    "gymnasium",
    "stable-baselines3",
    "torchrl",
    "tensordict",
    "rsl-rl-lib",
    "skrl",
    "pandas",
    "python-dateutil",
    "six",
)
"""What the peers are called on PyPI; the last three are what stable-baselines3 imports."""


def installed() -> tuple[dict[str, Callable[[int], Peer]], list[str]]:
    """The peers that can be imported, and the names of the others."""
    found, missing = {}, []
    for name, make in PEERS.items():
        try:
            make(2)
        except ImportError:
            missing.append(name)
        else:
            found[name] = make
    return found, missing


RewardStep = Callable[[Numbers, Numbers], object]


def reward_peers(n_envs: int) -> dict[str, RewardStep]:
    """Scaling of one step of rewards, as each ships it, on the arrays each is fed."""
    from accredit.normalize import RewardNormalizer

    ours = RewardNormalizer(n_envs)
    steps: dict[str, RewardStep] = {
        "accredit": lambda reward, done: ours.update_and_normalize(torch.from_numpy(reward), torch.from_numpy(done))
    }
    try:
        from gymnasium.wrappers.utils import RunningMeanStd as GymnasiumRms
    except ImportError:
        pass
    else:
        gym_rms, gym_state = GymnasiumRms(shape=()), {"returns": np.zeros(n_envs, np.float32)}

        def gymnasium_step(reward: Numbers, done: Numbers) -> Numbers:
            gym_state["returns"] = gym_state["returns"] * 0.99 * (1 - done) + reward
            gym_rms.update(gym_state["returns"])
            return reward / np.sqrt(gym_rms.var + 1e-8)

        steps["gymnasium"] = gymnasium_step
    try:
        from stable_baselines3.common.running_mean_std import RunningMeanStd as Sb3Rms
    except ImportError:
        pass
    else:
        sb3_rms, sb3_state = Sb3Rms(shape=()), {"returns": np.zeros(n_envs)}

        def sb3_step(reward: Numbers, done: Numbers) -> Numbers:
            sb3_state["returns"] = sb3_state["returns"] * 0.99 + reward
            sb3_rms.update(sb3_state["returns"])
            scaled = np.clip(reward / np.sqrt(sb3_rms.var + 1e-8), -10, 10).astype(np.float32)
            sb3_state["returns"][done] = 0
            return scaled

        steps["stable_baselines3"] = sb3_step
    return steps
