"""Dictionaries, tuples, images, and what a normalizer says about itself."""

import math

import pytest
import torch

from accredit.errors import InvalidArgument, UnknownName
from accredit.normalize import ChannelNormalizer, NestedNormalizer, RunningMeanStd, status


def test_every_part_of_a_nested_observation_has_its_own_statistics() -> None:
    """[R17] Dictionaries in tuples; what has no normalizer passes through as the same object."""
    normalizer = NestedNormalizer([NestedNormalizer({"a": RunningMeanStd(1), "b": RunningMeanStd(1)}), None])
    untouched = torch.arange(2)
    observation = ({"a": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([[10.0], [50.0]])}, untouched)
    normalizer.update(observation)
    parts, passed = normalizer(observation)
    assert parts["a"].flatten().tolist() == [-1.0, 1.0]
    assert parts["b"].flatten().tolist() == [-1.0, 1.0]
    assert passed is untouched


def test_a_mask_reaches_every_part() -> None:
    """[R25]"""
    normalizer = NestedNormalizer({"a": RunningMeanStd(1), "b": RunningMeanStd(())})
    mask = torch.tensor([True, False])
    normalizer.update({"a": torch.tensor([[1.0], [9.0]]), "b": torch.tensor([2.0, 9.0])}, mask)
    assert [part.mean.item() for part in normalizer.parts.values()] == [1.0, 2.0]


def test_statistics_of_every_part_are_in_the_state() -> None:
    """[R26]"""
    one, two = (NestedNormalizer({"a": RunningMeanStd(1)}) for _ in range(2))
    one.update({"a": torch.tensor([[1.0], [3.0]])})
    two.load_state_dict(one.state_dict())
    assert two.parts["a"].mean.item() == 2.0


def test_a_missing_entry_is_named() -> None:
    """[R21]"""
    normalizer = NestedNormalizer({"speed": RunningMeanStd(1), "angle": RunningMeanStd(1)})
    for call in (normalizer.update, normalizer.normalize):
        with pytest.raises(UnknownName, match=r"`x` has the entries speed, but angle has a normalizer too; pass every"):
            call({"speed": torch.ones(1, 1)})


@pytest.mark.parametrize(("axis", "axes"), [(-3, (0, 2, 3)), (-1, (0, 1, 2))])
def test_channels_are_pooled_over_pixels(axis: int, axes: tuple[int, ...]) -> None:
    """[R17] Channels first and last."""
    shape = (6, 3, 4, 5) if axis == -3 else (6, 4, 5, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    normalizer = ChannelNormalizer(3, axis=axis)
    normalizer.update(images)
    truth = images.double()
    torch.testing.assert_close(normalizer.statistics.mean, truth.mean(axes), rtol=1e-12, atol=0)
    torch.testing.assert_close(normalizer.statistics.var, truth.var(axes, correction=0), rtol=1e-12, atol=0)
    keep = [1] * 4
    keep[axis] = 3
    expected = (truth - truth.mean(axes).view(keep)) / truth.std(axes, correction=0).view(keep)
    torch.testing.assert_close(normalizer(images).double(), expected, rtol=1e-5, atol=1e-5)


def test_a_bad_pixel_is_left_out_by_itself_and_a_masked_image_whole() -> None:
    """[R25]"""
    images = torch.ones(2, 3, 4, 4)
    images[0, 1, 2, 2] = math.nan
    normalizer = ChannelNormalizer(3)
    normalizer.update(images, torch.tensor([True, False]))
    assert int(normalizer.statistics.count) == 15
    assert int(normalizer.statistics.dropped) == 1
    assert int(normalizer.statistics.masked) == 16


def test_statistics_per_pixel_are_those_of_the_plain_normalizer() -> None:
    """[R17]"""
    images = torch.rand(9, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    statistics = RunningMeanStd((3, 4, 4))
    statistics.update(images)
    torch.testing.assert_close(statistics.mean, images.mean(0), rtol=1e-12, atol=0)


def test_impossible_channel_axes_are_refused() -> None:
    """[R21]"""
    with pytest.raises(
        InvalidArgument, match=r"`axis` is 1, but batch axes come first in any number; count from the end"
    ):
        ChannelNormalizer(3, axis=1)
    with pytest.raises(InvalidArgument, match=r"`x` has shape \(3, 4\), but its channels are at axis -3; pass images"):
        ChannelNormalizer(3).normalize(torch.ones(3, 4))


def test_status_reads_counts_spread_and_drift() -> None:
    """[R18] [R25] By hand: mean 1, then 3, at a standard deviation of 1."""
    statistics = RunningMeanStd(1, horizon=4)
    statistics.update(torch.tensor([[0.0], [2.0], [math.nan]]))
    assert status(statistics).drift is None
    mean, std = statistics.mean, statistics.std
    statistics.update(torch.tensor([[5.0]]), torch.tensor([False]))
    statistics.moments[0] = 3.0
    reading = status(statistics, mean_before=mean, std_before=std)
    assert (reading.count, reading.dropped, reading.masked, reading.drift) == (2, 1, 1, 2.0)
    assert reading.std_smallest == reading.std_largest == 1.0
    assert reading.effective_count == 2.0


def test_keys_that_torch_does_not_take_as_names_of_modules_are_fine() -> None:
    """[R17] [R26] Dots, percent signs, attributes of a dictionary, nothing; none of them is taken for another."""
    keys = ["observation.state", "observation%2Estate", "keys", "%keys", "training", "", "a.25b", "a%b"]
    one, two = (NestedNormalizer({key: RunningMeanStd(1) for key in keys}) for _ in range(2))
    one.update({key: torch.full((3, 1), float(place)) for place, key in enumerate(keys)})
    two.load_state_dict(one.state_dict())
    assert [two.part(key).mean.item() for key in keys] == [float(place) for place in range(len(keys))]
    assert two.part("state") is None
