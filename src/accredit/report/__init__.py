"""The one-file report of a run."""

from accredit.report.page import Cell, Column, Interval, KeyFigure, ReportPage, Section, Table
from accredit.report.write import render, write_report

__all__ = [
    "Cell",
    "Column",
    "Interval",
    "KeyFigure",
    "ReportPage",
    "Section",
    "Table",
    "render",
    "write_report",
]
