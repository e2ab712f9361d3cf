"""Whether a module was made by `torch.compile`, without importing the compiler, which takes a second and 60 MB."""

from __future__ import annotations

import sys

from torch import nn


def is_compiled(module: nn.Module) -> bool:
    """Whether it is what `torch.compile(module)` returns.

    Example:
        >>> is_compiled(nn.Linear(1, 1))
        False
    """
    # nobody can have such a module before the compiler was imported
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(module, compiler.OptimizedModule)
