"""What running out of memory looks like in torch, on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from accredit.errors import OutOfMemory


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


_TEXTS = ("not enough memory", "out of memory", "can't allocate memory", "Cannot allocate memory")
"""As allocators on the CPU say it, by platform."""


@contextmanager
def named_out_of_memory() -> Iterator[None]:
    """Say what to do where a pass does not fit.

    Raises:
        OutOfMemory: from whatever the device raised.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error) or isinstance(error, OutOfMemory):
            raise
        raise OutOfMemory(
            f"`batches` gave a batch that does not fit into memory beside the model ({error}), wanted room for one "
            f"pass; "
            "pass smaller batches."
        ) from error
