"""Learning curves, paired differences and what they say; pure functions of the records of the runs.

A run that failed has no return: it is missing from means and pairs, and every cell says how many are.

Axes: S seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.special import stdtr

from accredit.attribution.estimate import student_quantile

WINDOW = 8_000
"""Steps: 8 environments whose episodes last at most 1000."""
Record = Mapping[str, Any]
Returns = Mapping[int, float]
"""By seed; a seed whose run failed is absent."""


def final_return(record: Record, *, last_share: float) -> float | None:
    """Mean return of the episodes that ended in the last part of a run; None where the run failed or none ended."""
    first = (1.0 - last_share) * record["n_steps"]
    returns = [value for step, value in record["episodes"] if step > first]
    return statistics.fmean(returns) if returns and record["failure"] is None else None


def curve(record: Record, *, bin_steps: int) -> list[float | None]:
    """Mean return of the episodes that ended within the `WINDOW` of steps before each point.

    A window as long as the longest episode of every environment is never without an end. None where none ended, and
    after a failure.
    """
    values: list[float | None] = []
    last_step = record["n_steps"] if record["failure"] is None else record["failure"]["step"]
    for index in range(record["n_steps"] // bin_steps):
        end = (index + 1) * bin_steps
        returns = [value for step, value in record["episodes"] if end - WINDOW < step <= end]
        values.append(statistics.fmean(returns) if returns and end <= last_step else None)
    return values


def mean_return(record: Record, *, bin_steps: int) -> float | None:
    """Mean of the learning curve: how fast and how far; None where the run failed."""
    values = [value for value in curve(record, bin_steps=bin_steps) if value is not None]
    return statistics.fmean(values) if values and record["failure"] is None else None


def interval(values: Sequence[float], *, level: float = 0.95) -> dict[str, Any]:
    """Mean of S values with its two-sided Student interval and p-value against 0; assumes that means are normal.

    Returns:
        n, mean, low, high, p; None for what so few values do not tell.
    """
    n = len(values)
    if n < 2:
        return {"n": n, "mean": values[0] if n else None, "low": None, "high": None, "p": None}
    mean, stderr = statistics.fmean(values), statistics.stdev(values) / math.sqrt(n)
    reach = stderr * student_quantile(level, n - 1)
    # no spread and no difference is no evidence of one
    p = (1.0 if mean == 0.0 else 0.0) if stderr == 0.0 else 2.0 * float(stdtr(n - 1, -abs(mean) / stderr))
    return {"n": n, "mean": mean, "low": mean - reach, "high": mean + reach, "p": p}


def paired(ours: Returns, theirs: Returns) -> dict[str, Any]:
    """Interval of the difference over the seeds that both sides finished."""
    return interval([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values that hold together (Holm 1979); unknown ones stay unknown and do not count."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted


def chosen(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Records whose fields have the wanted values, by seed."""
    fits = [record for record in records if all(record.get(key) == value for key, value in wanted.items())]
    return sorted(fits, key=lambda record: record["seed"])


def returns_of(records: Sequence[Record], measure: str) -> dict[int, float]:
    return {record["seed"]: record[measure] for record in records if record[measure] is not None}


def cells(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per task, variant and normalizer: returns with intervals, failures, and the difference to plain."""
    rows = []
    for task, variant, normalizer in unique(records, "task", "variant", "normalizer"):
        runs = chosen(records, task=task, variant=variant, normalizer=normalizer)
        plain = chosen(records, task=task, variant="plain", normalizer=normalizer)
        failures = [run["failure"] for run in runs if run["failure"] is not None]
        row: dict[str, Any] = {"task": task, "variant": variant, "normalizer": normalizer, "runs": len(runs)}
        row |= {"failed": len(failures), "failures": sorted({tell(failure) for failure in failures})}
        for measure in ("final", "mean"):
            returns = returns_of(runs, measure)
            row[measure] = interval(list(returns.values()))
            row[f"{measure} - plain"] = paired(returns, returns_of(plain, measure))
        rows.append(row)
    return rows


def against_theirs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per task and variant: ours minus VecNormalize."""
    rows = []
    for task, variant in unique(records, "task", "variant"):
        row: dict[str, Any] = {"task": task, "variant": variant}
        for measure in ("final", "mean"):
            ours, theirs = (
                returns_of(chosen(records, task=task, variant=variant, normalizer=name), measure)
                for name in ("accredit", "VecNormalize")
            )
            row[measure] = paired(ours, theirs)
        rows.append(row)
    return rows


def unique(records: Sequence[Record], *keys: str) -> list[tuple[str, ...]]:
    """Different values of the keys, in the order of the records."""
    return list(dict.fromkeys(tuple(record[key] for key in keys) for record in records))


def tell(failure: Mapping[str, Any]) -> str:
    return f"failed at step {failure['step']}: {failure['message']}"


def observation_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per task and variant: the largest difference over all seeds; None where a normalizer gave NaN."""
    rows = []
    for task, variant in unique(records, "task", "variant"):
        found = [record["differences"] for record in chosen(records, task=task, variant=variant)]
        worst = {
            name: None if any(one[name] is None for one in found) else max(one[name] for one in found)
            for name in found[0]
        }
        rows.append({"task": task, "variant": variant, "seeds": len(found), "worst": worst})
    return rows


def verdict(results: Mapping[str, Any]) -> dict[str, Any]:
    """What was to be shown, each as the numbers decide it, None where nothing was measured.

    Differences to the plain task at 95 %: all together (Holm), and how many of them one by one.
    """
    plain = [row for row in results["against_theirs"] if row["variant"] == "plain"]
    all_ours = [row for row in results["cells"] if row["normalizer"] == "accredit"]
    ours = [row for row in all_ours if row["variant"] != "plain"]
    alone = [row["final - plain"]["p"] for row in ours]
    worst = [row["worst"]["accredit"] for row in results["observations"]]

    def decide(facts: list[bool]) -> bool | None:
        return all(facts) if facts else None

    return {
        "no_worse_on_plain_tasks": decide(
            [row["final"]["high"] is not None and row["final"]["high"] >= 0 for row in plain]
        ),
        "no_failure_of_ours": decide([row["failed"] == 0 for row in all_ours]),
        "observations_equal_to_1e-3": decide([value is not None and value <= 1e-3 for value in worst]),
        "variants_no_different_together": decide([p is not None and p > 0.05 for p in holm(alone)]),
        "variants_no_different_one_by_one": sum(p is not None and p > 0.05 for p in alone),
        "variants": len(ours),
    }


def summarize(records: Sequence[Record], *, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the tables and the picture show."""
    runs = []
    for record in chosen(records, kind="training"):
        task = settings[record["task"]]
        numbers = {
            "final": final_return(record, last_share=task["last_share"]),
            "mean": mean_return(record, bin_steps=task["bin_steps"]),
            "curve": curve(record, bin_steps=task["bin_steps"]),
        }
        runs.append({key: value for key, value in record.items() if key != "episodes"} | numbers)
    results: dict[str, Any] = {"settings": settings, "cells": cells(runs), "against_theirs": against_theirs(runs)}
    results["observations"] = observation_rows(chosen(records, kind="observations"))
    results["verdict"] = verdict(results)
    results["runs"] = runs
    return results
