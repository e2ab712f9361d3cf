"""The command line: `accredit grow`, `attribute`, `resume`, `evaluate`, `report`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; names the extra where a package is missing."""
    try:
        from accredit.cli.main import main as run

        return run(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "accredit").split(".")[0] == "accredit":
            raise
        print(
            f"accredit: `accredit` needs the package {error.name}, which is not installed; install the command line "
            "and the training system by pip install 'accredit[grow]'.",
            file=sys.stderr,
        )
        return 2
