"""The results as tables of Markdown, and the learning curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ppo_normalizers_tables import chosen, interval, unique
from matplotlib.figure import Figure

COLOURS = {"accredit": "#0072B2", "VecNormalize": "#D55E00", "nothing": "#8C8C8C"}
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def number(value: float) -> str:
    """Three digits that a reader can tell apart, and no minus before a zero."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return "0" if float(text) == 0.0 else text


def with_interval(found: Mapping[str, Any]) -> str:
    """Mean [low, high]; a dash where no run is left."""
    if found["mean"] is None:
        return "-"
    if found["low"] is None:
        return number(found["mean"])
    return f"{number(found['mean'])} [{number(found['low'])}, {number(found['high'])}]"


def p_value(found: Mapping[str, Any]) -> str:
    return "-" if found["p"] is None else f"{found['p']:.2f}" if found["p"] >= 0.01 else f"{found['p']:.0e}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell_table(results: Mapping[str, Any]) -> str:
    """Returns of every cell, and how they differ from those of the plain task with the same seeds."""
    head = [
        "task",
        "observations",
        "normalizer",
        "failed",
        "final return",
        "minus plain",
        "p",
        "mean of curve",
        "minus plain",
    ]
    rows = []
    for row in results["cells"]:
        is_plain = row["variant"] == "plain"
        final, mean = row["final - plain"], row["mean - plain"]
        rows.append(
            [
                *(row[key] for key in ("task", "variant", "normalizer")),
                f"{row['failed']} of {row['runs']}",
                with_interval(row["final"]),
                *(["", ""] if is_plain else [with_interval(final), p_value(final)]),
                with_interval(row["mean"]),
                "" if is_plain else with_interval(mean),
            ]
        )
    return table(head, rows)


def versus_table(results: Mapping[str, Any]) -> str:
    head = ["task", "observations", "pairs", "final return", "p", "mean of curve", "p"]
    rows = []
    for row in results["against_theirs"]:
        final, mean = row["final"], row["mean"]
        cells = [str(final["n"]), with_interval(final), p_value(final), with_interval(mean), p_value(mean)]
        rows.append([row["task"], row["variant"], *cells])
    return table(head, rows)


def observation_table(results: Mapping[str, Any]) -> str:
    def tell(value: float | None) -> str:
        return "NaN" if value is None else f"{value:.1e}"

    head = ["task", "observations", "streams", "accredit", "VecNormalize"]
    rows = [
        [
            row["task"],
            row["variant"],
            str(row["seeds"]),
            tell(row["worst"]["accredit"]),
            tell(row["worst"]["VecNormalize"]),
        ]
        for row in results["observations"]
    ]
    return table(head, rows)


def page(results: Mapping[str, Any]) -> str:
    """All tables, with what they show above each."""
    failures = [
        f"- {row['task']}, {row['variant']}, {row['normalizer']}: {failure}"
        for row in results["cells"]
        for failure in row["failures"]
    ]
    parts = [
        "Normalized observations, largest difference to those of the plain task (standard deviations):",
        observation_table(results),
        "accredit minus VecNormalize, paired by seed, mean [95 % interval]:",
        versus_table(results),
        "Returns, mean [95 % interval], and paired differences to the plain task:",
        cell_table(results),
        "Failures:",
        "\n".join(failures) or "none",
        "\n".join(f"- {key}: {value}" for key, value in results["verdict"].items()),
    ]
    return "\n\n".join(parts)


def save_picture(results: Mapping[str, Any], path: Path) -> None:
    """Learning curves, mean and 95 % interval over the seeds; a cross where the runs failed."""
    runs = results["runs"]
    tasks, variants = ([key for (key,) in unique(runs, name)] for name in ("task", "variant"))
    figure = Figure(figsize=(3.2 * len(variants), 2.7 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(variants), sharex="row", sharey="row", squeeze=False)
    for line, task in zip(grid, tasks, strict=True):
        for axes, variant in zip(line, variants, strict=True):
            for normalizer, colour in COLOURS.items():
                cell = chosen(runs, task=task, variant=variant, normalizer=normalizer)
                draw_curve(
                    axes, cell, bin_steps=results["settings"][task]["bin_steps"], label=normalizer, colour=colour
                )
            axes.set_title(f"{task}, {variant}", loc="left", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        line[0].set_ylabel("return of an episode", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("steps of all environments, thousands", fontsize=8)
    grid[0, 0].legend(frameon=False, fontsize=8)
    n_seeds = len(unique(runs, "seed"))
    note = f"mean and 95 % Student interval of the mean over {n_seeds} seeds; x: the runs failed before the next point"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8)
    figure.savefig(path, dpi=110)


def draw_curve(axes: Any, cell: Sequence[Mapping[str, Any]], *, bin_steps: int, label: str, colour: str) -> None:
    """One normalizer: as far as any run got."""
    steps, found = [], []
    for index, values in enumerate(zip(*(run["curve"] for run in cell), strict=True)):
        here = [value for value in values if value is not None]
        if here:
            steps.append((index + 1) * bin_steps / 1000)
            found.append(interval(here))
    axes.plot(steps, [one["mean"] for one in found], color=colour, label=label, marker=".", markersize=4)
    known = [(step, one["low"], one["high"]) for step, one in zip(steps, found, strict=True) if one["low"] is not None]
    if known:
        axes.fill_between(*zip(*known, strict=True), color=colour, alpha=0.2, linewidth=0)
    if steps and any(run["failure"] is not None for run in cell):
        axes.plot(steps[-1:], [found[-1]["mean"]], marker="x", markersize=9, color=colour)
