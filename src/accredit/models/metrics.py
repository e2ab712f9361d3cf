"""What is measured of a model's output, per example, in float64.

A metric gives a number per example, or a numerator and a weight per example where examples count differently: the
tokens of a sentence, the examples of one class. The value of example i is then B numerator_i / (sum of the weights), so
that the plain mean over all B examples is the weighted one, and a short last batch counts as what it is. The weights
come from the targets: they are the same under every coalition, and intervals take them as given.

Axes: B examples, C classes, T tokens.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from accredit.attribution.output import Output
from accredit.errors import InvalidArgument


@dataclass(frozen=True)
class Weighted:
    """Measurements of which some count more than others."""

    numerator: Tensor
    """[B]: what is summed."""
    weight: Tensor
    """[B]: what the sum is divided by, summed; 0 for examples that do not count."""


Measure: TypeAlias = Callable[[Any, Any], "Tensor | Weighted"]
"""(output of the model, target of the batch) -> a number per example [B], or `Weighted`."""


@dataclass(frozen=True)
class Metric:
    """A declared output and how it is measured.

    Example:
        A metric of one's own: how sure the model is, with no target.

        >>> def sureness(output, target):
        ...     return output.softmax(dim=1).amax(dim=1)
        >>> Metric(Output("sureness", "share", True), sureness).measure(torch.zeros(1, 4), None).tolist()
        [0.25]
    """

    output: Output
    """Name, unit and direction."""
    measure: Measure
    """From the output of the model and the target of a batch to numbers per example."""


def log_loss(name: str = "loss") -> Metric:
    """Cross-entropy of logits [B, C] with class indices [B], in nat.

    Example:
        >>> log_loss().measure(torch.zeros(1, 2), torch.tensor([0])).item()
        0.6931471805599453
    """
    return Metric(Output(name, "nat", False), _log_loss)


def accuracy(name: str = "accuracy") -> Metric:
    """Share of examples whose largest logit [B, C] is that of the class [B]."""
    return Metric(Output(name, "share", True), _accuracy)


def class_recalls(n_classes: int, name: str = "recall") -> tuple[Metric, ...]:
    """Share that is found of the examples of each class: outputs `recall 0`, `recall 1`, ...

    Args:
        n_classes: C.
        name: first word of the names of the outputs.
    """
    return tuple(Metric(Output(f"{name} {at}", "share", True), _Recall(at)) for at in range(n_classes))


def token_log_loss(name: str = "loss", *, ignore: int = -100, next_token: bool = False) -> Metric:
    """Cross-entropy per token in nat, of logits [B, T, C] with token indices [B, T]; examples weigh as their tokens.

    Args:
        name: of the output.
        ignore: index of tokens that do not count.
        next_token: compare the logits at t with the token at t + 1, where targets are the inputs themselves.
    """
    return Metric(Output(name, "nat/token", False), _TokenLogLoss(ignore, next_token))


def squared_error(name: str = "squared error", unit: str = "1") -> Metric:
    """Squared difference of output and target [B, ...], mean over all but the examples."""
    return Metric(Output(name, unit, False), _squared_error)


def absolute_error(name: str = "absolute error", unit: str = "1") -> Metric:
    """Absolute difference of output and target [B, ...], mean over all but the examples."""
    return Metric(Output(name, unit, False), _absolute_error)


def main_tensor(output: Any) -> Tensor:
    """The tensor that metrics look at: the output itself, its `logits`, or its first tensor.

    Raises:
        InvalidArgument: there is none.
    """
    if isinstance(output, Tensor):
        return output
    # records of other libraries: what they call logits is known by its name alone
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    leaves = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            return leaf
    raise InvalidArgument(
        f"`metrics` got a {type(output).__name__} from the model, wanted a tensor, a tuple or something with `logits`; "
        "pass a Metric with a function that reads this output."
    )


def _precise(output: Any) -> Tensor:
    """Numbers in at least float32: half precision is too coarse for a loss."""
    tensor = main_tensor(output)
    return tensor.double() if tensor.dtype != torch.float32 or tensor.numel() <= _SMALL else tensor


_SMALL = 1 << 20
"""Up to so many numbers float64 costs nothing that matters; a vocabulary times a batch of texts stays in float32."""


class _KnownClasses:
    """The target that was looked through last: it comes back at every pass, and a look costs as much as a small one."""

    def __init__(self) -> None:
        self._last: tuple[weakref.ref[Tensor], int, int] | None = None

    def are(self, target: Tensor, n_classes: int) -> bool:
        """Whether this very target, as it is, was found to hold classes below `n_classes` only."""
        last = self._last
        # torch does not count what is written to a tensor of inference mode
        if last is None or last[0]() is not target or target.is_inference():
            return False
        return last[1:] == (target._version, n_classes)

    def note(self, target: Tensor, n_classes: int) -> None:
        """Remember that it was; at once, so that threads may ask."""
        self._last = None if target.is_inference() else (weakref.ref(target), target._version, n_classes)


_known = _KnownClasses()


def _wanted(target: Any, metric: str) -> Tensor:
    """The target, which must be there."""
    if not isinstance(target, Tensor):
        raise InvalidArgument(
            f"`batches` give {'no target' if target is None else f'a {type(target).__name__} as target'}, wanted a "
            f"tensor "
            f"for {metric}; give batches (inputs..., target), or say by `target=` where it is."
        )
    return target


def _log_loss(output: Any, target: Any) -> Tensor:
    logits = _precise(output)
    return functional.cross_entropy(logits, _classes(target, logits, "log_loss"), reduction="none")


def _accuracy(output: Any, target: Any) -> Tensor:
    logits = main_tensor(output)
    return (logits.argmax(dim=-1) == _classes(target, logits, "accuracy")).double()


def _classes(target: Any, logits: Tensor, metric: str, *, ignore: int = -100) -> Tensor:
    """Indices of classes: integers in the shape of the logits without their last axis, all of them known."""
    wanted = _wanted(target, metric)
    if wanted.is_floating_point() or wanted.is_complex() or not logits.dim() or wanted.shape != logits.shape[:-1]:
        raise InvalidArgument(
            f"`{metric}` got a target of shape {tuple(wanted.shape)} and {wanted.dtype} for logits of shape "
            f"{tuple(logits.shape)}, wanted indices of classes of shape {tuple(logits.shape[:-1])}; give such targets, "
            "or a Metric with a function of your own."
        )
    if _known.are(wanted, logits.shape[-1]):
        return wanted.long()
    low, high = torch.aminmax(wanted) if wanted.numel() else (0, 0)
    if int(low) >= 0 and int(high) < logits.shape[-1]:
        _known.note(wanted, logits.shape[-1])
        return wanted.long()
    unknown = wanted[(wanted != ignore) & ((wanted < 0) | (wanted >= logits.shape[-1]))]
    if unknown.numel():
        raise InvalidArgument(
            f"`{metric}` got the class {int(unknown[0])} for logits of {logits.shape[-1]} classes, wanted 0 to "
            f"{logits.shape[-1] - 1}; give the model an output for every class."
        )
    return wanted.long()


@dataclass(frozen=True)
class _Recall:
    """Recall of one class."""

    label: int

    def __call__(self, output: Any, target: Any) -> Weighted:
        """Found examples of the class, over all of the class."""
        logits = main_tensor(output)
        of_class = _classes(target, logits, "class_recalls") == self.label
        found = of_class & (logits.argmax(dim=-1) == self.label)
        return Weighted(found.double(), of_class.double())


@dataclass(frozen=True)
class _TokenLogLoss:
    """Loss of tokens."""

    ignore: int
    next_token: bool

    def __call__(self, output: Any, target: Any) -> Weighted:
        """Summed loss of an example's tokens, over their number."""
        logits, tokens = _precise(output), _wanted(target, "token_log_loss")
        if self.next_token:
            logits, tokens = logits[:, :-1], tokens[:, 1:]
        if logits.dim() != 3:
            raise InvalidArgument(
                f"`token_log_loss` got logits of shape {tuple(logits.shape)}, wanted (examples, tokens, classes); use "
                "log_loss for one class per example."
            )
        tokens = _classes(tokens, logits, "token_log_loss", ignore=self.ignore)
        losses = functional.cross_entropy(
            logits.transpose(1, -1), tokens, ignore_index=self.ignore, reduction="none"
        ).double()
        counted = tokens != self.ignore
        return Weighted(losses.sum(dim=1), counted.sum(dim=1).double())


def _squared_error(output: Any, target: Any) -> Tensor:
    return _difference(output, target, "squared_error").square().flatten(1).mean(dim=1)


def _absolute_error(output: Any, target: Any) -> Tensor:
    return _difference(output, target, "absolute_error").abs().flatten(1).mean(dim=1)


def _difference(output: Any, target: Any, metric: str) -> Tensor:
    """Output less target [B, at least 1]."""
    predicted, wanted = main_tensor(output).double(), _wanted(target, metric).double()
    if predicted.numel() != wanted.numel() or len(predicted) != len(wanted):
        raise InvalidArgument(
            f"`{metric}` got an output of shape {tuple(predicted.shape)} for a target of shape {tuple(wanted.shape)}, "
            "wanted as many numbers for as many examples; shape the target as the output."
        )
    return predicted.reshape(len(predicted), -1) - wanted.reshape(len(wanted), -1)
