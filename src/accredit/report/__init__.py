"""The one-file report of a run, or of an attribution."""

from accredit.report.page import Cell, Column, Group, Interval, KeyFigure, ReportPage, Section, Table
from accredit.report.write import render, write_report

__all__ = [
    "Cell",
    "Column",
    "Group",
    "Interval",
    "KeyFigure",
    "ReportPage",
    "Section",
    "Table",
    "render",
    "write_report",
]
