"""Removal cost beside causal contribution of grafts.

R hosts.
"""

import numpy as np
import pytest
from training_toys import KIND, SHORT, TOY

from accredit.errors import InvalidArgument, UnknownName
from accredit.growth.hosts import Players
from accredit.growth.stage import Stage
from accredit.training.control import minibatch_indices, train_interval
from accredit.training.control_study import control_study
from accredit.training.task import DIGITS


def test_both_differences_equal_hosts_that_are_trained_by_hand():
    """[R15] A graft by its whole life in three networks, one after the other, and three without."""
    seeds, losses = [3, 5, 8], {"grown": [], "off": [], "never": []}
    study = control_study(TOY, slot="hidden1", kind="mlp", host_seeds=seeds, config=SHORT)
    for seed in seeds:
        order = minibatch_indices(seed, examples=120, steps=6, minibatches=2, batch_size=16)[:, None]
        for name in ("grown", "never"):
            hosts = TOY.make_hosts(1, learning_rate=SHORT.learning_rate)
            hosts.reset(0, TOY.build_host(seed))
            if name == "grown":
                made = control_study_graft_seed(seed)
                hosts.graft(0, 1, KIND["mlp"], made)
            for step, (stage, alpha) in enumerate(
                [
                    *[(Stage.TRAINING, 0.0)] * 2,
                    (Stage.BLENDING, 0.5),
                    (Stage.HOLDING, 1.0),
                    *[(Stage.COMMITTED, 1.0)] * 2,
                ]
            ):
                stages, alphas = np.zeros((1, 3), dtype=np.int64), np.zeros((1, 3))
                if name == "grown":
                    stages[0, 1], alphas[0, 1] = stage, alpha
                hosts.set_stages(stages, alphas)
                train_interval(hosts, TOY.splits.train, order[:, 0][None, step])
            reward = TOY.splits.reward
            outcome = hosts.evaluate([0], reward.inputs, reward.labels, players=Players.LIVE)
            means = outcome.log_loss.double().mean(2)[0]
            losses[name].append(float(means[-1]))
            if name == "grown":
                losses["off"].append(float(means[0]))
    grown, off, never = (np.array(losses[name]) for name in ("grown", "off", "never"))
    assert study.removal.contribution == pytest.approx((off - grown).mean(), abs=1e-5)
    assert study.cause.contribution == pytest.approx((never - grown).mean(), abs=1e-5)
    assert study.cause.stderr == pytest.approx((never - grown).std(ddof=1) / 3**0.5, abs=1e-5)


def control_study_graft_seed(seed: int) -> int:
    """Seed of a graft's weights at the first step: host seed, no step over, slot 1, purpose 2."""
    parts = (seed, 0, 1, 2)
    return int(np.random.SeedSequence((4, *parts)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def test_a_host_misses_a_graft_that_harmed_it():
    """[R15] The planted dropper on digits: removal would cost, and yet the host would be better off without it."""
    study = control_study(DIGITS, slot="hidden2", kind="dropper", host_seeds=range(16))
    low, high = study.cause.interval(0.95)
    assert 0.0 < low < high, "raw: growing it raised the loss"
    assert study.removal.contribution > study.cause.contribution + 0.05


def test_what_cannot_be_studied_is_refused():
    """[R37]"""
    with pytest.raises(UnknownName, match=r"`kind` is 'mpl', but the catalogue of task 'toy' has affine, .*; pass one"):
        control_study(TOY, slot="input", kind="mpl", host_seeds=[0, 1], config=SHORT)
    with pytest.raises(
        UnknownName, match=r"`slot` is 'inptu', but the slots of task 'toy' are input, hidden1, hidden2"
    ):
        control_study(TOY, slot="inptu", kind="mlp", host_seeds=[0, 1], config=SHORT)
    with pytest.raises(InvalidArgument, match="`seeds` are"):
        control_study(TOY, slot="input", kind="mlp", host_seeds=[0], config=SHORT)
