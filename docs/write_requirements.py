"""Write the tests into the table of requirements again: python docs/write_requirements.py.

Texts of requirements and what is open are kept as they stand in the table.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"
TABLE = DOCS / "requirements.md"
NAMED = 4
"""Tests that are named of one file and requirement; the others are counted."""


def tests_of_requirements() -> dict[int, dict[str, list[str]]]:
    """Names of tests by requirement and file, from their docstrings."""
    found: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for number in dict.fromkeys(map(int, re.findall(r"\[R(\d+)\]", ast.get_docstring(node) or ""))):
                    found[number][path.relative_to(TESTS).as_posix()].append(node.name)
    return found


def listed(files: dict[str, list[str]]) -> str:
    """The cell of one requirement."""
    parts = []
    for path, names in files.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"`{path}`: " + ", ".join(f"`{name}`" for name in names[:NAMED]) + more)
    return "; ".join(parts)


def main() -> None:
    """Rewrite the table."""
    found = tests_of_requirements()
    lines = []
    for line in TABLE.read_text().splitlines():
        row = re.match(r"\| R(\d+) \|", line)
        if row:
            cells = line.split("|")
            cells[3] = f" {listed(found[int(row[1])])} "
            line = "|".join(cells)
        lines.append(line)
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
