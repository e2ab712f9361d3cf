"""The page on a host of one's own: what it prints is what it says, and a reader can copy it."""

import functools
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "examples" / "08_grow_your_own.py"
FACE = {"accredit", "accredit.growth", "accredit.training"}


@functools.cache
def printed() -> list[list[str]]:
    """The blocks that the page prints, line by line; warnings are errors, and nothing goes to the error stream."""
    command = [sys.executable, "-W", "error", str(PAGE), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return [block.splitlines() for block in run.stdout.strip().split("\n\n")]


def test_the_summary_of_a_host_of_ones_own_adds_up():
    """[R37] 16 filters' taps and levels: 16 * 3 + 3; the graft 2 * 16 * 4 + 4 + 16; the last layer 3 + 1."""
    rows = [line.split() for line in printed()[0]]
    assert rows[1] == ["slot", "past", "training", "bottleneck", "0.00", "148", "128"]
    assert rows[2][:2] == ["Filter", "51"]
    assert rows[-1] == ["sum", "203", "131"]


def test_grafts_help_a_host_that_nobody_here_knows_and_the_planted_harm_harms():
    """[R33] [R34] At equal minibatches, by the metric of the page."""
    reached = {line.split()[0]: float(line.split()[1]) for line in printed()[1][1:]}
    assert list(reached) == ["none", "affine", "low-rank", "bottleneck", "mlp", "dropper"]
    assert reached["mlp"] < reached["none"] - 0.05
    assert reached["dropper"] > reached["none"] + 0.3


def test_a_run_on_a_task_of_ones_own_ends_with_its_comparison():
    """[R35] Without sizes of a fixed large network there is no such row."""
    rows = [re.split(r" {2,}", line) for line in printed()[2]]
    policies = {row[0]: float(row[-1]) for row in rows[1:]}
    assert list(policies) == [
        "learned",
        "greedy, calibrated",
        "greedy, random",
        "best schedule",
        "random",
        "no growth",
    ]
    assert policies["no growth"] == 16 * 3 + 3 + 3 + 1


def test_the_page_uses_the_public_face_alone_and_is_short():
    """[R37] A reader can copy it; and it stays short enough to be read."""
    source = PAGE.read_text()
    assert set(re.findall(r"^from (accredit[\w.]*)", source, re.MULTILINE)) <= FACE
    assert len(source.splitlines()) <= 150
