"""Rules that a run can choose: what is seen, what proves a graft, how long it is held, what may be pruned.

E environments, S slots, A actions.
"""

import dataclasses

import numpy as np
import pytest
from training_toys import SHORT, TOY, same

from accredit.growth.stage import Operation, Stage
from accredit.telemetry import Event, StageChanged
from accredit.training.baselines import RandomPolicy
from accredit.training.config import EpisodeConfig
from accredit.training.environment import GrowthEnv, GrowthVectorEnv
from accredit.training.host_seeds import derived_seed
from accredit.training.proof import CommitRule, are_positive

ALL_RULES = dataclasses.replace(
    SHORT, observe_kinds=False, commit_rule=CommitRule.ANY, holding_steps=1, cooldown_steps=1, prune_committed=True
)


def vector(count: int, config: EpisodeConfig, **arguments) -> GrowthVectorEnv:
    env = GrowthVectorEnv(count, task=TOY, config=config, **arguments)
    env.reset(seed=3)
    return env


def labels(env: GrowthVectorEnv, row: int = 0) -> set[str]:
    """Return the legal actions of one environment in words."""
    return {env.episodes.actions.label(int(at)) for at in np.flatnonzero(env.action_masks()[row])}


def take(env: GrowthVectorEnv, *words: str) -> None:
    """Take one action after the other in every environment; each must be legal."""
    table = [env.episodes.actions.label(at) for at in range(len(env.episodes.actions))]
    for word in words:
        assert word in labels(env), word
        env.step(np.full(env.num_envs, table.index(word)))


def test_hidden_kinds_are_drawn_by_the_seed_of_the_host_and_do_not_show():
    """[R10] [R37] Two runs draw alike, hosts and slots differ, every kind comes, and no bit tells which."""
    config = dataclasses.replace(SHORT, observe_kinds=False)
    drawn = []
    for _ in range(2):
        env = GrowthVectorEnv(40, task=TOY, config=dataclasses.replace(config, host_seeds=40))
        env.reset(seed=3)
        take(env, "graft at input", "graft at hidden1")
        drawn.append(env.episodes.slots.kinds[:, :2].copy())
    assert np.array_equal(drawn[0], drawn[1])
    assert set(drawn[0].flatten().tolist()) == set(range(len(TOY.kind_names)))
    assert (drawn[0][:, 0] != drawn[0][:, 1]).any()
    fields = env.episodes.fields
    bits = [at for at, field in enumerate(fields.fields) if ".kind_" in field.name]
    assert not env.episodes.observations()[:, [*bits, fields.index("graft_share")]].any()


def test_the_kind_that_is_drawn_is_a_function_of_seed_time_and_slot():
    """[R10] By the formula: seed, steps that are over, slot, and 3 for "kind"."""
    env = vector(1, dataclasses.replace(SHORT, observe_kinds=False))
    take(env, "wait", "graft at hidden2")
    seed = derived_seed(int(env.episodes.seeds[0]), 1, 2, 3)
    assert int(env.episodes.slots.kinds[0, 2]) == int(np.random.default_rng(seed).integers(len(TOY.kind_names)))


def test_events_name_the_kind_that_a_policy_cannot_see():
    """[R32]"""
    events: list[Event] = []
    env = vector(1, dataclasses.replace(SHORT, observe_kinds=False), on_event=events.append)
    take(env, "graft at input")
    (told,) = [event for event in events if isinstance(event, StageChanged)]
    assert told.kind == TOY.kind_names[int(env.episodes.slots.kinds[0, 0])]


def test_without_a_rule_of_proof_every_graft_that_holds_can_be_committed():
    """[R37] The dropper, which harms, too; with the rule it cannot."""
    path = ("graft dropper at input", "wait", "blend at input", "wait")
    steps = {"steps": 8, "blend_steps": 2}
    free = vector(1, dataclasses.replace(SHORT, commit_rule=CommitRule.ANY, **steps))
    strict = vector(1, dataclasses.replace(SHORT, **steps))
    for env in (free, strict):
        take(env, *path)
        assert env.episodes.slots.stages[0, 0] == Stage.HOLDING
    assert "commit at input" in labels(free)
    assert "commit at input" not in labels(strict)


def test_holms_rule_is_stricter_where_several_grafts_play_and_the_same_for_one():
    """[R8] p-values of Student t by hand at 5 %: scores 2.5, 2.1, -4 of 100 have p .014, .038, 1e-4.

    Together .014 * 2 and .038 * 1, in the order of size; alone each as it is.
    """
    contributions, stderr = np.array([[2.5, 2.1, -4.0], [2.1, 0.0, 0.0]]), np.ones((2, 3))
    stderr[1] = (1.0, 0.0, 0.0)
    arguments = {"degrees_of_freedom": 100.0, "level": 0.95}
    alone = are_positive(contributions, stderr, together=False, **arguments)
    together = are_positive(contributions, stderr, together=True, **arguments)
    assert alone.tolist() == [[True, True, False], [True, False, False]]
    assert together.tolist() == [[True, True, False], [False, False, False]]
    weak = are_positive(contributions + np.array([[-0.3, -0.1, 3.9], [0, 0, 0]]), stderr, together=True, **arguments)
    assert weak[0].tolist() == [False, False, False]  # p = .030 and .048, times 3 and 2
    absent = are_positive(np.array([[2.1, np.nan, np.nan]]), np.array([[1.0, 0.0, np.nan]]), together=True, **arguments)
    assert absent.tolist() == [[True, False, False]]  # who does not play is not tested, and counts for nothing
    one = are_positive(contributions[:, :1], stderr[:, :1], together=True, **arguments)
    assert one.tolist() == [[True], [True]]


