"""The pages of the documentation as blocks, and how a reader runs them from top to bottom.

What a writer of pages can count on:

- Python blocks of a page share one namespace; behind a line "`NAME.py`:" it is saved under that
  name instead.
- `sh` blocks: their `accredit` commands run too, in the folder of the page; growth in a size that takes seconds.
- A `text` block directly behind one that ran is what it prints; `...` stands for anything, spaces do not count.
- `<!-- before: ... -->` holds Python that makes what the next block takes as given: a model, data.
- `<!-- not run: reason -->` lets the next block be; the reason says what a test cannot have.
- Commands in indented blocks and between backticks must be commands that exist, with options that exist.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from accredit.cli import main
from accredit.cli.commands import Command

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
RUNNABLE = ("python", "sh", "before")
SMALL = [
    "--environments", "2", "--updates", "2", "--set", "episode.steps=4", "episode.minibatches=1",
    "episode.batch_size=16", "episode.host_seeds=2", "evaluation.hosts=2", "evaluation.calibration_episodes=1",
    "checkpoint_every=1", "ppo.epochs=2",
]  # fmt: skip
PLACEHOLDERS = {"N": "1", "K": "1", "S": "1", "WIDTH": "0.1"}
_BLOCK = re.compile(
    r"^```(?P<language>\{?[\w-]*\}?)[^\n]*\n(?P<fenced>.*?)^```$"
    r"|^<!-- before:\n(?P<before>.*?)^-->$"
    r"|^<!-- not run: (?P<reason>.*?) -->$"
    r"|(?<=\n\n)(?P<indented>(?:    [^\n]*\n|\n)+)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: Path
    line: int
    language: str
    """`python`, `sh`, `text`..., `before` for Python that is not shown, `indented`."""
    text: str
    not_run: str | None
    """Why it is let be, or None."""
    file: str | None
    """The name that a reader saves it under, or None."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Everything on a page that is no prose."""
    source, found, reason = page.read_text(encoding="utf-8") + "\n", [], None
    for match in _BLOCK.finditer(source):
        if match["reason"] is not None:
            reason = match["reason"]
            continue
        language = match["language"] or ("before" if match["before"] else "indented" if match["indented"] else "")
        text = match["fenced"] or match["before"] or match["indented"] or ""
        named = re.search(r"`([\w.]+\.py)`:\s*\Z", source[: match.start()])
        line = source[: match.start()].count("\n") + 1
        found.append(Block(page, line, language, text, reason, named[1] if named and language == "python" else None))
        reason = None
    return found


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of every `accredit`, `make` or `python -m benchmarks` command; a backslash joins lines."""
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"(  |\t|^)#.*", "", line).strip()
        words = re.sub(r"(   | [>|] ).*", "", words)  # a gloss stands apart
        if re.match(r"(accredit [\w-]|make [\w-]|python -m benchmarks\.)", words):
            yield shlex.split(words)


def parse(words: list[str]) -> int:
    """Exit status of `accredit` if it did nothing: 2 where there is no such command or option."""
    try:
        tyro.cli(Command, prog="accredit", args=[PLACEHOLDERS.get(word, word) for word in words])
    except SystemExit as end:  # help, or a sentence
        return int(end.code or 0)
    return 0


def run_page(page: Path) -> None:
    """Run every block in order, in the working directory, and compare what it prints with what the page shows."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None
    for block in blocks_of(page):
        if block.language == "text" and printed is not None:
            _compare(block, printed)
        printed = None
        if block.language in RUNNABLE and block.not_run is None:
            printed = _run(block, namespace)


def _run(block: Block, namespace: dict[str, object]) -> str:
    if block.file is not None:
        Path(block.file).write_text(block.text, encoding="utf-8")
        return ""
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        if block.language == "sh":
            for words in commands_of(block.text):
                assert words[0] == "accredit", f"{block}: only `accredit` runs; say why not in `<!-- not run: -->`"
                more = SMALL if words[1] == "grow" else []
                assert main([*words[1:], *more]) == 0, f"{block}: {shlex.join(words)}"
        else:
            # a process costs seconds of starting; that two give the bits of one is tested where processes are
            code = "\n" * block.line + block.text.replace("n_workers=2", "n_workers=1")
            exec(compile(code, str(block.page), "exec"), namespace)
    return stdout.getvalue()


def _compare(block: Block, printed: str) -> None:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    checker = doctest.OutputChecker()
    example = doctest.Example("", block.text)
    assert checker.check_output(block.text, printed, options), (
        f"{block}: {checker.output_difference(example, printed, options)}"
    )
