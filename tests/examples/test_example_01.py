import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "examples" / "01_rank_components.py"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the page prints, run as a reader runs it; warnings are errors."""
    picture = tmp_path_factory.mktemp("page") / "contributions.png"
    command = [sys.executable, "-W", "error", str(PAGE), "--quick", "--save", str(picture)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    return run.stdout


def test_the_page_prints_what_it_says(printed):
    """[R3] [R8] Ranking, certain signs, a difference, interactions, and the sampled ranking."""
    assert "exact, 32 coalitions: all 32 coalitions were evaluated" in printed
    assert "pair_process, 16 coalitions: 16 of 2^5 coalitions were evaluated" in printed
    for words in (
        "Signs certain together: ",
        " beyond ",
        "Best together: ",
        "Worst together: ",
        " intervals hold the ",
    ):
        assert words in printed


def test_the_numbers_of_the_page_add_up(printed):
    """[R4] Contributions of the table sum to the fall of the loss that the first line tells."""
    first, *lines = printed.splitlines()
    off, everything = (float(part.split()[0]) for part in first.split("loss ")[1:2] + first.split("all on: ")[1:])
    rows = [line.split() for line in lines if line.startswith("block") and len(line.split()) == 4][:5]
    assert sum(float(row[2]) for row in rows) == pytest.approx(off - everything, abs=5e-3)


def test_the_page_uses_the_public_face_alone():
    """[R3] A reader can copy it; and it stays short enough to be read."""
    source = PAGE.read_text().splitlines()
    assert len(source) <= 150
    imported = [line for line in source if "accredit" in line and line.startswith(("import", "from"))]
    assert imported == ["from accredit import CounterfactualConfig, CounterfactualEngine, Output, attribute"]
