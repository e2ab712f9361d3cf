"""Checkpoints that are atomic, verified and exact.

A checkpoint is a folder `000012-step-340` (the twelfth that was written, at step 340) with two files:

- `state.pt`: the state as `torch.save` writes it, holding tensors and plain Python values and nothing else;
- `manifest.json`: one line of JSON (format, version, number, step, and the sha256 and size of `state.pt`) and one line
  with the sha256 of the line before, so that the manifest protects itself as well.

It is written under a name that starts with a dot, flushed to the disk, and renamed: a name without a dot is complete,
or was damaged later. `torch.save` and `torch.load` do not notice a flipped bit; the manifest does, for every byte of
either file. The bytes that were hashed are the bytes that are loaded. Loading executes nothing (`weights_only=True`).

One process may write to a folder at a time; any number may read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import NamedTuple, cast

import torch
from torch import Tensor

from accredit.errors import FileDamaged, InvalidArgument, RunFolderError

FORMAT = "accredit checkpoint"
VERSION = 1

_STATE = "state.pt"
_MANIFEST = "manifest.json"
_WRITING = ".writing-"
_PRUNED = ".pruned-"
_MANIFEST_HEAD = re.compile(rb'\{"format": "' + FORMAT.encode() + rb'", "version": (\d+)[,}]')
_NAME = re.compile(r"(\d{6,})-step-(\d+)")
# `torch.load(weights_only=True)` reads integers of up to 255 bytes; a larger one would be written and never come back
_LARGEST_INT_BITS = 255 * 8 - 1


class _Entry(NamedTuple):
    """A folder with the name of a checkpoint; what is inside may be damaged."""

    number: int
    step: int
    path: Path


class _NotIntactError(Exception):
    """Why one checkpoint cannot be used, as the middle of a sentence."""


def save(folder: Path, state: Mapping[str, object], *, step: int, keep: int = 3) -> Path:
    """Write `state` as the newest checkpoint of `folder`, then prune all but the last `keep`.

    When this returns, the checkpoint has reached the disk. Whatever goes wrong before (no space, no permission, power
    cut, SIGKILL), the checkpoints that were there stay as they were.

    Args:
        folder: Where the checkpoints of one run live; created with its parents if missing.
        state: Nested `dict`, `list` and `tuple` of dense tensors, `str`, `int`, `float`, `bool` and `None`; keys are
            `str` or `int`. An `OrderedDict` (what `Module.state_dict` returns) comes back as a `dict`, a tensor comes
            back detached and on the CPU, a view without the rest of its storage.
        step: Where the run stands, >= 0.
        keep: How many checkpoints stay, >= 1. A damaged one counts until it is older than `keep` others.

    Returns:
        The folder of the new checkpoint.

    Raises:
        InvalidArgument: `state` holds something else (its place is named), or `step` or `keep` is out of range.
        RunFolderError: The folder cannot be written; the `OSError` is chained.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = save(Path(folder), {"weight": torch.ones(2), "lr": 3e-4}, step=340)
        ...     state, step = load_latest(Path(folder), on_damaged=print)
        >>> saved.name, state["lr"], step
        ('000001-step-340', 0.0003, 340)
    """
    _check_range("step", step, minimum=0)
    _check_range("keep", keep, minimum=1)
    buffer = io.BytesIO()
    torch.save({key: _plain(value, f"state[{key!r}]") for key, value in state.items()}, buffer)
    try:
        return _write(folder, buffer.getvalue(), step=step, keep=keep)
    except OSError as error:
        raise RunFolderError(
            f"`{folder}` could not take the checkpoint of step {step}: {error.strerror or error}; checkpoints need a "
            f"folder that can be written with {buffer.tell()} bytes free, so make room or grant access and resume "
            "(earlier checkpoints are untouched)."
        ) from error


def load_latest(folder: Path, *, on_damaged: Callable[[str], None]) -> tuple[dict[str, object], int]:
    """Read the newest intact checkpoint of `folder`.

    Args:
        folder: The folder given to `save`.
        on_damaged: Called with one sentence for each newer checkpoint that is damaged and passed over.

    Returns:
        The state, its tensors on the CPU, and the step it was saved at.

    Raises:
        RunFolderError: The folder does not exist or holds no checkpoint at all.
        FileDamaged: Every checkpoint is damaged, or the newest intact one was written by a newer Accredit.
    """
    entries = _entries(folder)
    if not entries:
        raise RunFolderError(
            f"`{folder}` holds no checkpoint; resuming needs at least one, so give the folder of a run that got as "
            "far as its first checkpoint, or start the run again."
        )
    for entry in reversed(entries):
        try:
            return _read(entry), entry.step
        except (_NotIntactError, OSError) as reason:
            on_damaged(
                f"`{entry.path}` is damaged: {reason}; a checkpoint must be exactly what was written, so it is passed "
                "over and the one before it is tried."
            )
    raise FileDamaged(
        f"`{folder}` has {len(entries)} checkpoints and all are damaged; resuming needs an intact one, so restore one "
        "from a backup or start the run again."
    )


def _check_range(name: str, value: int, *, minimum: int) -> None:
    if value < minimum:
        raise InvalidArgument(f"`{name}` is {value}, but must be at least {minimum}; pass {minimum} or more.")


def _plain(value: object, place: str) -> object:
    """Copy containers, compact tensors, and refuse everything that would not come back equal."""
    # exact types: numpy's float64 is a float by inheritance, and yet would be refused on loading
    kind = type(value)
    if kind in (str, float, bool, NoneType):
        return value
    if kind is int and cast("int", value).bit_length() <= _LARGEST_INT_BITS:
        return value
    if kind is Tensor:
        return _compact(cast("Tensor", value), place)
    if kind is list:
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(cast("list[object]", value))]
    if kind is tuple:
        return tuple(_plain(item, f"{place}[{index}]") for index, item in enumerate(cast("tuple[object]", value)))
    if kind in (dict, OrderedDict):
        return {
            _key(key, place): _plain(item, f"{place}[{key!r}]")
            for key, item in cast("Mapping[object, object]", value).items()
        }
    raise InvalidArgument(
        f"`{place}` is a {kind.__module__}.{kind.__qualname__}, but a checkpoint holds only tensors, str, int (up to "
        f"{_LARGEST_INT_BITS} bits), float, bool, None, list, tuple and dict; convert it before saving."
    )


def _key(key: object, place: str) -> object:
    if type(key) not in (str, int):
        raise InvalidArgument(
            f"`{place}` has the key {key!r} of type {type(key).__name__}, but keys are str or int; rename it before "
            "saving."
        )
    return key


def _compact(tensor: Tensor, place: str) -> Tensor:
    """Cut a tensor loose from its graph and from storage that it does not use."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise InvalidArgument(
            f"`{place}` is a tensor with layout {tensor.layout} on {tensor.device}, but a checkpoint holds dense "
            "tensors with data; convert it with `.to_dense()` or give it data before saving."
        )
    tensor = tensor.detach()
    # torch.save writes the whole storage behind a view
    return tensor.clone() if tensor.untyped_storage().nbytes() != tensor.nbytes else tensor


