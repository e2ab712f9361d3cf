"""When sampling may end, from `--half-width` and `--stop`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from accredit.attribution.output import Output
from accredit.attribution.stop import Look, SignsDecided, StopRule, TopDecided
from accredit.errors import InvalidArgument, UnknownName


@dataclass(frozen=True)
class HalfWidthsReached:
    """Every interval of each of these outputs is narrow enough; others do not count."""

    targets: tuple[tuple[int, float], ...]
    """Position of an output, and its half-width in its own unit."""

    def __call__(self, look: Look) -> bool:
        """True where the widest interval of each is narrow enough."""
        return all(bool((look.half_width[at] <= target).all()) for at, target in self.targets)


@dataclass(frozen=True)
class AnyOf:
    """The first of several rules that is content."""

    rules: tuple[StopRule, ...]

    def __call__(self, look: Look) -> bool:
        """True where one of them says so."""
        return any(rule(look) for rule in self.rules)


def stop_rule(half_widths: Sequence[str], stop: str | None, outputs: Sequence[Output]) -> StopRule | None:
    """The rule of both options; None where neither is given.

    Args:
        half_widths: `WIDTH` for the first output, or `NAME=WIDTH`; all of them must be reached.
        stop: `signs` or `top=K`.
        outputs: in their order.

    Raises:
        InvalidArgument: no number above 0, or another rule.
        UnknownName: no output of this name; the nearest is suggested.

    Example:
        >>> stop_rule(["0.01"], "top=3", [Output("loss", "nat", False)])
        AnyOf(rules=(HalfWidthsReached(targets=((0, 0.01),)), TopDecided(count=3)))
    """
    rules: list[StopRule] = []
    if half_widths:
        rules.append(
            HalfWidthsReached(tuple(_target(text, [output.name for output in outputs]) for text in half_widths))
        )
    if stop is not None:
        rules.append(_named_rule(stop))
    return None if not rules else rules[0] if len(rules) == 1 else AnyOf(tuple(rules))


def _target(text: str, names: Sequence[str]) -> tuple[int, float]:
    """Position of the output and the half-width."""
    name, equals, number = text.rpartition("=")
    if equals and name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise UnknownName(
            f"`--half-width` got the output {name!r}, wanted one of {', '.join(names)}; did you mean {near[0]!r}?"
        )
    try:
        width = float(number)
    except ValueError:
        width = math.nan
    if not (math.isfinite(width) and width > 0):
        raise InvalidArgument(
            f"`--half-width` got {text!r}, wanted a number above 0, or NAME=NUMBER for one output; write for example "
            f"--half-width {names[0]}=0.01."
        )
    return (names.index(name) if equals else 0), width


def _named_rule(text: str) -> StopRule:
    """The rule of `--stop`."""
    name, _, count = text.partition("=")
    if text == "signs":
        return SignsDecided()
    if name == "top" and count.isdecimal() and int(count) > 0:
        return TopDecided(int(count))
    raise InvalidArgument(f"`--stop` is {text!r}, wanted signs or top=K; write for example --stop top=3.")
