"""The network that is large from the start: trained like the hosts that grow, and tuned on design hosts alone.

E hosts, T steps.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_toys import SHORT, TOY

from accredit.growth.hosts import Hosts, Players
from accredit.training.control import minibatch_indices
from accredit.training.data import Splits
from accredit.training.fixed_network import RATE_FACTORS, FixedNetwork, closest, trained, tuned_networks
from accredit.training.task import PLANTED, Task

WIDE = TOY.widened(9)


def reward_loss(task: Task, hosts: Hosts) -> np.ndarray:
    reward = task.splits.reward
    outcome = hosts.evaluate(range(hosts.num_hosts), reward.inputs, reward.labels, players=Players.NOBODY)
    return outcome.log_loss[:, 0].mean(1).numpy()


def test_a_widened_task_has_the_same_data_and_as_many_parameters_as_its_layers():
    """[R35] 8-9-9-3 by hand: 8*9+9 + 9*9+9 + 9*3+3 = 201; a host without hidden layer gets one."""
    assert WIDE.host_parameters == 201
    assert sum(p.numel() for p in WIDE.build_host(1).parameters()) == 201
    assert WIDE.splits is TOY.splits
    linears = [layer for layer in PLANTED.widened(5).layers() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [(12, 5), (5, 2)]


def test_a_fixed_network_is_trained_by_adam_on_the_minibatches_of_the_growing_host_of_its_seed():
    """[R35] Equal to a plain PyTorch loop, weights drawn and minibatches taken by the same seed."""
    torch.manual_seed(5)
    layers = [nn.Linear(i, o) for i, o in itertools.pairwise((8, 9, 9, 3))]
    optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=2e-2)
    indices = minibatch_indices(5, examples=120, steps=6, minibatches=2, batch_size=16)

    def logits(inputs: torch.Tensor) -> torch.Tensor:
        return layers[2](layers[1](layers[0](inputs).relu()).relu())

    for chosen in indices.flatten(0, 1):
        loss = F.cross_entropy(logits(TOY.splits.train.inputs[chosen]), TOY.splits.train.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wanted = F.cross_entropy(logits(TOY.splits.reward.inputs), TOY.splits.reward.labels).item()
    hosts = trained(WIDE, dataclasses.replace(SHORT, learning_rate=2e-2), [4, 5])
    assert reward_loss(WIDE, hosts)[1] == pytest.approx(wanted, abs=1e-5)


def test_every_size_gets_the_rate_that_does_best_on_the_reward_split_and_reads_no_test_split():
    """[R35] [R36] Found again by trying each rate by hand."""

    class WithoutTest(Splits):
        """Fails where the test split is read."""

        def __getattribute__(self, name: str) -> object:
            assert name != "test"
            return super().__getattribute__(name)

    splits = WithoutTest(**{name: getattr(TOY.splits, name) for name in ("train", "reward", "test")})
    task = dataclasses.replace(TOY, large_widths=(9, 12), load=lambda: splits)
    told: list[None] = []
    networks = tuned_networks(task, SHORT, [3, 4, 5], lambda: told.append(None))
    assert [network.width for network in networks] == [9, 12]
    assert len(told) == 2 * len(RATE_FACTORS)
    for network in networks:
        rates = [factor * SHORT.learning_rate for factor in RATE_FACTORS]
        losses = [
            reward_loss(
                network.task, trained(network.task, dataclasses.replace(SHORT, learning_rate=rate), [3, 4, 5])
            ).mean()
            for rate in rates
        ]
        assert network.config.learning_rate == rates[int(np.argmin(losses))]


def test_a_network_that_diverges_keeps_its_last_finite_weights():
    """[R35] A rate that overflows float32 at once leaves the fresh host."""
    hosts = trained(WIDE, dataclasses.replace(SHORT, learning_rate=1e39), [5])
    fresh = trained(WIDE, dataclasses.replace(SHORT, learning_rate=1e-30), [5])
    assert reward_loss(WIDE, hosts) == pytest.approx(reward_loss(WIDE, fresh), abs=1e-6)


def test_the_closest_network_is_never_smaller_unless_none_is_as_large():
    """[R35] So that the baseline is not handicapped."""
    networks = [FixedNetwork(task=TOY.widened(width), width=width, config=SHORT) for width in (12, 7, 9)]
    assert closest(networks, 150.0).width == 9  # 7 wide: 8*7+7 + 7*7+7 + 7*3+3 = 143 parameters
    assert closest(networks, 143.0).width == 7
    assert closest(networks, 1e6).width == 12
