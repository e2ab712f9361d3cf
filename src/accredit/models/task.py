"""What is attributed, as one record: a model, its players, the examples and what is measured on them.

It is what a file for `accredit attribute FILE.py` builds, and what a program hands on that lets others evaluate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import nn

from accredit.models.batches import Batches, Forward, default_forward, default_target
from accredit.models.component import Components
from accredit.models.metrics import Metric
from accredit.models.off import ByFunction, Off, OffKind
from accredit.models.sharing import Sharing
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue, PassProgress


@dataclass(frozen=True, eq=False)
class AttributionTask:
    """A model with everything that `SwitchableModel` and `ModelValue` want to know of it.

    Example:
        >>> from accredit.models.metrics import squared_error
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        >>> batches = [(torch.ones(3, 1), torch.zeros(3, 1))]
        >>> task = AttributionTask(model.eval(), ["0", "1"], batches, [squared_error()], off="identity")
        >>> task.value().switchable.players
        ('0', '1')
    """

    model: nn.Module
    """Evaluated in eval mode, without gradients."""
    components: Components
    """The players: module paths, globs such as "blocks.*", or a mapping from names to these."""
    batches: Batches
    """Examples, the same at every pass: a list, a DataLoader, or a function that returns an iterable."""
    metrics: Sequence[Metric]
    """What is measured of the output, per example; the first one orders tables."""
    _: KW_ONLY
    off: Off | OffKind = "zero"
    """What a module gives while it is off."""
    reference: Batches | None = None
    """Batches for the means of off="mean"."""
    forward: Forward = default_forward
    """How the model is called on a batch."""
    target: Callable[[Any], Any] = default_target
    """Where the target of a batch is."""
    autocast: torch.dtype | None = None
    """Type for `torch.autocast`, or None."""
    sharing: Sharing = "auto"
    """How coalitions share work."""
    max_bytes: int = 1 << 30
    """Bound on what is kept for use again."""
    per_example: bool = True
    """Keep values per example, from which intervals over the examples follow; False where they would not fit."""

    def switchable(self) -> SwitchableModel:
        """The model with its players.

        Raises:
            UnknownName: a path that leads nowhere.
            InvalidArgument: components that cannot be switched so.
        """
        return SwitchableModel(
            self.model,
            self.components,
            off=self.off,
            reference=self.reference,
            forward=self.forward,
            autocast=self.autocast,
        )

    def value(self, *, sharing: Sharing | None = None, progress: PassProgress | None = None) -> ModelValue:
        """The value function.

        Args:
            sharing: another way to share than that of the task.
            progress: called after every pass.

        Raises:
            UnknownName: a path that leads nowhere.
            InvalidArgument: components or metrics that cannot be used.
        """
        return ModelValue(
            self.switchable(),
            self.batches,
            self.metrics,
            sharing=self.sharing if sharing is None else sharing,
            max_bytes=self.max_bytes,
            target=self.target,
            per_example=self.per_example,
            progress=progress,
        )


def fingerprint(value: ModelValue) -> dict[str, str]:
    """What tells one game from another: digests of weights and of batches, and the players as text.

    A matrix that is continued with another model, on other examples or with other kinds of off would mix two games.
    Costs one pass over the batches, without the model.

    Example:
        >>> from accredit.models.metrics import squared_error
        >>> layer = nn.Linear(1, 1)
        >>> model, batches = nn.Sequential(layer), [(torch.ones(1, 1), torch.ones(1, 1))]
        >>> task = AttributionTask(model, ["0"], batches, [squared_error()])
        >>> before = fingerprint(task.value())
        >>> _ = nn.init.constant_(layer.weight, 7.0)
        >>> after = fingerprint(task.value())
        >>> [name for name in before if before[name] != after[name]]
        ['weights']
    """
    weights = hashlib.sha256()
    model = value.switchable.model
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        plain = tensor.detach().cpu().contiguous()
        weights.update(f"{name} {tuple(plain.shape)} {plain.dtype}".encode())
        if plain.numel():
            weights.update(plain.view(-1).view(torch.uint8).numpy().data)
    for _ in value.batches:
        pass
    players = [
        f"{player.name}: {', '.join(player.paths) or 'a function'} off by {_kind(player.off)}"
        for player in value.switchable.components
    ]
    return {
        "weights": weights.hexdigest(),
        "batches": hashlib.sha256(repr(value.batches.sums).encode()).hexdigest(),
        "players": "; ".join(players),
        "outputs": "; ".join(f"{output.name} [{output.unit}]" for output in value.outputs),
        "per_example": str(value.per_example),
    }


def _kind(off: object) -> str:
    """A kind of off by name: the address of a function differs from process to process."""
    if isinstance(off, ByFunction):
        return f"function {getattr(off.function, '__qualname__', type(off.function).__name__)}"
    return repr(off)
