"""The grafts of one slot in many rows at once, with a gradient written by hand.

    f(h) = act(h V + b) U + h * a + c        a row leaves h + alpha f(h), and h itself, bit for bit, at alpha = 0

Only rows that have a term pay for it, and alpha is taken into the graft's own numbers, which are few.  Autograd would
make three times as many passes over the hidden values.

N rows of a pass, W of them with an inner layer, A with a straight term; E hosts, B examples (with positions, where an
example has many), D features, R room for the inner width, Q columns of a slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from accredit.growth.stack_layout import SlotPlace


@dataclass(frozen=True, kw_only=True)
class GraftRows:
    """Which rows of a pass blend in which terms; c belongs to the inner layer where there is one."""

    place: SlotPlace
    """The slot."""
    wide: Tensor
    """Rows with V, b and U, [W] int64."""
    wide_hosts: Tensor
    """Their hosts, [W] int64."""
    wide_alpha: Tensor
    """How much they blend in, [W, 1, 1]."""
    floor: Tensor
    """What their inner activation is bounded by, [W, 1, 1]: 0 is relu, -inf identity."""
    straight: Tensor
    """Rows with a, or with c alone, [A] int64."""
    straight_hosts: Tensor
    """Their hosts, [A] int64."""
    straight_alpha: Tensor
    """How much they blend in of a and of c, [A, 2, 1]."""

    def weights(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return what these rows take of the flat weights of hosts [E, P]: the slot [W, Q], and a and c [A, 2, D]."""
        slot, features = flat[:, self.place.columns], self.place.features
        straight = slot[:, -2 * features :].index_select(0, self.straight_hosts)
        return slot.index_select(0, self.wide_hosts), straight.view(-1, 2, features)


def graft_rows(
    place: SlotPlace, *, kinds: NDArray[np.int64], floor: Tensor, hosts: NDArray[np.int64], alphas: NDArray[np.float64]
) -> GraftRows:
    """Return which rows blend in what.

    Args:
        place: the slot.
        kinds: catalogue row of each host's graft, [E]; -1 is none.
        floor: what the inner activation of each host's graft is bounded by, [E].
        hosts: host of each row, [N].
        alphas: blend weight of each row, [N]; rows at 0 stay as they are.
    """
    on = np.flatnonzero(alphas > 0)
    hosts, alphas = hosts[on], alphas[on]
    terms = place.terms[kinds[hosts]]
    wide, straight = np.flatnonzero(terms[:, 0]), np.flatnonzero(terms[:, 1] | terms[:, 2])
    wide_hosts, share = torch.from_numpy(hosts[wide]), terms[straight, 1:] * alphas[straight, None]
    return GraftRows(
        place=place,
        wide=torch.from_numpy(on[wide]),
        wide_hosts=wide_hosts,
        wide_alpha=torch.from_numpy(alphas[wide]).float().view(-1, 1, 1),
        floor=floor.index_select(0, wide_hosts).view(-1, 1, 1),
        straight=torch.from_numpy(on[straight]),
        straight_hosts=torch.from_numpy(hosts[straight]),
        straight_alpha=torch.from_numpy(share).float().unsqueeze(2),
    )


def with_grafts(hidden: Tensor, wide: Tensor, straight: Tensor, rows: GraftRows) -> Tensor:
    """Return the values behind a slot, [N, B, ...]; it has a gradient in each of the three tensors.

    Args:
        hidden: [N, B, ...].
        wide: weights of the rows with an inner layer, [W, Q].
        straight: a and c of the rows that have them, [A, 2, D].
        rows: which these are.
    """
    if not len(wide) and not len(straight):
        return hidden
    axis = rows.place.axis if rows.place.axis < 0 else rows.place.axis + 1
    moved = hidden.movedim(axis, -1)
    after: Tensor = _Grafts.apply(moved.flatten(1, -2), wide, straight, rows)  # type: ignore[no-untyped-call]
    return after.view(moved.shape).movedim(-1, axis)


class _Grafts(Function):
    """[N, B, D] -> [N, B, D].  `Tensor.index_select` is several times as fast as indexing."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, wide: Tensor, straight: Tensor, rows: GraftRows) -> Tensor:
        after = hidden.clone()
        read, within, scale, through = (hidden.new_empty(0),) * 4
        if len(straight):
            through, (scale, offset) = (
                hidden.index_select(0, rows.straight),
                straight.mul(rows.straight_alpha).unbind(1),
            )
            after.index_add_(0, rows.straight, torch.addcmul(offset.unsqueeze(1), through, scale.unsqueeze(1)))
        if len(wide):
            read, mine = hidden.index_select(0, rows.wide), rows.place.views(wide)
            within = torch.baddbmm(mine.bias.unsqueeze(1), read, mine.inner)
            torch.maximum(within, rows.floor, out=within)
            change = torch.baddbmm(rows.wide_alpha * mine.offset.unsqueeze(1), within, rows.wide_alpha * mine.outer)
            after.index_add_(0, rows.wide, change)
        ctx.rows = rows
        ctx.save_for_backward(wide, read, within, through, scale)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        rows: GraftRows = ctx.rows
        wide, read, within, through, scale = ctx.saved_tensors
        hidden_slope = slope.clone() if ctx.needs_input_grad[0] else None
        wide_slope = straight_slope = None
        if len(through):
            mine = slope.index_select(0, rows.straight)
            straight_slope = torch.stack([(mine * through).sum(1), mine.sum(1)], 1).mul_(rows.straight_alpha)
            if hidden_slope is not None:
                hidden_slope.index_add_(0, rows.straight, mine * scale.unsqueeze(1))
        if len(read):
            weights = rows.place.views(wide)
            mine = slope.index_select(0, rows.wide).mul_(rows.wide_alpha)
            inside = torch.bmm(mine, weights.outer.transpose(1, 2)).masked_fill_(within <= rows.floor, 0.0)
            parts = (
                torch.bmm(read.transpose(1, 2), inside),
                inside.sum(1),
                torch.bmm(within.transpose(1, 2), mine),
                torch.zeros_like(weights.scale),
                mine.sum(1),
            )
            wide_slope = torch.cat([part.flatten(1) for part in parts], 1)
            if hidden_slope is not None:
                hidden_slope.index_add_(0, rows.wide, torch.bmm(inside, weights.inner.transpose(1, 2)))
        return hidden_slope, wide_slope, straight_slope, None
