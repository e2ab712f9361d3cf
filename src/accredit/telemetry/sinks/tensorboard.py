"""Events as TensorBoard shows them: scalars, histograms and pictures (extra `tensorboard`)."""

from __future__ import annotations

import importlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from accredit.charts.chart_picture import chart_picture
from accredit.charts.estimates import Estimates
from accredit.charts.over_time import over_time_picture
from accredit.errors import InvalidArgument, MissingExtra
from accredit.telemetry.event import Event, HostGrown, RunCompleted, RunStarted, UpdateCompleted
from accredit.telemetry.sinks.pictures import Curves, OneHost, append_thinned, comparison_charts
from accredit.telemetry.sinks.view import View
from accredit.telemetry.sinks.window import Window, scalars_of

_PACKAGES = ("torch.utils.tensorboard", "matplotlib.backends.backend_agg")


class TensorBoardSink(View):
    """Write a run as `tensorboard --logdir FOLDER` shows it; the horizontal axis counts PPO updates.

    - Scalars: every number of `UpdateCompleted` as `update/FIELD`, entries of mappings as `update/FIELD/KEY`; hosts
      that were rolled back as `update/hosts_diverged`; how often slots changed their stage as `stages/OPERATION`; the
      mean contribution of each player as `contribution/GAME/OUTPUT/PLAYER`; in the end, means of the comparison as
      `comparison/POLICY/FIELD`.
    - Histograms: rewards and their terms, losses and accuracies as `step/FIELD`, and contributions, over the steps of
      all environments since the last update (the first one includes the warm-up); in the end, over the hosts of the
      comparison.
    - Pictures, every `images_every` updates: contributions over updates as `contributions/GAME/OUTPUT`, the curves of
      learning and of PPO as `learning/NAME` and `ppo/NAME`, and one host as it grew, the stages of its grafts above
      what they earn, as `grafts/story`; in the end, means of the comparison with intervals as `comparison/NAME`.
    - Text: the configuration.

    Everything up to an update has reached the file when the event of the update returns. Memory is bounded by one
    rollout, one episode and 200 points a curve.

    Args:
        folder: Where the files go; made if missing. Beginning removes event files that are there.
        images_every: Updates between two pictures, >= 0; 0: none.

    Raises:
        InvalidArgument: `images_every` is negative.
        MissingExtra: TensorBoard or matplotlib is not installed.
    """

    def __init__(self, folder: Path, *, images_every: int = 10) -> None:
        if images_every < 0:
            raise InvalidArgument(f"`images_every` is {images_every}, wanted 0 or more; pass 0 for no pictures.")
        for name in _PACKAGES:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise MissingExtra(
                    f"`TensorBoardSink` got no {(error.name or name).split('.')[0]}, wanted it installed; run "
                    "`pip install accredit[tensorboard]`, or choose another sink."
                ) from error
        self.folder, self.images_every = folder, images_every
        self._writer: Any = None
        self._forget()

    def __repr__(self) -> str:
        return f"TensorBoardSink({str(self.folder)!r})"

    def begin(self) -> None:
        """Remove the event files of an earlier run and open a new one."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(log_dir=str(self.folder))
        self._forget()

    def __call__(self, event: Event) -> None:
        """Take one event; most only count when the next update comes."""
        match event:
            case RunStarted():
                self._writer.add_text("config", f"    {event.config}", 0)
            case UpdateCompleted():
                self._write_update(event)
            case HostGrown():
                self._grown[event.policy].append(event)
            case RunCompleted():
                self._write_comparison(event.updates)
            case _:
                self._window.take(event)
                self._host.take(event)

    def close(self) -> None:
        """Write out what waits and close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _forget(self) -> None:
        self._window = Window()
        self._grown: dict[str, list[HostGrown]] = defaultdict(list)
        self._history: dict[str, list[tuple[int, Estimates]]] = defaultdict(list)
        self._curves, self._host = Curves(), OneHost()

    def _write_update(self, event: UpdateCompleted) -> None:
        update, window, self._window = event.update, self._window, Window()
        numbers = {name: value for name, value in scalars_of(event) if name != "update"}
        for name, value in numbers.items():
            self._writer.add_scalar(f"update/{name}", value, update)
        self._curves.take(update, numbers)
        self._writer.add_scalar("update/hosts_diverged", window.diverged, update)
        for operation, count in sorted(window.operations.items()):
            self._writer.add_scalar(f"stages/{operation}", count, update)
        for name, values in window.steps.items():
            self._histogram(f"step/{name}", values, update)
        for key, contributions in window.contributions.items():
            means = contributions.means()
            for player, mean in zip(means.names, means.contributions, strict=True):
                self._writer.add_scalar(f"contribution/{key}/{player}", mean, update)
                self._histogram(f"contributions/{key}/{player}", contributions.by_player[player], update)
            append_thinned(self._history[key], (update, means))
        if self.images_every and update % self.images_every == 0:
            self._draw(update)
        self._writer.flush()

    def _write_comparison(self, updates: int) -> None:
        for policy, hosts in self._grown.items():
            for name in ("log_loss", "accuracy", "parameters"):
                values = [float(vars(host)[name]) for host in hosts]
                self._histogram(f"comparison/{policy}/{name}", values, updates)
                self._writer.add_scalar(f"comparison/{policy}/{name}", float(np.mean(values)), updates)
        if self.images_every and updates % self.images_every:
            self._draw(updates)
        for tag, chart in comparison_charts(self._grown) if self.images_every else ():
            self._show(tag, chart_picture(chart), updates)
        self._forget()
        self._writer.flush()

    def _histogram(self, tag: str, values: list[float], update: int) -> None:
        # a histogram has no place for what is not finite; scalars and events do
        finite = np.asarray(values)[np.isfinite(values)]
        if finite.size:
            self._writer.add_histogram(tag, finite, update)

    def _draw(self, update: int) -> None:
        for key, history in self._history.items():
            times, estimates = [time for time, _ in history], [each for _, each in history]
            self._show(f"contributions/{key}", over_time_picture(times, estimates, time_label="PPO update"), update)
        for tag, chart in self._curves.charts():
            self._show(tag, chart_picture(chart), update)
        story = self._host.chart()
        if story is not None:
            self._show("grafts/story", chart_picture(story), update)

    def _show(self, tag: str, figure: Any, update: int) -> None:
        drawn = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
        drawn.draw()
        pixels = np.asarray(drawn.buffer_rgba())[..., :3]
        self._writer.add_image(tag, pixels, update, dataformats="HWC")
