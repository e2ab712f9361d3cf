"""Which later coalitions agree with the present one on some players: until then a value that depends on them is kept.

Sets of players are integers, bit i = player i.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from accredit.models.gate import Weights

NEVER = 1 << 62
"""Later than every pass."""


class Agreement:
    """Passes in which given players have the weights that they have now.

    Args:
        coalitions: weights [N] of every pass, in the order of the passes.

    Example:
        >>> agreement = Agreement([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
        >>> agreement.begin(0)
        >>> agreement.passes(0b01), agreement.passes(0b10), agreement.passes(0b11), agreement.passes(0)
        ([0, 1], [0, 2], [0], [0, 1, 2])
    """

    def __init__(self, coalitions: Sequence[Weights]) -> None:
        self.coalitions = list(coalitions)
        self.turn = 0
        self._passes: dict[int, dict[Weights, list[int]]] = {}
        self._now: dict[int, list[int]] = {}

    def begin(self, turn: int) -> None:
        """Say which pass is the present one."""
        self.turn = turn
        self._now = {}

    def passes(self, players: int) -> list[int]:
        """Numbers of all passes, in order, in which these players have their present weights."""
        found = self._now.get(players)
        if found is None:
            columns = [player for player in range(players.bit_length()) if players >> player & 1]
            groups = self._passes.get(players)
            if groups is None:
                groups = self._passes[players] = {}
                for number, weights in enumerate(self.coalitions):
                    groups.setdefault(tuple([weights[column] for column in columns]), []).append(number)
            weights = self.coalitions[self.turn]
            found = self._now[players] = groups[tuple([weights[column] for column in columns])]
        return found

    def next_after_now(self, passes: Sequence[int]) -> int:
        """The first of these passes after the present one."""
        place = bisect_right(passes, self.turn)
        return passes[place] if place < len(passes) else NEVER
