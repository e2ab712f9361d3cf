"""What came out of a run: the policies on the test split, and what quality costs in parameters."""

from __future__ import annotations

from collections import Counter

from accredit.charts import Axis, Chart, Series, isolated
from accredit.report.page import Column, Item, KeyFigure, Section, Table
from accredit.report.run_record import Plain, RunRecord
from accredit.report.wording import cell, ends, percent, signed
from accredit.telemetry.event import HostGrown

_MOST_NETWORKS = 8


def key_figures(record: RunRecord) -> tuple[KeyFigure, ...]:
    """Return the numbers to see first."""
    if record.comparison is None:
        return _key_figures_of_training(record)
    rows = {row["policy"]: row for row in record.comparison["policies"]}
    learned, ungrown = rows["learned"], rows["no growth"]
    gain = {"lower": learned["minus_no_growth"]["lower"], "upper": learned["minus_no_growth"]["upper"]}
    return (
        KeyFigure(
            label="test accuracy, learned policy",
            value=f"{learned['accuracy']['mean']:.1%}",
            note=f"{ends(learned['accuracy'], '{:.1%}')}; no growth: {ungrown['accuracy']['mean']:.1%}",
        ),
        KeyFigure(
            label="log-loss, learned minus no growth",
            value=signed(learned["minus_no_growth"]["mean"]) + " nat",
            note=f"{ends(gain, '{:+.3f}')}; negative is better",
        ),
        KeyFigure(
            label="parameters",
            value=f"{learned['parameters']['mean']:.0f}",
            note=f"host alone: {ungrown['parameters']['mean']:.0f}",
        ),
    )


def _key_figures_of_training(record: RunRecord) -> tuple[KeyFigure, ...]:
    """Return where an unfinished run stands."""
    if not record.updates:
        return ()
    last = record.updates[-1][1]
    numbers = (
        ("updates", f"{last.update}", f"of {record.config.get('updates', 'unknown')}"),
        (
            "gain over no growth",
            "unknown" if last.gain_over_control is None else signed(last.gain_over_control) + " nat",
            "last rollout, reward split",
        ),
        (
            "accuracy",
            "unknown" if last.final_accuracy is None else f"{last.final_accuracy:.1%}",
            "last rollout, reward split",
        ),
    )
    return tuple(KeyFigure(label=label, value=value, note=note) for label, value, note in numbers)


def outcome(record: RunRecord) -> Section:
    """Return the comparison of the policies, or say that there is none yet."""
    comparison = record.comparison
    if comparison is None:
        said = "The policies have not been compared on the test split yet, which happens once training is through."
        return Section(title="Outcome", paragraphs=(said,))
    level = percent(comparison["confidence"])
    paragraphs = (
        f"Every policy grew the same {comparison['hosts']} fresh hosts; nothing else reads the test split. "
        f"Best schedule, chosen on the reward split of other hosts: {isolated(comparison['schedule'])}. "
        f"Calibrated kinds: {', '.join(map(isolated, comparison['calibrated_kinds']))} (slot by slot).",
    )
    items: list[Item] = [_policy_table(comparison, level), _advantage(comparison, level), _frontier(comparison, level)]
    if record.hosts:
        items.append(_networks(record.hosts))
    return Section(title="Outcome", paragraphs=paragraphs, items=tuple(items))


def _policy_table(comparison: Plain, level: str) -> Table:
    rows = comparison["policies"]
    return Table(
        title="Policies",
        columns=(
            Column(name="policy"),
            Column(name="accuracy", unit="share", digits=3),
            Column(name="log-loss", unit="nat", digits=3),
            Column(name="parameters", unit="count", digits=0),
            Column(name="minus no growth", unit="nat", digits=3),
            Column(name="learned minus it", unit="nat", digits=3),
        ),
        rows=tuple(
            (
                row["policy"],
                row["accuracy"]["mean"],
                row["log_loss"]["mean"],
                row["parameters"]["mean"],
                cell(row["minus_no_growth"]),
                cell(row["learned_minus"]),
            )
            for row in rows
        ),
        note=f"Differences of log-loss are paired by host, with {level} Student t intervals; negative is better.",
        emphasized=next((at for at, row in enumerate(rows) if row["policy"] == "learned"), None),
    )


def _advantage(comparison: Plain, level: str) -> Chart:
    """By how much the learned policy is ahead of each other one."""
    others = [row for row in comparison["policies"] if row["learned_minus"] is not None]
    ahead = [row["learned_minus"] for row in others]
    return Chart(
        title="How far the learned policy is ahead",
        kind="bar",
        x=Axis(label="policy", unit=None),
        y=Axis(label="its log-loss minus that of learned, positive: learned is better", unit="nat"),
        series=(
            Series(
                name="paired by host",
                x=tuple(row["policy"] for row in others),
                y=tuple(-each["mean"] for each in ahead),
                lower=tuple(None if each["upper"] is None else -each["upper"] for each in ahead),
                upper=tuple(None if each["lower"] is None else -each["lower"] for each in ahead),
            ),
        ),
        note=f"Error bars: {level} Student t intervals of the paired difference over hosts.",
    )


def _frontier(comparison: Plain, level: str) -> Chart:
    policies = tuple(
        Series(
            name=row["policy"],
            x=(row["parameters"]["mean"],),
            y=(row["accuracy"]["mean"],),
            lower=(row["accuracy"]["lower"],),
            upper=(row["accuracy"]["upper"],),
            x_lower=(row["parameters"]["lower"],),
            x_upper=(row["parameters"]["upper"],),
        )
        for row in comparison["policies"]
    )
    # a run of an earlier version compared no sizes
    sizes = comparison.get("sizes", ())
    fixed = Series(
        name="fixed network, every size",
        x=tuple(float(row["parameters"]) for row in sizes),
        y=tuple(row["accuracy"]["mean"] for row in sizes),
        lower=tuple(row["accuracy"]["lower"] for row in sizes),
        upper=tuple(row["accuracy"]["upper"] for row in sizes),
    )
    return Chart(
        title="Accuracy against parameters",
        kind="scatter",
        x=Axis(label="parameters of host and grafts", unit="count"),
        y=Axis(label="test accuracy", unit="share"),
        series=(*policies, fixed) if sizes else policies,
        note=f"Error bars: {level} intervals over hosts.",
    )


def _networks(hosts: list[HostGrown]) -> Table:
    """Which networks the learned policy grew, the most frequent first."""
    grown = [host for host in hosts if host.policy == "learned"]
    counts = Counter(host.committed for host in grown)
    rows = []
    for committed, count in counts.most_common(_MOST_NETWORKS):
        same = [host for host in grown if host.committed == committed]
        rows.append(
            (
                ", ".join(map(isolated, committed)) or "no graft",
                float(count),
                sum(host.accuracy for host in same) / count,
                float(same[0].parameters),
            )
        )
    omitted = len(counts) - len(rows)
    return Table(
        title="What the learned policy built",
        columns=(
            Column(name="committed grafts, slot:kind"),
            Column(name="hosts", unit="count"),
            Column(name="mean accuracy", unit="share", digits=3),
            Column(name="parameters", unit="count"),
        ),
        rows=tuple(rows),
        note=f"{omitted} rarer networks are left out." if omitted > 0 else "",
    )
