"""The outcome of a run as tables of at most 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from accredit.training.comparison import Comparison, Interval


def policy_table(comparison: Comparison) -> Table:
    """Return policy, accuracy, log-loss, parameters and both paired differences."""
    table = Table(
        title=f"Test split, {comparison.hosts} paired hosts, {comparison.confidence:.0%} intervals",
        caption="differences of log-loss in nat, paired by host: negative is better",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("policy", no_wrap=True)
    for name in ("accuracy", "log-loss", "params", "vs no growth", "learned vs it"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.policies:
        table.add_row(
            Text(row.policy),
            f"{row.accuracy.mean:.3f}",
            f"{row.log_loss.mean:.3f}",
            f"{row.parameters.mean:.0f}",
            _difference(row.minus_no_growth),
            _difference(row.learned_minus),
            style="bold" if row.policy == "learned" else "",
        )
    return table


def size_table(comparison: Comparison) -> Table:
    """Return accuracy and log-loss of networks that were large from the start, by their parameters."""
    table = Table(
        title="Fixed large networks at equal minibatches",
        caption="learning rates chosen on the reward split; the table above has the\n"
        "smallest size that is not below the learned policy's hosts",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("width", "learning rate", "params", "accuracy", "log-loss", "learned vs it"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.sizes:
        table.add_row(
            str(row.width),
            f"{row.learning_rate:g}",
            str(row.parameters),
            f"{row.accuracy.mean:.3f}",
            f"{row.log_loss.mean:.3f}",
            _difference(row.learned_minus),
        )
    return table


def graft_table(comparison: Comparison) -> Table:
    """Return what the committed grafts of the learned policy earn."""
    table = Table(
        title="Grafts of the learned policy: Shapley values",
        caption="test split, positive helps; what removal would cost,\nnot what the graft caused",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("slot")
    table.add_column("kind")
    for name in ("hosts", "log-loss, nat", "accuracy, points"):
        table.add_column(name, justify="right")
    for row in comparison.grafts:
        table.add_row(
            Text(row.slot),
            Text(row.kind),
            str(row.log_loss.count),
            _difference(row.log_loss),
            _difference(row.accuracy, scale=100.0, digits=1),
        )
    return table


def _difference(interval: Interval | None, *, scale: float = 1.0, digits: int = 3) -> str:
    if interval is None:
        return ""
    mean = f"{interval.mean * scale:+.{digits}f}"
    if interval.lower is None or interval.upper is None:
        return f"{mean} ±?"
    return f"{mean} ±{(interval.upper - interval.lower) / 2 * scale:.{digits}f}"
