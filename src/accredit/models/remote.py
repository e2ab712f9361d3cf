"""Values of a model from other processes: what travels to them, what they keep, and what the engine calls instead.

The model, its batches and its metrics travel as one parcel, once to every process and again only where they have
changed. The calls of the engine then carry no more than the key of the parcel and the masks. Whatever is decided about
how values round is decided where `begin` is called and travels in the parcel, so that all processes give equal values.

Parcels and calls are pickled: by a process for others that it or its user started, never read from a file.

Axes: M coalitions, N players.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accredit.attribution.prepared import PreparedEvaluation
from accredit.attribution.protocols import MaskArray
from accredit.errors import InvalidArgument, StateMismatch
from accredit.models.value import ModelValue

CHUNKS_PER_WORKER = 3
"""Enough that an unlucky worker does not keep the others waiting, few enough that neighbours share their work."""


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A model value on its way to other processes."""

    key: str
    """SHA-256 of the content."""
    content: bytes


def packed(value: ModelValue) -> Parcel:
    """The value as it is now.

    Raises:
        InvalidArgument: some part of it cannot be pickled; the message names it.
    """
    content = io.BytesIO()
    try:
        pickle.dump(value, content, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        name, why = _unpicklable_part(value, error)
        raise InvalidArgument(
            f"`{name}` cannot be sent to workers ({type(why).__name__}: {why}), wanted something that can be pickled; "
            "use functions and classes of an importable module in place of lambdas and local ones, and batches as a "
            "list, a DataLoader or such a function."
        ) from error
    return Parcel(key=hashlib.sha256(content.getbuffer()).hexdigest(), content=content.getvalue())


def _unpicklable_part(value: ModelValue, error: Exception) -> tuple[str, Exception]:
    """Name of the argument that does not pickle, and why."""
    parts: dict[str, Any] = {"model": value.switchable.model, "forward": value.switchable.forward}
    parts |= {f"components[{each.name!r}]": each for each in value.switchable.components}
    parts |= {"batches": value.batches.source, "target": value.target}
    parts |= {f"metrics[{metric.output.name!r}]": metric for metric in value.metrics}
    for name, part in parts.items():
        try:
            pickle.dumps(part)
        except Exception as why:
            return name, why
    return "value", error


@dataclass(frozen=True, kw_only=True)
class TorchSettings:
    """Settings of torch that decide how results round."""

    n_threads: int | None
    """None: as the process has it."""
    default_dtype: torch.dtype
    matmul_precision: str
    deterministic: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool

    @staticmethod
    def now(*, n_threads: int | None = None) -> TorchSettings:
        """Those of this process, with a number of threads for the others."""
        return TorchSettings(
            n_threads=n_threads,
            default_dtype=torch.get_default_dtype(),
            matmul_precision=torch.get_float32_matmul_precision(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            cudnn_deterministic=torch.backends.cudnn.deterministic,
            cudnn_benchmark=torch.backends.cudnn.benchmark,
        )

    def apply(self) -> None:
        """Make them those of this process."""
        if self.n_threads is not None:
            torch.set_num_threads(self.n_threads)
        torch.set_default_dtype(self.default_dtype)
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        torch.backends.cudnn.benchmark = self.cudnn_benchmark


class _Shelf:
    """The parcels that this process holds, opened where they were asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.parcels: dict[str, Parcel] = {}
        self.values: dict[str, ModelValue] = {}


_SHELF = _Shelf()


def hold(parcel: Parcel) -> None:
    """Keep a parcel for the calls to come, in the process that this runs in."""
    with _SHELF.lock:
        if parcel.key not in _SHELF.values:
            _SHELF.parcels[parcel.key] = parcel


def let_go(key: str) -> None:
    """Hold a parcel no longer."""
    with _SHELF.lock:
        _SHELF.parcels.pop(key, None)
        _SHELF.values.pop(key, None)


def held(key: str) -> ModelValue:
    """The value of a parcel that this process holds.

    Raises:
        StateMismatch: it does not.
    """
    with _SHELF.lock:
        if key in _SHELF.values:
            return _SHELF.values[key]
        if key not in _SHELF.parcels:
            raise StateMismatch(
                f"`value` stands for the model {key[:8]}, but this process holds {_held_keys()}, wanted a process that "
                "it was sent to; pass the executor of the same workers, `executor=workers.executor`."
            )
        # opened at the first call, not on arrival: what goes wrong then is the failure of a call, with its reason
        value: ModelValue = pickle.loads(_SHELF.parcels[key].content)
        del _SHELF.parcels[key]  # or the model would be in memory twice
        _SHELF.values[key] = value
        return value


def _held_keys() -> str:
    """What is held, for messages."""
    return ", ".join(key[:8] for key in (*_SHELF.parcels, *_SHELF.values)) or "none"


def ways_used(key: str) -> tuple[str, ...]:
    """How this process evaluated coalitions of one model so far: "loop", "replay", ..."""
    with _SHELF.lock:
        return tuple(_SHELF.values[key].choice.used) if key in _SHELF.values else ()


@dataclass(frozen=True)
class HeldValue:
    """What a call carries in place of the model."""

    key: str
    """Of the parcel."""

    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], by the model that this process holds."""
        value = held(self.key)
        try:
            return value(masks)
        except Exception as error:
            failure = _sendable(error)
        # out here, or the error would travel along as its context, where Dask pickles contexts too
        raise failure


def _sendable(error: Exception) -> Exception:
    """The error with the place where it was raised, which pickling loses; another one where it does not pickle."""
    place = f"in a worker:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))
        # as it is done without what Dask adds to pickling where it is imported, here or at the other end
        recipe: Any = error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        recipe[0](*recipe[1])
        found = error
    except Exception:
        # not an error of ours: the call is then repeated coalition by coalition, and the culprit named
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note(place)
    return found


class RemoteValue(PreparedEvaluation):
    """A model value whose passes run in workers, for `compute_matrix(value_function=..., executor=...)`.

    Pickled, it is nothing but a key. Without an executor it evaluates in this process.

    Args:
        value: the value itself.
        n_workers: how many share the work now.
        send: brings a parcel to all workers.
        report: how the workers evaluated the parcel of a key so far; must not raise.
    """

    def __init__(
        self,
        value: ModelValue,
        *,
        n_workers: Callable[[], int],
        send: Callable[[Parcel], None],
        report: Callable[[str], Sequence[str]],
    ) -> None:
        self._value, self._n_workers, self._send, self._report = value, n_workers, send, report
        if not value.batches.sums:
            # every worker compares its batches with these: a shuffled loader would give each of them others
            with value.switchable.evaluating():
                for _ in value.batches:
                    pass
        packed(value)  # what cannot be sent is found before a worker is waited for
        self._key = ""

    def __reduce__(self) -> tuple[type[HeldValue], tuple[str]]:
        """Nothing but the key."""
        return HeldValue, (self._key,)

    def begin(self, numerics: str | None) -> str:
        """Look at the model here, and send it to the workers as it is now, with what was decided."""
        decided = self._value.begin(numerics)
        parcel = packed(self._value)
        if parcel.key != self._key:
            self._send(parcel)
            self._key = parcel.key
        return decided

    def calls(self, masks: MaskArray, most: int) -> list[MaskArray]:
        """Masks [M, N] in the order of the value itself, a few calls for every worker."""
        inspection = self._value.inspection
        order = inspection.order if inspection else tuple(range(masks.shape[1]))
        in_order = masks[self._value.sorted_rows(masks)]
        return cut_apart(in_order, n_calls=CHUNKS_PER_WORKER * max(1, self._n_workers()), most=most, order=order)

    def mechanism(self) -> str:
        """How coalitions were evaluated so far, in workers and here."""
        return ", ".join(dict.fromkeys((*self._report(self._key), *self._value.choice.used)))

    def __call__(self, masks: Tensor) -> Mapping[str, Tensor]:
        """Values of masks [M, N], in this process."""
        return self._value(masks)


def cut_apart(masks: MaskArray, *, n_calls: int, most: int, order: Sequence[int]) -> list[MaskArray]:
    """Sorted masks [M, N] in about `n_calls` calls, cut where neighbours have least in common.

    Args:
        masks: bool [M, N], sorted by the players in `order`.
        n_calls: wanted number of calls.
        most: most coalitions in a call.
        order: players, the one that is executed first in front; [N].

    Example:
        >>> masks = np.array([[True, True], [True, False], [False, True]])
        >>> [len(call) for call in cut_apart(masks, n_calls=2, most=8, order=(0, 1))]
        [2, 1]
    """
    if not len(masks):
        return []
    size = min(most, -(-len(masks) // n_calls))
    in_order = masks[:, list(order)]
    # [M - 1]: the first player in which neighbours differ; what is executed before it can be shared
    shared = (in_order[1:] != in_order[:-1]).argmax(axis=1)
    ends = [0]
    while len(masks) - ends[-1] > size:
        shortest = ends[-1] + max(1, size * 3 // 4)
        candidates = np.arange(ends[-1] + size, shortest - 1, -1)
        ends.append(int(candidates[shared[candidates - 1].argmin()]))
    return [masks[begin:end] for begin, end in zip(ends, [*ends[1:], len(masks)], strict=True)]
