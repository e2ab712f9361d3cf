"""All coalitions of many hosts in one pass that computes nothing twice.

A host with k players has 2^k coalitions, which are the same network up to the first slot where they differ.  So each
host enters as one branch; at a slot with a player every branch of its host goes on both without the graft and with it.
The number of branches is the sum of 2^k over hosts, less one a host where the live network is known already, and each
layer costs what its branches cost.

R hosts, S slots, C = 2^k coalitions of the k slots that anybody plays in, V branches, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.growth.stack_grafts import graft_rows, with_grafts
from accredit.growth.stack_layout import StackLayout


@dataclass(frozen=True, kw_only=True)
class Fork:
    """What happens to branches at one slot."""

    split: Tensor
    """Branches that go on twice, int64; those with the graft come after all others."""
    hosts: NDArray[np.int64]
    """Host of each branch behind the slot."""
    alphas: NDArray[np.float64]
    """How much of its host's graft each of these branches blends in; 0 is none."""


@dataclass(frozen=True, kw_only=True)
class Branches:
    """The way of all coalitions through the network."""

    forks: tuple[Fork, ...]
    """One a slot, in the order of execution."""
    of_coalition: Tensor
    """Branch that a coalition of a host ends in, [R, C] int64, or V + its host where the coalition has no branch: bit i
    of c says whether the i-th slot's graft is on, and does not matter where the host has no player there."""


def branches_of(
    alphas: NDArray[np.float64],
    switched: NDArray[np.bool_],
    *,
    on: NDArray[np.float64],
    known: NDArray[np.bool_] | None = None,
) -> Branches:
    """Return the branches of hosts.

    Args:
        alphas: blend weight of each graft in the live network, [R, S].
        switched: which grafts are players, [R, S].
        on: blend weight of each player where it is on, [R, S].
        known: which coalition of each host with a player needs no branch, [R]: True that of all, False that of none.
            It has number V + r for host r.  None: all have branches.

    Example:
        Two hosts: the first has a player in both slots, the second in the first alone.

        >>> switched = np.array([[True, True], [True, False]])
        >>> branches = branches_of(np.zeros((2, 2)), switched, on=np.ones((2, 2)))
        >>> branches.of_coalition.tolist(), [len(fork.hosts) for fork in branches.forks]
        ([[0, 2, 4, 5], [1, 3, 1, 3]], [4, 6])
        >>> branches = branches_of(np.zeros((2, 2)), switched, on=np.ones((2, 2)), known=np.ones(2, bool))
        >>> branches.of_coalition.tolist(), [len(fork.hosts) for fork in branches.forks]
        ([[0, 2, 3, 4], [1, 5, 1, 5]], [3, 4])
    """
    hosts, coalitions = np.arange(len(alphas)), np.zeros(len(alphas), dtype=np.int64)
    slots, forks = np.flatnonzero(switched.any(axis=0)).tolist(), []
    is_all = np.zeros(len(alphas), dtype=bool) if known is None else known
    is_on_the_way = np.full(len(alphas), known is not None)  # so far all players are as in the known coalition
    for slot in range(switched.shape[1]):
        if slot not in slots:
            forks.append(Fork(split=torch.empty(0, dtype=torch.int64), hosts=hosts, alphas=alphas[hosts, slot]))
            continue
        plays, bit = switched[hosts, slot], 1 << slots.index(slot)
        # at its last player a branch on the way goes on as the other coalition alone
        arrives = plays & is_on_the_way & ~switched[hosts, slot + 1 :].any(axis=1)
        is_turned = arrives & ~is_all[hosts]
        live = np.where(plays, np.where(is_turned, on[hosts, slot], 0.0), alphas[hosts, slot])
        split = np.flatnonzero(plays & ~arrives)
        stays = is_on_the_way & ~arrives & ~(plays & is_all[hosts])
        is_on_the_way = np.concatenate([stays, is_on_the_way[split] & is_all[hosts[split]]])
        coalitions = np.concatenate([coalitions | np.where(is_turned, bit, 0), coalitions[split] | bit])
        forks.append(
            Fork(
                split=torch.from_numpy(split),
                hosts=np.concatenate([hosts, hosts[split]]),
                alphas=np.concatenate([live, on[hosts[split], slot]]),
            )
        )
        hosts = forks[-1].hosts
    own = switched[:, slots] @ (1 << np.arange(len(slots), dtype=np.int64))
    place = np.zeros((len(alphas), 1 << len(slots)), dtype=np.int64)
    place[hosts, coalitions] = np.arange(len(hosts))
    if known is not None:
        players = np.flatnonzero(own)
        place[players, np.where(known, own, 0)[players]] = len(hosts) + players
    reached = np.arange(1 << len(slots)) & own[:, None]
    return Branches(forks=tuple(forks), of_coalition=torch.from_numpy(np.take_along_axis(place, reached, axis=1)))


def branches_of_one(alphas: NDArray[np.float64]) -> Branches:
    """Return the branches of one host under M coalitions that are given by their blend weights, [M, S].

    Example:
        >>> branches_of_one(np.array([[0.0], [1.0]])).of_coalition.tolist()
        [[0, 1]]
    """
    count, num_slots = alphas.shape
    hosts, none = np.zeros(count, dtype=np.int64), torch.empty(0, dtype=torch.int64)
    splits = [torch.zeros(count - 1, dtype=torch.int64), *[none] * (num_slots - 1)]
    forks = [Fork(split=split, hosts=hosts, alphas=alphas[:, slot]) for slot, split in enumerate(splits[:num_slots])]
    ends = torch.arange(count) if forks else torch.zeros(count, dtype=torch.int64)
    return Branches(forks=tuple(forks), of_coalition=ends.unsqueeze(0))


def run_branches(
    layout: StackLayout,
    weights: Tensor,
    inputs: Tensor,
    *,
    grafts: tuple[NDArray[np.int64], Tensor],
    branches: Branches,
) -> Tensor:
    """Return the outputs of all branches, [V, B, ...].

    Args:
        layout: of the stack.
        weights: of the hosts, [R, P].
        inputs: [R, B, ...].
        grafts: kind of each graft and bound of its inner activation, [R, S] each.
        branches: the way through.
    """
    kinds, floor = grafts
    tensors = layout.host_tensors(weights)
    hidden, hosts, forks = inputs, torch.arange(len(weights)), iter(enumerate(branches.forks))
    for form, mine in zip(layout.forms, layout.by_layer(tensors), strict=True):
        if form is not None:
            hidden = form.forward(_of(mine, hosts), hidden)
            continue
        at, fork = next(forks)
        if len(fork.split):
            onwards = torch.cat([torch.arange(len(hosts)), fork.split])
            hidden, hosts = hidden.index_select(0, onwards), torch.from_numpy(fork.hosts)
        rows = graft_rows(
            layout.places[at], kinds=kinds[:, at], floor=floor[:, at], hosts=fork.hosts, alphas=fork.alphas
        )
        hidden = with_grafts(hidden, *rows.weights(weights), rows)
    return hidden


def _of(tensors: Sequence[Tensor], hosts: Tensor) -> Sequence[Tensor]:
    """Return the parameters of the host of every branch; before the first fork they are those of the hosts."""
    return [tensor if len(tensor) == len(hosts) else tensor.index_select(0, hosts) for tensor in tensors]
