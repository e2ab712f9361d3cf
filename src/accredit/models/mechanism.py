"""What every way to evaluate many coalitions of a model has in common.

Ways that give bit-equal outputs ("exact") may take turns within one matrix; a way that rounds differently names its
numerics, and a matrix keeps to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from accredit.attribution.prepared import EXACT
from accredit.models.batches import ForwardPass
from accredit.models.gate import Weights

__all__ = ["EXACT", "Mechanism"]


class Mechanism(Protocol):
    """A way to evaluate many coalitions on one batch; made once for a model, and used inside `evaluating()`."""

    @property
    def name(self) -> str:
        """One of "loop", "replay", "graph", "stack"."""
        ...

    @property
    def peak_bytes(self) -> int:
        """Most bytes that results of parts took while they waited to be used again."""
        ...

    def outputs(self, forward: ForwardPass, coalitions: Sequence[Weights]) -> Iterator[Any]:
        """Output of the model for each coalition, in their order.

        The caller is done with one output before it asks for the next. Coalitions come sorted so that neighbours share
        most: the player that is executed first is the most significant, all on comes first.
        """
        ...
