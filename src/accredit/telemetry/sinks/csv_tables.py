"""Events as tables of comma-separated values, one file per kind."""

from __future__ import annotations

import math
from io import FileIO
from pathlib import Path

from accredit.telemetry.event import EVENT_KINDS, Event
from accredit.telemetry.record import to_json
from accredit.telemetry.row import columns_of, row_of
from accredit.telemetry.sinks.view import View


class CsvSink(View):
    r"""Write each event as a row of `KIND.csv`, handed to the operating system before the call returns.

    The columns are `environment`, `episode`, `step` and `game` of the origin and then the fields of the kind. A missing
    measurement is an empty cell; texts are quoted, so that an empty text is `""`; numbers that are not finite are
    written NaN, Infinity and -Infinity; lists and mappings are JSON in a quoted cell. There are no times in it (they
    are in the JSON lines): two runs with the same seed have equal files. UTF-8, lines end in `\n`.

    Args:
        folder: Where the tables go; made if missing. Beginning removes tables of event kinds that are there.

    Example:
        >>> import tempfile
        >>> from accredit.telemetry import Origin, StageChanged
        >>> event = StageChanged(
        ...     origin=Origin(environment="host-0", step=4), slot="a", kind="mlp", operation="graft", source="empty",
        ...     target="training",
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with CsvSink(Path(folder)) as sink:
        ...         sink(event)
        ...     print((Path(folder) / "StageChanged.csv").read_text())
        environment,episode,step,game,slot,kind,operation,source,target
        "host-0",,4,,"a","mlp","graft","empty","training"
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[type[Event], _Table] = {}

    def __repr__(self) -> str:
        return f"CsvSink({str(self.folder)!r})"

    def begin(self) -> None:
        """Remove the tables of an earlier run; a table is made when the first event of its kind comes."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        for kind in EVENT_KINDS:
            (self.folder / f"{kind}.csv").unlink(missing_ok=True)

    def __call__(self, event: Event) -> None:
        """Write one row."""
        kind = type(event)
        if kind not in self._tables:
            self._tables[kind] = _Table(self.folder / f"{kind.__name__}.csv", ",".join(columns_of(kind, times=False)))
        self._tables[kind].write(",".join(map(_cell, row_of(event, times=False))))

    def close(self) -> None:
        """Close the files."""
        for table in self._tables.values():
            table.file.close()
        self._tables = {}


class _Table:
    """One file, which ends with a whole line whatever fails."""

    def __init__(self, path: Path, head: str) -> None:
        self.file: FileIO = path.open("wb", buffering=0)
        self._end = 0
        self.write(head)

    def write(self, line: str) -> None:
        data = memoryview(f"{line}\n".encode(errors="backslashreplace"))
        written = 0
        try:
            while written < len(data):
                written += self.file.write(data[written:])
        except OSError:
            # a row that is half on a full disk would make nonsense of the next one
            self.file.seek(self._end)
            self.file.truncate()
            raise
        self._end += written


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else to_json(value).strip('"')
        case str():
            return _quoted(value)
        case _:
            return _quoted(to_json(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
