"""Coalitions as rows of a boolean mask with names beside them, and the two designs that need no draw.

Axes: N players, M coalitions. A column belongs to the player of the same position in `players`; a coalition is written
as a text of N characters, 1 = on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from accredit.attribution.protocols import MaskArray
from accredit.errors import InvalidArgument, UnknownName

_FACTORIAL_LIMIT = 24  # 2^24 masks of 24 players are 400 MB; a table beyond it would not fit beside its values


def check_players(players: Sequence[str]) -> tuple[str, ...]:
    """Names of players as a tuple: at least one, none empty, none twice.

    Raises:
        InvalidArgument: the names are not such.

    Example:
        >>> check_players(["graft", "host"])
        ('graft', 'host')
    """
    names = tuple(players)
    if not names or len(set(names)) != len(names) or not all(names):
        raise InvalidArgument(
            f"`players` are {list(names)}, wanted at least one name, none empty and none twice; "
            "name every switchable part once."
        )
    return names


def player_index(players: tuple[str, ...], player: str) -> int:
    """Position of a player.

    Raises:
        UnknownName: nobody has this name.
    """
    if player not in players:
        raise UnknownName(f"`player` is {player!r}, wanted one of {', '.join(players)}; pass a name of the matrix.")
    return players.index(player)


def check_masks(masks: NDArray[np.generic], *, n_players: int) -> MaskArray:
    """Masks as booleans [M, N].

    Raises:
        InvalidArgument: another number of columns, or a dtype that is not bool.
    """
    if masks.ndim != 2 or masks.shape[1] != n_players:
        columns = masks.shape[1] if masks.ndim == 2 else f"shape {tuple(masks.shape)} instead of"
        raise InvalidArgument(
            f"`mask` has {columns} columns, but the model has {n_players} players; "
            f"pass masks of shape (M, {n_players})."
        )
    if masks.dtype != np.bool_:
        raise InvalidArgument(
            f"`mask` has dtype {masks.dtype}, wanted bool; pass `weights > 0` or `masks.bool()`, so that on and off "
            "are decided by you."
        )
    return np.ascontiguousarray(masks, dtype=np.bool_)


def coalition_keys(masks: MaskArray) -> list[bytes]:
    """One hashable key per row of masks [M, N]."""
    # bytes, not integers: beyond 64 players no integer of NumPy would hold a coalition
    packed = np.packbits(masks, axis=1)
    width = packed.shape[1]
    data = packed.tobytes()
    return [data[at : at + width] for at in range(0, len(data), width)]


def coalition_text(mask: MaskArray) -> str:
    """One character per player, 1 = on.

    Example:
        >>> coalition_text(np.array([True, False, True]))
        '101'
    """
    return bytes(mask.view(np.uint8) + 48).decode("ascii")


def coalition_texts(masks: MaskArray) -> tuple[str, ...]:
    """The text of every row of masks [M, N]."""
    width = masks.shape[1]
    data = (np.ascontiguousarray(masks).view(np.uint8) + 48).tobytes().decode("ascii")
    return tuple(data[at : at + width] for at in range(0, len(data), width))


def coalition_names(players: tuple[str, ...], mask: MaskArray) -> str:
    """The names that are on, for messages.

    Example:
        >>> coalition_names(("a", "b", "c"), np.array([True, False, True]))
        '{a, c}'
    """
    return "{" + ", ".join(name for name, on in zip(players, mask.tolist(), strict=True) if on) + "}"


def table_index(masks: MaskArray) -> NDArray[np.int64]:
    """Position of each row of masks [M, N] in a complete table, N <= 62: bit i = player i on.

    Example:
        >>> table_index(np.array([[False, False], [True, False], [True, True]])).tolist()
        [0, 1, 3]
    """
    index = np.zeros(len(masks), dtype=np.int64)
    # column by column: a product of integers has no fast path, and masks as integers take eight times their memory
    for at in range(masks.shape[1]):
        index |= masks[:, at].astype(np.int64) << at
    return index


@lru_cache(maxsize=16)
def factorial_masks(n_players: int) -> MaskArray:
    """All 2^N coalitions [2^N, N]: none, all, then complement pairs from the most uneven sizes to the most even.

    So a design that is cut short has evaluated none, all, each alone and each off before anything between.

    Raises:
        InvalidArgument: more players than a table can hold.

    Example:
        >>> coalition_texts(factorial_masks(2))
        ('00', '11', '10', '01')
    """
    if n_players > _FACTORIAL_LIMIT:
        raise InvalidArgument(
            f"`players` has {n_players} names, wanted at most {_FACTORIAL_LIMIT} for all 2^n coalitions; "
            'use the strategy "shapley".'
        )
    # the half without the last player names every complement pair once
    half = np.arange(1 << (n_players - 1), dtype=np.int64)
    bits = np.arange(n_players, dtype=np.int64)
    first = (half[:, None] >> bits & 1).astype(np.bool_)
    sizes = first.sum(axis=1)
    smaller = np.where((2 * sizes > n_players)[:, None], ~first, first)
    order = np.lexsort((half, smaller.sum(axis=1)))
    masks = np.stack([smaller[order], ~smaller[order]], axis=1).reshape(-1, n_players)
    masks.flags.writeable = False
    return masks


@lru_cache(maxsize=16)
def ablation_masks(n_players: int) -> MaskArray:
    """All on, each off, all off: N + 2 coalitions (2 where there is one player), none and all first.

    Example:
        >>> coalition_texts(ablation_masks(3))
        ('000', '111', '011', '101', '110')
    """
    ends = np.array([[False] * n_players, [True] * n_players])
    if n_players == 1:
        return ends
    masks = np.concatenate([ends, ~np.eye(n_players, dtype=np.bool_)])
    if n_players == 2:
        masks = np.concatenate([ends, np.array([[False, True], [True, False]])])
    masks.flags.writeable = False
    return masks
