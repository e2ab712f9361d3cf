"""Characters of text that ships with Python: the language reference that `help()` shows.

The text is `pydoc_data.topics`, which every installation of Python has, so that nothing is fetched and nothing is
copied; its licence is Python's own.  It differs a little between versions of Python, and figures with it.

    text -> paragraphs, each once -> pieces of 20 paragraphs, dealt out 8 : 1 : 1 -> windows of 17 characters

Paragraphs that stand in several topics count once, and a piece goes to one split as a whole, so that no passage is in
two.  A window gives 16 characters and, for each, the one that follows.

B examples, L positions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pydoc_data.topics import topics

import numpy as np
import torch

from accredit.training.data import Examples, Splits

OTHER = "~"
ALPHABET = " " + string.ascii_lowercase + ".,()" + OTHER
"""32 characters; whatever is none of the others reads as the last one."""
CONTEXT = 16
"""L."""
PARAGRAPHS_A_PIECE = 20
TRAIN_PIECES, REWARD_PIECE, TEST_PIECE = range(8), 8, 9
REWARD_EXAMPLES, TEST_EXAMPLES = 96, 480


def text() -> Splits:
    """Return windows of 16 characters with the characters that follow, [B, 16] int64 each.

    Example:
        >>> splits = text()
        >>> splits.train.inputs.shape[1], len(splits.reward), len(splits.test)
        (16, 96, 480)
        >>> bool((splits.train.inputs[:, 1:] == splits.train.labels[:, :-1]).all())
        True
    """
    pieces = dealt_out(paragraphs())
    train = windows([piece for number in TRAIN_PIECES for piece in pieces[number]])
    return Splits(
        train=train,
        reward=spread_out(windows(pieces[REWARD_PIECE]), REWARD_EXAMPLES),
        test=spread_out(windows(pieces[TEST_PIECE]), TEST_EXAMPLES),
    )


def paragraphs() -> list[str]:
    """Return every paragraph of the topics once, in their alphabetical order, in the characters of `ALPHABET`."""
    found = (part for name in sorted(topics) for part in re.split(r"\n\s*\n", topics[name]))
    return list(dict.fromkeys(filter(None, map(simplified, found))))


def simplified(passage: str) -> str:
    """Return a passage in lower case, with runs of blanks as one and runs of other signs as one `OTHER`.

    Example:
        >>> simplified('The "del"  statement:')
        'the ~del~ statement~'
    """
    lower = re.sub(r"\s+", " ", passage.lower()).strip()
    return re.sub(rf"[^{re.escape(ALPHABET[:-1])}]+", OTHER, lower)


def dealt_out(passages: Sequence[str]) -> list[list[str]]:
    """Return ten lists of pieces; piece i of 20 paragraphs is in list i modulo 10."""
    size = PARAGRAPHS_A_PIECE
    pieces = [" ".join(passages[start : start + size]) for start in range(0, len(passages), size)]
    dealt = len(TRAIN_PIECES) + 2
    return [pieces[number::dealt] for number in range(dealt)]


def windows(pieces: Sequence[str]) -> Examples:
    """Return the windows of all pieces one after the other, without a character in common."""
    code = np.full(128, ALPHABET.index(OTHER))
    code[[ord(character) for character in ALPHABET]] = np.arange(len(ALPHABET))
    tokens = [code[np.frombuffer(piece.encode("ascii"), dtype=np.uint8)] for piece in pieces]
    whole = [row[: len(row) // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1) for row in tokens]
    table = torch.from_numpy(np.concatenate(whole))
    return Examples(inputs=table[:, :-1].clone(), labels=table[:, 1:].clone())


def spread_out(examples: Examples, count: int) -> Examples:
    """Return `count` examples at equal distances over all of them."""
    chosen = torch.arange(count) * len(examples) // count
    return Examples(inputs=examples.inputs[chosen].clone(), labels=examples.labels[chosen].clone())
