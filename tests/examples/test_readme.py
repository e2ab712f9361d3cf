"""What the README shows is what a reader gets."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says() -> None:
    """[R37]"""
    code, rest = re.search(r"```python\n(.*?)```\n(.*)", README, re.DOTALL).groups()
    shown = [line.strip() for line in re.match(r"\s*((?:    .*\n)+)", rest).group(1).splitlines()]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert [line.strip() for line in printed.getvalue().splitlines()] == shown


def test_every_file_that_the_readme_links_exists() -> None:
    """[R37]"""
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
