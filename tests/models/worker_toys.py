"""A small model whose evaluation can be watched, and parts of it that do harm: importable by worker processes."""

import os
import pickle
import signal
from concurrent.futures import Executor, Future
from pathlib import Path

import torch
from torch import nn

from accredit.attribution.config import CounterfactualConfig
from accredit.attribution.engine import CounterfactualEngine
from accredit.attribution.output import Output
from accredit.models.metrics import Metric, log_loss
from accredit.models.switchable import SwitchableModel
from accredit.models.value import ModelValue

WIDTH = 16


def batches():
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, WIDTH, generator=generator), torch.randint(0, 4, (size,), generator=generator))
        for size in (20, 20, 7)
    ]


def network(n_players=5):
    torch.manual_seed(1)
    blocks = [layer for _ in range(n_players) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*blocks, nn.Linear(WIDTH, 4)).eval()


def model_value(*more, n_players=5, model=None, **settings):
    """A value of a network with `n_players` players; `more` are further metrics."""
    paths = [str(2 * at) for at in range(n_players)]
    switchable = SwitchableModel(network(n_players) if model is None else model, paths, off="identity")
    return ModelValue(switchable, settings.pop("batches", batches()), [log_loss(), *more], **settings)


def computed(value, *, players=None, executor=None, **settings):
    """The matrix of a value function that has `outputs`, or stands for one that has."""
    outputs = settings.pop("outputs", None) or value.outputs
    engine = CounterfactualEngine(CounterfactualConfig(outputs=outputs))
    return engine.compute_matrix(players or value.switchable.players, value, executor=executor, **settings)


def remotely(value, workers, **settings):
    """The matrix of a value by its workers."""
    names = value.switchable.players
    return computed(workers.value, players=names, outputs=value.outputs, executor=workers.executor, **settings)


def same_matrix(first, second):
    """Whether two matrices have the same rows in the same order, bit for bit."""
    assert [output.name for output in first.config.outputs] == [output.name for output in second.config.outputs]
    return torch.equal(first.masks, second.masks) and all(
        torch.equal(torch.from_numpy(a), torch.from_numpy(b))
        for a, b in zip(first.evaluations.examples, second.evaluations.examples, strict=True)
    )


class Watched(nn.Linear):
    """A layer that notes, in a file per process, that it was unpickled there."""

    def __init__(self, folder: Path):
        super().__init__(WIDTH, WIDTH)
        self.folder = str(folder)

    def __setstate__(self, state):
        super().__setstate__(state)
        with Path(self.folder, f"opened-{os.getpid()}").open("a") as file:
            file.write("opened\n")


class Noted:
    """A measurement that writes a line for every pass, and ends processes by SIGKILL, so many in all.

    The first of them at a pass of choice, those that come after it at their first pass.
    """

    def __init__(self, folder: Path, *, at: int = 0, times: int = 0):
        self.folder, self.at, self.times = str(folder), at, times
        self.passes = 0

    def __call__(self, output, target):
        self.passes += 1
        if self.passes == self.at or (self.passes == 1 and Path(self.folder, "killed-0").exists()):
            for number in range(self.times):
                try:
                    Path(self.folder, f"killed-{number}").touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        with Path(self.folder, f"passes-{os.getpid()}").open("a") as file:
            file.write("pass\n")
        return output.sum(dim=1).double()


def noted(folder, **settings):
    return Metric(Output("sum", "1", True), Noted(folder, **settings))


def lines(folder, kind):
    """Lines of the files of one kind, per process."""
    return [len(path.read_text().splitlines()) for path in sorted(Path(folder).glob(f"{kind}-*"))]


class Odd(Exception):
    """An error that cannot be unpickled: it takes two arguments and keeps one."""

    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


def raise_odd(output, target):
    raise Odd("layer", "it diverged")


def raise_value_error(output, target):
    raise ValueError("it diverged")


class ByPickle(Executor):
    """Calls in this thread with everything pickled on its way there and back, as if by another process."""

    def __init__(self):
        self.sizes = []

    def submit(self, fn, /, *args, **kwargs):
        call = pickle.dumps((fn, args, kwargs))
        self.sizes.append(len(call))
        function, args, kwargs = pickle.loads(call)
        future = Future()
        try:
            future.set_result(pickle.loads(pickle.dumps(function(*args, **kwargs))))
        except Exception as error:
            future.set_exception(error)
        return future
