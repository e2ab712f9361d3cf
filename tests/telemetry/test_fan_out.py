"""Several sinks at once, some of them failing."""

import pytest

from accredit.telemetry import CoalitionsEvaluated, Event, Origin, fan_out


def event(step: int) -> CoalitionsEvaluated:
    return CoalitionsEvaluated(origin=Origin(step=step), players=(), coalitions=(), values={})


def test_every_sink_gets_every_event_in_order():
    """[R32]"""
    first: list[Event] = []
    second: list[Event] = []
    sink = fan_out([first.append, second.append], on_failure=pytest.fail)
    for step in range(3):
        sink(event(step))
    assert first == second == [event(0), event(1), event(2)]


def test_a_failing_sink_is_reported_once_and_stops_nothing():
    """[R32] It is offered later events, because it may recover; another sink that fails is reported on its own."""
    got: list[Event] = []
    sentences: list[str] = []
    offered = 0

    def flaky(each: Event) -> None:
        nonlocal offered
        offered += 1
        raise ConnectionError(f"no route at step {each.origin.step}")

    def late(each: Event) -> None:
        if each.origin.step == 2:
            raise ValueError("late")

    sink = fan_out([flaky, late, got.append], on_failure=sentences.append)
    for step in range(4):
        sink(event(step))
    assert got == [event(step) for step in range(4)]
    assert offered == 4
    assert len(sentences) == 2
    assert (
        "flaky>` failed on an event of kind CoalitionsEvaluated (ConnectionError: no route at step 0); train"
        in (sentences[0])
    )
    assert "late>` failed" in sentences[1]
    assert " at 0x" not in "".join(sentences)


def test_an_interrupt_passes_through():
    """Ctrl-C ends a run, also while a sink works."""

    def interrupted(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fan_out([interrupted], on_failure=pytest.fail)(event(0))
