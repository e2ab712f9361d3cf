"""The state of running statistics: buffers that keep their precision, and a configuration that is verified on load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accredit.errors import InvalidArgument, StateMismatch
from accredit.moments import Moments, effective_count, sample_variance
from accredit.normalize.checks import check_settings

# what torch hands to `_apply` and `_load_from_state_dict`; torch does not type it either
Transfer: TypeAlias = Any


def keep_precision(transfer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let a transfer of a module's buffers change their device but not their dtype.

    `.half()` of a policy would otherwise round the statistics inside it to three digits, and end counting at 2048.
    """

    def transfer_exactly(buffer: Tensor) -> Tensor:
        moved = transfer(buffer)
        return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

    return transfer_exactly


def check_configuration(saved: Tensor | None, own: Tensor, *, names: Sequence[str]) -> None:
    """Refuse a saved configuration that is not our own, naming each difference.

    Args:
        saved: [names + axes of the shape], or None where the state holds none; torch reports that one as missing.
        own: the same of the object that loads.
        names: of the leading entries; the others are the shape.
    """
    if saved is None or saved.tolist() == own.tolist():
        return
    before, now = _settings(saved, names), _settings(own, names)
    differences = "; ".join(f"{name} {before[name]} against {now[name]}" for name in now if before[name] != now[name])
    raise StateMismatch(
        f"`state_dict` was saved with another configuration than this object's ({differences}), but statistics only "
        "continue under their own; build the object with the saved values."
    )


def _settings(packed: Tensor, names: Sequence[str]) -> dict[str, object]:
    numbers = packed.tolist()
    settings: dict[str, object] = dict(zip(names, numbers, strict=False))
    if settings.get("horizon") == math.inf:
        settings["horizon"] = None
    settings["shape"] = tuple(int(size) for size in numbers[len(names) :])
    return settings


class HostState(NamedTuple):
    """NumPy views of buffers on the CPU, and what tells whether they still are views of them."""

    moments: NDArray[np.float64]
    """[2, D]"""
    tallies: NDArray[np.float64]
    """[5]"""
    buffers: tuple[Tensor, Tensor]
    addresses: tuple[int, int]


