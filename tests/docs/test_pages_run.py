"""Every block of every page runs, or says why it does not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, RUNNABLE, blocks_of, commands_of, parse, run_page

# what the README shows is compared, too: tests/examples/test_readme.py
WITH_CODE = [page for page in PAGES if any(block.language in RUNNABLE for block in blocks_of(page))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_BETWEEN_BACKTICKS = re.compile(r"`(accredit (?:grow|attribute|resume|evaluate|report|watch|--)[^`]*|make [^`]+)`")
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """[R37] In the order of the page, as a reader would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("accredit.cli.attribution_folder.write_pictures", lambda *_: [])
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_on_a_page_exists_with_its_options(page: Path, capsys: pytest.CaptureFixture[str]):
    """[R37] Also those that a test cannot run, and those between backticks."""
    text = page.read_text(encoding="utf-8")
    shown = [block.text for block in blocks_of(page) if block.language in ("sh", "indented")]
    for words in commands_of("\n".join([*shown, *_BETWEEN_BACKTICKS.findall(text)])):
        if words[0] == "make":
            target = words[1]
            assert re.search(rf"^{target}:|^\.PHONY:.* {target}\b", MAKEFILE, re.MULTILINE), words
        elif words[0] == "python":
            assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file(), words
        else:
            # a command may be named without what it acts on
            status = parse(words[1:] if len(words) > 2 else [*words[1:], "--help"])
            assert status == 0, f"{words}: {capsys.readouterr()}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_block_that_does_not_run_has_a_reason(page: Path):
    """[R37] A sentence, and for a block that would have run."""
    for block in blocks_of(page):
        if block.not_run is not None:
            assert block.language in RUNNABLE, block
            assert len(block.not_run.split()) >= 3, block
        assert block.language in (*RUNNABLE, "text", "indented", "{toctree}", "{eval-rst}"), block
