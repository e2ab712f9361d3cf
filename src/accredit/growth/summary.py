"""What a growing network is made of, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from accredit.growth.slot import Slot

TITLES = ("layer", "stage", "graft", "alpha", "parameters", "MACs")


def summary_table(layers: Iterable[nn.Module]) -> str:
    """Return a line per layer and per slot, and their sum.

    MACs are the multiply-accumulates of matrices and convolutions, and of grafts as their kinds count them, for each
    vector that passes: a position of a sequence, a pixel of the layer's output.  A graft that is not live costs
    nothing in the output, and yet is listed with what it will cost.

    Args:
        layers: of the network, in order.
    """
    rows = [slot_row(layer) if isinstance(layer, Slot) else layer_row(layer) for layer in layers]
    total = ("sum", "", "", "", *(str(sum(int(row[column] or 0) for row in rows)) for column in (4, 5)))
    table = [TITLES, *rows, total]
    widths = [max(len(row[column]) for row in table) for column in range(len(TITLES))]
    return "\n".join(_aligned(row, widths) for row in table)


def slot_row(slot: Slot) -> tuple[str, ...]:
    """Return the cells of a slot."""
    if slot.graft is None:
        return (f"slot {slot.name}", "empty", "", "", "0", "0")
    parameters = sum(parameter.numel() for parameter in slot.parameters())
    stage, kind = slot.stage.name.lower(), slot.kind_name or type(slot.graft).__name__
    return (f"slot {slot.name}", stage, kind, f"{slot.alpha:.2f}", str(parameters), str(slot.mac_count))


def layer_row(layer: nn.Module) -> tuple[str, ...]:
    """Return the cells of a layer of the host."""
    macs = sum(
        module.weight.numel()
        for module in layer.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    )
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    return (type(layer).__name__, "", "", "", str(parameters), str(macs))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return words to the left and numbers, which are the last three, to the right."""
    cells = [
        cell.ljust(width) if column < 3 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
