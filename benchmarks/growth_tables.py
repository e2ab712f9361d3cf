"""Intervals over seeds, tables and the picture of what the studies of growth found.

A policy was trained once a seed and then met 64 hosts, so that hosts of one seed are not independent draws of "PPO on
this task": each seed gives one mean over its hosts, and intervals are Student t over these means.  Differences are
paired host by host before that.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from benchmarks.growth_studies import FIXED, STUDIES, Record

from accredit.training.comparison import Interval

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

LEVEL = 0.95
LEARNED = "learned"
NAMES = (LEARNED, "greedy, calibrated", "greedy, random", "best schedule", "random", "no growth")
COLOURS = {name: f"C{at}" for at, name in enumerate(NAMES)}
TICKS = (500, 700, 1000, 1500, 2000, 3000, 4000, 6000, 10000)
Figures = dict[str, Any]


def summarize(records: list[Record]) -> Figures:
    """Return everything that the finished runs say, with the keys of the benchmark."""
    by_study: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_study[record["study"]].append(record)
    studies = {name: study_figures(name, by_study) for name in STUDIES if by_study[name]}
    results: Figures = {"confidence": LEVEL, "studies": studies}
    for key, name in (
        ("learned_minus", "digits"),
        ("hidden_kinds_learned_minus", "hidden kinds"),
        ("text_learned_minus", "text"),
    ):
        if name in studies:
            results[key] = studies[name].get("learned_minus", {})
    return results


def study_figures(name: str, by_study: dict[str, list[Record]]) -> Figures:
    """Return one study: its policies, what learned has over each, and over the learned policy of the study beside."""
    runs = [record for record in by_study[name] if record["kind"] == "policy"]
    finished = merged(by_study[name])
    figures: Figures = {
        "question": STUDIES[name].question,
        "seeds": [record["seed"] for record in finished],
        "failures": {str(run["seed"]): run["failure"] for run in runs if "failure" in run},
        "code": sorted({record["code"] for record in by_study[name]}),
        "duration_s": float(np.mean([run["duration_s"] for run in runs])) if runs else None,
    }
    if not finished:
        return figures
    names = list(finished[0]["policies"])
    figures["policies"] = {
        policy: {
            field: over_seeds([float(np.mean(record["policies"][policy][field])) for record in finished])
            for field in ("log_loss", "accuracy", "parameters")
        }
        for policy in names
    }
    figures["learned_minus"] = {
        policy: over_seeds([paired(record, LEARNED, record, policy) for record in finished])
        for policy in names
        if policy != LEARNED
    }
    figures["curve"] = mean_curve(finished)
    beside = STUDIES[name].beside
    if beside is not None:
        others = {record["seed"]: record for record in merged(by_study[beside])}
        pairs = [(record, others[record["seed"]]) for record in finished if record["seed"] in others]
        if pairs:
            figures["beside"] = beside
            figures["minus_beside"] = over_seeds([paired(mine, LEARNED, its, LEARNED) for mine, its in pairs])
            figures["return_minus_beside"] = curve_differences(pairs, "episode_return")
            figures["gain_minus_beside"] = curve_differences(pairs, "gain_over_control")
    return figures


def merged(records: list[Record]) -> list[Record]:
    """Return the finished runs of a study, each with the baselines of its seed where all seeds have them.

    The fixed large network of a seed is the smallest that is no smaller than the hosts that the policy grew.
    """
    runs = [record for record in records if record["kind"] == "policy" and "failure" not in record]
    baselines = {record["seed"]: record["policies"] for record in records if record["kind"] == "baselines"}
    if not all(run["seed"] in baselines for run in runs):
        baselines = {}
    found = []
    for run in runs:
        learned = run["policies"][LEARNED]
        policies = {LEARNED: learned, **baselines.get(run["seed"], {})}
        sizes = [values for name, values in policies.items() if name.startswith(FIXED)]
        if sizes:
            wanted = float(np.mean(learned["parameters"]))
            sizes.sort(key=lambda values: values["parameters"][0])
            fitting = (values for values in sizes if values["parameters"][0] >= wanted)
            policies["fixed large"] = next(fitting, sizes[-1])
        found.append({**run, "policies": policies})
    return found


def paired(mine: Record, policy: str, its: Record, other: str) -> float:
    """Return the mean difference of log-loss over hosts that both have grown, in the same order."""
    first, second = mine["policies"][policy], its["policies"][other]
    if first["host_seed"] != second["host_seed"]:
        raise ValueError(f"hosts of {mine['study']} and {its['study']} differ at seed {mine['seed']}; delete the runs.")
    return float(np.mean(np.subtract(first["log_loss"], second["log_loss"])))


def over_seeds(values: list[float]) -> Figures:
    """Return mean and interval of one number a seed."""
    interval = Interval.of(values, LEVEL)
    return {"mean": interval.mean, "lower": interval.lower, "upper": interval.upper, "seeds": interval.count}


def mean_curve(records: list[Record]) -> dict[str, list[float]]:
    """Return the learning curve as a mean over seeds."""
    return {
        field: np.mean([np.array(record["curve"][field], dtype=float) for record in records], axis=0).tolist()
        for field in ("episode_return", "gain_over_control")
    }


def curve_differences(pairs: list[tuple[Record, Record]], field: str) -> Figures:
    """Return differences of the learning curve in the second half of training: at once, and as a mean over it."""
    mine, its = (np.array([pair[side]["curve"][field] for pair in pairs], dtype=float) for side in (0, 1))
    differences, half = mine - its, mine.shape[1] // 2
    return {
        "first_update_after_half": over_seeds(differences[:, half].tolist()),
        "second_half": over_seeds(differences[:, half:].mean(1).tolist()),
        "last_quarter": over_seeds(differences[:, -max(1, half // 2) :].mean(1).tolist()),
    }


def page(results: Figures) -> str:
    """Return the tables as Markdown."""
    parts = [study_page(name, figures) for name, figures in results["studies"].items()]
    beside = [figures for figures in results["studies"].values() if "minus_beside" in figures]
    if beside:
        rows = [
            "| study | beside | log-loss minus it | gain minus it, second half | seeds |",
            "|---|---|---|---|---|",
        ]
        for name, figures in results["studies"].items():
            if "minus_beside" in figures:
                second = figures["gain_minus_beside"]["second_half"]
                rows.append(
                    f"| {name} | {figures['beside']} | {shown(figures['minus_beside'])} | {shown(second)} "
                    f"| {figures['minus_beside']['seeds']} |"
                )
        parts.append("\n".join(rows))
    plain = {key: value for key, value in results.items() if key not in KEYS_OF_STUDIES}
    parts += [f"{key}: {value if not isinstance(value, dict) else shown(value)}" for key, value in plain.items()]
    return "\n\n".join(parts)


KEYS_OF_STUDIES = ("studies", "learned_minus", "hidden_kinds_learned_minus", "text_learned_minus")


def study_page(name: str, figures: Figures) -> str:
    """Return one study as a table."""
    lines = [
        f"**{name}** ({figures['question']}; {len(figures['seeds'])} seeds, code {', '.join(figures['code'])})",
        "",
        "| policy | log-loss | accuracy | parameters | learned minus it |",
        "|---|---|---|---|---|",
    ]
    for policy, row in figures.get("policies", {}).items():
        difference = figures["learned_minus"].get(policy)
        lines.append(
            f"| {policy} | {row['log_loss']['mean']:.3f} | {row['accuracy']['mean']:.3f} "
            f"| {row['parameters']['mean']:.0f} | {shown(difference) if difference else ''} |"
        )
    lines += [f"Seed {seed} failed: {text}" for seed, text in figures["failures"].items()]
    return "\n".join(lines)


def shown(figures: Figures) -> str:
    """Return mean and half-width, or plain values as they are."""
    if "mean" not in figures:
        return str(figures)
    if figures["lower"] is None:
        return f"{figures['mean']:+.3f} ± ?"
    return f"{figures['mean']:+.3f} ± {(figures['upper'] - figures['lower']) / 2:.3f}"


def save_picture(results: Figures, beside: Path) -> None:
    """Draw log-loss and accuracy against parameters, a row a study that has a frontier."""
    drawn = [(name, each) for name, each in results["studies"].items() if "no growth" in each.get("policies", {})]
    if not drawn:
        return
    figure, axes = plt.subplots(len(drawn), 2, figsize=(10, 4 * len(drawn)), squeeze=False, layout="constrained")
    for row, (name, figures) in zip(axes, drawn, strict=True):
        for axis, field, label in zip(row, ("log_loss", "accuracy"), ("log-loss, nat", "accuracy"), strict=True):
            sizes = [values for policy, values in figures["policies"].items() if policy.startswith(FIXED)]
            axis.errorbar(
                [size["parameters"]["mean"] for size in sizes],
                [size[field]["mean"] for size in sizes],
                yerr=half_widths([size[field] for size in sizes]),
                fmt="o-",
                color="0.6",
                markersize=4,
                label="fixed network, every size",
            )
            for policy, values in figures["policies"].items():
                if policy == "fixed large" or policy.startswith(FIXED):
                    continue
                axis.errorbar(
                    [values["parameters"]["mean"]],
                    [values[field]["mean"]],
                    xerr=half_widths([values["parameters"]]),
                    yerr=half_widths([values[field]]),
                    fmt="D" if policy == LEARNED else "s",
                    color=COLOURS.get(policy, "black"),
                    markersize=7 if policy == LEARNED else 5,
                    label=policy,
                )
            axis.set(title=f"{name}, test split", xlabel="parameters", ylabel=label, xscale="log")
            low, high = axis.get_xlim()
            axis.set_xticks([tick for tick in TICKS if low <= tick <= high])
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.xaxis.set_minor_locator(NullLocator())
            axis.grid(alpha=0.3)
        row[0].legend(fontsize=8)
    figure.savefig(beside.with_suffix(".png"), dpi=110)
    plt.close(figure)


def half_widths(intervals: list[Figures]) -> list[float]:
    return [0.0 if each["lower"] is None else (each["upper"] - each["lower"]) / 2 for each in intervals]
