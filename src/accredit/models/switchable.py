"""A model whose parts can be switched: the players, what off means, and single passes.

Rules. A weight of 1 leaves a module alone, 0 switches it off, between them it blends (see `off`). Every call of a
switched module is switched, also where it is called several times or stands in several places. Of nested players the
outer one decides first: while it is off the inner one does not run, so that it changes nothing; while it is on or
blended the inner one is switched inside it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from accredit.errors import InvalidArgument
from accredit.models.batches import Batches, CheckedBatches, Forward, ForwardPass, default_forward
from accredit.models.component import Components, ResolvedComponent, resolve
from accredit.models.contents import with_tensors
from accredit.models.gate import SwitchedModule, Weights, gated, is_float, switched_modules, weights_of
from accredit.models.guard import untouched
from accredit.models.loop import OneAfterAnother
from accredit.models.off import Mean, OffLike


class SwitchableModel:
    """Named components of any `nn.Module`, switched from outside; the model stays the user's, unmodified.

    Args:
        model: evaluated in eval mode, without gradients; nothing about it is different afterwards.
        components: module paths ("layer1"), globs ("blocks.*": a player per block), `Component`s, or a mapping from
            the name of a player to a path, a list of paths (one player of all) or a function that sets its weight.
        off: what a module gives while it is off: "zero", "identity", "mean", "resample", or a function of its first
            tensor input and output; see `accredit.models.off`.
        reference: batches over which the mean of "mean" is taken; needed for it alone.
        forward: how the model is called on a batch; default: by the kind of batch, see `accredit.models.batches`.
        autocast: type for `torch.autocast` during passes, such as torch.bfloat16; None: no autocast.

    Raises:
        UnknownName: a path that leads nowhere; the nearest are suggested.
        InvalidArgument: no component, a module in two of them, "mean" without a reference.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
        >>> switchable = SwitchableModel(model, {"first": "0", "last": "2"})
        >>> switchable.players
        ('first', 'last')
        >>> switchable(torch.ones(1, 2), weights={"last": 0.0})
        tensor([[0.]])
    """

    def __init__(
        self,
        model: nn.Module,
        components: Components,
        *,
        off: OffLike = "zero",
        reference: Batches | None = None,
        forward: Forward = default_forward,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.autocast = autocast
        self.forward = forward
        self.components: tuple[ResolvedComponent, ...] = resolve(model, components, off=off)
        self.players: tuple[str, ...] = tuple(component.name for component in self.components)
        self.switched: tuple[SwitchedModule, ...] = switched_modules(self.components)
        self._lock = threading.RLock()
        self._mode_told = False
        if any(isinstance(each.off, Mean) for each in self.switched):
            self._find_means(reference)

    def __call__(self, *args: Any, weights: Mapping[str, float] | Sequence[float], **kwargs: Any) -> Any:
        """The output of one pass of the model on these arguments.

        Args:
            args: positional arguments of the model.
            weights: per player from 0 (off) to 1 (on): a sequence of all, or a mapping, in which the rest is on.
            kwargs: keyword arguments of the model.
        """
        wanted = weights_of(weights, self.players)

        def call(model: nn.Module, batch: Any) -> Any:
            positional, named = batch
            return model(*positional, **named)

        with self.evaluating():
            return next(iter(OneAfterAnother(self).outputs(ForwardPass(self.model, call, (args, kwargs)), [wanted])))

    @property
    def device(self) -> torch.device | None:
        """Where the model is: the device of its first parameter or buffer; None where it has neither."""
        first = next(iter((*self.model.parameters(), *self.model.buffers())), None)
        return None if first is None else first.device

    @property
    def has_setters(self) -> bool:
        """Whether a player is a function that sets a weight, of which nothing more is known."""
        return any(component.set_weight is not None for component in self.components)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold the model in eval mode, without gradients, for this thread alone; afterwards it is as it was."""
        with self._lock:
            if self.model.training and not self._mode_told:
                self._mode_told = True
                warnings.warn(
                    "`model` is in train mode, wanted eval mode, in which it is evaluated and put back afterwards; "
                    "call model.eval() before to silence this.",
                    stacklevel=4,
                )
            device = self.device or torch.device("cpu")
            with untouched(self.model), torch.autocast(device.type, self.autocast, enabled=self.autocast is not None):
                try:
                    yield
                finally:
                    self.set_weights((1.0,) * len(self.players))

    def set_weights(self, weights: Weights) -> None:
        """Call the functions that set weights."""
        for component, weight in zip(self.components, weights, strict=True):
            if component.set_weight is not None:
                component.set_weight(weight)

    def _find_means(self, reference: Batches | None) -> None:
        """Mean of every output of the modules that are off by their mean, over all examples and calls of a pass."""
        if reference is None:
            raise InvalidArgument(
                "`off` is 'mean', but `reference` is None, wanted batches to take the mean over; pass for example the "
                "training batches."
            )
        sums: dict[int, list[Tensor]] = {}
        counts: dict[int, int] = {}

        def add(each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = each.run(*args, **kwargs)
            if isinstance(each.off, Mean):
                tensors = [leaf.double() for leaf in torch.utils._pytree.tree_leaves(output) if is_float(leaf)]
                totals = [tensor.sum(dim=0, keepdim=True) for tensor in tensors]
                earlier = sums.setdefault(id(each), [torch.zeros_like(total) for total in totals])
                if [total.shape for total in totals] != [total.shape for total in earlier]:
                    raise InvalidArgument(
                        f"`off='mean'` of {each.path!r} got outputs of shapes {[tuple(t.shape) for t in tensors]} and "
                        f"{[tuple(t.shape) for t in earlier]}, wanted one shape beside the examples; pass batches of "
                        f"one "
                        "length, or use another kind of off."
                    )
                sums[id(each)] = [total + more for total, more in zip(earlier, totals, strict=True)]
                counts[id(each)] = counts.get(id(each), 0) + (len(tensors[0]) if tensors else 0)
            return output

        with self.evaluating(), gated(self.model, self.switched, add):
            for batch in CheckedBatches(reference, self.device):
                # a model that writes into its inputs writes into these
                self.forward(self.model, with_tensors(Tensor.clone, batch))
        for each in self.switched:
            if id(each) in sums:
                each.means = [total / counts[id(each)] for total in sums[id(each)]]

    def __getstate__(self) -> dict[str, Any]:
        """State without the lock, which stays in its process."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, with a lock of its own."""
        self.__dict__.update(state)
        self._lock = threading.RLock()
