"""One episode of one environment, read from its place in the file when somebody looks at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Plain = dict[str, Any]
Estimate = tuple[float | None, float | None, float | None]
"""Contribution, positive helps, with the lower and the upper end of its interval."""

_MOST_BYTES = 1 << 25
_MOST_ENTRIES = 20_000


@dataclass
class Episode:
    """What happened in it."""

    environment: str
    number: int
    last_step: int = 0
    stages: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Step, slot, kind of graft, and the stage that the slot went to."""
    estimates: dict[str, list[tuple[int, float, dict[str, Estimate]]]] = field(default_factory=dict)
    """`game/output` -> step, level of the intervals, and player -> estimate."""


def read_episode(path: Path, environment: str, number: int, begin: int, end: int) -> Episode:
    """Read an episode; of one that fills more than 32 MiB of the file the beginning only.

    Args:
        path: of the events.
        environment: whose.
        number: of the episode.
        begin: byte of the file from where to look.
        end: byte up to which.

    Returns:
        The episode, empty where the file has changed in between.
    """
    episode = Episode(environment, number)
    wanted = f'"environment": {json.dumps(environment)}, '.encode()
    try:
        with path.open("rb") as file:
            file.seek(begin)
            content = file.read(min(end - begin, _MOST_BYTES))
    except OSError:
        return episode
    found = [line for line in content.split(b"\n") if wanted in line]
    for line in found[:_MOST_ENTRIES]:
        try:
            entries = json.loads(line)
            origin = entries["origin"]
            if origin["environment"] == environment and origin["episode"] == number:
                _take(episode, entries, int(origin["step"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            continue  # the index has counted the line and says so
    return episode


def _take(episode: Episode, entries: Plain, step: int) -> None:
    episode.last_step = max(episode.last_step, step)
    match entries["event"]:
        case "StageChanged":
            slot, kind, target = str(entries["slot"]), str(entries["kind"]), str(entries["target"])
            episode.stages.append((step, slot, kind, target))
        case "ContributionsEstimated":
            game, output = entries["origin"]["game"], entries["output"]
            found = episode.estimates.setdefault(f"{game}/{output}" if game else str(output), [])
            found.append((step, float(entries["level"]), _estimates(entries)))
        case _:
            pass


def _estimates(entries: Plain) -> dict[str, Estimate]:
    """Return player -> estimate; ends of raw values change places where lower values are better."""
    sign = 1.0 if entries["higher_is_better"] else -1.0
    ends = ("lower", "upper") if sign > 0 else ("upper", "lower")
    return {
        str(player): (_number(number), _number(low, sign), _number(high, sign))
        for player, number, low, high in zip(
            entries["players"], entries["contributions"], entries[ends[0]], entries[ends[1]], strict=True
        )
    }


def _number(value: object, sign: float = 1.0) -> float | None:
    return sign * float(value) if isinstance(value, int | float) else None
