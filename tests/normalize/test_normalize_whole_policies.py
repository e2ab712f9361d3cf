"""Whole policies with normalizers in them: exported, and traced as one graph."""

import io

import pytest
import torch
from torch import nn

from accredit.normalize import (
    ChannelNormalizer,
    NestedNormalizer,
    RewardNormalizer,
    RolloutStatistics,
    RunningMeanStd,
    ValueNormalizer,
    synchronized_update,
)

pytestmark = pytest.mark.filterwarnings("ignore")


class Policy(nn.Module):
    """Camera and joints in, actions and a value in original units out."""

    def __init__(self) -> None:
        super().__init__()
        self.normalizer = NestedNormalizer({"camera": ChannelNormalizer(3), "arm.joints": RunningMeanStd(4)})
        self.action, self.value = nn.Linear(7, 2), nn.Linear(7, 1)
        self.scale = ValueNormalizer()

    def forward(self, camera: torch.Tensor, joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.normalizer({"camera": camera, "arm.joints": joints})
        features = torch.cat([x["camera"].mean((-2, -1)), x["arm.joints"]], -1)
        return self.action(features), self.scale(self.value(features))


def observation(n_rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    camera = torch.randint(0, 256, (n_rows, 3, 5, 5), dtype=torch.uint8, generator=generator)
    return camera, 1e4 + 3 * torch.randn(n_rows, 4, generator=generator)


def fed() -> Policy:
    torch.manual_seed(0)
    policy = Policy()
    camera, joints = observation(32, 0)
    policy.normalizer.update({"camera": camera, "arm.joints": joints})
    policy.scale.update(torch.linspace(-40, 900, 32).unsqueeze(-1), head=policy.value)
    for normalizer in (policy.normalizer.part("camera").statistics, policy.normalizer.part("arm.joints")):
        normalizer.freeze()
    return policy


def test_a_policy_with_frozen_normalizers_gives_the_same_outputs_exported() -> None:
    """[R20] In train mode, for other numbers of rows, with NaN among them, and after a round trip through a file."""
    policy = fed()
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(policy, observation(6, 1), dynamic_shapes=({0: rows}, {0: rows}))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    for exported in (program.module(), torch.export.load(file).module()):
        for n_rows in (2, 31):
            camera, joints = observation(n_rows, n_rows)
            joints[0, 1], joints[1, 2] = torch.nan, torch.inf
            for ours, theirs in zip(policy(camera, joints), exported(camera, joints), strict=True):
                torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_statistics_travel_in_the_state_of_the_exported_program() -> None:
    """[R26] Bit-equal, float64."""
    policy = fed()
    program = torch.export.export(policy, observation(6, 1))
    for name in ("normalizer.parts.camera.statistics.moments", "scale.statistics.moments"):
        assert torch.equal(program.state_dict[name], policy.state_dict()[name])


class Channels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.it = ChannelNormalizer(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.it.update(x.view(2, 2, 2, 2))
        return self.it(x.view(2, 2, 2, 2))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.it = NestedNormalizer({"a.b": RunningMeanStd(4, horizon=30.0), "c": RunningMeanStd(())})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        observation = {"a.b": x, "c": x[:, 0]}
        self.it.update(observation, x[:, 1] > -2)
        normalized = self.it(observation)
        return normalized["a.b"] + normalized["c"].unsqueeze(-1)


class Values(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.it = ValueNormalizer(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.it.statistics.update(x)
        return self.it.normalize(x) + self.it.denormalize(x)


class Ranks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.it = RunningMeanStd(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        synchronized_update(self.it, x)
        return self.it.normalize(x) + self.it.denormalize(x)


class Rewards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.it = RewardNormalizer(4, gamma=0.9)
        self.rollout = RolloutStatistics({"reward": self.it.statistics})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        reward, done = x[0], x[1] > 1
        self.rollout.collect({"reward": self.it.advance(reward, done)})
        return self.it.update_and_normalize(reward, done, mask=x[2] > -1)


@pytest.mark.parametrize("build", [Channels, Nested, Values, Ranks, Rewards])
def test_every_normalizer_is_one_graph_and_equals_eager(build) -> None:
    """[R19] fullgraph, no recompilation after the first two calls; the graph runs without a compiler here."""
    torch._dynamo.reset()
    eager, graph = build(), build()
    compiled = torch.compile(graph, fullgraph=True, backend="eager")
    generator = torch.Generator().manual_seed(1)
    for step in range(8):
        x = 100 + torch.randn(4, 4, generator=generator)
        if step == 4:
            x[2, 3] = torch.nan
        with torch._dynamo.config.patch(error_on_recompile=step >= 2):
            torch.testing.assert_close(compiled(x), eager(x), rtol=1e-4, atol=1e-4, equal_nan=True)
    for name, buffer in eager.named_buffers():
        torch.testing.assert_close(graph.get_buffer(name), buffer, rtol=1e-11, atol=1e-11)
