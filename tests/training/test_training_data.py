"""Three splits, which of them anybody reads, the control, and the order of hosts.

B examples, T steps.
"""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from training_toys import HOST_PARAMETERS, TOY

import accredit.training
from accredit.errors import UnknownName
from accredit.training.config import EpisodeConfig
from accredit.training.control import Controls, minibatch_indices
from accredit.training.data import digits
from accredit.training.host_makers import looped_hosts, stacked_hosts
from accredit.training.host_seeds import HostSeeds, Purpose, derived_seed
from accredit.training.task import DIGITS, find_task

CONFIG = EpisodeConfig(steps=3, minibatches=2, batch_size=16, host_seeds=3)


def indices_of(seed: int) -> torch.Tensor:
    return minibatch_indices(seed, examples=120, steps=3, minibatches=2, batch_size=16)


def test_digits_has_three_splits_without_a_row_in_common():
    """[R36] Every digit of scikit-learn is in one of them."""
    pixels, labels = load_digits(return_X_y=True)
    splits = digits()
    parts = (splits.train, splits.reward, splits.test)
    assert [len(part) for part in parts] == [900, 400, 497]
    rows = torch.cat([part.inputs for part in parts])
    assert torch.allclose(rows.std(0) * 16, torch.from_numpy(pixels).float().std(0), atol=1e-3)
    assert sorted(torch.bincount(torch.cat([p.labels for p in parts])).tolist()) == sorted(np.bincount(labels).tolist())
    assert len({row.numpy().tobytes() for row in rows}) == len({row.tobytes() for row in pixels})
    first, second, third = ({row.numpy().tobytes() for row in part.inputs} for part in parts)
    assert not first & second
    assert not first & third
    assert not second & third


def test_inputs_are_centred_on_the_train_split_alone():
    """[R36] No statistic of reward or test leaks into training."""
    splits = digits()
    assert float(splits.train.inputs.mean(0).abs().max()) < 1e-5
    assert float(splits.test.inputs.mean(0).abs().max()) > 1e-3
    assert float(splits.train.inputs.min()) >= -1.0
    assert float(splits.train.inputs.max()) <= 1.0


def test_only_the_final_evaluation_reads_the_test_split():
    """[R36] No other file of the package names `.test` of anything."""
    root = Path(accredit.training.__file__).parents[1]
    readers = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "test" for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert readers == ["training/evaluation.py"]


def test_minibatches_are_shuffled_passes_that_the_seed_alone_decides():
    """[R10] Every example comes once a pass; another seed has another order."""
    indices = minibatch_indices(7, examples=10, steps=3, minibatches=2, batch_size=5)
    assert indices.shape == (3, 2, 5)
    assert [sorted(step.flatten().tolist()) for step in indices] == [list(range(10))] * 3
    again = minibatch_indices(7, examples=10, steps=3, minibatches=2, batch_size=5)
    assert torch.equal(indices, again)
    assert not torch.equal(indices, minibatch_indices(8, examples=10, steps=3, minibatches=2, batch_size=5))
    assert torch.equal(indices[:2], minibatch_indices(7, examples=10, steps=2, minibatches=2, batch_size=5))


def test_the_control_is_an_ungrown_host_trained_by_hand():
    """[R35] Adam on the minibatches of its seed; log-loss on the reward split after 0 .. T steps."""
    network = TOY.build_host(5)
    optimizer = torch.optim.Adam(network.parameters(), lr=CONFIG.learning_rate)
    train, reward, wanted = TOY.splits.train, TOY.splits.reward, []
    for step in range(4):
        with torch.no_grad():
            wanted.append(float(F.cross_entropy(network(reward.inputs), reward.labels)))
        for chosen in indices_of(5)[min(step, 2)]:
            optimizer.zero_grad()
            F.cross_entropy(network(train.inputs[chosen]), train.labels[chosen]).backward()
            optimizer.step()
    for make_hosts in (stacked_hosts(TOY, CONFIG), looped_hosts(TOY, CONFIG)):
        assert Controls(TOY, make_hosts, indices_of).losses([5])[0].tolist() == pytest.approx(wanted, abs=1e-4)


def test_controls_depend_on_seed_and_time_alone():
    """[R35] Not on who was asked for beside them, nor in which order."""
    together = Controls(TOY, stacked_hosts(TOY, CONFIG), indices_of).losses([3, 1, 3, 2])
    apart = Controls(TOY, stacked_hosts(TOY, CONFIG), indices_of)
    assert np.allclose(together[[1]], apart.losses([1]), atol=1e-6, rtol=0)
    assert np.allclose(together[[0, 3]], apart.losses([3, 2]), atol=1e-6, rtol=0)
    assert np.array_equal(together[0], together[2])
    assert not np.allclose(together[0], together[1])


def test_controls_are_trained_once_and_survive_a_restart():
    """[R29] With their state no host is trained again, so that they stay the same bit for bit."""
    asked: list[int] = []

    def make_hosts(count: int):
        asked.append(count)
        return stacked_hosts(TOY, CONFIG)(count)

    controls = Controls(TOY, make_hosts, indices_of)
    first = controls.losses([1, 2])
    assert np.array_equal(controls.losses([2]), first[1:])
    restored = Controls(TOY, make_hosts, indices_of)
    restored.load_state_dict(controls.state_dict())
    assert np.array_equal(restored.losses([1, 2]), first)
    assert asked == [2]


def test_a_control_that_diverges_reads_infinite():
    """[R11] Never a number in place of a failure."""
    huge = EpisodeConfig(steps=3, minibatches=2, batch_size=16, learning_rate=1e30)
    losses = Controls(TOY, stacked_hosts(TOY, huge), indices_of).losses([1])
    assert np.isfinite(losses[0, 0])
    assert np.isinf(losses[0, -1])
    assert not np.isnan(losses).any()


def test_each_pass_over_a_pool_meets_every_host_once_in_an_order_of_its_own():
    """[R10]"""
    seeds = HostSeeds(0, Purpose.TRAINING, count=20)
    first, second = ([seeds.draw() for _ in range(20)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    again = HostSeeds(0, Purpose.TRAINING, count=20)
    assert [again.draw() for _ in range(20)] == first


def test_pools_of_purposes_and_of_runs_are_disjoint():
    """[R36] Evaluation hosts are met nowhere else, and runs with other seeds are independent."""
    pools = []
    for run, purpose in itertools.product(range(3), Purpose):
        seeds = HostSeeds(run, purpose, count=200)
        pools.append({seeds.draw() for _ in range(400)})
    assert all(len(pool) == 200 for pool in pools)
    assert len(set().union(*pools)) == 200 * len(pools)


def test_derived_seeds_depend_on_every_part():
    """[R10]"""
    seeds = {derived_seed(*parts) for parts in ((1, 2), (2, 1), (1, 3), (0, 2), (1, 2, 1))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 2) == derived_seed(1, 2)


def test_hosts_are_a_function_of_their_seed_and_touch_no_random_state():
    """[R10]"""
    before = torch.get_rng_state()
    first, second, other = (TOY.build_host(seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.1.weight"], other["layers.1.weight"])
    assert TOY.host_parameters == HOST_PARAMETERS == TOY.build_host(0).parameter_count()


def test_an_unknown_task_is_answered_with_the_nearest():
    """[R37]"""
    assert find_task("digits") is DIGITS
    with pytest.raises(UnknownName, match=r"`task` is 'digist', but the tasks are .*digits.*; did you mean 'digits'\?"):
        find_task("digist")
