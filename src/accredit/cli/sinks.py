"""`--sink csv --sink tensorboard`: sinks by their names, in folders of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accredit.cli.commands import SinkName
from accredit.telemetry.sinks.csv_tables import CsvSink
from accredit.telemetry.sinks.tensorboard import TensorBoardSink
from accredit.telemetry.sinks.view import View


def sinks_of(folder: Path, names: Sequence[SinkName] | None) -> list[View]:
    """Make the sinks of a run, each in the folder of its name.

    Args:
        folder: of the run; it need not exist yet.
        names: which ones; None: those that the run has had, so that none of them is left behind.

    Raises:
        MissingExtra: a package that a sink needs is not installed.

    Example:
        >>> sinks_of(Path("runs/first"), ["csv"])
        [CsvSink('runs/first/csv')]
    """
    every: tuple[SinkName, ...] = ("csv", "tensorboard")
    chosen = [name for name in every if (folder / name).is_dir()] if names is None else list(dict.fromkeys(names))
    return [CsvSink(folder / name) if name == "csv" else TensorBoardSink(folder / name) for name in chosen]
