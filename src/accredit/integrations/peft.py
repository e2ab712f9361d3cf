"""LoRA adapters of a `peft` model as players; extra `peft`.

Several adapters that are active at once add up: each target layer gives base(x) + sum over adapters of s B(A(x)) (Hu et
al. 2021, eq. 3, with s = alpha / r). An adapter that is off adds nothing anywhere; the base model is never switched.

A weight-decomposed adapter (DoRA, Liu et al. 2024, eq. 5) is switched at its whole difference to the base layer,
magnitude and direction. What an adapter trains in full (`modules_to_save`, biases) is no LoRA: it stays as it is.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import NoReturn

from torch import nn

from accredit.errors import InvalidArgument, MissingExtra, UnknownName
from accredit.models.component import Component

try:
    from peft.tuners.lora.layer import Conv1d, Conv2d, Conv3d, Linear, LoraLayer, MultiheadAttention
except ImportError as error:
    raise MissingExtra(
        "`accredit.integrations.peft` needs the package peft, which is not installed; "
        "pip install 'accredit[peft]', or name the modules of adapters as components yourself."
    ) from error

_APART = (Linear, Conv1d, Conv2d, Conv3d)
"""Layers that add what a module of the adapter gives."""


def lora_components(model: nn.Module, adapters: Sequence[str] | None = None) -> list[Component]:
    """One component per LoRA adapter, for `SwitchableModel`.

    Where all layers of an adapter are linear or convolutional, its player switches modules, and coalitions can share
    work. Adapters of other layers (embeddings, parameters, quantized layers) are switched by their scaling, one
    coalition after another.

    Args:
        model: with adapters from `peft`, all of which that are to be players active at once and none merged:
            `model.base_model.set_adapter(["first", "second"])`.
        adapters: names, in the order of the players; None for all active ones.

    Returns:
        Components named as the adapters, off by zero.

    Raises:
        InvalidArgument: no LoRA layer, merged or disabled adapters, one that is not active, or one of a kind that
            cannot be taken out.
        UnknownName: no adapter has this name.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> config = LoraConfig(target_modules=["0"])
        >>> model = get_peft_model(nn.Sequential(nn.Linear(2, 2)), config, adapter_name="first")
        >>> _ = model.add_adapter("second", config)
        >>> model.base_model.set_adapter(["first", "second"])
        >>> [component.name for component in lora_components(model)]
        ['first', 'second']
    """
    layers = {path: module for path, module in model.named_modules() if isinstance(module, LoraLayer)}
    if not layers:
        raise InvalidArgument(
            f"`model` is a {type(model).__name__} without LoRA layers, wanted adapters of peft; "
            "pass what `get_peft_model` returned."
        )
    active = list(dict.fromkeys(name for layer in layers.values() for name in layer.active_adapters))
    known = {name for layer in layers.values() for name in layer.scaling}
    _check_alive(layers)
    names = [name for name in active if name in known] if adapters is None else list(adapters)
    for name in names:
        _check_active(name, active=active, known=known)
    return [
        _component(name, {path: layer for path, layer in layers.items() if name in layer.scaling}) for name in names
    ]


def _check_alive(layers: dict[str, LoraLayer]) -> None:
    """Refuse layers in which adapters cannot be told from the base, or do nothing."""
    for path, layer in layers.items():
        if layer.merged:
            raise InvalidArgument(
                f"`model` has the adapters {', '.join(layer.merged_adapters)} merged into {path!r}, wanted adapters "
                "apart from the base; call model.unmerge_adapter()."
            )
        if layer.disable_adapters:
            raise InvalidArgument(
                f"`model` has disabled the adapters of {path!r}, wanted them enabled; leave `disable_adapter()`, or "
                "call model.base_model.enable_adapter_layers()."
            )


def _check_active(name: str, *, active: Sequence[str], known: set[str]) -> None:
    """Refuse an adapter that no pass would use."""
    if name not in known:
        raise UnknownName(
            f"`adapters` has {name!r}, wanted LoRA adapters among {', '.join(sorted(known))}; pass one of these names."
        )
    if name not in active:
        raise InvalidArgument(
            f"`adapters` has {name!r}, but active are {', '.join(active)}; call "
            f"model.base_model.set_adapter({[*active, name]})."
        )


def _component(name: str, layers: dict[str, LoraLayer]) -> Component:
    """The player of one adapter: the last module of its every contribution, or its scaling."""
    paths = [_switch_path(path, layer, name) for path, layer in layers.items()]
    known = [path for path in paths if path is not None]
    if len(known) == len(paths):
        # adapters may be named with characters that are special in a glob
        return Component(name=name, paths=tuple(map(glob.escape, known)), off="zero")
    for path, layer in layers.items():
        if name in layer.lora_variant:
            _refuse_variant(path, layer, name)  # DoRA does not vanish with its scaling
    return Component(name=name, set_weight=_scaler(name, tuple(layers.values())))


def _switch_path(path: str, layer: LoraLayer, name: str) -> str | None:
    """The module whose output is what the adapter adds here; None where there is none."""
    if isinstance(layer, MultiheadAttention):
        raise InvalidArgument(
            f"`model` has {name!r} on {path!r}, an nn.MultiheadAttention, into which peft merges adapters in every "
            "pass, wanted layers that keep them apart; target linear layers instead."
        )
    if name not in layer.lora_variant:
        return f"{path}.lora_B.{name}" if isinstance(layer, _APART) else None
    if not isinstance(layer, _APART) or name not in layer.lora_magnitude_vector:
        _refuse_variant(path, layer, name)
    return f"{path}.lora_magnitude_vector.{name}"


def _refuse_variant(path: str, layer: LoraLayer, name: str) -> NoReturn:
    """Say which kind of LoRA has no switch."""
    raise InvalidArgument(
        f"`model` has {name!r} on {path!r} as {type(layer.lora_variant[name]).__name__}, wanted plain LoRA, or DoRA on "
        "linear and convolutional layers alone; say by `Component(set_weight=...)` what switches it off."
    )


def _scaler(name: str, layers: Sequence[LoraLayer]) -> Callable[[float], None]:
    """A function that sets the weight of an adapter in all its layers."""
    scalings = [layer.scaling[name] for layer in layers]

    def set_weight(weight: float) -> None:
        for layer, scaling in zip(layers, scalings, strict=True):
            layer.scaling[name] = scaling * weight

    return set_weight
