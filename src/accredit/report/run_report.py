"""The report of a training run, from the files of its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accredit.charts.chart import Axis, Chart, Series
from accredit.errors import RunFolderError
from accredit.report.page import Column, Interval, KeyFigure, ReportPage, Section, Table
from accredit.report.write import write_report
from accredit.telemetry.event import RunStarted, UpdateCompleted
from accredit.telemetry.sinks.jsonl import read
from accredit.training.run_folder import RunFolder, read_json

Plain = dict[str, Any]
MINUS = "\N{MINUS SIGN}"


def write_run_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a finished run.

    Returns:
        The path of the report.

    Raises:
        RunFolderError: the folder holds no run, or no comparison yet.
        FileDamaged: a file of the run cannot be read.
    """
    run = RunFolder(folder)
    run.require()
    if not run.evaluation.is_file():
        raise RunFolderError(
            f"`RUN` is {folder}, which has no evaluation.json yet, wanted a finished run; "
            f"finish it by `accredit resume {folder}`."
        )
    started, updates = None, []
    for event in read(run.events, kinds=(RunStarted, UpdateCompleted)):
        if isinstance(event, RunStarted):
            started = event
        elif isinstance(event, UpdateCompleted):
            updates.append(event)
    page = _page(run, read_json(run.config), read_json(run.evaluation), updates, started)
    return write_report(run.report, page)


def _page(
    run: RunFolder, config: Plain, comparison: Plain, updates: list[UpdateCompleted], started: RunStarted | None
) -> ReportPage:
    rows = {row["policy"]: row for row in comparison["policies"]}
    learned, level = rows["learned"], f"{comparison['confidence']:.0%}"
    return ReportPage(
        title=f"Growth on {config['task']}",
        summary=(
            f"A PPO policy learned over {config['updates']} updates to grow hosts, paid by measured contribution. It "
            f"and {len(rows) - 1} other policies then grew the same {comparison['hosts']} fresh hosts; every figure "
            f"below is from the test split, with {level} intervals over hosts."
        ),
        commands=(f"accredit grow {config['task']} --seed {config['seed']}", f"accredit evaluate {run.path}"),
        facts=(
            ("task", str(config["task"])),
            ("seed", str(config["seed"])),
            ("environments", str(config["environments"])),
            ("steps an episode", str(config["episode"]["steps"])),
            ("updates", str(config["updates"])),
            ("accredit", started.code_version if started else "unknown"),
            ("torch", started.torch_version if started else "unknown"),
        ),
        key_figures=(
            KeyFigure(
                label="learned, test accuracy",
                value=f"{learned['accuracy']['mean']:.1%}",
                note=_ends(learned["accuracy"], "{:.1%}"),
            ),
            KeyFigure(
                label="log-loss, learned minus no growth",
                value=_signed(learned["minus_no_growth"]["mean"]) + " nat",
                note=_ends(learned["minus_no_growth"], "{:+.3f}").replace("-", MINUS),
            ),
            KeyFigure(
                label="parameters",
                value=f"{learned['parameters']['mean']:.0f}",
                note=f"no growth: {rows['no growth']['parameters']['mean']:.0f}",
            ),
        ),
        sections=(
            Section(
                title="Outcome",
                paragraphs=(
                    f"Best schedule, chosen on the reward split of other hosts: {comparison['schedule']}. "
                    f"Calibrated kinds: {', '.join(comparison['calibrated_kinds'])} (slot by slot).",
                ),
                items=(_policy_table(comparison, level), _frontier(comparison, level)),
            ),
            Section(
                title="What the grafts earn",
                paragraphs=(
                    "Exact Shapley values of the committed grafts of the hosts that the learned policy grew. They "
                    "say what removal would cost a host that has adapted to its grafts, which is more than the grafts "
                    "caused: compare the outcome above, where the same hosts were trained with and without growth.",
                ),
                items=(_contribution_chart(comparison, level), _graft_table(comparison, level)),
            ),
            Section(title="Learning", items=(_learning_chart(updates),)),
        ),
    )


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("-", MINUS)


def _ends(interval: Plain, form: str) -> str:
    if interval["lower"] is None:
        return "interval unknown"
    return f"{form.format(interval['lower'])} to {form.format(interval['upper'])}"


def _interval(plain: Plain | None) -> Interval | None:
    return None if plain is None else Interval(value=plain["mean"], lower=plain["lower"], upper=plain["upper"])


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
                _interval(row["minus_no_growth"]),
                _interval(row["learned_minus"]),
            )
            for row in rows
        ),
        note=f"Differences of log-loss are paired by host, with {level} Student t intervals; negative is better.",
        emphasized=next(at for at, row in enumerate(rows) if row["policy"] == "learned"),
    )


def _graft_table(comparison: Plain, level: str) -> Table:
    return Table(
        title="Committed grafts",
        columns=(
            Column(name="slot"),
            Column(name="kind"),
            Column(name="hosts", unit="count"),
            Column(name="contribution to log-loss", unit="nat", digits=3),
            Column(name="contribution to accuracy", unit="share", digits=3),
        ),
        rows=tuple(
            (
                row["slot"],
                row["kind"],
                float(row["log_loss"]["count"]),
                _interval(row["log_loss"]),
                _interval(row["accuracy"]),
            )
            for row in comparison["grafts"]
        ),
        note=f"Mean Shapley value over the hosts that have the graft, positive helps; {level} Student t intervals.",
    )


def _contribution_chart(comparison: Plain, level: str) -> Chart:
    grafts = comparison["grafts"]
    return Chart(
        title="Contributions of committed grafts",
        kind="bar",
        x=Axis(label="graft", unit=None),
        y=Axis(label="contribution to log-loss, positive helps", unit="nat"),
        series=(
            Series(
                name="mean over hosts",
                x=tuple(f"{row['kind']} at {row['slot']}" for row in grafts),
                y=tuple(row["log_loss"]["mean"] for row in grafts),
                lower=tuple(row["log_loss"]["lower"] for row in grafts),
                upper=tuple(row["log_loss"]["upper"] for row in grafts),
            ),
        ),
        note=f"Error bars: {level} intervals over hosts.",
    )


def _frontier(comparison: Plain, level: str) -> Chart:
    return Chart(
        title="Accuracy against parameters",
        kind="scatter",
        x=Axis(label="parameters of host and grafts", unit="count"),
        y=Axis(label="test accuracy", unit="share"),
        series=(
            *(
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
            ),
            Series(
                name="fixed network, every size",
                x=tuple(row["parameters"] for row in comparison["sizes"]),
                y=tuple(row["accuracy"]["mean"] for row in comparison["sizes"]),
                lower=tuple(row["accuracy"]["lower"] for row in comparison["sizes"]),
                upper=tuple(row["accuracy"]["upper"] for row in comparison["sizes"]),
            ),
        ),
        note=f"Error bars: {level} intervals over hosts.",
    )


def _learning_chart(updates: list[UpdateCompleted]) -> Chart:
    x = tuple(float(event.update) for event in updates)
    return Chart(
        title="Return and gain over no growth",
        kind="line",
        x=Axis(label="PPO update", unit="count"),
        y=Axis(label="mean over the episodes of a rollout", unit="nat"),
        series=(
            Series(name="return (gain less rent and cost)", x=x, y=tuple(event.episode_return for event in updates)),
            Series(name="gain over no growth", x=x, y=tuple(event.gain_over_control for event in updates)),
        ),
        note="Gain: log-loss of the ungrown host of the same seed minus that of the grown one, on the reward split.",
    )
