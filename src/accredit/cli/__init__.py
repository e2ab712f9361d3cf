"""The command line: `accredit grow`, `attribute`, `resume`, `evaluate`, `report`, `watch`.

Exit status: 0 done, 1 training or an evaluation failed, 2 bad input, 130 stopped by Ctrl-C and ready to be resumed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_NEED_TRAINING = ("grow", "resume", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; names the extra where a package is missing."""
    try:
        from accredit.cli.program import main as run

        return run(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "accredit").split(".")[0] == "accredit":
            raise
        words = sys.argv[1:] if arguments is None else arguments
        extra = "grow" if words and words[0] in _NEED_TRAINING else "cli"
        print(
            f"accredit: `accredit` needs the package {error.name}, which is not installed; install what this command "
            f"needs by pip install 'accredit[{extra}]'.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:  # while packages are loaded, or between two things that look after it themselves
        print("accredit: stopped while nothing was under way; give the same command again.", file=sys.stderr)
        return 130
