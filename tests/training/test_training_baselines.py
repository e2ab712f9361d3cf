"""Policies by rule: legal, in their order, and as greedy as they say.

E environments, S slots, A actions, T steps.
"""

from collections.abc import Callable

import numpy as np
import pytest
from training_toys import KIND, TOY

from accredit.growth.stage import Operation, Stage
from accredit.telemetry import Event, StageChanged
from accredit.training.action import ActionTable
from accredit.training.baselines import Calibrator, Greedy, NoGrowth, Policy, RandomPolicy, Schedule, View
from accredit.training.config import EpisodeConfig
from accredit.training.episodes import Episodes
from accredit.training.host_makers import stacked_hosts
from accredit.training.observation import ObservationTable
from accredit.training.playing import play

STEPS = 12
CONFIG = EpisodeConfig(steps=STEPS, minibatches=2, batch_size=16)
TABLE = ActionTable(TOY.slot_names, TOY.kind_names)
FIELDS = ObservationTable(TOY.slot_names, TOY.kind_names, steps=STEPS)
VIEW = View(TABLE, FIELDS)
MLP = KIND["mlp"]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


POLICIES: dict[str, Callable[[], Policy]] = {
    "no growth": NoGrowth,
    "random": lambda: RandomPolicy(generator()),
    "schedule": lambda: Schedule(VIEW, (2, 0, 1), kinds=(MLP, 0, 1)),
    "greedy": lambda: Greedy(VIEW, generator()),
    "greedy with kinds": lambda: Greedy(VIEW, generator(), kinds=(MLP, 0, 1)),
    "calibrator": lambda: Calibrator(VIEW, generator()),
}


def episodes(count: int = 4, on_event: Callable[[Event], None] | None = None) -> Episodes:
    names = [f"env-{row}" for row in range(count)]
    return Episodes(TOY, CONFIG, make_hosts=stacked_hosts(TOY, CONFIG), names=names, on_event=on_event)


def observation(time: int, **of_slot: dict[str, float]) -> np.ndarray:
    """Return one observation [1, F]; slots that are not named are empty, contributions unknown."""
    row = np.zeros((1, len(FIELDS.fields)), dtype=np.float32)
    row[0, FIELDS.index("time")] = time / STEPS
    for slot in TOY.slot_names:
        fields = of_slot.get(slot, {"is_empty": 1.0, "unknown": 1.0})
        for name, value in fields.items():
            row[0, FIELDS.index(f"{slot}.{name}")] = value
    return row


def holding(age: int, *, kind: str = "mlp", contribution: float | None = None) -> dict[str, float]:
    known = {"unknown": 1.0} if contribution is None else {"unknown": 0.0, "contribution": contribution}
    return {"is_holding": 1.0, "age": age / STEPS, f"kind_{kind}": 1.0, **known}


def masks(stages: list[Stage], ages: list[int], proven: list[bool]) -> np.ndarray:
    old = np.array([ages])
    return TABLE.legal(np.array([stages]), ages=old, stays=old, proven=np.array([proven]))


def choice(policy: Policy, seen: np.ndarray, legal: np.ndarray) -> str:
    return TABLE.label(int(policy.act(seen, legal)[0]))


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys())
def test_every_policy_chooses_only_what_is_legal(make: Callable[[], Policy]):
    """[R35] A choice that is not legal would silently count as waiting and flatter whoever is compared with it."""
    hosts, policy = episodes(), make()
    hosts.begin(range(4), [1, 2, 3, 4])
    grew = False
    for _ in range(STEPS):
        legal = hosts.legal()
        choices = policy.act(hosts.observations(), legal)
        assert choices.shape == (4,)
        assert legal[np.arange(4), choices].all()
        grew |= bool((choices > 0).any())
        hosts.step(choices)
    assert grew == (make is not NoGrowth)


def test_the_random_policy_draws_uniformly_from_what_is_legal():
    """[R35] 6,000 draws, within 6 standard deviations."""
    legal = np.tile(masks([Stage.TRAINING, Stage.COMMITTED, Stage.COMMITTED], [3, 9, 9], [False] * 3), (6000, 1))
    counts = np.bincount(RandomPolicy(generator()).act(np.zeros((6000, 1)), legal), minlength=len(TABLE))
    assert counts[~legal[0]].sum() == 0
    assert np.abs(counts[legal[0]] - 2000).max() < 6 * np.sqrt(6000 * 2 / 9)


def test_a_schedule_follows_its_order_and_kinds():
    """[R35] Grafts slot after slot, blends at the age that it was given."""
    events: list[Event] = []
    hosts = episodes(1, events.append)
    play(hosts, Schedule(VIEW, (2, 0, 1), kinds=(MLP, 0, 1), spacing=2, training_steps=3), [1])
    told = [(e.operation, e.slot, e.kind, e.origin.step) for e in events if isinstance(e, StageChanged)]
    grafts = [entry[1:] for entry in told if entry[0] == "graft"]
    assert grafts == [("hidden2", "low-rank", 0), ("input", "mlp", 2), ("hidden1", "affine", 4)]
    blends = [(slot, at) for operation, slot, _, at in told if operation == "blend"]
    assert [slot for slot, _ in blends] == ["hidden2", "input", "hidden1"]
    assert blends[0] == ("hidden2", 3)


