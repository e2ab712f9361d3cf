"""Batches of any make, how a model is called on them, and whether they stay the same from pass to pass.

What a batch is taken for, unless `forward` and `target` say otherwise:

    tensor                the only input; there is no target
    tuple or list         model(*batch[:-1]); the last one is the target
    mapping               model(**batch) without the target, which is named "labels", "label", "targets", "target" or
    "y"
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument, StateMismatch
from accredit.models.contents import contents, strided_parts, with_tensors

Batches: TypeAlias = "Iterable[Any] | Callable[[], Iterable[Any]]"
"""A DataLoader, a list, or a function that returns an iterable over the same batches at every call."""
Forward: TypeAlias = Callable[[nn.Module, Any], Any]
TARGET_NAMES = ("labels", "label", "targets", "target", "y")


def default_forward(model: nn.Module, batch: Any) -> Any:
    """Call the model on a batch as the table above says."""
    if isinstance(batch, Tensor):
        return model(batch)
    if isinstance(batch, Mapping):
        return model(**{name: value for name, value in batch.items() if name not in TARGET_NAMES})
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return model(*batch[:-1])
    raise InvalidArgument(
        f"`batches` gave a {type(batch).__name__}{' of one item' if isinstance(batch, tuple | list) else ''}, wanted a "
        "tensor, a tuple (inputs..., target) or a mapping; say by `forward=` how the model is called on it."
    )


def default_target(batch: Any) -> Tensor | None:
    """The target of a batch as the table above says; None where it has none."""
    if isinstance(batch, Mapping):
        return next((batch[name] for name in TARGET_NAMES if name in batch), None)
    return batch[-1] if isinstance(batch, tuple | list) else None


@dataclass(frozen=True)
class ForwardPass:
    """The model on one batch: call it for the output."""

    model: nn.Module
    forward: Forward
    batch: Any

    def __call__(self) -> Any:
        """One pass."""
        return self.forward(self.model, self.batch)


@dataclass(frozen=True)
class OnCopies:
    """A way to call a model that writes into its inputs: every pass gets inputs of its own."""

    forward: Forward

    def __call__(self, model: nn.Module, batch: Any) -> Any:
        """One pass on a copy of the batch."""
        return self.forward(model, with_tensors(Tensor.clone, batch))


@dataclass(eq=False)
class CheckedBatches:
    """Batches that must be the same in every pass; the first pass sets what they are."""

    source: Batches
    device: torch.device | None
    sums: list[int] = field(default_factory=list)
    """A checksum per batch, once a pass has ended."""

    @property
    def number(self) -> int:
        """How many batches there are, as far as is known before the end of the first pass; at least 1."""
        if self.sums:
            return len(self.sums)
        return max(1, len(self.source)) if isinstance(self.source, Sized) else 1

    def __iter__(self) -> Generator[Any, None, None]:
        """One pass over the batches, moved to the device.

        Raises:
            InvalidArgument: no batch, or an iterator that can be gone through only once.
            StateMismatch: another number of batches, or other contents, than in the first pass.
        """
        given = self.source() if callable(self.source) else self.source
        try:
            iterator = iter(given)
        except TypeError as error:
            returned = "returned" if callable(self.source) else "is"
            raise InvalidArgument(
                f"`batches` {returned} a {type(given).__name__}, wanted batches to go through; pass a list, a "
                "DataLoader, or a function that returns an iterable."
            ) from error
        if iterator is given and not callable(self.source):
            raise InvalidArgument(
                f"`batches` is a {type(given).__name__}, which can be gone through only once, wanted batches for many "
                "passes; pass a list, a DataLoader, or a function that returns a new iterator."
            )
        sums: list[int] = []
        for number, batch in enumerate(iterator):
            sums.append(checksum(batch))
            if self.sums and (number >= len(self.sums) or sums[-1] != self.sums[number]):
                raise StateMismatch(
                    f"`batches` gave batch {number} with other contents than in the first pass, wanted the same "
                    f"batches "
                    "in every pass, for coalitions are compared on them; switch shuffling and random augmentation off, "
                    "or pass list(batches)."
                )
            yield batch if self.device is None else moved(batch, self.device)
        if not sums:
            raise InvalidArgument("`batches` is empty, wanted at least one batch; pass the examples to evaluate on.")
        if self.sums and len(sums) != len(self.sums):
            raise StateMismatch(
                f"`batches` gave {len(sums)} batches, wanted {len(self.sums)} as in the first pass; pass batches that "
                "do not change."
            )
        self.sums = sums


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with every tensor on the device."""
    return with_tensors(lambda tensor: tensor.to(device), batch)


def checksum(batch: Any) -> int:
    """CRC-32 over the bytes, shapes and types of every tensor and array, and the text of other plain contents."""
    total = 0
    for leaf in contents(batch):
        if isinstance(leaf, Tensor):
            for part in strided_parts(leaf):
                total = zlib.crc32(f"{tuple(part.shape)} {part.dtype}".encode(), total)
                plain = part.cpu().contiguous()
                if plain.numel():
                    total = zlib.crc32(plain.view(-1).view(torch.uint8).numpy().data, total)
        elif isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
            total = zlib.crc32(f"{leaf.shape} {leaf.dtype}".encode(), total)
            total = zlib.crc32(leaf.tobytes(), total)
        elif isinstance(leaf, str | int | float | bool | bytes) or leaf is None:
            total = zlib.crc32(repr(leaf).encode(), total)
    return total
