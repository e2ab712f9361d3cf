"""Runs for the tests of the live page: folders with events as `accredit grow` writes them, but at once."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accredit.dashboard import Address, watch, watched
from accredit.telemetry import (
    ContributionsEstimated,
    Event,
    HostGrown,
    JsonlSink,
    Origin,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)

HOSTILE = (
    '</script><script>document.title="owned"</script>',
    "<img src=x onerror=\"document.title='owned'\">",
    "two\nlines and \"quotes\" & 'more'",
    "\u202eright to left مرحبا",
    "x" * 200,
)
STEPS = 4


def started() -> RunStarted:
    return RunStarted(task="digits", seed=3, config="{}", code_version="0.1.0", torch_version="2.13.0")


def update(number: int) -> UpdateCompleted:
    return UpdateCompleted(
        update=number,
        environment_steps=number * STEPS,
        episode_return=math.sin(number),
        gain_over_control=0.5,
        final_log_loss=0.4,
        final_accuracy=0.9,
        mean_parameters=100.0,
        return_std=0.3,
        explained_variance=0.2,
        entropy=1.5 - number / 1000,
        approximate_kl=0.01,
        clip_fraction=0.1,
        policy_loss=-0.1,
        value_loss=0.5,
        gradient_norm=1.0,
        epochs=4,
        learning_rate=0.001,
        action_frequencies={"wait": 0.75, "graft": 0.25},
        observation_count=100 * number,
        observation_drift=1.0 / number,
        reward_scale=0.2,
        observation_effective_count=100.0 * number,
        observation_dropped=0,
    )


def step(environment: str, episode: int, number: int, *, log_loss: float | None = 0.5) -> StepCompleted:
    return StepCompleted(
        origin=Origin(environment=environment, episode=episode, step=number),
        host_seed=1,
        action="wait",
        log_loss=log_loss,
        accuracy=0.75,
        graft_parameters=10 * number,
        gain=0.1,
        control_gain=0.05,
        rent=0.01,
        graft_cost=0.0,
        reward=0.04,
    )


def estimated(environment: str, episode: int, number: int, slots: tuple[str, ...]) -> ContributionsEstimated:
    values = tuple(-0.1 * (at + 1) for at in range(len(slots)))
    return ContributionsEstimated(
        origin=Origin(environment=environment, episode=episode, step=number, game="live"),
        output="log_loss",
        unit="nat",
        higher_is_better=False,
        players=slots,
        values=values,
        contributions=tuple(-value for value in values),
        stderr=(0.01,) * len(slots),
        lower=tuple(value - 0.03 for value in values),
        upper=tuple(value + 0.02 for value in values),
        level=0.95,
        value_all=0.4,
        value_none=0.4 - sum(values),
        estimator="exact",
        n_evaluations=2 ** len(slots),
    )


def story(environments: tuple[str, ...], updates: int, *, slots: tuple[str, ...] = ("input",)) -> Iterator[Event]:
    """Return the events of a run: an episode of each environment, then an update."""
    yield started()
    for number in range(1, updates + 1):
        episode = number - 1
        for at in range(1, STEPS + 1):
            for environment in environments:
                origin = Origin(environment=environment, episode=episode, step=at - 1)
                if at <= 2:
                    target = ("training", "committed")[at - 1]
                    for slot in slots:
                        yield StageChanged(
                            origin=origin,
                            slot=slot,
                            kind="mlp",
                            operation="graft",
                            source=("empty", "training")[at - 1],
                            target=target,
                        )
                yield step(environment, episode, at, log_loss=1.0 / at)
                if at >= 2:
                    yield estimated(environment, episode, at, slots)
        yield update(number)


def finished(updates: int) -> Iterator[Event]:
    """Return how a run ends."""
    for host in range(3):
        origin = Origin(environment=f"learned-{host:03d}-test", episode=0, step=STEPS)
        grown = HostGrown(
            origin=origin, policy="learned", host_seed=host, log_loss=0.4, accuracy=0.8, parameters=800, committed=()
        )
        yield replace(grown, accuracy=(80 + host) / 100, parameters=800 + 10 * host)
    yield RunCompleted(updates=updates)


def write_run(folder: Path, events: Iterator[Event], **config: object) -> Path:
    """Make a run folder with these events."""
    folder.mkdir(parents=True)
    told = {"task": "digits", "seed": 3, "environments": 2, "updates": 5} | config
    (folder / "config.json").write_text(json.dumps(told))
    append(folder, events)
    return folder


def append(folder: Path, events: Iterator[Event]) -> None:
    """Let the run go on."""
    with JsonlSink(folder / "events.jsonl") as sink:
        for event in events:
            sink(event)


@contextmanager
def served(*folders: Path, port: int = 0, token: str | None = None) -> Iterator[str]:
    """Serve the page in a thread; the address, token included, is given."""
    runs = [watched(folder, folder.name) for folder in folders]
    ready, stop, urls = threading.Event(), threading.Event(), []

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    address = Address(port=port, token=token)
    thread = threading.Thread(
        target=watch, args=(runs, address), kwargs={"on_ready": on_ready, "should_stop": stop.is_set}
    )
    thread.start()
    try:
        assert ready.wait(20)
        yield urls[0]
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def asked(url: str, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask once; `_` in the name of a header stands for `-`."""
    place = url.split("/")[2]
    connection = http.client.HTTPConnection(place, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="host" in {name.lower() for name in headers})
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
