"""Progress: a bar on a terminal, plain lines elsewhere, nothing when quiet; the clock is a fake."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from accredit.cli.progress import Display
from accredit.training.loop import Phase


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def display(*, terminal: bool = False, quiet: bool = False) -> tuple[Display, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=terminal, width=100)
    return Display(console, quiet=quiet, clock=clock), stream, clock


def test_lines_elsewhere_tell_phase_rate_and_remaining_time():
    """[R37] 4 of 10 parts in 8 s: 0.50 a second, 12 s left."""
    shown, stream, clock = display()
    shown.show(Phase.TRAINING, 0, 10)
    clock.now += 8
    shown.show(Phase.TRAINING, 4, 10)
    assert stream.getvalue().splitlines() == [
        "training 0/10, measuring the pace",
        "training 4/10, 0.50/s, 12 s left",
    ]


def test_plain_lines_come_every_five_seconds_and_at_the_end_of_a_phase():
    """[R37] A log file is not flooded; no escape sequences are in it."""
    shown, stream, clock = display()
    for done in range(21):
        shown.show(Phase.TRAINING, done, 20)
        clock.now += 1
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "training " + s for s in ("0/20", "5/20", "10/20", "15/20", "20/20")
    ]
    assert "\x1b" not in stream.getvalue()


def test_the_pace_of_a_resumed_run_counts_from_where_it_began():
    """[R37] 30 parts were there before; 10 more in 5 s are 2 a second, not 8."""
    shown, stream, clock = display()
    shown.show(Phase.TRAINING, 30, 100)
    clock.now += 5
    shown.show(Phase.TRAINING, 40, 100)
    assert "training 40/100, 2.00/s, 30 s left" in stream.getvalue()


def test_each_phase_has_a_pace_of_its_own():
    """[R37]"""
    shown, stream, clock = display()
    shown.show(Phase.TRAINING, 0, 1)
    clock.now += 50
    shown.show(Phase.COMPARING, 1, 26)
    clock.now += 5
    shown.show(Phase.COMPARING, 6, 26)
    assert stream.getvalue().splitlines()[-2:] == [
        "comparing 1/26, measuring the pace",
        "comparing 6/26, 1.00/s, 20 s left",
    ]


@pytest.mark.parametrize(
    ("left", "words"), [(59, "59 s left"), (200, "3 min 20 s left"), (3600 + 300, "1 h 05 min left"), (0, "0 s left")]
)
def test_remaining_time_is_in_words(left: int, words: str):
    """[R37]"""
    shown, stream, clock = display()
    shown.show(Phase.TRAINING, 0, 1 + left)
    clock.now += 6
    shown.show(Phase.TRAINING, 6, 6 + left)
    assert words in stream.getvalue()


def test_nothing_is_shown_when_quiet_but_notices_are(capsys: pytest.CaptureFixture[str]):
    """[R30] A damaged checkpoint must not be passed over in silence."""
    shown, stream, _ = display(quiet=True)
    shown.show(Phase.TRAINING, 1, 2)
    shown.say("a checkpoint is damaged")
    assert stream.getvalue() == ""
    assert "a checkpoint is damaged" in capsys.readouterr().err


def test_a_terminal_gets_one_bar_that_goes_away():
    """[R37]"""
    shown, stream, clock = display(terminal=True)
    shown.show(Phase.TRAINING, 0, 4)
    clock.now += 4
    shown.show(Phase.TRAINING, 2, 4)
    shown.say("notice [brackets] are text")
    shown.close()
    shown.close()
    output = stream.getvalue()
    assert "2/4" in output
    assert "0.50/s, 4 s left" in output
    assert "notice [brackets] are text" in output
    assert output.rstrip().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K")), "the bar is erased, the cursor is back"


@pytest.mark.parametrize("terminal", [False, True])
def test_where_to_look_on_is_said_once_with_the_first_progress(terminal: bool):
    """[R37] The folder has a name that nobody chose, and is wanted before the end."""
    shown, stream, _ = display(terminal=terminal)
    shown.folder = Path("runs/my run")
    shown.show(Phase.TRAINING, 0, 10)
    shown.show(Phase.TRAINING, 10, 10)
    shown.close()
    assert stream.getvalue().count("live: accredit watch 'runs/my run'") == 1


def test_a_quiet_command_says_nothing_of_its_folder():
    """[R37]"""
    shown, stream, _ = display(quiet=True)
    shown.folder = Path("runs/a")
    shown.show(Phase.TRAINING, 0, 10)
    assert stream.getvalue() == ""
