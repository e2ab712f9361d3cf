"""The report of whatever a folder holds."""

from __future__ import annotations

from pathlib import Path

from accredit.report.attribution_record import MATRIX


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
    from accredit.report.run_report import write_run_report

    return write_run_report(folder)
