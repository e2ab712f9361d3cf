"""A matrix as a file that grows while it is evaluated: no pickle, nothing executes on load, all under a checksum.

The file is a line that names the format and its version, then records. A record is the length of its payload (8 bytes,
big endian), the payload, and the SHA-256 of the digest before it and the payload, so that no record can be altered,
left out or moved. A payload is a line of JSON and, after it, the raw bytes of arrays (little endian). Kinds of records:

    begin   players and outputs
    call    configuration, plan, names of the estimators and numerics of one call of `compute_matrix`
    rows    masks, means and values per example of the coalitions that one call of the value function finished
    end     why evaluating ended, the share of the error level, seconds, failures

A process that is killed leaves a file whose last record is cut off, or one without `end`: everything before is whole.

Axes: M coalitions, N players, K outputs, B examples.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from accredit.attribution.config import CounterfactualConfig, config_from_record, config_record
from accredit.attribution.evaluation import Evaluations, Failure, join, no_evaluations
from accredit.attribution.output import Output
from accredit.attribution.protocols import FloatArray
from accredit.attribution.provenance import Provenance
from accredit.attribution.writing import claim, in_use
from accredit.errors import FileDamaged, RunFolderError

_NAME = b"accredit matrix "
_VERSION = 1
_LENGTH = 8
_DIGEST = hashlib.sha256().digest_size
_LONGEST_HEAD = 1 << 24

Record: TypeAlias = tuple[dict[str, Any], bytes]
"""JSON of a record, and the bytes after it; Any, for what JSON holds is known only once its checksum is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What a file holds."""

    players: tuple[str, ...]
    config: CounterfactualConfig
    evaluations: Evaluations
    failures: tuple[Failure, ...]
    provenance: Provenance
    estimators: tuple[str | None, str | None]
    """For Shapley values and for interactions, as text; None for a default."""
    duration_s: float
    intact_bytes: int
    """Length of the file up to its last whole record."""
    file_bytes: int
    """Length of the file."""
    digest: bytes
    """Of the last whole record, which the next one continues."""


class Journal:
    """An open file that rows are appended to; every append reaches the operating system before it returns."""

    def __init__(self, file: BinaryIO, digest: bytes) -> None:
        """Append to an open file whose last record has this digest."""
        self._file, self._digest = file, digest

    def call(
        self,
        config: CounterfactualConfig,
        *,
        strategy: str,
        reason: str,
        numerics: str,
        estimators: tuple[str | None, str | None],
    ) -> None:
        """Note that a call of `compute_matrix` begins."""
        # numerics stand here too, for a killed process writes no `end`, and its rows must not be mixed either
        plan = {"config": config_record(config), "strategy": strategy, "reason": reason, "numerics": numerics}
        self._append({"kind": "call", **plan, "estimators": list(estimators)}, b"")

    def rows(self, rows: Evaluations) -> None:
        """Append rows."""
        if len(rows):
            widths = [None if block is None else block.shape[1] for block in rows.examples]
            head = {"kind": "rows", "count": len(rows), "examples": widths}
            blocks = [np.packbits(rows.masks, axis=1).tobytes(), _bytes(rows.means)]
            blocks.extend(_bytes(block) for block in rows.examples if block is not None)
            self._append(head, b"".join(blocks))

    def end(self, provenance: Provenance, failures: tuple[Failure, ...], *, duration_s: float) -> None:
        """Note why evaluating ended, and put everything on the disk."""
        listed = [asdict(failure) for failure in failures]
        head = {"kind": "end", "provenance": asdict(provenance), "failures": listed, "duration_s": duration_s}
        self._append(head, b"")
        os.fsync(self._file.fileno())

    def begin(self, players: tuple[str, ...], outputs: tuple[Output, ...]) -> None:
        """The first record."""
        head = {"kind": "begin", "players": list(players), "outputs": [asdict(output) for output in outputs]}
        self._append(head, b"")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, head: dict[str, Any], body: bytes) -> None:
        """One record in one write, so that a kill leaves a whole record or a part of it, never a mixture."""
        payload = json.dumps(head).encode() + b"\n" + body
        self._digest = hashlib.sha256(self._digest + payload).digest()
        # flushed, not synchronised: the operating system keeps it when the process dies, at a hundredth of the time
        self._file.write(len(payload).to_bytes(_LENGTH, "big") + payload + self._digest)
        self._file.flush()


def _bytes(array: FloatArray) -> bytes:
    """Raw float64, little endian."""
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def create(
    path: Path,
    *,
    players: tuple[str, ...],
    config: CounterfactualConfig,
    strategy: str,
    reason: str,
    numerics: str,
    estimators: tuple[str | None, str | None],
) -> Journal:
    """A new file with its first records, beside its place until `publish` puts it there.

    Raises:
        RunFolderError: another process begins or writes one at this place.
    """
    # not emptied before it is ours
    file = _beside(path).open("ab")
    _claim(file, path)
    file.truncate(0)
    first = _NAME + str(_VERSION).encode() + b"\n"
    file.write(first)
    journal = Journal(file, hashlib.sha256(first).digest())
    journal.begin(players, config.outputs)
    journal.call(config, strategy=strategy, reason=reason, numerics=numerics, estimators=estimators)
    return journal


def _claim(file: BinaryIO, path: Path) -> None:
    """Lock a file, and close it where somebody else has it."""
    try:
        claim(file, path)
    except RunFolderError:
        file.close()
        raise


def publish(path: Path, *, replaces: bool) -> None:
    """Put a created file in its place at once, so that nobody ever meets a part of it; it stays open for appending.

    Args:
        path: where.
        replaces: whether a file that is there may go.

    Raises:
        RunFolderError: one is there that may not: another process has begun it in this moment.
    """
    if not replaces and path.exists():
        _beside(path).unlink()
        raise in_use(path)
    # the directory is synchronised too, or a loss of power could undo the renaming of a file that is on the disk
    _beside(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(path.name + ".new")


def reopen(path: Path, stored: Stored) -> Journal:
    """A file that was read, cut behind its last whole record and ready to go on.

    Raises:
        RunFolderError: another process writes it, or has written it since it was read.
    """
    file = path.open("r+b")
    _claim(file, path)
    if os.fstat(file.fileno()).st_size != stored.file_bytes:
        file.close()
        # cutting it would lose what the other process has finished
        raise RunFolderError(
            f"`path` is {path}, which another process has written since it was read, wanted it as it was; run the "
            "same command again, which goes on from all of it."
        )
    file.truncate(stored.intact_bytes)
    file.seek(stored.intact_bytes)
    return Journal(file, stored.digest)


def read(path: Path, *, recover: bool) -> Stored:
    """Read a file, checking every byte.

    Args:
        path: the file.
        recover: whether a last record that is cut off, as a killed process leaves it, may be left out.

    Raises:
        FileDamaged: not a matrix, from a newer version, altered, or cut off without leave to recover.
    """
    data = path.read_bytes()
    at, digest = _check_name(path, data)
    records: list[Record] = []
    while at < len(data):
        begin = at + _LENGTH
        end = begin + int.from_bytes(data[at:begin], "big")
        if end + _DIGEST > len(data):
            if recover and records:
                break
            raise FileDamaged(
                f"`{path}` ends inside record {len(records) + 1} (at byte {len(data)}), wanted a whole record; load "
                f"it with `recover=True` to keep the {len(records)} whole ones, as after a killed process."
            )
        payload = data[begin:end]
        digest = hashlib.sha256(digest + payload).digest()
        if digest != data[end : end + _DIGEST]:
            raise FileDamaged(
                f"`{path}` has another checksum than it was written with in record {len(records) + 1} (from byte "
                f"{at}), wanted the bytes as written; restore the file from a copy."
            )
        line, _, body = payload.partition(b"\n")
        records.append((json.loads(line), body))
        at = end + _DIGEST
    return _assemble(path, records, intact_bytes=at, file_bytes=len(data), digest=digest)


def count_rows(path: Path) -> int:
    """Number of coalitions in a file that may be growing, from the first lines of its records alone.

    Nothing is checked: it takes milliseconds where `read` takes seconds, and what it counts may turn out to be damaged.

    Args:
        path: of the matrix; no coalition is counted in what is none.
    """
    count = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = len(file.readline(len(_NAME) + 20))
        while at + _LENGTH <= size:
            file.seek(at)
            length = int.from_bytes(file.read(_LENGTH), "big")
            at += _LENGTH + length + _DIGEST
            if at > size:
                break
            try:
                head = json.loads(file.readline(min(length, _LONGEST_HEAD)))
                count += int(head["count"]) if head["kind"] == "rows" else 0
            except (ValueError, LookupError, TypeError):
                break
    return count


def _check_name(path: Path, data: bytes) -> tuple[int, bytes]:
    """Length and digest of the first line."""
    first, newline, _ = data.partition(b"\n")
    if not first.startswith(_NAME) or not newline or not first[len(_NAME) :].isdigit():
        raise FileDamaged(
            f"`{path}` begins with {data[:24]!r}, wanted {_NAME.decode()!r} and a version; pass a file that "
            "`CounterfactualMatrix.save` wrote."
        )
    version = int(first[len(_NAME) :])
    if version > _VERSION:
        raise FileDamaged(
            f"`{path}` has format version {version}, wanted at most {_VERSION}; read it with the version of "
            "accredit that wrote it, or a newer one."
        )
    return len(first) + 1, hashlib.sha256(first + newline).digest()


def _assemble(path: Path, records: list[Record], *, intact_bytes: int, file_bytes: int, digest: bytes) -> Stored:
    """The matrix that the records make."""
    heads = {kind: [head for head, _ in records if head["kind"] == kind] for kind in ("begin", "call", "end")}
    if not heads["begin"] or not heads["call"]:
        raise FileDamaged(
            f"`{path}` has {len(records)} records and no evaluation was begun in it, wanted at least players and a "
            "configuration; begin anew with another path."
        )
    begin, call = heads["begin"][0], heads["call"][-1]
    # a file may hold several calls; the last one says how it is to be continued
    players = tuple(begin["players"])
    outputs = tuple(Output(**output) for output in begin["outputs"])
    parts = [_read_rows(record, len(players), len(outputs)) for record in records if record[0]["kind"] == "rows"]
    provenance = Provenance(
        strategy=call["strategy"],
        strategy_reason=call["reason"],
        stop_reason="killed",
        # how the calls before were evaluated; of the one that was killed nobody wrote it down
        mechanism=heads["end"][-1]["provenance"].get("mechanism", "") if heads["end"] else "",
        # files from before numerics were kept tell nothing of them
        numerics=call.get("numerics", ""),
    )
    failures: tuple[Failure, ...] = ()
    if records[-1][0]["kind"] == "end":
        provenance = Provenance(**heads["end"][-1]["provenance"])
        failures = tuple(Failure(**failure) for failure in heads["end"][-1]["failures"])
    return Stored(
        players=players,
        config=config_from_record(call["config"], outputs=outputs),
        evaluations=join(parts) if parts else no_evaluations(len(players), len(outputs)),
        failures=failures,
        provenance=provenance,
        estimators=(call["estimators"][0], call["estimators"][1]),
        duration_s=heads["end"][-1]["duration_s"] if heads["end"] else 0.0,
        intact_bytes=intact_bytes,
        file_bytes=file_bytes,
        digest=digest,
    )


def _read_rows(record: Record, n_players: int, n_outputs: int) -> Evaluations:
    """The rows of one record."""
    head, body = record
    count, width = head["count"], -(-n_players // 8)
    packed = np.frombuffer(body, dtype=np.uint8, count=count * width).reshape(count, width)
    masks = np.unpackbits(packed, axis=1, count=n_players).astype(np.bool_)
    numbers = np.frombuffer(body, dtype="<f8", offset=count * width).astype(np.float64)
    means, at = numbers[: n_outputs * count].reshape(n_outputs, count), n_outputs * count
    examples: list[FloatArray | None] = []
    for n_examples in head["examples"]:
        size = 0 if n_examples is None else count * n_examples
        examples.append(None if n_examples is None else numbers[at : at + size].reshape(count, n_examples))
        at += size
    return Evaluations(masks=masks, means=means, examples=tuple(examples))
