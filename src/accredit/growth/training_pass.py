"""One step of training for many hosts, forwards and backwards, with grafts in training beside them.

A graft in training learns on a copy of its host, its shadow, in which it stands at alpha = 1 and all else is
constant.  Up to the first such graft a shadow is its host, so that it enters the pass there, and no gradient leaves it.

E hosts, S slots, N rows of a pass: the hosts, then their shadows in the order in which they enter; P columns of the
flat form, B examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.metric import Metric
from accredit.growth.stack_grafts import GraftRows, graft_rows, with_grafts
from accredit.growth.stack_layout import StackLayout


@dataclass(frozen=True)
class Lessons:
    """Which rows of a gradient teach which hosts; shadows teach what trains in them, and nothing else."""

    rows: Tensor
    """int64."""
    hosts: Tensor
    """int64."""

    def add(self, gradient: Tensor, total: Tensor) -> None:
        """Add what `gradient` [rows, ...] says to `total` [E, ...], in place."""
        total.index_add_(0, self.hosts, gradient.index_select(0, self.rows).flatten(1))


@dataclass(frozen=True, kw_only=True)
class SlotPass:
    """What a pass does at one slot."""

    entering: Tensor
    """Hosts whose shadows enter here, int64."""
    grafts: GraftRows
    """What is grafted here, in all rows that are present."""
    wide: Lessons
    """Of the inner layers."""
    straight: Lessons
    """Of a and c."""


class TrainingPass:
    """What stays the same from minibatch to minibatch, as long as no graft moves.

    Args:
        layout: of the stack.
        training: which grafts learn beside their host, [E, S].
        kinds: catalogue row of each graft, [E, S]; -1 is none.
        floor: what their inner activation is bounded by, [E, S].
        alphas: blend weights, [E, S].
    """

    def __init__(
        self,
        layout: StackLayout,
        *,
        training: NDArray[np.bool_],
        kinds: NDArray[np.int64],
        floor: Tensor,
        alphas: NDArray[np.float64],
    ) -> None:
        num_hosts, num_slots = training.shape
        first = np.where(training.any(axis=1), training.argmax(axis=1), num_slots)
        shadows = np.argsort(first, kind="stable")[: int((first < num_slots).sum())]
        hosts = np.concatenate([np.arange(num_hosts), shadows])
        is_shadow = np.arange(len(hosts)) >= num_hosts
        self._layout, self._num_hosts, self._hosts = layout, num_hosts, torch.from_numpy(hosts)
        self._slots: list[SlotPass] = []
        for slot in range(num_slots):
            present = hosts[: num_hosts + int((first <= slot).sum())]
            learns = training[present, slot] & is_shadow[: len(present)]
            teaches = ~is_shadow[: len(present)] | learns
            grafts = graft_rows(
                layout.places[slot],
                kinds=kinds[:, slot],
                floor=floor[:, slot],
                hosts=present,
                alphas=np.where(learns, 1.0, alphas[present, slot]),
            )
            self._slots.append(
                SlotPass(
                    entering=torch.from_numpy(shadows[first[shadows] == slot]),
                    grafts=grafts,
                    wide=_lessons(grafts.wide, grafts.wide_hosts, teaches),
                    straight=_lessons(grafts.straight, grafts.straight_hosts, teaches),
                )
            )

    def gradient(self, weights: Tensor, inputs: Tensor, labels: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
        """Return the mean loss of each host [E] and its gradient in all that may learn, [E, P].

        Args:
            weights: of the hosts, [E, P].
            inputs: [E, B, ...].
            labels: [E, B, ...].
            metric: what is lowered.
        """
        layout, columns = self._layout, self._layout.host_columns
        flat = weights[:, : columns[-1].stop] if columns else weights[:, :0]
        rows = flat.index_select(0, self._hosts) if len(self._hosts) > len(flat) else flat
        hidden, leaves = inputs, []
        slots, pieces = iter(self._slots), iter(zip(columns, layout.host_shapes, strict=True))
        for form in layout.forms:
            if form is None:
                here = next(slots)
                if len(here.entering):
                    hidden = torch.cat([hidden, hidden.detach().index_select(0, here.entering)])
                mine = [each.requires_grad_() for each in here.grafts.weights(weights)]
                hidden = with_grafts(hidden, mine[0], mine[1], here.grafts)
            else:
                mine = [
                    rows[: len(hidden), where].view(len(hidden), *shape).detach().requires_grad_()
                    for where, shape in (next(pieces) for _ in form.shapes)
                ]
                hidden = form.forward(mine, hidden)
            leaves += mine
        losses = metric.loss(hidden, labels[self._hosts]).mean(1)
        slopes = iter(torch.autograd.grad(losses.sum(), leaves, allow_unused=True))
        return losses[: self._num_hosts].detach(), self._collected(slopes, like=weights)

    def _collected(self, slopes: Iterator[Tensor | None], *, like: Tensor) -> Tensor:
        """Return the gradient [E, P] from those of the leaves; None is 0."""
        layout, total = self._layout, torch.zeros_like(like)
        slots, columns = iter(self._slots), iter(layout.host_columns)
        for form in layout.forms:
            if form is None:
                here = next(slots)
                slot, features = total[:, here.grafts.place.columns], here.grafts.place.features
                for lessons, there in ((here.wide, slot), (here.straight, slot[:, -2 * features :])):
                    slope = next(slopes)
                    if slope is not None and len(lessons.rows):
                        lessons.add(slope, there)
                continue
            for _ in form.shapes:
                where, slope = next(columns), next(slopes)
                if slope is not None:
                    total[:, where] = slope[: self._num_hosts].flatten(1)
        return total


def _lessons(rows: Tensor, hosts: Tensor, teaches: NDArray[np.bool_]) -> Lessons:
    at = torch.from_numpy(np.flatnonzero(teaches[rows.numpy()]))
    return Lessons(at, hosts[at])
