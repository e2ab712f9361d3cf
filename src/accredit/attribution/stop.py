"""When a sampled attribution may end before its budget: rules that look at intervals after every round.

Axes: N players, K outputs. Rounds double the design (4N, 8N, ... evaluations). Look number j may use the share 1 / (j
(j + 1)) of the error level; the shares sum to 1, so that an interval at the shared level holds at its level although
somebody looked and stopped because of what was seen (union bound; no assumption about the dependence between looks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from accredit.attribution.protocols import FloatArray
from accredit.errors import InvalidArgument


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a stop rule may see after a round."""

    n_evaluations: int
    """Coalitions evaluated so far."""
    contribution: FloatArray
    """Estimated contributions [K, N], positive helps."""
    half_width: FloatArray
    """Half-widths [K, N] of their intervals at the level of this look; infinite where the uncertainty is unknown."""


class StopRule(Protocol):
    """Decides from one look whether sampling may end; knows nothing else and keeps nothing."""

    def __call__(self, look: Look) -> bool:
        """True where sampling may end."""
        ...


@dataclass(frozen=True)
class HalfWidthReached:
    """Every interval of every output is at most `target` wide to either side."""

    target: float
    """Half-width in the unit of the outputs, above 0."""

    def __call__(self, look: Look) -> bool:
        """True where the widest interval is narrow enough."""
        # an unknown uncertainty comes as an infinite width and so never stops anything
        return bool((look.half_width <= self.target).all())


@dataclass(frozen=True)
class SignsDecided:
    """No interval of any output contains 0."""

    def __call__(self, look: Look) -> bool:
        """True where every sign is known."""
        return bool((np.abs(look.contribution) > look.half_width).all())


@dataclass(frozen=True)
class TopDecided:
    """In every output the `count` largest contributions are separated from the others."""

    count: int
    """Players at the top, at least 1."""

    def __post_init__(self) -> None:
        """Refuse an empty top."""
        if self.count < 1:
            raise InvalidArgument(f"`count` is {self.count}, wanted at least 1 player; pass how many are to be found.")

    def __call__(self, look: Look) -> bool:
        """True where the lowest lower end of the top is above the highest upper end of the rest."""
        # stable, so that players with equal contributions cannot change places between machines
        order = np.argsort(-look.contribution, axis=1, kind="stable")
        lower = np.take_along_axis(look.contribution - look.half_width, order, axis=1)
        upper = np.take_along_axis(look.contribution + look.half_width, order, axis=1)
        top, rest = lower[:, : self.count], upper[:, self.count :]
        return bool(rest.shape[1] == 0 or (top.min(axis=1) > rest.max(axis=1)).all())


def error_share(look_number: int, *, last: bool = False) -> float:
    """Share of the error level of look 1, 2, ...: 1 / (j (j + 1)); the last of all may use what is left, 1 / j.

    Example:
        >>> [round(error_share(number), 3) for number in (1, 2, 3)], error_share(4, last=True)
        ([0.5, 0.167, 0.083], 0.25)
    """
    return 1.0 / look_number if last else 1.0 / (look_number * (look_number + 1))


@dataclass(frozen=True)
class SavedRule:
    """A rule of the user's, read back from a file: its text is kept, but what it does is not stored anywhere."""

    text: str

    def __call__(self, look: Look) -> bool:
        """Refuse to decide.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument(
            f"`stop` is {self.text!r} as a file names it, and {look.n_evaluations} evaluations wait for its "
            "decision; pass a configuration with the rule itself."
        )


def rule_text(rule: StopRule | None) -> str | None:
    """A rule as text, such as "TopDecided(count=3)"."""
    if isinstance(rule, SavedRule):
        return rule.text
    return None if rule is None else repr(rule)


def rule_from_text(text: str | None) -> StopRule | None:
    """The rule of a text: one of this module is made again, any other becomes a `SavedRule`. Nothing is executed.

    Example:
        >>> rule_from_text("TopDecided(count=3)")
        TopDecided(count=3)
    """
    if text is None:
        return None
    name, _, argument = text.removesuffix(")").partition("(")
    number = argument.partition("=")[2]
    match name:
        case "SignsDecided":
            return SignsDecided()
        case "HalfWidthReached":
            return HalfWidthReached(float(number))
        case "TopDecided":
            return TopDecided(int(number))
    return SavedRule(text)
