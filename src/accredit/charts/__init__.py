"""Figures as data, and as pictures in a page."""

from accredit.charts.chart import Axis, Chart, Series
from accredit.charts.markup import data, figure, scripts

__all__ = ["Axis", "Chart", "Series", "data", "figure", "scripts"]
