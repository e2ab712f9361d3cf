"""The report of an attribution, from its folder alone: finished, going on, or stopped."""

from __future__ import annotations

import shlex
from pathlib import Path

from accredit.attribution.config import CounterfactualConfig, config_record
from accredit.attribution.matrix import CounterfactualMatrix, shapley_where_known
from accredit.attribution.result import ShapleyResult
from accredit.charts import isolated
from accredit.report.attribution_contributions import contributions
from accredit.report.attribution_record import REPORT, AttributionRecord, read_attribution
from accredit.report.attribution_sections import cost, indices, interactions, values
from accredit.report.page import Column, KeyFigure, ReportPage, Section, Table
from accredit.report.wording import duration, signed
from accredit.report.write import write_report

_OPTIONS = {
    "strategy": "--strategy",
    "max_evaluations": "--max-evaluations",
    "timeout_s": "--seconds",
    "seed": "--seed",
}
"""Fields of the configuration that the command line names, for folders that do not say how they were made."""


def write_attribution_report(folder: Path, matrix: CounterfactualMatrix | None = None) -> Path:
    """Write `report.html` into the folder of an attribution.

    Args:
        folder: where `accredit attribute` keeps everything.
        matrix: what is in its file, where it is at hand; nothing is then derived twice.

    Returns:
        The path of the report.

    Raises:
        RunFolderError: there is no matrix in the folder, or it cannot be written.
        FileDamaged: the matrix was altered, or is from a newer version.
    """
    return write_report(folder / REPORT, attribution_page(read_attribution(folder, matrix)))


def attribution_page(record: AttributionRecord) -> ReportPage:
    """Return what the report of an attribution says.

    Args:
        record: What its files say.
    """
    matrix = record.matrix
    results = shapley_where_known(matrix)
    name = str(record.details.get("source", record.folder.name))
    cautions = sorted({result.caution for result in results.values() if result.caution is not None})
    return ReportPage(
        title=f"What each part of {isolated(name)} earns",
        summary=_summary(matrix),
        commands=(_command(record), f"accredit report {shlex.quote(str(record.folder))}"),
        facts=_facts(record),
        key_figures=_key_figures(results),
        notices=(*record.notices, *(f"Caution: {caution}" for caution in cautions)),
        sections=(
            contributions(matrix, results),
            interactions(matrix),
            indices(matrix, results),
            values(matrix),
            cost(matrix, record.details.get("sharing")),
            _configuration(matrix.config),
        ),
    )


def _summary(matrix: CounterfactualMatrix) -> str:
    players, reason = len(matrix.players), matrix.provenance.strategy_reason
    return (
        f"{players} parts were switched off in {matrix.cost.n_evaluations} of {2**players:,} combinations ({reason}). "
        "The figures say what removal would cost this model as it is, not what training with the part caused."
    )


def _command(record: AttributionRecord) -> str:
    """Return the command that was given; pieced together from the configuration where nobody kept it."""
    kept = record.details.get("command")
    if isinstance(kept, str):
        return kept
    words = ["accredit", "attribute", str(record.details.get("source", "FILE.py")), "--out", str(record.folder)]
    default = CounterfactualConfig()
    for name, option in _OPTIONS.items():
        value = vars(record.matrix.config)[name]
        if value != vars(default)[name]:
            words += [option, str(value)]
    return shlex.join(words)


def _facts(record: AttributionRecord) -> tuple[tuple[str, str], ...]:
    matrix, details = record.matrix, record.details
    provenance, versions = matrix.provenance, details.get("versions")
    kept = versions if isinstance(versions, dict) else {}
    return (
        ("attributed", str(details.get("source", "unknown"))),
        ("players", str(len(matrix.players))),
        (
            "outputs",
            ", ".join(f"{isolated(output.name)} ({isolated(output.unit)})" for output in matrix.config.outputs),
        ),
        ("strategy", provenance.strategy),
        ("seed", str(matrix.seed)),
        ("coalitions", f"{matrix.cost.n_evaluations} of at most {matrix.config.max_evaluations}"),
        ("time", duration(matrix.cost.duration_s)),
        ("evaluated by", provenance.mechanism or "unknown"),
        ("accredit", str(kept.get("accredit", "unknown"))),
        ("torch", str(kept.get("torch", "unknown"))),
        ("weights, digest", str(record.task.get("weights", "unknown"))[:12]),
        ("folder", str(record.folder)),
    )


def _key_figures(results: dict[str, ShapleyResult]) -> tuple[KeyFigure, ...]:
    """Return where the contributions lead from and to, and the largest and the smallest of them."""
    if not results:
        return ()
    name, result = next(iter(results.items()))
    unit = result.output.unit
    order = sorted(result.players, key=lambda player: -result[player].contribution)
    figures = [
        KeyFigure(
            label=f"{name}, everything on",
            value=f"{result.value_all:.4g} {unit}",
            note=f"everything off: {result.value_none:.4g} {unit}",
        )
    ]
    for label, player in (("earns most", order[0]), ("earns least", order[-1]))[: len(order)]:
        estimate = result[player]
        interval = estimate.interval(result.confidence)
        reach = "interval unknown" if interval is None else f"± {(interval[1] - interval[0]) / 2:.3g}"
        figures.append(KeyFigure(label=label, value=player, note=f"{signed(estimate.contribution, 4)} {unit}, {reach}"))
    return tuple(figures)


def _configuration(config: CounterfactualConfig) -> Section:
    default = config_record(CounterfactualConfig())
    table = Table(
        title="Every field of the configuration",
        columns=(Column(name="field"), Column(name="value"), Column(name="default")),
        rows=tuple((name, str(value), str(default[name])) for name, value in config_record(config).items()),
        is_folded=True,
    )
    return Section(title="Configuration", items=(table,))
