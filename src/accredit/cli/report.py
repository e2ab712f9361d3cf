"""`accredit report`: one HTML file about a run or an attribution."""

from __future__ import annotations

from accredit.cli.commands import Report
from accredit.report.of_folder import write_report_of


def report_run(command: Report) -> int:
    """Write the report, and say where it is."""
    print(f"report: {write_report_of(command.run)}")
    return 0
