"""All coalitions of many hosts in one pass that computes nothing twice.

A host with k players has 2^k coalitions, which are the same network up to the first slot where they differ.  So each
host enters as one branch; at a slot with a player every branch of its host goes on both without the graft and with it.
The number of branches is the sum of 2^k over hosts, and each layer costs what its branches cost.

R hosts, S slots, C = 2^k coalitions of the k slots that anybody plays in, V branches, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.stack_layout import SlotWeights, StackLayout


@dataclass(frozen=True, kw_only=True)
class Fork:
    """What happens to branches at one slot."""

    kept: Tensor
    """Branches that pass through a live graft which is not switched, int64."""
    split: Tensor
    """Branches that go on twice, int64; those with the graft come after all others."""
    hosts: Tensor
    """Host of each branch behind the slot, int64."""


@dataclass(frozen=True, kw_only=True)
class Branches:
    """The way of all coalitions through the network."""

    forks: tuple[Fork, ...]
    """One a slot, in the order of execution."""
    of_coalition: Tensor
    """Branch that a coalition of a host ends in, [R, C] int64: bit i of c says whether the i-th slot's graft is on, and
    does not matter where the host has no player there."""


def branches_of(alphas: NDArray[np.float64], switched: NDArray[np.bool_]) -> Branches:
    """Return the branches of hosts whose `switched` grafts are players, and whose others stand at `alphas`, [R, S].

    Example:
        Two hosts: the first has a player in both slots, the second in the first alone.

        >>> branches = branches_of(np.zeros((2, 2)), np.array([[True, True], [True, False]]))
        >>> branches.of_coalition.tolist(), [len(fork.hosts) for fork in branches.forks]
        ([[0, 2, 4, 5], [1, 3, 1, 3]], [4, 6])
    """
    hosts, coalitions = np.arange(len(alphas)), np.zeros(len(alphas), dtype=np.int64)
    slots, forks = np.flatnonzero(switched.any(axis=0)).tolist(), []
    for slot in range(switched.shape[1]):
        kept = np.flatnonzero((alphas[hosts, slot] > 0) & ~switched[hosts, slot])
        split = np.flatnonzero(switched[hosts, slot])
        bit = 1 << slots.index(slot) if slot in slots else 0
        hosts = np.concatenate([hosts, hosts[split]])
        coalitions = np.concatenate([coalitions, coalitions[split] | bit])
        forks.append(Fork(kept=torch.from_numpy(kept), split=torch.from_numpy(split), hosts=torch.from_numpy(hosts)))
    own = switched[:, slots] @ (1 << np.arange(len(slots), dtype=np.int64))
    place = np.zeros((len(alphas), 1 << len(slots)), dtype=np.int64)
    place[hosts, coalitions] = np.arange(len(hosts))
    reached = np.arange(1 << len(slots)) & own[:, None]
    return Branches(forks=tuple(forks), of_coalition=torch.from_numpy(np.take_along_axis(place, reached, axis=1)))


def run_branches(
    layout: StackLayout,
    weights: Tensor,
    inputs: Tensor,
    *,
    grafts: tuple[Tensor, Tensor],
    branches: Branches,
) -> Tensor:
    """Return the outputs of all branches, [V, B, ...].

    Args:
        layout: of the stack.
        weights: of the hosts, [R, P].
        inputs: [R, B, ...].
        grafts: blend weight of each graft where it is on, and bound of its inner activation, [R, S] each.
        branches: the way through.
    """
    alphas, floor = grafts
    tensors, slots = layout.unpack(weights)
    hidden, hosts, forks = inputs, torch.arange(len(weights)), iter(enumerate(branches.forks))
    for form, mine in zip(layout.forms, layout.by_layer(tensors), strict=True):
        if form is not None:
            hidden = form.forward(_of(mine, hosts), hidden)
            continue
        at, fork = next(forks)
        through = torch.cat([fork.kept, fork.split])
        if len(through):
            mine_here = hosts[through]
            changed = _grafted(
                hidden[through],
                SlotWeights(**{name: tensor[mine_here] for name, tensor in vars(slots[at]).items()}),
                alphas[mine_here, at].view(-1, 1, 1),
                floor[mine_here, at].view(-1, 1, 1),
                axis=layout.axes[at],
            )
            if len(fork.kept):
                hidden = hidden.index_copy(0, fork.kept, changed[: len(fork.kept)])
            hidden = torch.cat([hidden, changed[len(fork.kept) :]])
        hosts = fork.hosts
    return hidden


def _grafted(hidden: Tensor, slot: SlotWeights, alpha: Tensor, floor: Tensor, *, axis: int) -> Tensor:
    """Return h + alpha f(h) of branches [N, B, ...] with a graft each, alpha and floor [N, 1, 1].

    Alpha is taken into the graft's own numbers, which are few: h (1 + alpha a) + alpha c + act(h V + b) (alpha U).
    """
    at = axis if axis < 0 else axis + 1
    flat = hidden.movedim(at, -1).flatten(1, -2)
    inside = torch.maximum(torch.baddbmm(slot.bias.unsqueeze(1), flat, slot.inner), floor)
    straight = torch.addcmul(alpha * slot.offset.unsqueeze(1), flat, 1.0 + alpha * slot.scale.unsqueeze(1))
    changed = torch.baddbmm(straight, inside, alpha * slot.outer)
    return changed.view(hidden.movedim(at, -1).shape).movedim(-1, at)


def _of(tensors: Sequence[Tensor], hosts: Tensor) -> Sequence[Tensor]:
    """Return the parameters of the host of every branch; before the first fork they are those of the hosts."""
    return [tensor if len(tensor) == len(hosts) else tensor[hosts] for tensor in tensors]
