"""How the policy learned: returns, the health of PPO, and what the normalizers did."""

from __future__ import annotations

from accredit.charts import Axis, Chart
from accredit.charts.chart import Numbers
from accredit.report.page import Group, Section
from accredit.report.run_record import RunRecord
from accredit.report.wording import lines
from accredit.telemetry.event import UpdateCompleted

_UPDATE = Axis(label="PPO update", unit="count")


def learning(record: RunRecord) -> Section:
    """Return the diagnostics of PPO."""
    if not record.updates:
        return Section(title="Learning", paragraphs=("No update has been completed yet.",))
    returns = lines(
        "Return and gain over no growth",
        _x(record),
        {
            "return (gain less rent and cost)": _column(record, "episode_return"),
            "gain over no growth": _column(record, "gain_over_control"),
        },
        axis=_UPDATE,
        quantity=Axis(label="mean over the episodes of a rollout", unit="nat"),
        note="Gain: log-loss of the ungrown host of the same seed minus that of the grown one, on the reward split.",
    )
    bound = record.config.get("ppo", {}).get("kl_stop")
    limits: dict[str, Numbers] = {}
    if isinstance(bound, int | float):
        limits["where an update ends early"] = (float(bound),) * len(record.updates)
    small = (
        lines(
            "Entropy of the policy",
            _x(record),
            {
                "over the update": _column(record, "entropy"),
                "as it acted, where it had a choice": _column(record, "decision_entropy"),
            },
            axis=_UPDATE,
            quantity=Axis(label="mean entropy", unit="nat"),
        ),
        lines(
            "Divergence from the policy that acted",
            _x(record),
            {"approximate KL": _column(record, "approximate_kl")} | limits,
            axis=_UPDATE,
            quantity=Axis(label="approximate KL divergence", unit="nat"),
        ),
        _one(record, "Clipped decisions", "clip_fraction", "share of the decisions", "share"),
        _one(record, "Explained variance of the critic", "explained_variance", "share of the variance", "share"),
        _one(record, "Accuracy at the end of episodes", "final_accuracy", "mean, reward split", "share"),
        _one(record, "Size of what was grown", "mean_parameters", "parameters committed", "count"),
        _one(record, "Loss of the policy", "policy_loss", "clipped loss of PPO", "number"),
        _one(record, "Loss of the critic", "value_loss", "loss of scaled values", "number"),
    )
    return Section(
        title="Learning",
        items=(returns, _operations(record), Group(items=tuple(chart for chart in small if chart.series))),
    )


def normalizers(record: RunRecord) -> Section:
    """Return how the running statistics moved."""
    if not record.updates:
        return Section(title="Normalizers", paragraphs=("No update has been completed yet.",))
    drift = tuple(None if each is None or each <= 0 else each for each in _column(record, "observation_drift"))
    charts: tuple[Chart, ...] = (
        lines(
            "Drift of the observations",
            _x(record),
            {"largest move of a feature": drift},
            axis=_UPDATE,
            quantity=Axis(label="move of a mean", unit="deviations", logarithmic=True),
            note="Statistics are frozen during a rollout and updated after it. A drift of 0 is not drawn.",
        ),
        lines(
            "Samples in the observation statistics",
            _x(record),
            {
                "seen": _column(record, "observation_count"),
                "what they are worth": _column(record, "observation_effective_count"),
            },
            axis=_UPDATE,
            quantity=Axis(label="observations", unit="count"),
        ),
        lines(
            "Scale of the rewards",
            _x(record),
            {
                "raw rewards were divided by": _column(record, "reward_scale"),
                "deviation of the value targets": _column(record, "return_std"),
                "scale of the critic": _column(record, "value_scale"),
            },
            axis=_UPDATE,
            quantity=Axis(label="standard deviation", unit="nat"),
        ),
    )
    dropped = _column(record, "observation_dropped")
    if any(dropped):
        charts += (_one(record, "Rows left out", "observation_dropped", "rows since the run began", "count"),)
    said = "Observations with a number that is not finite are left out of the statistics; "
    said += "there were none." if not any(dropped) and None not in dropped else "see below how many."
    if set(dropped) == {None}:
        said = "Whether rows were left out of the statistics was not measured."
    drawn = Group(items=tuple(chart for chart in charts if chart.series))
    return Section(title="Normalizers", paragraphs=(said,), items=(drawn,))


def _operations(record: RunRecord) -> Chart:
    """Return what the policy did."""
    names = tuple(dict.fromkeys(name for _, event in record.updates for name in event.action_frequencies))
    return lines(
        "What the policy decided",
        _x(record),
        # an operation that was never chosen in a rollout has no entry there, and a share of 0
        {name: tuple(event.action_frequencies.get(name, 0.0) for _, event in record.updates) for name in names},
        axis=_UPDATE,
        quantity=Axis(label="decisions for an operation", unit="share"),
        note="A policy that decides the same everywhere has collapsed: compare the entropy below.",
    )


def _one(record: RunRecord, title: str, name: str, label: str, unit: str) -> Chart:
    return lines(title, _x(record), {title: _column(record, name)}, axis=_UPDATE, quantity=Axis(label=label, unit=unit))


def _x(record: RunRecord) -> list[float]:
    return [float(event.update) for _, event in record.updates]


def _column(record: RunRecord, name: str) -> Numbers:
    """Return one field of all updates; None where it was not measured, as in files of other versions."""
    return tuple(_number(event, name) for _, event in record.updates)


def _number(event: UpdateCompleted, name: str) -> float | None:
    value = vars(event).get(name)
    return float(value) if isinstance(value, int | float) else None
