"""What makes two calls of a function the same call, and what is to be done with the functions of torch.

rule        functions                                       what replay does
RECALL      all that are not named here                     gives the earlier result
PLAIN       sizes, `item`, `bool`, ...: no tensor results   calls them, for that is as cheap
WRITE       `add_`, `x[...] = y`, `out=`, `inplace=True`    calls them; what shares the memory has new values
SHARE       `numpy`, `data_ptr`, ...                        calls them; nothing more is known of that memory
UNKNOWN     `empty`, ...                                    calls them; nothing is known of the result
GET_DATA    reading `x.data`                                an alias whose writes do not count in the version of x
SET_DATA    writing `x.data`                                x takes the value of another tensor
REFUSE      `backward`, ...                                   `NotReplayable`
GRADIENTS   `enable_grad`, `no_grad`                          `NotReplayable` where they are turned on
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import EllipsisType, MethodWrapperType, NoneType
from typing import Any

import torch
from torch import Tensor, nn


class Rule(enum.Enum):
    """What to do with a function, see above."""

    RECALL = enum.auto()
    PLAIN = enum.auto()
    WRITE = enum.auto()
    SHARE = enum.auto()
    UNKNOWN = enum.auto()
    GET_DATA = enum.auto()
    SET_DATA = enum.auto()
    REFUSE = enum.auto()
    GRADIENTS = enum.auto()


_PLAIN_NAMES = """
    size dim ndimension stride numel nelement element_size storage_offset get_device item tolist is_floating_point
    is_complex is_signed is_contiguous is_pinned is_inference is_conj is_neg is_nonzero is_same_size is_tensor equal
    allclose result_type can_cast is_shared requires_grad_ retain_grad register_hook __bool__ __len__ __float__ __int__
    __index__ __complex__ __repr__ __format__ __str__ __hash__ __contains__ _is_view
"""
_SHARE_NAMES = """
    numpy __array__ __array_wrap__ data_ptr untyped_storage storage _typed_storage __dlpack__ to_dlpack share_memory_
    __reduce_ex__ __deepcopy__ as_subclass
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())
_SHARE = frozenset(_SHARE_NAMES.split())
_UNKNOWN = frozenset(
    # memory without defined numbers, which kernels outside of torch may fill unseen
    ["empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "empty_quantized"]
)
_REFUSED = frozenset(["swap_tensors", "resize_as_sparse_", "backward"])
_OPERATOR_NAMES = "add sub mul truediv floordiv mod pow and or xor lshift rshift matmul"
_WRITING_OPERATORS = frozenset(f"__i{name}__" for name in _OPERATOR_NAMES.split())
_TENSOR_GETTERS = frozenset(["T", "mT", "H", "mH", "real", "imag"])


def rule_of(function: Callable[..., Any]) -> Rule:
    """The rule for a function, by its name; whether a call writes by `out=` or `inplace=True` is not seen here."""
    name = getattr(function, "__name__", "")
    if type(function) is MethodWrapperType:
        return _rule_of_attribute(name, getattr(function.__self__, "__name__", ""))
    if name == "_set_grad_enabled":
        return Rule.GRADIENTS
    named = {Rule.PLAIN: _PLAIN, Rule.SHARE: _SHARE, Rule.UNKNOWN: _UNKNOWN, Rule.REFUSE: _REFUSED}
    for rule, names in named.items():
        if name in names:
            return rule
    in_place = name.endswith("_") and not name.endswith("__")
    return Rule.WRITE if in_place or name == "__setitem__" or name in _WRITING_OPERATORS else Rule.RECALL


def _rule_of_attribute(access: str, attribute: str) -> Rule:
    """The rule for reading or writing an attribute of a tensor."""
    if access == "__get__":
        return Rule.GET_DATA if attribute == "data" else Rule.RECALL if attribute in _TENSOR_GETTERS else Rule.PLAIN
    if attribute == "data":
        return Rule.SET_DATA
    return Rule.PLAIN if attribute in ("requires_grad", "grad", "names") else Rule.REFUSE


ATOMS: frozenset[type] = frozenset(
    [
        int,
        bool,
        str,
        bytes,
        NoneType,
        EllipsisType,
        type,
        torch.dtype,
        torch.device,
        torch.layout,
        torch.memory_format,
    ]
)
"""Types of constants of which equal ones do the same, once their type is told as well."""
SEQUENCES: frozenset[type] = frozenset([tuple, list, torch.Size])
STRANGE, UNKEYABLE = -1, -2
"""Instead of players: a tensor of which nothing is known; an object that says nothing about itself."""


def surroundings() -> Any:
    """What else decides about a result: gradients, the default type and autocast."""
    if torch._C._is_any_autocast_enabled():
        kinds = [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]
        return torch.is_grad_enabled(), torch.get_default_dtype(), *kinds
    return torch.is_grad_enabled(), torch.get_default_dtype()


def attention_kernels() -> tuple[bool, ...]:
    """Which kernels of attention are allowed."""
    allowed: Any = torch.backends.cuda
    return allowed.flash_sdp_enabled(), allowed.mem_efficient_sdp_enabled(), allowed.math_sdp_enabled()


ATTENTION = frozenset(["scaled_dot_product_attention", "multi_head_attention_forward"])


def constant_key(constant: Any) -> tuple[Any, ...] | None:
    """Part of the key for what is no tensor and no container; None where nothing is known of it.

    Example:
        >>> constant_key(1) == constant_key(True), constant_key(0.0) == constant_key(-0.0)
        (False, False)
    """
    kind = type(constant)
    if kind in ATOMS:
        return (kind, constant)
    if kind is float:
        # 0.0 equals -0.0
        return (kind, constant if constant else str(constant))
    if kind is complex:
        return (kind, str(constant))
    if kind is slice:
        parts = [constant_key(part) for part in (constant.start, constant.stop, constant.step)]
        return None if None in parts else (slice, *parts)
    return None


def is_plain(tensor: object) -> bool:
    """Whether it is a tensor without behaviour of its own."""
    return type(tensor) is Tensor or type(tensor) is nn.Parameter
