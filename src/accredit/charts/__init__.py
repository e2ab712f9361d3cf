"""Figures as data, as pictures in a page, and as pictures of matplotlib (extra `report`)."""

from accredit.charts.bars import bar_picture, waterfall_picture
from accredit.charts.chart import Axis, Chart, Series
from accredit.charts.estimates import Estimates, PairEstimates
from accredit.charts.markup import data, figure, scripts
from accredit.charts.over_time import over_time_picture
from accredit.charts.pairs import matrix_picture, network_picture

__all__ = [
    "Axis",
    "Chart",
    "Estimates",
    "PairEstimates",
    "Series",
    "bar_picture",
    "data",
    "figure",
    "matrix_picture",
    "network_picture",
    "over_time_picture",
    "scripts",
    "waterfall_picture",
]
