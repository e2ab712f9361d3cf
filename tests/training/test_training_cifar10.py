"""CIFAR-10 from files of its format, made here: 20 records each, of which the reader is told.

B images.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from accredit.cli import main
from accredit.errors import InvalidArgument
from accredit.growth.hosts import Players
from accredit.training.cifar10 import TEST_FILE, TRAIN_FILES, check_files, cifar10, read_batch
from accredit.training.task import CIFAR10, DIGITS, find_task

RECORDS = 20
NAMES = (*TRAIN_FILES, TEST_FILE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in NAMES:
        labels = rng.integers(0, 10, RECORDS)
        images = rng.integers(0, 256, (RECORDS, 3072))
        (tmp_path / name).write_bytes(np.concatenate([labels[:, None], images], 1).astype(np.uint8).tobytes())
    return tmp_path


def test_a_record_is_a_label_and_three_planes_row_by_row(tmp_path: Path):
    """[R37] Written byte by byte: red 1, green 2, blue 3, but for the second row of green."""
    planes = bytearray([1] * 1024 + [2] * 1024 + [3] * 1024)
    planes[1024 + 32 : 1024 + 64] = bytes(range(100, 132))
    (tmp_path / "one.bin").write_bytes(bytes([7]) + bytes(planes) + bytes([9]) + bytes(3072))
    batch = read_batch(tmp_path / "one.bin", records=2)
    assert batch.labels.tolist() == [7, 9]
    assert batch.inputs.shape == (2, 3, 32, 32)
    assert batch.inputs.dtype == torch.uint8
    assert batch.inputs[0, :, 0, 0].tolist() == [1, 2, 3]
    assert batch.inputs[0, 1, 1].tolist() == list(range(100, 132))
    assert not batch.inputs[1].any()


def test_the_last_training_images_are_the_reward_split_and_the_test_file_the_test_split(folder: Path):
    """[R36] Nothing is in two splits."""
    splits = cifar10(folder, records=RECORDS, reward_examples=7)
    assert (len(splits.train), len(splits.reward), len(splits.test)) == (93, 7, 20)
    raw = [np.frombuffer((folder / name).read_bytes(), dtype=np.uint8).reshape(RECORDS, 3073) for name in NAMES]
    train = np.concatenate(raw[:5])
    assert splits.train.labels.tolist() == train[:93, 0].tolist()
    assert splits.reward.labels.tolist() == train[93:, 0].tolist()
    assert splits.test.labels.tolist() == raw[5][:, 0].tolist()
    assert np.array_equal(splits.train.inputs.flatten(1).numpy(), train[:93, 1:])
    assert np.array_equal(splits.reward.inputs.flatten(1).numpy(), train[93:, 1:])
    assert np.array_equal(splits.test.inputs.flatten(1).numpy(), raw[5][:, 1:])


def test_hosts_of_the_task_learn_these_images_with_a_graft_on_channels(folder: Path):
    """[R37] A stack on pixels as bytes."""
    load = functools.partial(cifar10, records=RECORDS, reward_examples=10)
    task = dataclasses.replace(CIFAR10, load_from=load).reading(str(folder))
    hosts = task.make_hosts(2, learning_rate=1e-2)
    for row in range(2):
        hosts.reset(row, task.build_host(row))
    train = task.splits.train
    losses = [
        hosts.train(train.inputs[:64].expand(2, -1, -1, -1, -1), train.labels[:64].expand(2, -1)) for _ in range(9)
    ]
    assert (losses[-1] < losses[0] - 0.05).all()
    assert task.slot_names == ("conv1", "conv2", "conv3", "head")
    reward = task.splits.reward
    assert hosts.evaluate([1, 0], reward.inputs, reward.labels, players=Players.NOBODY).log_loss.shape == (2, 1, 10)


def test_files_that_are_missing_or_not_what_they_should_be_are_refused(folder: Path):
    """[R37] [R36]"""
    (folder / "data_batch_3.bin").write_bytes(bytes(3073 * RECORDS - 1))
    wanted = r"`data` has .*data_batch_3.bin of 61459 bytes, wanted 61460, 20 records of 3073; unpack the archive again"
    with pytest.raises(InvalidArgument, match=wanted):
        cifar10(folder, records=RECORDS)
    with pytest.raises(InvalidArgument, match=r"data_batch_3.bin of 61459 bytes, wanted 61460; unpack the archive"):
        read_batch(folder / "data_batch_3.bin", records=RECORDS)
    for name in ("data_batch_2.bin", "test_batch.bin"):
        (folder / name).unlink()
    wanted = (
        r"`data` is .*, which lacks data_batch_2.bin, test_batch.bin, wanted the six files .*; unpack cifar-10-binary"
    )
    with pytest.raises(InvalidArgument, match=wanted):
        check_files(folder, records=RECORDS)
    (folder / "data_batch_1.bin").write_bytes(bytes(3073) + bytes([10]) + bytes(3072))
    wanted = r"`data` has .*data_batch_1.bin with the label 10 in record 1, wanted 0 to 9; that is not CIFAR-10's"
    with pytest.raises(InvalidArgument, match=wanted):
        read_batch(folder / "data_batch_1.bin", records=2)
    with pytest.raises(
        InvalidArgument, match=r"`data` has .*, which cannot be read \(Is a directory\), wanted a readable"
    ):
        read_batch(folder, records=2)


def test_a_task_gets_a_folder_exactly_where_it_needs_one():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`data` is '', but the task 'cifar10' reads files of yours; name their"):
        find_task("cifar10")
    with pytest.raises(InvalidArgument, match=r"`data` is 'x', but the task 'digits' brings its own; leave it out."):
        find_task("digits", data="x")
    assert find_task("digits") is DIGITS
    with pytest.raises(
        InvalidArgument, match=r"`data` is '', but the task 'cifar10' reads files .*find_task\('cifar10'"
    ):
        _ = CIFAR10.splits


def test_the_command_says_what_is_missing_before_it_makes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """[R37]"""
    run = tmp_path / "run"
    assert main(["grow", "cifar10", "--data", str(tmp_path / "nowhere"), "--out", str(run)]) != 0
    assert "which lacks data_batch_1.bin, data_batch_2.bin" in " ".join(capsys.readouterr().err.split())
    assert not run.exists()
