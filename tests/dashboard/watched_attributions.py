"""Attributions for the tests of the live page: folders as `accredit attribute` leaves them, whole or cut short."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix, Output

PLAYERS = ("gate", "value", "noise")
OUTPUTS = (Output("error", "nat", False), Output("share", "share", True))


def value(masks: torch.Tensor) -> dict[str, torch.Tensor]:
    """A game with an interaction of the first two players; 20 examples that differ by a shift alone."""
    both = (masks[:, 0] & masks[:, 1]).double()
    shift = torch.linspace(-0.5, 0.5, 20, dtype=torch.float64)
    scale = 1.0 + 0.1 * shift
    return {"error": 2.0 - both[:, None] * scale, "share": both[:, None] * 0.5 * scale}


def write_attribution(
    folder: Path, *, players: tuple[str, ...] = PLAYERS, outputs: tuple[Output, ...] = OUTPUTS, **config: object
) -> CounterfactualMatrix:
    """Evaluate into a folder, two coalitions at a time."""
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps({"weights": "0" * 64}))
    settings = CounterfactualConfig(coalitions_per_call=2, outputs=outputs, **config)  # type: ignore[arg-type]

    def named(masks: torch.Tensor) -> dict[str, torch.Tensor]:
        return {output.name: each for output, each in zip(outputs, value(masks).values(), strict=True)}

    path = folder / "matrix.accredit"
    matrix = CounterfactualEngine(settings).compute_matrix(players, named, path=path)
    (folder / "result.json").write_text(json.dumps({"source": "rings.py"}))
    return matrix


def records(path: Path) -> list[int]:
    """Ends of the records of a matrix file, the length of its first line first."""
    data = path.read_bytes()
    ends = [data.index(b"\n") + 1]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 8 + int.from_bytes(data[ends[-1] : ends[-1] + 8], "big") + 32)
    return ends


def cut(path: Path, n_records: int, *, torn: int = 0) -> bytes:
    """Leave the first records and `torn` bytes of the next one, as a killed process does; return what was there."""
    data = path.read_bytes()
    path.write_bytes(data[: records(path)[n_records] + torn])
    return data
