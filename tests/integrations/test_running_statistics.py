"""Statistics of live objects of other libraries, taken over."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from accredit.integrations.running_statistics import take_over, take_over_rsl_rl, take_over_skrl

ROWS = 1000 + 2 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class RslRl(nn.Module):
    """The attributes of rsl_rl's EmpiricalNormalization, which keeps a leading axis of 1 to itself."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self._mean, self._var = rows.mean(0, keepdim=True).float(), rows.var(0, correction=0, keepdim=True).float()
        self.count = torch.tensor(len(rows))

    @property
    def mean(self) -> torch.Tensor:
        return self._mean.squeeze(0).clone()

    @property
    def std(self) -> torch.Tensor:
        return self._var.sqrt().squeeze(0).clone()


class Skrl:
    """The attributes of skrl's RunningStandardScaler: a sample of mean 0 and variance 1 to begin with."""

    def __init__(self, batches: tuple[torch.Tensor, ...]) -> None:
        # the phantom written out as two rows of weight one half: the moments of everything, from their definition
        width = batches[0].shape[1]
        rows = torch.cat([torch.ones(1, width), -torch.ones(1, width), *batches])
        weights = torch.cat([torch.tensor([0.5, 0.5]), torch.ones(len(rows) - 2)]).double().unsqueeze(-1)
        self.current_count = weights.sum()
        self.running_mean = (weights * rows).sum(0) / weights.sum()
        self.running_variance = (weights * (rows - self.running_mean) ** 2).sum(0) / weights.sum()


def test_statistics_of_rsl_rl_are_taken_over() -> None:
    """[R17] In float32, as it keeps them."""
    ours = take_over_rsl_rl(RslRl(ROWS), horizon=500.0, clip=3.0)
    np.testing.assert_allclose(ours.mean, ROWS.mean(0), rtol=1e-6)
    np.testing.assert_allclose(ours.var, ROWS.var(0, correction=0), rtol=1e-5)
    assert (int(ours.count), ours.horizon, ours.clip) == (60, 500.0, 3.0)


def test_statistics_of_skrl_are_taken_over_without_their_phantom_sample() -> None:
    """[R18] Far from 0 the phantom multiplies the variance by thousands."""
    theirs = Skrl(ROWS.split(20))
    assert (theirs.running_variance / ROWS.var(0, correction=0)).min() > 1000
    ours = take_over_skrl(theirs)
    np.testing.assert_allclose(ours.mean, ROWS.mean(0), rtol=1e-9)
    np.testing.assert_allclose(ours.var, ROWS.var(0, correction=0), rtol=1e-6)
    assert (int(ours.count), ours.clip) == (60, 5.0)


def test_what_is_taken_over_goes_on_by_itself() -> None:
    """[R17] The object it came from does not move with it."""
    mean = np.zeros(2)
    ours = take_over(SimpleNamespace(mean=mean, var=np.ones(2), count=10.0), initial_count=0.0)
    ours.update(torch.full((10, 2), 4.0))
    assert mean.tolist() == [0.0, 0.0]
    assert ours.mean.tolist() == pytest.approx([2.0, 2.0])
    # the law of total variance: within (1 + 0) / 2, between 2^2
    assert ours.var.tolist() == pytest.approx([4.5, 4.5])
