"""Sinks beside the file of record: begun, shown the past, offered every event, closed, and harmless when they fail."""

import pytest

from accredit.errors import FileDamaged
from accredit.telemetry import Event, RunCompleted, UnknownEvent, View, showing
from accredit.telemetry.event import Origin


def event(number: int) -> RunCompleted:
    return RunCompleted(updates=number)


class Noted(View):
    """Writes down what is done to it; raises where it is told to."""

    def __init__(self, *, fails: tuple[str, ...] = ()) -> None:
        self.noted: list[str] = []
        self.fails = fails

    def note(self, what: str) -> None:
        self.noted.append(what)
        if what in self.fails:
            raise OSError(f"cannot {what}")

    def begin(self) -> None:
        self.note("begin")

    def __call__(self, event: Event) -> None:
        self.note(str(event.updates))

    def close(self) -> None:
        self.note("close")


def unread() -> list[Event]:
    pytest.fail("nobody keeps a view")


def test_a_view_is_begun_shown_the_past_and_closed_and_a_callable_gets_the_present_alone():
    """[R32] An unknown event of the past is passed over."""
    view, got = Noted(), []
    past = [event(0), UnknownEvent(origin=Origin(), kind="Dreamt", fields={}), event(1)]
    with showing([view, got.append], history=lambda: past, on_failure=pytest.fail) as sink:
        sink(event(2))
        assert view.noted == ["begin", "0", "1", "2"]
    assert view.noted == ["begin", "0", "1", "2", "close"]
    assert got == [event(2)]


def test_the_past_is_not_read_where_nobody_keeps_a_view():
    got = []
    with showing([got.append], history=unread, on_failure=pytest.fail) as sink:
        sink(event(2))
    assert got == [event(2)]


@pytest.mark.parametrize("fails", [("begin",), ("1",), ("3",), ("close",), ("begin", "0", "1", "2", "3", "close")])
def test_a_view_that_fails_at_any_moment_is_reported_once_and_offered_the_rest(fails: tuple[str, ...]):
    """[R32] A sound one beside it notices nothing."""
    sentences, broken, sound = [], Noted(fails=fails), Noted()
    with showing([broken, sound], history=lambda: [event(0), event(1)], on_failure=sentences.append) as sink:
        sink(event(2))
        sink(event(3))
    assert broken.noted == sound.noted == ["begin", "0", "1", "2", "3", "close"]
    assert len(sentences) == 1
    when = {"begin": "to begin", "close": "to close"}.get(fails[0], "on an event of kind RunCompleted")
    assert f"Noted object>` failed {when} (OSError: cannot {fails[0]}); training goes on and offers it" in sentences[0]


def test_a_view_is_closed_where_the_run_is_interrupted():
    view = Noted()
    with pytest.raises(KeyboardInterrupt), showing([view], history=list, on_failure=pytest.fail):
        raise KeyboardInterrupt
    assert view.noted == ["begin", "close"]


def test_a_past_that_cannot_be_read_is_told_and_the_run_goes_on():
    """[R32]"""

    def torn():
        yield event(0)
        raise FileDamaged("`events.jsonl` line 2 is not JSON.")

    view, sentences = Noted(), []
    with showing([view], history=torn, on_failure=sentences.append) as sink:
        sink(event(2))
    assert view.noted == ["begin", "0", "2", "close"]
    assert sentences == [
        "sinks begin with a gap, because the events before could not all be read: `events.jsonl` line 2 is not JSON."
    ]
