"""What the README shows is what a reader gets."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

from accredit.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says() -> None:
    """[R37]"""
    code, rest = re.search(r"```python\n(.*?)```\n(.*)", README, re.DOTALL).groups()
    shown = [line.strip() for line in re.match(r"\s*((?:    .*\n)+)", rest).group(1).splitlines()]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert [line.strip() for line in printed.getvalue().splitlines()] == shown


def test_the_file_to_attribute_gives_the_table_that_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """[R37]"""
    code, rest = re.search(r"`rings.py`:\n\n```python\n(.*?)```\n(.*)", README, re.DOTALL).groups()
    shown = re.search(r"\n\n((?:    .*\n|\n)+)", rest).group(1)
    (tmp_path / "rings.py").write_text(code)
    monkeypatch.setattr("accredit.cli.attribution_folder.write_pictures", lambda *_: [])
    monkeypatch.setattr("sys.path", list(sys.path))
    assert main(["attribute", str(tmp_path / "rings.py"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for line in filter(None, map(str.strip, shown.splitlines())):
        assert line in printed


def test_every_file_that_the_readme_links_exists() -> None:
    """[R37]"""
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
