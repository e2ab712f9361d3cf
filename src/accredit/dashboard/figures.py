"""The figures of a run as it stands: those of its report, as far as the events have numbers for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from accredit.charts import Axis, Chart, Series, mean_points
from accredit.dashboard.tally import Place, Tally
from accredit.dashboard.trace import RECENT, Points

Window = Literal["whole", "recent"]

MOST_SERIES = 8
"""Lines of one figure: as many as there are colours."""
_MOST_BANDS = 2
"""Lines of one figure that have bands; more would cover each other."""
_LIVE = "live/"
"""The game of those that are part of the network; named in `accredit.growth.hosts`."""
_UPDATE = Axis(label="PPO update", unit="count")


@dataclass(frozen=True)
class Selection:
    """What somebody looks at."""

    place: str = ""
    """An environment or a group of them; empty or unknown: the first group of the run."""
    window: Window = "whole"
    output: str = ""
    """`game/output` of contributions; empty or unknown: the first of the run."""


@dataclass(frozen=True)
class Figure:
    """A chart and where it belongs."""

    identifier: str
    section: str
    chart: Chart


@dataclass(frozen=True)
class _Lines:
    """A line chart of some traces."""

    identifier: str
    section: str
    title: str
    y: Axis
    names: Mapping[str, str]
    """Trace -> name of its line."""
    note: str = ""


def _one(identifier: str, section: str, title: str, trace: str, y: Axis) -> _Lines:
    return _Lines(identifier, section, title, y, {trace: title})


_RETURNS = _Lines(
    "returns",
    "Progress",
    "Return and gain over no growth",
    Axis(label="mean over the episodes of a rollout", unit="nat"),
    {"episode_return": "return (gain less rent and cost)", "gain_over_control": "gain over no growth"},
    "Gain: log-loss of the ungrown host of the same seed minus that of the grown one, on the reward split.",
)
_HOSTS = (
    _one("loss", "Hosts", "Log-loss", "log_loss", Axis(label="log-loss on the reward split", unit="nat")),
    _one("accuracy", "Hosts", "Accuracy", "accuracy", Axis(label="accuracy on the reward split", unit="share")),
    _Lines(
        "reward",
        "Hosts",
        "Reward and its parts",
        Axis(label="of one step", unit="nat"),
        {"reward": "reward", "gain": "gain", "control_gain": "gain of no growth", "rent": "rent"},
    ),
    _one("size", "Hosts", "Size of the grafts", "graft_parameters", Axis(label="parameters of grafts", unit="count")),
)
_POLICY = (
    _one("entropy", "Policy", "Entropy", "entropy", Axis(label="mean entropy of the policy", unit="nat")),
    _one(
        "divergence",
        "Policy",
        "Divergence from the policy that acted",
        "approximate_kl",
        Axis(label="approximate KL divergence", unit="nat"),
    ),
    _one("clipped", "Policy", "Clipped decisions", "clip_fraction", Axis(label="share of the decisions", unit="share")),
    _one(
        "explained",
        "Policy",
        "Explained variance of the critic",
        "explained_variance",
        Axis(label="share of the variance", unit="share"),
    ),
    _one(
        "grown", "Policy", "Size of what was grown", "mean_parameters", Axis(label="parameters committed", unit="count")
    ),
    _Lines(
        "losses",
        "Policy",
        "Losses of policy and critic",
        Axis(label="loss", unit="number"),
        {"policy_loss": "policy, clipped", "value_loss": "critic, of scaled values"},
    ),
)
_NORMALIZERS = (
    _Lines(
        "drift",
        "Normalizers",
        "Drift of the observations",
        Axis(label="move of a mean", unit="deviations", logarithmic=True),
        {"observation_drift": "largest move of a feature"},
        "Statistics are frozen during a rollout and updated after it. A drift of 0 is not drawn.",
    ),
    _Lines(
        "samples",
        "Normalizers",
        "Samples in the observation statistics",
        Axis(label="observations", unit="count"),
        {"observation_count": "seen", "observation_effective_count": "what they are worth"},
    ),
    _Lines(
        "scale",
        "Normalizers",
        "Scale of the rewards",
        Axis(label="standard deviation", unit="nat"),
        {"reward_scale": "raw rewards were divided by", "return_std": "deviation of the value targets"},
    ),
)


def figures(tally: Tally, selection: Selection) -> list[Figure]:
    """Return every figure of series that the events so far have numbers for.

    Args:
        tally: of the run.
        selection: what is looked at.
    """
    window = selection.window
    drawn = [*_over(tally.updates, (_RETURNS,), _UPDATE, window), *outcome(tally)]
    place, name = chosen_place(tally, selection)
    if place is not None:
        steps = Axis(label="steps of each environment" if place.members else "steps", unit="count")
        whose = f"{place.members} environments" if place.members > 1 else name
        lines = [replace(each, title=f"{each.title}: {whose}") for each in (*_HOSTS, *_grafts(tally, place, selection))]
        drawn += _over(place, lines, steps, window)
    return [*drawn, *_over(tally.updates, (_decisions(tally), *_POLICY, *_NORMALIZERS), _UPDATE, window)]


def chosen_place(tally: Tally, selection: Selection) -> tuple[Place | None, str]:
    """Return the place that is looked at, and its name."""
    name = selection.place
    if name in tally.environments:
        return tally.environments[name], name
    if name not in tally.groups:
        name = next(iter(tally.groups), "")
    return tally.groups.get(name), name


def chosen_output(tally: Tally, selection: Selection) -> str:
    """Return the `game/output` that is looked at; empty where no contribution was estimated yet."""
    if selection.output in tally.outputs:
        return selection.output
    place, _ = chosen_place(tally, selection)
    measured = {trace.partition("\0")[0] for trace in place.traces} if place is not None else set()
    found = [output for output in tally.outputs if output in measured] or list(tally.outputs)
    # what grafts earn now comes before what insertion would bring
    return min(found, key=lambda output: not output.startswith(_LIVE), default="")


def outcome(tally: Tally) -> Iterator[Figure]:
    """Return accuracy against parameters of the hosts that each policy has grown so far, if any."""
    known = [(policy, numbers) for policy, numbers in tally.policies.items() if numbers[0]]
    if known:
        chart = mean_points(
            "Accuracy against parameters",
            (Axis(label="parameters of host and grafts", unit="count"), Axis(label="test accuracy", unit="share")),
            {policy: (parameters, accuracies) for policy, (accuracies, parameters) in known[:MOST_SERIES]},
            over="the hosts that each policy has grown",
        )
        yield Figure("outcome", "Progress", chart)


def _decisions(tally: Tally) -> _Lines:
    names = {name: name.partition("\0")[2] for name in tally.updates.traces if name.startswith("action\0")}
    axis = Axis(label="decisions for an operation", unit="share")
    note = "A policy that decides the same everywhere has collapsed: compare the entropy."
    return _Lines("decisions", "Policy", "What the policy decided", axis, names, note)


def _grafts(tally: Tally, place: Place, selection: Selection) -> Iterator[_Lines]:
    output = chosen_output(tally, selection)
    if output:
        names = {trace: trace.partition("\0")[2] for trace in place.traces if trace.startswith(f"{output}\0")}
        y = Axis(label=f"contribution to {output.rpartition('/')[2]}, positive helps", unit=tally.outputs[output][0])
        yield _Lines("contributions", "Grafts", "Contribution by slot", y, names)


def _over(place: Place, charts: Sequence[_Lines], x: Axis, window: Window) -> Iterator[Figure]:
    """Return those of `charts` that have numbers."""
    for lines in charts:
        kept = [(name, place.traces[trace]) for trace, name in lines.names.items() if trace in place.traces]
        points = [
            (name, trace.whole.points() if window == "whole" else trace.latest()) for name, trace in kept[:MOST_SERIES]
        ]
        series = tuple(_series(name, each, is_positive=lines.y.logarithmic) for name, each in points)
        if not any(each.y for each in series):
            continue
        notes = [lines.note] if lines.note else []
        if any(each.lower for each in series):
            if len(series) <= _MOST_BANDS:
                notes.append("Line: the mean of each stretch; band: its lowest and highest.")
            else:
                series = tuple(replace(each, lower=None, upper=None) for each in series)
                notes.append("Lines: the means of each stretch.")
        if window == "recent":
            notes.append(f"The latest {RECENT}.")
        chart = Chart(title=lines.title, kind="line", x=x, y=lines.y, series=series, note=" ".join(notes))
        yield Figure(lines.identifier, lines.section, chart)


def _series(name: str, points: Points, *, is_positive: bool) -> Series:
    """Return a line with a band where several numbers fell into a bucket; a logarithmic axis has no place for 0."""
    kept = [at for at, lowest in enumerate(points.lowest) if lowest > 0 or not is_positive]
    columns = [tuple(column[at] for at in kept) for column in (points.x, points.mean, points.lowest, points.highest)]
    if all(points.count[at] == 1 for at in kept):
        return Series(name=name, x=columns[0], y=columns[1])
    return Series(name=name, x=columns[0], y=columns[1], lower=columns[2], upper=columns[3])
