"""A named place in a host where a graft can live."""

from __future__ import annotations

from torch import Tensor, nn

from accredit.growth.blend import blended
from accredit.growth.catalogue import Kind
from accredit.growth.stage import Stage


class Slot(nn.Module):
    """One slot: at most one graft, its stage and its blend weight.

    The value that passes through is h + alpha f(h).  At alpha = 0, and in every stage that is not live, the graft is
    skipped and the very tensor that came in goes out, so that even -0.0, Inf and NaN are what they were.

    Args:
        name: unique within a network; it is the player's name in an attribution.
        features: D, size of the hidden vector here.
        axis: where the features are in the hidden tensor [B, ...]: the last axis, or 1 for the channels of images.

    Example:
        >>> import torch
        >>> slot = Slot("input", 4)
        >>> hidden = torch.ones(2, 4)
        >>> slot(hidden) is hidden
        True
    """

    def __init__(self, name: str, features: int, *, axis: int = -1) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.axis = axis
        self.stage = Stage.EMPTY
        self.kind_name: str | None = None
        self.alpha = 0.0
        self.graft: nn.Module | None = None
        self.mac_count = 0
        """Multiply-accumulates of the graft for each vector that passes."""

    def receive(self, graft: nn.Module, kind: Kind) -> None:
        """Take in a graft of `kind`, built for this slot."""
        self.graft, self.kind_name = graft, kind.name
        self.mac_count = kind.mac_count(self.features)

    def vacate(self) -> None:
        """Give the graft away."""
        self.graft, self.kind_name, self.mac_count = None, None, 0

    @property
    def is_live(self) -> bool:
        """Whether the graft reaches the output now."""
        return self.graft is not None and self.stage.is_live and self.alpha > 0.0

    def forward(self, hidden: Tensor) -> Tensor:
        """Return h + alpha f(h), or `hidden` itself where no graft is live."""
        if self.graft is None or not self.is_live:
            return hidden
        return blended(hidden, change_along(self.axis, self.graft, hidden), self.alpha)

    def shadow(self, hidden: Tensor) -> Tensor:
        """Return what would leave the slot if its training graft stood at alpha = 1: detached h + f(h).

        A slot whose graft is not in training passes `hidden` on as `forward` does.
        """
        if self.graft is None or self.stage != Stage.TRAINING:
            return self.forward(hidden)
        return hidden + change_along(self.axis, self.graft, hidden)


def change_along(axis: int, graft: nn.Module, hidden: Tensor) -> Tensor:
    """Return f(h) of a graft that works on the last axis, for features along `axis` of `hidden`."""
    change: Tensor = graft(hidden) if axis == -1 else graft(hidden.movedim(axis, -1)).movedim(-1, axis)
    return change