def test_the_rule_of_the_configuration_reaches_the_credit_of_the_slots():
    """[R37] Random episodes under each rule: Holm proves a part of what is proven alone, and somewhere less."""
    counts = {}
    for rule in CommitRule:
        env = vector(8, dataclasses.replace(SHORT, commit_rule=rule, confidence=0.8, host_seeds=8))
        policy, proven = RandomPolicy(np.random.default_rng(0)), 0
        for _ in range(4 * SHORT.steps):
            # one order of grafts and blends for every rule, so that the same grafts are measured
            legal = env.action_masks() & ~np.array(
                [action.operation in (Operation.COMMIT, Operation.PRUNE) for action in env.episodes.actions.actions]
            )
            env.step(policy.act(np.zeros((8, 1), dtype=np.float32), legal))
            proven += int(env.episodes.slots.welcome.sum())
        counts[rule] = proven
    assert counts[CommitRule.SIGNIFICANT] == counts[CommitRule.ANY] > counts[CommitRule.SIGNIFICANT_HOLM] > 0


def test_a_graft_is_held_and_a_slot_rests_as_long_as_the_rules_say():
    """[R37] Commits from the second step of holding on; two decisions after a prune find the slot closed."""
    config = dataclasses.replace(
        SHORT, steps=20, commit_rule=CommitRule.ANY, holding_steps=2, cooldown_steps=2, blend_steps=1
    )
    env = vector(1, config)
    take(env, "graft mlp at input", "blend at input")
    assert "commit at input" not in labels(env)
    take(env, "wait")
    assert "commit at input" not in labels(env)
    take(env, "wait", "prune at input")
    for _ in range(2):
        assert "graft mlp at input" not in labels(env)
        assert "graft mlp at hidden1" in labels(env), "a slot that was never used needs no rest"
        take(env, "wait")
    take(env, "graft mlp at input")


def test_a_committed_graft_is_pruned_where_that_is_allowed_with_its_parameters():
    """[R34] [R37] From three steps after the commit on; elsewhere never."""
    for allowed in (True, False):
        config = dataclasses.replace(
            SHORT, steps=12, commit_rule=CommitRule.ANY, prune_committed=allowed, blend_steps=1
        )
        env = vector(2, config)
        take(env, "graft mlp at input", "blend at input", "commit at input", "wait")
        assert "prune at input" not in labels(env)
        take(env, "wait")
        assert ("prune at input" in labels(env)) == allowed
        if allowed:
            take(env, "prune at input")
            assert env.episodes.hosts.graft_parameter_counts().sum() == 0
            assert not env.episodes.slots.alphas.any()


@pytest.mark.parametrize("make", [GrowthEnv, GrowthVectorEnv])
def test_both_environments_play_under_all_rules_at_once(make):
    """[R35] In their spaces, with episodes that end."""
    env = GrowthEnv(task=TOY, config=ALL_RULES) if make is GrowthEnv else vector(2, ALL_RULES)
    observations, info = env.reset(seed=0)
    generator, ended = np.random.default_rng(0), 0
    for _ in range(3 * ALL_RULES.steps):
        mask = info["action_mask"]
        action = np.where(mask, generator.random(mask.shape), -1.0).argmax(-1)
        observations, _, terminated, _, info = env.step(action)
        assert env.observation_space.contains(observations)
        ended += int(np.sum(terminated))
        if make is GrowthEnv and terminated:
            observations, info = env.reset()
    assert ended == 3 * (1 if make is GrowthEnv else 2)


def test_a_state_under_all_rules_continues_bit_equal():
    """[R29] Stays and drawn kinds included."""
    whole, policy = vector(3, ALL_RULES), RandomPolicy(np.random.default_rng(1))
    nothing = np.zeros((3, 1), dtype=np.float32)
    for _ in range(ALL_RULES.steps + 4):
        whole.step(policy.act(nothing, whole.action_masks()))
    resumed = GrowthVectorEnv(3, task=TOY, config=ALL_RULES)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(ALL_RULES.steps):
        actions = policy.act(nothing, whole.action_masks())
        for one, other in zip(whole.step(actions)[:3], resumed.step(actions)[:3], strict=True):
            assert np.array_equal(one, other)
    assert same(whole.state_dict(), resumed.state_dict())
