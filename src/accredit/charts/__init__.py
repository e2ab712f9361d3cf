"""Figures as data, as pictures in a page, and as pictures of matplotlib (extra `report`)."""

from accredit.charts.bars import bar_picture, waterfall_picture
from accredit.charts.chart import Axis, Band, Chart, Series
from accredit.charts.chart_picture import chart_picture
from accredit.charts.estimate_bars import estimate_bars
from accredit.charts.estimates import Estimates, PairEstimates, isolated
from accredit.charts.markup import colours, data, figure, scripts
from accredit.charts.means import mean_bars, mean_interval, mean_points
from accredit.charts.over_time import over_time_picture
from accredit.charts.pair_markup import PairChart, pair_figure
from accredit.charts.pairs import matrix_picture, network_picture
from accredit.charts.story import StoryGraft, stage_band, story_chart
from accredit.charts.thinning import thinned

__all__ = [
    "Axis",
    "Band",
    "Chart",
    "Estimates",
    "PairChart",
    "PairEstimates",
    "Series",
    "StoryGraft",
    "bar_picture",
    "chart_picture",
    "colours",
    "data",
    "estimate_bars",
    "figure",
    "isolated",
    "matrix_picture",
    "mean_bars",
    "mean_interval",
    "mean_points",
    "network_picture",
    "over_time_picture",
    "pair_figure",
    "scripts",
    "stage_band",
    "story_chart",
    "thinned",
    "waterfall_picture",
]
