"""Planted grafts: what the task promises about its data, and the study that ranks them.

R runs, S slots, B examples.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import VectorKind, kind_named
from accredit.growth.hosts import Players
from accredit.growth.stage import Stage
from accredit.training.baselines import RandomPolicy
from accredit.training.config import EpisodeConfig
from accredit.training.environment import GrowthVectorEnv
from accredit.training.host_makers import looped_hosts, stacked_hosts
from accredit.training.planted import FEATURES, NOISE, PAIRS, PLANTED_CATALOGUE, VISIBLE, planted
from accredit.training.task import PLANTED, find_task, mlp_task

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.growth_planted import ORDER, Study, study, summarize

CONFIG = EpisodeConfig(steps=8, minibatches=2, batch_size=32, host_seeds=4)
LIMIT = 1e-6
"""A test fails by chance less often than this."""
RUNS = 40


def most_of(runs: int, share: float) -> int:
    """The largest count that a binomial of `share` exceeds in less than one in 10^6 samples of `runs`."""
    return int(stats.binom.isf(LIMIT, runs, share))


def fewest_of(runs: int, share: float) -> int:
    """The smallest count below which such a binomial falls in less than one in 10^6 samples."""
    return runs - most_of(runs, 1.0 - share)


@pytest.fixture(scope="module")
def small() -> Study:
    return study(runs=RUNS, seed=11)


def kind(name: str) -> VectorKind:
    return kind_named(PLANTED_CATALOGUE, name)


def build(name: str) -> torch.nn.Module:
    return kind(name).build(FEATURES, torch.Generator().manual_seed(0))


def test_the_bounds_of_these_tests_are_those_of_the_acceptance():
    """[R33] 18 of 100 at a level of 5 %: P(X > 18) = 4e-7; 82 of 100 at a true share of 95 %."""
    assert most_of(100, 0.05) == 18
    assert stats.binom.sf(18, 100, 0.05) < LIMIT < stats.binom.sf(17, 100, 0.05)
    assert fewest_of(100, 0.95) == 82


def test_planted_grafts_are_ranked_by_what_was_planted(small: Study):
    """[R33] [R38] Right code has fewer than 34 of 40 with probability P(Bin(40, .012) > 6) = 5e-7.

    Of 2,000 other runs 1,986 were ranked rightly, so that the share is above .988 (95 %); each sign came oftener.
    """
    game, at = small.candidates, ORDER.index
    assert stats.binom.sf(6, RUNS, 0.012) < LIMIT
    assert game.ranked_right.sum() >= 34
    assert game.is_positive[:, at("witness")].sum() >= 34
    assert game.is_positive[:, at("twin-first")].sum() >= 34
    assert game.is_positive[:, at("twin-second")].sum() >= 34
    assert (game.is_significant & (game.contributions < 0))[:, at("turner")].sum() >= 34


def test_a_null_graft_that_moves_the_logits_is_rarely_called_significant(small: Study):
    """[R33] Bound of each game by the binomial at 5 %, two-sided, and at 2.5 % for "positive"."""
    mirror = ORDER.index("mirror")
    for game in (small.candidates, small.live):
        assert game.moved.mean() > 0.1
        assert game.is_significant[:, mirror].sum() <= most_of(RUNS, 0.05)
        assert game.is_positive[:, mirror].sum() <= most_of(RUNS, 0.025)
        # the mean over runs of an exactly null effect, in standard errors
        values = game.contributions[:, mirror]
        assert abs(values.mean()) < 6.5 * values.std(ddof=1) / RUNS**0.5


def test_the_twins_save_less_together_than_apart(small: Study):
    """[R38] Their interaction in nats of log-loss is positive: what one brings, the other no longer can."""
    for game in (small.candidates, small.live):
        assert (game.twins_interact > 0).sum() >= 34


@pytest.mark.long
def test_of_a_thousand_runs_at_most_the_level_calls_a_null_graft_significant():
    """[R33] Neither too many nor, at 1 in 10^6, so few that the rule would be idle; 95 of 100 are ranked rightly."""
    runs = 1000
    result = study(runs=runs, seed=12)
    mirror = ORDER.index("mirror")
    for game in (result.candidates, result.live):
        assert fewest_of(runs, 0.05) <= game.is_significant[:, mirror].sum() <= most_of(runs, 0.05)
        assert game.is_positive[:, mirror].sum() <= most_of(runs, 0.025)
    assert result.candidates.ranked_right.mean() >= 0.95


def test_the_summary_counts_what_the_study_found(small: Study):
    """[R37]"""
    figures = summarize(small)
    null, right = figures["null_called_significant"], figures["planted_ranked_right"]
    assert null["count"] == int(small.live.is_significant[:, 0].sum())
    assert (right["count"], right["runs"]) == (int(small.candidates.ranked_right.sum()), RUNS)
    assert null["lower"] <= null["count"] / RUNS <= null["upper"]


def test_no_weights_of_the_host_read_a_hidden_truth_and_each_reader_does():
    """[R33] Held-out log-loss of scikit-learn's logistic regression on 13,000 of 26,000 examples, in nats.

    At best log 2 where features say nothing.  The fitted loss differs from it by (chi-square of 6) / 26,000 and by the
    noise of weights of size sqrt(6 / 13,000): 6 standard errors of both are .0015.
    """
    splits = [planted(seed) for seed in range(10)]
    parts = [part for one in splits for part in (one.train, one.reward, one.test)]
    x, y = torch.cat([part.inputs for part in parts]), torch.cat([part.labels for part in parts]).numpy()
    half, hidden = len(y) // 2, [at for pair in PAIRS for at in pair]

    def loss(features: torch.Tensor) -> float:
        fitted = LogisticRegression().fit(features[:half].numpy(), y[:half])
        return float(log_loss(y[half:], fitted.predict_proba(features[half:].numpy())))

    for nothing in (hidden, list(NOISE)):
        assert abs(loss(x[:, nothing]) - np.log(2)) < 0.003
    assert loss(x[:, [VISIBLE]]) < 0.65
    for name in ("witness", "twin-first", "twin-second"):
        assert loss((x @ build(name).inner).relu()) < 0.65


def test_the_two_twins_carry_the_same_truth_and_the_witness_another():
    """[R33] Signs of products, example by example."""
    x = planted(3).train.inputs
    a, b, again = (torch.sign(x[:, i] * x[:, j]) for i, j in PAIRS)
    assert torch.equal(b, again)
    assert abs(float((a * b).mean())) < 0.25  # 600 examples: 6 standard errors


def test_a_reader_computes_twice_the_smaller_size_with_the_sign_of_the_product():
    """[R33] |p + p'| - |p - p'| of (3, -2) is 1 - 5 = -4."""
    graft = build("witness")
    with torch.no_grad():
        graft.outer[:, VISIBLE] = torch.tensor([1.0, 1.0, -1.0, -1.0])
    x = torch.zeros(1, FEATURES)
    x[0, list(PAIRS[0])] = torch.tensor([3.0, -2.0])
    assert graft(x)[0, VISIBLE] == -4.0
    assert graft(x).abs().sum() == 4.0


def test_mirror_and_turner_change_the_sign_of_their_features_alone():
    """[R33]"""
    x = planted(4).train.inputs
    for name, features in (("mirror", list(NOISE)), ("turner", [VISIBLE])):
        turned = x + build(name)(x)
        signs = torch.ones(FEATURES)
        signs[features] = -1.0
        assert torch.equal(turned, x * signs)


def test_planted_costs_equal_counts_by_hand():
    """[R37] V is given, so only U counts: 4 rows of 12; turning costs a multiplication per feature."""
    for name, cost in (("witness", (48, 96)), ("mirror", (0, 12))):
        assert (kind(name).parameter_count(FEATURES), kind(name).mac_count(FEATURES)) == cost
        assert sum(parameter.numel() for parameter in build(name).parameters()) == cost[0]


def test_what_was_planted_is_never_learned():
    """[R33] V and a of every kind after training, in a stack and in a loop, which agree in the rest."""
    stages, losses = np.full((1, 3), Stage.TRAINING, dtype=np.int64), []
    for make_hosts in (stacked_hosts(PLANTED, CONFIG), looped_hosts(PLANTED, CONFIG)):
        hosts, train = make_hosts(1), PLANTED.splits.train
        hosts.reset(0, PLANTED.build_host(1))
        for slot, name in enumerate(("mirror", "witness", "twin-first")):
            hosts.graft(0, slot, PLANTED.kind_names.index(name), seed=slot)
        hosts.set_stages(stages, np.zeros((1, 3)))
        for at in range(0, 600, 60):
            hosts.train(train.inputs[None, at : at + 60], train.labels[None, at : at + 60])
        losses.append(hosts.evaluate([0], train.inputs, train.labels, players=Players.CANDIDATES).log_loss)
        network = hosts.network(0, PLANTED.build_host(1))
        for slot, name in zip(network.slots, ("mirror", "witness", "twin-first"), strict=True):
            if kind(name).planted_inner:
                assert torch.equal(slot.graft.inner, torch.tensor(kind(name).planted_inner))
                assert float(slot.graft.outer.detach().abs().max()) > 0.01
            else:
                assert torch.equal(slot.graft.fixed_scale, torch.tensor(kind(name).planted_scale))
    assert losses[0].shape == (1, 8, 600)
    assert torch.allclose(losses[0], losses[1], atol=1e-4)


def test_the_task_is_found_and_its_episodes_are_reproducible():
    """[R10] [R37] Three slots before one layer, five kinds; random episodes of one seed twice."""
    assert find_task("planted") is PLANTED
    assert PLANTED.slot_names == ("input-1", "input-2", "input-3")
    assert PLANTED.host_parameters == 12 * 2 + 2 == PLANTED.build_host(0).parameter_count()
    rewards = []
    for _ in range(2):
        env = GrowthVectorEnv(2, task=PLANTED, config=CONFIG)
        policy, (_, info) = RandomPolicy(np.random.default_rng(0)), env.reset(seed=0)
        paid = []
        for _ in range(CONFIG.steps):
            _, reward, _, _, info = env.step(policy.act(np.zeros((2, 1), dtype=np.float32), info["action_mask"]))
            paid.append(reward)
        rewards.append(np.stack(paid))
    assert np.array_equal(rewards[0], rewards[1])
    assert np.isfinite(rewards[0]).all()


def test_slots_stand_where_they_are_put():
    """[R37] Two before the first layer, none before the second, one before the third."""
    task = mlp_task("planted", (12, 5, 4, 2), catalogue=PLANTED.catalogue, load=planted, slots_before=(0, 0, 2))
    assert task.slot_names == ("input-1", "input-2", "hidden2")
    assert [slot.features for slot in task.build_host(0).slots] == [12, 12, 4]
    places = [type(layer).__name__ for layer in task.layers()]
    assert places == ["Slot", "Slot", "Linear", "ReLU", "Linear", "ReLU", "Slot", "Linear"]


def test_planting_twice_or_in_the_wrong_place_is_refused():
    """[R37]"""
    with pytest.raises(
        InvalidArgument, match=r"`VectorKind` 'x' got a planted scale and another one .*give a kind one"
    ):
        VectorKind(name="x", planted_scale=(1.0, 2.0), has_scale=True)
    with pytest.raises(InvalidArgument, match=r"got planted rows of \[1\] numbers, wanted 2, its width; give V as D"):
        VectorKind(name="x", width=2, planted_inner=((1.0,), (2.0,)))
    for name in ("witness", "mirror"):
        with pytest.raises(InvalidArgument, match=rf"`features` is 8, but kind '{name}' was planted for 12; graft it"):
            kind(name).build(8, torch.Generator())
