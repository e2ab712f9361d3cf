"""Statistics that are the same on every rank, in one collective.

Each rank packs (n, mean, M2) of its own batch in float64; one all-gather, then Chan's merge in rank order. Moments, not
sums about the running mean: on the first batch that mean is 0, and sums about 0 lose the digits of a large mean. Every
rank merges the same numbers in the same order, so all hold the same bits.

Axes: D features, R ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from accredit.errors import UnknownName
from accredit.moments import Moments, merge
from accredit.normalize.batch import Batch, masked_moments
from accredit.normalize.observation import RunningMeanStd


def gather(batches: Sequence[Batch], group: dist.ProcessGroup | None = None) -> list[Batch]:
    """Merge batches over all ranks: every rank passes as many, of the same widths, and gets the same result.

    Args:
        batches: of this rank; an empty one has weight 0.
        group: process group; None for the default one. Without torch.distributed the batches come back as they are.

    Returns:
        The batches of all ranks, merged in rank order, bit-equal on every rank.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(batches)
    if not batches:
        return []
    packed = torch.cat([_pack(batch) for batch in batches])
    gathered = [torch.empty_like(packed) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, packed, group=group)
    widths = [batch.moments.mean.numel() for batch in batches]
    sizes = [3 + 2 * width for width in widths]
    ranks = [[_unpack(part) for part in torch.split(row, sizes)] for row in gathered]
    merged = ranks[0]
    for rank in ranks[1:]:
        merged = [_merge(a, b) for a, b in zip(merged, rank, strict=True)]
    return merged


def synchronized_update(
    statistics: RunningMeanStd, x: Tensor, mask: Tensor | None = None, *, group: dist.ProcessGroup | None = None
) -> None:
    """`statistics.update` with the batches of all ranks, as if they had come as one.

    Every rank calls it, whatever its batch: unequal and empty ones ([0, *shape]) and rows that are not finite are fine.
    The ranks' statistics must have been equal before, and are bit-equal after.

    Args:
        statistics: of this rank.
        x: [..., *shape] of this rank.
        mask: bool [...], True where a row counts.
        group: process group; None for the default one.
    """
    rows, kept = statistics.as_rows(x, mask)
    if statistics.training and not statistics.frozen:
        statistics.absorb(gather([masked_moments(rows, kept)], group)[0])


class RolloutStatistics(nn.Module):
    """Collect batches during a rollout, and take them into the normalizers after it, on all ranks at once.

    A policy that acts and learns under different statistics compares two different policies: the first PPO ratio is
    then not 1. So normalizers stand still during a rollout, and what they would have seen waits here.

    What waits is part of `state_dict`, so that a run that is stopped within a rollout goes on with it. Collecting does
    not depend on the mode of the normalizers; what was collected for one that is in eval mode or frozen waits on until
    a commit finds it in train mode.

    Args:
        normalizers: what to update, by name. They are not registered here: they belong to the policy.

    Example:
        >>> observations = RunningMeanStd(1)
        >>> rollout = RolloutStatistics({"observation": observations})
        >>> for step in range(3):
        ...     rollout.collect({"observation": torch.full((4, 1), float(step))})
        >>> int(observations.count)
        0
        >>> rollout.commit()
        >>> int(observations.count), observations.mean.item()
        (12, 1.0)
    """

    def __init__(self, normalizers: Mapping[str, RunningMeanStd]) -> None:
        super().__init__()
        self._targets = dict(normalizers)
        self._pending = {
            name: RunningMeanStd(target.shape, device=target.moments.device) for name, target in normalizers.items()
        }
        self.pending = nn.ModuleDict(self._pending)

    def collect(self, batches: Mapping[str, Tensor], mask: Tensor | None = None) -> None:
        """Remember batches, by the name of their normalizer; in eval mode of this object nothing happens.

        Args:
            batches: name -> [..., *shape].
            mask: bool [...], True where a row counts, the same for all.

        Raises:
            UnknownName: a name without a normalizer.
        """
        for name, x in batches.items():
            if name not in self._pending:
                raise UnknownName(
                    f"`{name}` has no normalizer, but batches are collected for {', '.join(self._pending)}; pass "
                    "one of those names."
                )
            self._pending[name].update(x, mask)

    @torch.no_grad()
    def commit(self, group: dist.ProcessGroup | None = None) -> None:
        """Take what was collected into the normalizers, over all ranks where torch.distributed runs, and begin anew.

        Args:
            group: process group; None for the default one.
        """
        names = [name for name, target in self._targets.items() if target.training and not target.frozen]
        waiting = [self._pending[name] for name in names]
        batches = gather([Batch(one.as_moments(), one.dropped, one.masked) for one in waiting], group)
        for name, one, batch in zip(names, waiting, batches, strict=True):
            self._targets[name].absorb(batch)
            one.reset()


def _pack(batch: Batch) -> Tensor:
    weight, _, mean, var = batch.moments
    counts = torch.stack((weight, batch.dropped.double(), batch.masked.double()))
    return torch.cat((counts, mean, var * weight))


def _unpack(packed: Tensor) -> Batch:
    counts, features = packed[:3], packed[3:]
    weight = counts[0]
    mean, second = features.chunk(2)
    moments = Moments(weight, weight, mean, second / weight.clamp(min=1.0))
    return Batch(moments, counts[1].long(), counts[2].long())


def _merge(a: Batch, b: Batch) -> Batch:
    return Batch(merge(a.moments, b.moments), a.dropped + b.dropped, a.masked + b.masked)