def _write(folder: Path, content: bytes, *, step: int, keep: int) -> Path:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _flush_folder(folder.parent)
    _sweep(folder)
    older = _entries(folder)
    number = older[-1].number + 1 if older else 1
    target = folder / f"{number:06d}-step-{step}"
    writing = folder / f"{_WRITING}{target.name}"
    try:
        writing.mkdir()
        _write_file(writing / _STATE, content)
        _write_file(writing / _MANIFEST, _manifest(content, number=number, step=step))
        _flush_folder(writing)
        writing.rename(target)
        _flush_folder(folder)
    except OSError:
        shutil.rmtree(writing, ignore_errors=True)
        raise
    for entry in older[: max(0, len(older) + 1 - keep)]:
        _prune(entry)
    return target


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable; the content of files has its own fsync."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(entry: _Entry) -> None:
    # renamed first: half a deletion must not look like a damaged checkpoint
    pruned = entry.path.with_name(_PRUNED + entry.path.name)
    entry.path.rename(pruned)
    shutil.rmtree(pruned)


def _sweep(folder: Path) -> None:
    """Delete what a killed process left half written or half deleted."""
    for path in folder.iterdir():
        if path.name.startswith((_WRITING, _PRUNED)):
            shutil.rmtree(path)


def _entries(folder: Path) -> list[_Entry]:
    """Return what has the name of a checkpoint, in the order of writing."""
    if not folder.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(_Entry(int(match[1]), int(match[2]), path) for match, path in found if match)


def _manifest(content: bytes, *, number: int, step: int) -> bytes:
    files = {_STATE: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    facts = {"format": FORMAT, "version": VERSION, "number": number, "step": step, "files": files}
    line = json.dumps(facts).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def _read(entry: _Entry) -> dict[str, object]:
    """Verify one checkpoint and load it, or raise `_NotIntactError`; refuse one from a newer version."""
    names = {path.name for path in entry.path.iterdir()}
    if missing := sorted({_STATE, _MANIFEST} - names):
        raise _NotIntactError(f"`{missing[0]}` is missing")
    found = (entry.path / _MANIFEST).read_bytes()
    _check_manifest_itself(found, entry)
    if extra := sorted(names - {_STATE, _MANIFEST}):
        raise _NotIntactError(f"`{extra[0]}` does not belong to it")
    content = (entry.path / _STATE).read_bytes()
    # rebuilding the manifest from what is there compares every fact at once
    if found != _manifest(content, number=entry.number, step=entry.step):
        raise _NotIntactError(f"`{_STATE}` or the name of the folder differs from `{_MANIFEST}`")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise _NotIntactError(f"`{_STATE}` holds more than tensors and plain values") from error
    return cast("dict[str, object]", state)


def _check_manifest_itself(found: bytes, entry: _Entry) -> None:
    line, _, digest = found.partition(b"\n")
    if digest != hashlib.sha256(line).hexdigest().encode() + b"\n":
        raise _NotIntactError(f"`{_MANIFEST}` does not match its own sha256")
    head = _MANIFEST_HEAD.match(line)
    if head is None:
        raise _NotIntactError(f"`{_MANIFEST}` is not that of an {FORMAT}")
    if int(head[1]) > VERSION:
        raise FileDamaged(
            f"`{entry.path}` is a checkpoint of version {int(head[1])}, but this Accredit reads versions up to "
            f"{VERSION}; update Accredit to resume this run."
        )
