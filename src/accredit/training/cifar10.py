"""CIFAR-10 from its own binary files, in a folder that the user names; nothing is fetched.

The binary version of the data set (Krizhevsky, "Learning multiple layers of features from tiny images", 2009) is six
files of 10,000 records; a record is one byte of label, 0 to 9, and 3,072 bytes of an image: the red plane, the green
and the blue one, 32 rows of 32 pixels each.

    data_batch_1.bin ... data_batch_5.bin    train, but for the last records of the fifth: reward
    test_batch.bin                           test

B images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from accredit.errors import InvalidArgument
from accredit.training.data import Examples, Splits

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
PLANES, SIZE, CLASSES = 3, 32, 10
RECORD_BYTES = 1 + PLANES * SIZE * SIZE
RECORDS = 10_000
REWARD_EXAMPLES = 1_000


def cifar10(folder: Path, *, records: int = RECORDS, reward_examples: int = REWARD_EXAMPLES) -> Splits:
    """Return 49,000 train, 1,000 reward and 10,000 test images, [B, 3, 32, 32] uint8, with labels [B] int64.

    Args:
        folder: with the six files.
        records: of each file.
        reward_examples: how many of the last training file are held back.

    Raises:
        InvalidArgument: a file is missing, cannot be read, has another size, or a label beyond 9.
    """
    check_files(folder, records=records)
    parts = [read_batch(folder / name, records=records) for name in TRAIN_FILES]
    inputs, labels = (torch.cat([vars(part)[name] for part in parts]) for name in ("inputs", "labels"))
    first = len(labels) - reward_examples
    return Splits(
        train=Examples(inputs=inputs[:first], labels=labels[:first]),
        reward=Examples(inputs=inputs[first:].clone(), labels=labels[first:].clone()),
        test=read_batch(folder / TEST_FILE, records=records),
    )


def check_files(folder: Path, *, records: int = RECORDS) -> None:
    """Refuse a folder without the six files, or with files of another size.

    Raises:
        InvalidArgument: as said.
    """
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if not (folder / name).is_file()]
    if missing:
        raise InvalidArgument(
            f"`data` is {folder}, which lacks {', '.join(missing)}, wanted the six files of CIFAR-10's binary version; "
            "unpack cifar-10-binary.tar.gz and name the folder cifar-10-batches-bin."
        )
    for name in (*TRAIN_FILES, TEST_FILE):
        size = (folder / name).stat().st_size
        if size != records * RECORD_BYTES:
            raise InvalidArgument(
                f"`data` has {folder / name} of {size} bytes, wanted {records * RECORD_BYTES}, {records} records of "
                f"{RECORD_BYTES}; unpack the archive again."
            )


def read_batch(path: Path, *, records: int = RECORDS) -> Examples:
    """Return the images and labels of one file, [B, 3, 32, 32] uint8 and [B] int64.

    Raises:
        InvalidArgument: the file cannot be read, has another size, or a label beyond 9.
    """
    try:
        table = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InvalidArgument(
            f"`data` has {path}, which cannot be read ({error.strerror}), wanted a readable file; change its rights."
        ) from error
    if table.size != records * RECORD_BYTES:
        raise InvalidArgument(
            f"`data` has {path} of {table.size} bytes, wanted {records * RECORD_BYTES}; unpack the archive again."
        )
    table = table.reshape(records, RECORD_BYTES)
    labels = table[:, 0]
    if labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise InvalidArgument(
            f"`data` has {path} with the label {labels[at]} in record {at}, wanted 0 to 9; that is not CIFAR-10's "
            "binary version: unpack cifar-10-binary.tar.gz."
        )
    images = table[:, 1:].reshape(records, PLANES, SIZE, SIZE)
    return Examples(inputs=torch.from_numpy(images.copy()), labels=torch.from_numpy(labels.astype(np.int64)))
