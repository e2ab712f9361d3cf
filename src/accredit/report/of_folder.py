"""The report of whatever a folder holds."""

from __future__ import annotations

from pathlib import Path

from accredit.errors import RunFolderError
from accredit.report.attribution_record import MATRIX, TASK

_CONFIG = "config.json"  # of a run; spelled here because `accredit.training`, which writes it, needs the extra `grow`


def write_report_of(folder: Path) -> Path:
    """Write `report.html` into the folder of a run or of an attribution.

    Args:
        folder: of a run, or where `accredit attribute` keeps everything.

    Returns:
        The path of the report.

    Raises:
        RunFolderError: the folder holds neither, or cannot be read or written.
        FileDamaged: what the report is about cannot be read.
        MissingExtra: the report of a run needs the extra `grow`.
    """
    # imported late: the training system needs the extra `grow`, an attribution does not
    if (folder / MATRIX).is_file():
        from accredit.report.attribution_report import write_attribution_report

        return write_attribution_report(folder)
    if not (folder / _CONFIG).is_file():
        what = "which holds no run and no attribution" if folder.is_dir() else "which is no folder"
        if (folder / TASK).is_file():
            what = "an attribution of which no coalition has been evaluated yet"
        raise RunFolderError(
            f"`RUN` is {folder}, {what}, wanted one with a {_CONFIG} or a {MATRIX}; name a folder that `accredit grow` "
            "or `accredit attribute` has made, such as one under runs/."
        )
    from accredit.report.run_report import write_run_report

    return write_run_report(folder)
