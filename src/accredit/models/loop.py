"""One pass after another: the plain way, which every other one is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from accredit.models.batches import ForwardPass
from accredit.models.gate import SwitchedModule, Weights, copied, gated

if TYPE_CHECKING:
    from accredit.models.switchable import SwitchableModel


class OneAfterAnother:
    """A pass per coalition that skips what is off; costs one pass of what is on.

    Args:
        switchable: the model and its players.
    """

    name = "loop"
    peak_bytes = 0

    def __init__(self, switchable: SwitchableModel) -> None:
        self.switchable = switchable

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Output of the model for each coalition in turn."""
        weights: Weights = ()

        def switch(each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return output_at(weights[each.player], each, args, kwargs)

        with gated(self.switchable.model, self.switchable.switched, switch):
            for weights in coalitions:
                self.switchable.set_weights(weights)
                yield forward()


def output_at(weight: float, each: SwitchedModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a switched module gives at a weight, computed only where that is needed."""
    arguments = (args, kwargs)
    if weight == 1.0:
        output = each.run(*args, **kwargs)
        each.learn(arguments, output)
        return output
    if weight == 0.0:
        skipped = each.skipped(arguments)
        if skipped is not NotImplemented:
            return skipped
    if each.reads_input:
        # a module that writes to its input in place must not change what its off value is made of
        arguments = copied(arguments)
    output = each.run(*args, **kwargs)
    each.learn(arguments, output)
    return each.replaced(arguments, output) if weight == 0.0 else each.blended(arguments, output, weight)
