"""The bytes of a file of events, one line of every kind.

`events.jsonl` was written by `json.JSONEncoder` over the nested dictionaries of the events, with numbers that are not
finite spelled one by one in a walk over all values: no code of the faster writer. A file that an earlier Accredit wrote
must read the same for ever, so these lines change only together with `VERSION`.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from accredit.telemetry import (
    EVENT_KINDS,
    CoalitionsEvaluated,
    ContributionsEstimated,
    Event,
    HostDiverged,
    HostGrown,
    Origin,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.record import decode_timed, encode

LINES = (Path(__file__).parent / "events.jsonl").read_text(encoding="ascii").splitlines()
HOSTILE = 'NaN, "Infinity\\", [-Infinity], \u202e\u2028é\n'
HERE = Origin(environment=HOSTILE, episode=3, step=7, game="live")
THIRDS = (1 / 3, None, -0.0, 1e300)

EVENTS: tuple[Event, ...] = (
    RunStarted(task="digits", seed=0, config='{"clip": 0.1}', code_version="0.1.0", torch_version="2.13.0"),
    CoalitionsEvaluated(
        origin=Origin(environment="host-0", episode=0, step=0),
        players=("a", "b"),
        coalitions=("00", "11"),
        values={"loss": (0.1 + 0.2, None)},
        failures={"11": "raised ValueError"},
    ),
    CoalitionsEvaluated(
        origin=HERE,
        players=(HOSTILE, "NaN"),
        coalitions=("00", "01"),
        values={HOSTILE: (math.nan, -math.inf), "Infinity": (math.inf, 1.5)},
    ),
    ContributionsEstimated(
        origin=Origin(step=1),
        output="NaN",
        unit="nat",
        higher_is_better=False,
        players=("a", "b", "c", "d"),
        values=(math.inf, -math.inf, math.nan, 5e-324),
        contributions=(0.0, 1.0, 2.0, 3.0),
        stderr=THIRDS,
        lower=THIRDS,
        upper=THIRDS,
        level=0.95,
        value_all=math.nan,
        value_none=2.0,
        estimator="exact",
        n_evaluations=16,
    ),
    StageChanged(origin=HERE, slot="a", kind="mlp", operation="graft", source="empty", target="training"),
    StepCompleted(
        origin=HERE,
        host_seed=12,
        action="wait",
        log_loss=None,
        accuracy=0.125,
        graft_parameters=64,
        gain=-math.inf,
        control_gain=0.0,
        rent=1e-7,
        graft_cost=0.02,
        reward=-math.inf,
    ),
    HostDiverged(origin=HERE),
    UpdateCompleted(
        update=1,
        environment_steps=512,
        episode_return=None,
        gain_over_control=0.5,
        final_log_loss=math.nan,
        final_accuracy=0.9,
        mean_parameters=12.5,
        return_std=0.1,
        explained_variance=-3.0,
        entropy=1.5,
        approximate_kl=0.01,
        clip_fraction=0.2,
        policy_loss=-0.01,
        value_loss=0.3,
        gradient_norm=math.inf,
        epochs=4,
        learning_rate=0.0003,
        action_frequencies={"wait": 0.75, "graft": 0.25},
        observation_count=2**53,
        observation_drift=None,
        reward_scale=0.04,
    ),
    HostGrown(
        origin=HERE,
        policy="learned",
        host_seed=99,
        log_loss=0.4,
        accuracy=0.875,
        parameters=839,
        committed=("input:affine", 'hid"den:mlp'),
    ),
    RunCompleted(updates=40),
)


@pytest.mark.parametrize(("line", "event"), list(zip(LINES, EVENTS, strict=True)), ids=range(len(LINES)))
def test_an_event_is_written_as_ever(line: str, event: Event) -> None:
    """[R32]"""
    assert encode(event, time_s=1763914387.125) == line


@pytest.mark.parametrize(("line", "event"), list(zip(LINES, EVENTS, strict=True)), ids=range(len(LINES)))
def test_an_event_is_read_as_ever(line: str, event: Event) -> None:
    """[R32] `repr`, because NaN is not equal to itself."""
    assert repr(decode_timed(line)) == repr((1763914387.125, event))


def test_no_kind_is_gone() -> None:
    """[R32] Each that a file may hold is known; the byte order of its fields is held above."""
    assert {type(event).__name__ for event in EVENTS} <= set(EVENT_KINDS)
