"""How a layer of a host computes for all hosts of a stack at once.

Any module works through `torch.func`: its forward is mapped over the stacked parameters.  Layers that have a batched
operation of their own take that, which is faster; `form_of` is the one place that decides.

N hosts of a pass, B examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from accredit.errors import InvalidArgument
from accredit.growth.architectures import CausalAttention, Centred, FeedForward, Normalised, attended, normalised

Shape = tuple[int, ...]
Batched = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Parameters [N, *shape] and hidden values [N, B, ...] of N hosts -> what their layers return, [N, B, ...]."""
ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.ELU,
    nn.LeakyReLU,
    nn.Softplus,
    Normalised,
    Centred,
)
"""Layers without parameters that treat every number, or every vector along the last axis, alone."""


class StackForm(Protocol):
    """One layer of all hosts."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each parameter of one host."""
        ...

    @property
    def is_learned(self) -> tuple[bool, ...]:
        """Whether each parameter is learned."""
        ...

    def write(self, layer: nn.Module, tensors: Sequence[Tensor]) -> None:
        """Copy the parameters of `layer` into views of one row, of `shapes`, in place."""
        ...

    def read(self, tensors: Sequence[Tensor], layer: nn.Module) -> None:
        """Copy one row into the parameters of `layer`, in place."""
        ...

    def forward(self, tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Return what N layers make of `hidden` [N, B, ...], with parameters [N, *shape]."""
        ...


def form_of(layer: nn.Module) -> StackForm:
    """Return the fastest form for a layer.

    Raises:
        InvalidArgument: the layer cannot be stacked: it draws random numbers, keeps statistics of its batches, or has
            parameters other than float32.
    """
    for module in layer.modules():
        _check(module)
    if type(layer) in ELEMENTWISE:
        return ElementwiseForm(layer)
    if type(layer) is nn.Linear and layer.bias is not None:
        return LinearForm(layer)
    return ModuleForm(layer)


class ElementwiseForm:
    """A layer without parameters, which does not care how its numbers are arranged."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self.shapes: tuple[Shape, ...] = ()
        self.is_learned: tuple[bool, ...] = ()

    def write(self, layer: nn.Module, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def read(self, tensors: Sequence[Tensor], layer: nn.Module) -> None:
        """Do nothing."""

    def forward(self, tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Return the layer's values."""
        del tensors
        values: Tensor = self._layer(hidden)
        return values


class LinearForm:
    """x W + b for all hosts as one batched product; W is kept as [in, out], as the product wants it."""

    def __init__(self, layer: nn.Linear) -> None:
        self.shapes = ((layer.in_features, layer.out_features), (layer.out_features,))
        self.is_learned = (layer.weight.requires_grad, layer.bias.requires_grad)

    def write(self, layer: nn.Module, tensors: Sequence[Tensor]) -> None:
        """Copy weight and bias, one row [1, ...] each."""
        assert isinstance(layer, nn.Linear)
        tensors[0][0].copy_(layer.weight.detach().T)
        tensors[1][0].copy_(layer.bias.detach())

    @torch.no_grad()
    def read(self, tensors: Sequence[Tensor], layer: nn.Module) -> None:
        """Copy weight and bias back."""
        assert isinstance(layer, nn.Linear)
        layer.weight.copy_(tensors[0][0].T)
        layer.bias.copy_(tensors[1][0])

    def forward(self, tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Return [N, B, ..., out] of [N, B, ..., in]."""
        weight, bias = tensors
        values = torch.baddbmm(bias.unsqueeze(1), hidden.flatten(1, -2), weight)
        return values.view(*hidden.shape[:-1], -1)


class ModuleForm:
    """Any module: by a batched function of its own, or else mapped over the hosts.

    Buffers are taken from the module that the form was made of: they are constants, such as a causal mask, and the
    same in every host.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        batched = BATCHED.get(type(layer), mapped)
        self._compute = batched(layer)
        self.shapes = tuple(tuple(parameter.shape) for parameter in layer.parameters())
        self.is_learned = tuple(parameter.requires_grad for parameter in layer.parameters())

    def write(self, layer: nn.Module, tensors: Sequence[Tensor]) -> None:
        """Copy all parameters.

        Raises:
            InvalidArgument: a buffer differs from that of the first host.
        """
        for (name, mine), other in zip(self._layer.named_buffers(), layer.buffers(), strict=True):
            if not torch.equal(mine, other):
                raise InvalidArgument(
                    f"`network` has a buffer {name!r} that differs from host to host, wanted constants in a stack; "
                    "make it a parameter, or give the task is_stacked=False."
                )
        for tensor, parameter in zip(tensors, layer.parameters(), strict=True):
            tensor[0].copy_(parameter.detach())

    @torch.no_grad()
    def read(self, tensors: Sequence[Tensor], layer: nn.Module) -> None:
        """Copy all parameters back."""
        for tensor, parameter in zip(tensors, layer.parameters(), strict=True):
            parameter.copy_(tensor[0])

    def forward(self, tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Return the values of all hosts."""
        return self._compute(tensors, hidden)


def mapped(layer: nn.Module) -> Batched:
    """Return the forward pass of `layer`, mapped over the hosts by `torch.func`."""
    names = tuple(name for name, _ in layer.named_parameters())

    def one(parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        values: Tensor = functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
        return values

    def compute(tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        values: Tensor = vmap(one)(tuple(tensors), hidden) if names else vmap(layer)(hidden)
        return values

    return compute


def attention(layer: nn.Module) -> Batched:
    """Return `CausalAttention` of all hosts: examples of all hosts attend side by side."""
    assert isinstance(layer, CausalAttention)

    def compute(tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        inside, outside, outside_bias = tensors
        parts = torch.bmm(normalised(hidden).flatten(1, -2), inside.transpose(1, 2)).view(*hidden.shape[:-1], -1)
        gathered = attended(parts.flatten(0, 1), layer.bias, layer.heads)
        return hidden + affine(gathered.view(hidden.shape), outside, outside_bias)

    return compute


def feed_forward(layer: nn.Module) -> Batched:
    """Return `FeedForward` of all hosts."""
    del layer

    def compute(tensors: Sequence[Tensor], hidden: Tensor) -> Tensor:
        inside, inside_bias, outside, outside_bias = tensors
        return hidden + affine(affine(normalised(hidden), inside, inside_bias).relu(), outside, outside_bias)

    return compute


def affine(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W' + b of all hosts, [N, B, ..., out], for weights [N, out, in] as `nn.Linear` has them."""
    values = torch.baddbmm(bias.unsqueeze(1), hidden.flatten(1, -2), weight.transpose(1, 2))
    return values.view(*hidden.shape[:-1], -1)


BATCHED: dict[type[nn.Module], Callable[[nn.Module], Batched]] = {
    CausalAttention: attention,
    FeedForward: feed_forward,
}
"""Layers with a batched function of their own, two to three times as fast as the mapped one."""


def _check(module: nn.Module) -> None:
    draws = isinstance(module, _DropoutNd) and module.p > 0
    if draws or (isinstance(module, _NormBase) and module.track_running_stats):
        what = "draws random numbers" if draws else "keeps statistics of its batches"
        raise InvalidArgument(
            f"`network` has a {type(module).__name__}, which {what}, wanted layers whose values depend on parameters "
            "and input alone in a stack; give the task is_stacked=False."
        )
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.dtype != torch.float32:
            raise InvalidArgument(
                f"`network` has the parameter {name!r} of {type(module).__name__} in {parameter.dtype}, wanted "
                "torch.float32 in a stack; convert it, or give the task is_stacked=False."
            )
