"""What all pictures share: a figure of its own, colours that colour-blind readers can tell apart, texts as they are."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from accredit.errors import MissingExtra

Figure: TypeAlias = Any  # matplotlib's, which need not be installed
Axes: TypeAlias = Any

# Okabe and Ito (2008), Color universal design
HELPS, HARMS, NEUTRAL, INK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""Arguments of every text: a name is a text, and `$` in it is a dollar sign."""


def new_axes(title: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, outside of pyplot: nothing global is read or kept, and no window is opened.

    Args:
        title: above the axes.
        width: inches.
        height: inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingExtra(
            "`plot` got no matplotlib, wanted it installed; run `pip install accredit[report]`, or draw from `to_dict`."
        ) from error
    figure = figures.Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    # bars would otherwise end the axes where they end, through the middle of markers and caps
    axes.use_sticky_edges = False
    axes.set_title(title, loc="left", fontsize=11, **PLAIN)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def write_note(figure: Figure, note: str) -> None:
    """A line below everything: what the intervals are, what was left out."""
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=INK, **PLAIN)


def write_legend(axes: Axes, handles: list[Any], names: list[str], *, outside: bool = False) -> None:
    """A legend with names as they are."""
    if not handles:
        return
    # a name that begins with an underscore would be taken for a handle that wants no entry, so names come afterwards
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if outside else {"loc": "best"}
    legend = axes.legend(handles, ["name"] * len(names), frameon=False, fontsize=8, **place)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(name)
