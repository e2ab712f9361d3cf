"""What running out of memory looks like in torch, on the CPU and on a GPU."""

from __future__ import annotations

import torch


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "out of memory" in str(error))
