"""Every normalizer goes on bit-equal after it was saved, moved, halved or copied."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import nn

from accredit.normalize import ChannelNormalizer, NestedNormalizer, RewardNormalizer, RunningMeanStd, ValueNormalizer


def through_a_file(module: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = build()
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


def through_state_dict(module: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    again = build()
    again.load_state_dict(module.state_dict())
    return again


TRANSFERS = {
    "state_dict": through_state_dict,
    "torch.save, weights only": through_a_file,
    "half": lambda module, build: module.half(),
    "bfloat16 and float32 of the module around": lambda module, build: nn.Sequential(module).bfloat16().float()[0],
    "device": lambda module, build: module.to(torch.device("cpu")),
    "deepcopy": lambda module, build: copy.deepcopy(module),
}


def observe(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    module.update(x)
    return module.normalize(x)


def look(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    images = x.view(2, 4, 1, 3)
    module.update(images)
    return module.normalize(images)


def take_apart(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    module.update({"a.b": x, "c": (x[:, 0],)})
    normalized = module.normalize({"a.b": x, "c": (x[:, 0],)})
    return torch.cat([normalized["a.b"], normalized["c"][0].unsqueeze(-1)], 1)


def pay(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module.update_and_normalize(x[:, 0], x[:, 1] > 101)


def value(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    head = nn.Linear(2, 3).double()
    module.update(x, head=head)
    return torch.cat([module.normalize(x), module.denormalize(x), head.weight.detach().t()])


CASES = {
    "observations": (lambda: RunningMeanStd(3, horizon=40.0, clip=4.0), observe),
    "images": (lambda: ChannelNormalizer(4), look),
    "nested": (
        lambda: NestedNormalizer({"a.b": RunningMeanStd(3), "c": NestedNormalizer([RunningMeanStd(())])}),
        take_apart,
    ),
    "rewards": (lambda: RewardNormalizer(8, gamma=0.9, min_effective_count=5.0), pay),
    "values": (lambda: ValueNormalizer(3, horizon=100.0), value),
}


@pytest.mark.parametrize("transfer", TRANSFERS.values(), ids=TRANSFERS.keys())
@pytest.mark.parametrize(("build", "use"), CASES.values(), ids=CASES.keys())
def test_a_normalizer_goes_on_bit_equal_after(build, use, transfer) -> None:
    """[R26] Statistics, returns and outputs; in float64."""
    generator = torch.Generator().manual_seed(1)
    stream = [100 + torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(10)]
    stream[2][1, 0] = torch.nan
    straight, moved = build(), build()
    for step, x in enumerate(stream):
        expected = use(straight, x)
        if step == 5:
            moved = transfer(moved, build)
        assert torch.equal(torch.nan_to_num(use(moved, x), 77.0), torch.nan_to_num(expected, 77.0))
    for name, buffer in straight.named_buffers():
        assert moved.get_buffer(name).dtype == torch.float64
        assert torch.equal(moved.get_buffer(name), buffer)
