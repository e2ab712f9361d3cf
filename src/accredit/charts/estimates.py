"""What a picture of named estimates is drawn from, and the few that are drawn where there are too many to read."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from itertools import combinations

from accredit.errors import InvalidArgument

_LONGEST_NAME = 30
_CLOSE = "\N{POP DIRECTIONAL ISOLATE}"
_TURNING = {"R", "AL", "AN", "LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Classes of characters that can change the order of those beside them (Unicode Standard Annex 9)."""


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Estimates of one quantity, in its raw unit and sign, with the half-widths of their intervals.

    Example:
        >>> loss = Estimates(
        ...     names=("a", "b"), values=(-0.5, 0.25), half_widths=(0.1, None), quantity="loss", unit="nat",
        ...     higher_is_better=False, level=0.95,
        ... )
        >>> loss.contributions, loss.reach
        ((0.5, -0.25), (0.1, None))
    """

    names: tuple[str, ...]
    """Players, or pairs of them written by the caller."""
    values: tuple[float, ...]
    """Raw estimates, one per name."""
    half_widths: tuple[float | None, ...] | None
    """Half-widths of the intervals; None where one is, or all are, unknown."""
    quantity: str
    """The output that is attributed, in words."""
    unit: str
    """Its unit."""
    higher_is_better: bool
    """Direction: positive contributions help."""
    level: float
    """Confidence of the intervals, in (0, 1)."""

    def __post_init__(self) -> None:
        """Check that all columns are of one length."""
        reach = self.names if self.half_widths is None else self.half_widths
        if not len(self.names) == len(self.values) == len(reach) or not self.names:
            raise InvalidArgument(
                f"`names` has {len(self.names)} entries, `values` {len(self.values)} and `half_widths` {len(reach)}, "
                "wanted one of each for every estimate and at least one; pass columns of one length."
            )

    @property
    def contributions(self) -> tuple[float, ...]:
        """The values signed by the direction: positive helps."""
        return tuple(value if self.higher_is_better else -value for value in self.values)

    @property
    def reach(self) -> tuple[float | None, ...]:
        """Half-widths, None where one is unknown or infinite: no length on paper could show it."""
        if self.half_widths is None:
            return (None,) * len(self.names)
        return tuple(width if width is not None and math.isfinite(width) else None for width in self.half_widths)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names short enough for an axis, all different."""
        return short_names(self.names)

    @property
    def interval_note(self) -> str:
        """What the bars of error are, or that there are none."""
        known = sum(width is not None for width in self.reach)
        if known == 0:
            return "intervals unknown"
        missing = f", unknown for {len(self.names) - known}" if known < len(self.names) else ""
        return f"{100 * self.level:.4g} % intervals{missing}"

    def largest(self, most: int) -> tuple[list[int], list[int]]:
        """Positions of the `most` estimates of largest size, and of the rest, both by falling contribution.

        Where all fit there is no rest; a rest of one is drawn by its name, for it takes the same room.
        """
        by_contribution = sorted(range(len(self.names)), key=lambda at: (-self.contributions[at], at))
        if len(self.names) <= most + 1:
            return by_contribution, []
        kept = set(sorted(range(len(self.names)), key=lambda at: (-abs(self.values[at]), at))[:most])
        return [at for at in by_contribution if at in kept], [at for at in by_contribution if at not in kept]


@dataclass(frozen=True, kw_only=True)
class PairEstimates:
    """Interactions of all pairs of some players, with their order: `itertools.combinations` of the players."""

    players: tuple[str, ...]
    pairs: Estimates
    """One estimate per pair."""

    def __post_init__(self) -> None:
        """Check that there is one estimate per pair."""
        wanted = math.comb(len(self.players), 2)
        if len(self.pairs.values) != wanted:
            raise InvalidArgument(
                f"`pairs` has {len(self.pairs.values)} estimates, but {len(self.players)} players have {wanted} pairs; "
                "pass one for each pair, in the order of `itertools.combinations`."
            )

    def places(self) -> list[tuple[int, int]]:
        """Positions of both players of every pair."""
        return list(combinations(range(len(self.players)), 2))

    def strongest_players(self, most: int) -> list[int]:
        """Positions of the players with the largest sums of absolute interactions, in their own order."""
        strength = [0.0] * len(self.players)
        for (first, second), value in zip(self.places(), self.pairs.values, strict=True):
            strength[first] += abs(value)
            strength[second] += abs(value)
        return sorted(sorted(range(len(self.players)), key=lambda at: (-strength[at], at))[:most])


def short_names(names: tuple[str, ...], *, longest: int = _LONGEST_NAME) -> tuple[str, ...]:
    """Names on one line of at most `longest` characters: the middle gives way, for paths differ at their ends.

    Example:
        >>> short_names(("encoder.layers.0.attention.heads.11", "host"), longest=15)
        ('encoder…eads.11', 'host')
        >>> short_names(("first of many words", "first other words"), longest=9)
        ('firs…ords', 'fir…ds #2')
    """
    shortened: list[str] = []
    for at, name in enumerate(names):
        # a line break or a control character in a name would move everything beside it
        line = "".join(character if character.isprintable() else " " for character in name)
        short = _elided(line, longest)
        if short in shortened:
            mark = f" #{at + 1}"
            short = _elided(line, longest - len(mark)) + mark
        shortened.append(short)
    return tuple(shortened)


def isolated(name: str) -> str:
    r"""A name that can stand within a sentence: one that turns the direction of writing turns its own letters alone.

    Example:
        >>> isolated("input"), len(isolated("\u202etupni"))
        ('input', 8)
    """
    if not any(unicodedata.bidirectional(character) in _TURNING for character in name):
        return name
    # an isolate that the name closes would leave the rest of it free
    return f"\N{FIRST STRONG ISOLATE}{name.replace(_CLOSE, '')}{_CLOSE}"


def _elided(line: str, longest: int) -> str:
    """The line, or its two ends with an ellipsis between them."""
    if len(line) <= longest:
        return line
    head = longest // 2
    return f"{line[:head]}…{line[len(line) - (longest - head - 1) :]}"