def test_a_schedule_commits_as_soon_as_that_is_legal():
    """[R35] Before anything else."""
    policy = Schedule(VIEW, (0, 1, 2), kinds=(0, 0, 0))
    seen = observation(5, input=holding(5, contribution=0.1))
    stages = [Stage.HOLDING, Stage.EMPTY, Stage.EMPTY]
    assert choice(policy, seen, masks(stages, [5, 0, 0], [True, False, False])) == "commit at input"
    assert choice(policy, seen, masks(stages, [5, 0, 0], [False, False, False])) == "graft affine at hidden1"


def test_greedy_commits_what_is_proven_and_prunes_what_is_not():
    """[R35] What holds, is known and is old enough; what is unknown waits."""
    policy = Greedy(VIEW, generator(), kinds=(MLP, MLP, MLP), patience=5)
    stages = [Stage.HOLDING, Stage.COMMITTED, Stage.COMMITTED]
    full = {"hidden1": {"is_committed": 1.0}, "hidden2": {"is_committed": 1.0}}

    def decide(age: int, *, contribution: float | None, proven: bool) -> str:
        seen = observation(6, input=holding(age, contribution=contribution), **full)
        return choice(policy, seen, masks(stages, [age, 9, 9], [proven, False, False]))

    assert decide(5, contribution=0.1, proven=True) == "commit at input"
    assert decide(5, contribution=-0.1, proven=False) == "prune at input"
    assert decide(4, contribution=-0.1, proven=False) == "wait"
    assert decide(5, contribution=None, proven=False) == "wait"


def test_greedy_fills_empty_slots_while_there_is_time_to_prove_a_graft():
    """[R35] With the kinds it was given, or with kinds drawn from the whole catalogue, harmful ones included."""
    empty = masks([Stage.EMPTY] * 3, [0] * 3, [False] * 3)
    given = Greedy(VIEW, generator(), kinds=(MLP, 0, 1), patience=5)
    drawn = {choice(given, observation(0), empty) for _ in range(60)}
    assert drawn == {"graft mlp at input", "graft affine at hidden1", "graft low-rank at hidden2"}
    assert choice(given, observation(STEPS - 5), empty) != "wait"
    assert choice(given, observation(STEPS - 4), empty) == "wait"
    free = Greedy(VIEW, generator())
    assert len({choice(free, observation(0), empty) for _ in range(300)}) == 3 * len(TOY.kind_names)


def test_greedy_blends_at_its_age():
    """[R35]"""
    policy = Greedy(VIEW, generator(), kinds=(0, 0, 0), training_steps=2)
    full = {"hidden1": {"is_committed": 1.0}, "hidden2": {"is_committed": 1.0}}
    stages = [Stage.TRAINING, Stage.COMMITTED, Stage.COMMITTED]
    for age, wanted in ((1, "wait"), (2, "blend at input")):
        seen = observation(4, input={"is_training": 1.0, "age": age / STEPS, "unknown": 1.0}, **full)
        assert choice(policy, seen, masks(stages, [age, 9, 9], [False] * 3)) == wanted


def test_a_calibrator_finds_the_best_kind_of_each_slot_and_leaves_the_dropper_out():
    """[R35] Means by hand: mlp (0.3 + 0.1) / 2 beats affine 0.15 at the input; a dropper alone at hidden1 loses to
    nothing, and kinds that were never seen do not compete.
    """
    calibrator = Calibrator(VIEW, generator())
    waits = masks([Stage.HOLDING, Stage.HOLDING, Stage.EMPTY], [3, 3, 0], [False] * 3)
    hidden = [("dropper", -0.4), ("low-rank", -0.1), ("dropper", -0.2), ("low-rank", -0.1)]
    inputs = [("mlp", 0.3), ("affine", 0.15), ("mlp", 0.1), ("dropper", -0.5)]
    for (kind, earned), (hidden_kind, hidden_earned) in zip(inputs, hidden, strict=True):
        seen = observation(
            4,
            input=holding(3, kind=kind, contribution=earned),
            hidden1=holding(3, kind=hidden_kind, contribution=hidden_earned),
        )
        calibrator.act(seen, waits)
    calibrator.act(observation(4, input=holding(3, kind="dropper")), waits)  # unknown: not counted
    assert calibrator.best_kinds()[:2] == (MLP, KIND["low-rank"])
    assert calibrator.count[0, KIND["dropper"]] == 1


def test_a_view_reads_observations_by_name():
    """[R31]"""
    seen = observation(7, hidden1=holding(4, contribution=0.5))[0]
    assert VIEW.time(seen) == 7
    assert VIEW.ages(seen).tolist() == [0, 4, 0]
    assert VIEW.is_stage(seen, Stage.HOLDING).tolist() == [False, True, False]
    assert VIEW.is_stage(seen, Stage.EMPTY).tolist() == [True, False, True]
    assert VIEW.is_known(seen).tolist() == [False, True, False]
    legal = masks([Stage.EMPTY, Stage.HOLDING, Stage.TRAINING], [0, 4, 3], [False] * 3)[0]
    assert VIEW.legal_slots(legal, Operation.PRUNE) == [1, 2]
