"""Replay keeps what a later pass asks for, and lets go of the rest: memory grows with the players, not the passes."""

import itertools

import pytest
import torch
from torch import nn

from accredit.models.batches import ForwardPass
from accredit.models.loop import OneAfterAnother
from accredit.models.replay import Replay
from accredit.models.switchable import SwitchableModel


class Cached(nn.Module):
    """A block that leaves something in a cache, so that each of its calls is looked at, as in models of texts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, stream, cache):
        keys = self.layer(stream).tanh()
        cache.append(keys)
        return stream + keys


class Texts(nn.Module):
    """Blocks that share a cache."""

    def __init__(self, n_blocks):
        super().__init__()
        self.blocks = nn.ModuleList(Cached() for _ in range(n_blocks))

    def forward(self, stream):
        cache = Cache()
        for block in self.blocks:
            stream = block(stream, cache)
        return stream


class Cache(list):
    """A list of its own kind: nothing is known of it."""


@pytest.mark.parametrize("off", ["identity", "zero"])
def test_what_a_block_with_a_cache_gives_is_let_go_with_the_last_pass_that_agrees(off):
    """2^4 and 2^8 passes: with twice the depth at most 4 times as much, not 16 times; values are those of the loop."""
    batch = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    peaks = {}
    for n_blocks in (4, 8):
        torch.manual_seed(1)
        switchable = SwitchableModel(Texts(n_blocks).eval(), ["blocks.*"], off=off)
        coalitions = list(itertools.product((1.0, 0.0), repeat=n_blocks))
        replay = Replay(switchable, max_bytes=1 << 30)
        with switchable.evaluating():
            forward = ForwardPass(switchable.model, switchable.forward, batch)
            plain = [output.clone() for output in OneAfterAnother(switchable).outputs(forward, coalitions)]
            shared = [output.clone() for output in replay.outputs(forward, coalitions)]
        assert all(map(torch.equal, plain, shared))
        peaks[n_blocks] = replay.peak_bytes
    assert replay.misses < 8 * 2**8
    assert peaks[8] <= 4 * peaks[4]