class Statistics(nn.Module):
    """Buffers of running statistics, their reading, saving and moving; what feeds them derives from this class.

    Every feature has one column of `moments` (means, then population variances), whatever the shape of a sample.
    `tallies` holds W and Q of `accredit.moments` and the numbers of rows seen, dropped and masked; float64 counts
    exactly up to 2^53.

    Args:
        shape: of one sample, without batch axes.
        horizon: in samples, None forgets nothing.
        clip: bound of the normalized output.
        epsilon: floor on the variance.
        device: of the buffers.

    Raises:
        InvalidArgument: an argument out of range.
    """

    moments: Tensor
    tallies: Tensor
    _host: HostState | None = None

    def __init__(
        self,
        shape: int | Sequence[int],
        *,
        horizon: float | None = None,
        clip: float = 10.0,
        epsilon: float = 1e-8,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_settings(horizon=horizon, clip=clip, epsilon=epsilon)
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.horizon = horizon
        self.clip = clip
        self.epsilon = epsilon
        self.frozen = False
        self.n_features = math.prod(self.shape)
        if self.n_features < 1 or min(self.shape, default=1) < 1:
            raise InvalidArgument(
                f"`shape` is {self.shape}, but statistics need at least one feature; pass sizes >= 1."
            )
        # One row for the means, one for the variances: never an axis-free float64 buffer, whose in-place updates
        # torch.compile loses.
        start = torch.tensor([[0.0], [1.0]], dtype=torch.float64, device=device).repeat(1, self.n_features)
        self.register_buffer("moments", start)
        self.register_buffer("tallies", torch.zeros(5, dtype=torch.float64, device=device))

    def reset(self) -> None:
        """Forget everything, counts included: the state of a new object."""
        self.moments[0] = 0.0
        self.moments[1] = 1.0
        self.tallies.zero_()

    @property
    def mean(self) -> Tensor:
        """Mean [*shape], float64, a copy; 0 before the first update."""
        return self.moments[0].view(self.shape).clone()

    @property
    def var(self) -> Tensor:
        """Population variance [*shape], float64, a copy; 1 before the first update."""
        return self.moments[1].view(self.shape).clone()

    @property
    def sample_var(self) -> Tensor:
        """Unbiased variance [*shape], var K / (K - 1) at effective count K; NaN up to one effective sample."""
        return sample_variance(self.var, self.effective_count)

    @property
    def std(self) -> Tensor:
        """Population standard deviation [*shape], float64, without the floor that `normalize` uses."""
        return self.var.sqrt()

    @property
    def count(self) -> Tensor:
        """Samples seen, int64, without axes; never decays."""
        return self.tallies[2].long()

    @property
    def dropped(self) -> Tensor:
        """Rows left out for a NaN or an infinity, int64."""
        return self.tallies[3].long()

    @property
    def masked(self) -> Tensor:
        """Rows left out by a mask, int64."""
        return self.tallies[4].long()

    @property
    def effective_count(self) -> Tensor:
        """Kish's effective sample size, float64: what the statistics are worth; equals `count` without a horizon."""
        effective: Tensor = effective_count(self.tallies[0], self.tallies[1])
        return effective

    def on_host(self) -> HostState:
        """NumPy views of the buffers, kept because making them costs as much as a small batch.

        A buffer can be replaced (`to`, loading with `assign`) and its memory can move under it (sharing it with another
        process), so both are looked at on every call.
        """
        # the dictionary instead of the attributes: a module looks for its buffers last
        buffers = self._buffers
        moments, tallies = cast("Tensor", buffers["moments"]), cast("Tensor", buffers["tallies"])
        host = self._host
        if (
            host is not None
            and host.buffers[0] is moments
            and host.buffers[1] is tallies
            and host.addresses == (moments.data_ptr(), tallies.data_ptr())
        ):
            return host
        addresses = (moments.data_ptr(), tallies.data_ptr())
        self._host = HostState(moments.numpy(), tallies.numpy(), (moments, tallies), addresses)
        return self._host

    def __getstate__(self) -> dict[str, object]:
        """Without the views: in a copy they would be of the wrong memory."""
        return {name: value for name, value in self.__dict__.items() if name != "_host"}

    def as_moments(self) -> Moments[Tensor]:
        """Views of the state, flat [D], as `accredit.moments` takes them."""
        return Moments(self.tallies[0], self.tallies[1], self.moments[0], self.moments[1])

    def write(self, moments: Moments[Tensor]) -> None:
        """Put moments, flat [D], in the place of the state."""
        self.moments.copy_(torch.stack((moments.mean, moments.var)))
        self.tallies[:2].copy_(torch.stack((moments.weight, moments.weight_of_squares)))

    def get_extra_state(self) -> Tensor:
        """The configuration as a tensor, so that a state dict stays one of tensors: horizon, clip, epsilon, *shape."""
        horizon = math.inf if self.horizon is None else self.horizon
        return torch.tensor([horizon, self.clip, self.epsilon, *self.shape], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing to set: the configuration is verified before anything is loaded."""

    def check_state(self, state_dict: Mapping[str, Tensor], prefix: str = "") -> None:
        """Refuse a state dict of another configuration, without loading anything.

        Args:
            state_dict: of a module that holds such statistics.
            prefix: of their entries in it.

        Raises:
            StateMismatch: with every difference.
        """
        check_configuration(
            state_dict.get(f"{prefix}_extra_state"), self.get_extra_state(), names=("horizon", "clip", "epsilon")
        )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Transfer) -> None:
        self.check_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Transfer, recurse: bool = True) -> Self:
        super()._apply(keep_precision(fn), recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """Configuration, for `print`."""
        return f"{self.shape}, horizon={self.horizon}, clip={self.clip}, epsilon={self.epsilon}"
