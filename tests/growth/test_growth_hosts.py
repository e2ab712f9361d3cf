"""Hosts in a stack equal hosts in a loop; rows are independent; states continue exactly.

E hosts, S slots, C coalitions, B examples.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from growth_toys import (
    KIND,
    MAKERS,
    RATE,
    build,
    examples,
    looped,
    minibatch,
    same,
    same_bits,
    stacked,
    stages_of,
)
from torch import nn

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import VECTOR_CATALOGUE, VectorKind
from accredit.growth.hosts import Hosts, Players
from accredit.growth.looped import LoopedHosts
from accredit.growth.metric import Score
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stack_grafts import graft_rows, with_grafts
from accredit.growth.stack_layout import StackLayout
from accredit.growth.stacked import StackedHosts
from accredit.growth.stage import Stage
from accredit.training.task import DIGITS

E = 3
both = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
Maker = Callable[[int], Hosts]
TRAINING, BLENDING, HOLDING, COMMITTED = Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.COMMITTED


def train(hosts: Hosts, steps: range) -> list[torch.Tensor]:
    return [hosts.train(*minibatch(hosts.num_hosts, step)) for step in steps]


def weights_of(hosts: Hosts, row: int) -> dict[str, torch.Tensor]:
    return hosts.network(row, build(99)).state_dict()


def grown(make: Maker) -> Hosts:
    """Return hosts with a graft in training, one that blends, one that is committed, and rows that differ."""
    hosts = make(E)
    train(hosts, range(2))
    for row in range(E):
        hosts.graft(row, 0, KIND["mlp"], seed=row)
        hosts.graft(row, 1, KIND["bottleneck"], seed=10 + row)
    hosts.graft(1, 2, KIND["affine"], seed=3)
    stages, alphas = stages_of(E, input=(TRAINING, 0.0), hidden1=(TRAINING, 0.0))
    stages[1, 2] = TRAINING
    hosts.set_stages(stages, alphas)
    train(hosts, range(2, 5))
    stages[:, 1], alphas[:, 1] = BLENDING, 0.5
    stages[1, 2], alphas[1, 2] = COMMITTED, 1.0
    hosts.set_stages(stages, alphas)
    train(hosts, range(5, 8))
    return hosts


def test_a_stack_equals_a_loop_over_the_life_of_grafts():
    """[R34] Losses, weights and values of all coalitions, through graft, blend, hold, commit, prune and reset."""
    pair = (stacked(E), looped(E))
    inputs, labels = examples(40, seed=7)

    def compare(steps: range) -> None:
        first, second = (train(hosts, steps) for hosts in pair)
        assert torch.allclose(torch.stack(first), torch.stack(second), atol=2e-5)
        for players in Players:
            one, other = (hosts.evaluate([2, 0, 1], inputs, labels, players=players) for hosts in pair)
            assert one.slots == other.slots
            assert one.log_loss.shape == (E, 2 ** len(one.slots), 40)
            assert torch.allclose(one.log_loss, other.log_loss, atol=2e-4)
            assert (one.is_correct != other.is_correct).float().mean() < 0.01
        for row in range(E):
            one_row, other_row = (weights_of(hosts, row) for hosts in pair)
            assert list(one_row) == list(other_row)
            assert all(torch.allclose(one_row[name], other_row[name], atol=2e-4) for name in one_row)
        counts = [hosts.graft_parameter_counts().tolist() for hosts in pair]
        assert counts[0] == counts[1]

    def to_all(act: Callable[[Hosts], None]) -> None:
        for hosts in pair:
            act(hosts)

    compare(range(3))
    stages, alphas = stages_of(E)

    def graft(row: int, slot: int, kind: str) -> None:
        to_all(lambda hosts: hosts.graft(row, slot, KIND[kind], seed=row + 7))
        stages[row, slot] = TRAINING

    def stand(row: int, slot: int, stage: Stage, alpha: float) -> None:
        stages[row, slot], alphas[row, slot] = stage, alpha

    graft(0, 0, "mlp")
    graft(0, 1, "affine")
    graft(1, 0, "low-rank")
    graft(2, 2, "dropper")
    to_all(lambda hosts: hosts.set_stages(stages, alphas))
    compare(range(3, 7))
    stand(0, 0, BLENDING, 0.5)
    stand(1, 0, BLENDING, 0.25)
    stand(2, 2, HOLDING, 1.0)
    graft(1, 2, "bottleneck")
    to_all(lambda hosts: hosts.set_stages(stages, alphas))
    compare(range(7, 11))
    stand(0, 0, COMMITTED, 1.0)
    stand(0, 1, HOLDING, 1.0)
    stand(2, 2, Stage.EMPTY, 0.0)
    to_all(lambda hosts: hosts.prune(2, 2))
    to_all(lambda hosts: hosts.set_stages(stages, alphas))
    compare(range(11, 15))
    to_all(lambda hosts: hosts.reset(0, build(50)))
    stages[0], alphas[0] = 0, 0.0
    graft(2, 2, "affine")
    to_all(lambda hosts: hosts.set_stages(stages, alphas))
    compare(range(15, 19))


def test_losses_are_those_of_cross_entropy_before_the_update():
    """[R34]"""
    hosts, (inputs, labels) = stacked(E), minibatch(E, 0)
    wanted = [F.cross_entropy(build(row)(inputs[row]), labels[row]).item() for row in range(E)]
    assert hosts.train(inputs, labels).tolist() == pytest.approx(wanted, abs=1e-5)


@both
def test_coalitions_equal_networks_with_these_grafts_switched_by_hand(make: Maker):
    """[R7] Bit i of a coalition is slot `slots[i]`; the last one is the live network, per example and paired."""
    hosts = grown(make)
    inputs, labels = examples(30, seed=8)
    outcome = hosts.evaluate([1], inputs, labels, players=Players.LIVE)
    assert outcome.slots == (1, 2)
    for coalition in range(4):
        network = hosts.network(1, build(99))
        for bit, name in enumerate(("hidden1", "hidden2")):
            if not coalition >> bit & 1:
                network.slot(name).alpha = 0.0
        with torch.no_grad():
            logits = network(inputs)
        wanted = F.cross_entropy(logits, labels, reduction="none")
        assert torch.allclose(outcome.log_loss[0, coalition], wanted, atol=1e-5)
        assert torch.equal(outcome.is_correct[0, coalition], (logits.argmax(-1) == labels).float())


@both
def test_candidates_stand_at_full_weight_and_all_off_is_the_live_network(make: Maker):
    """[R34] Two games that are never mixed."""
    hosts = grown(make)
    inputs, labels = examples(30, seed=8)
    outcome = hosts.evaluate([0, 1, 2], inputs, labels, players=Players.CANDIDATES)
    live = hosts.evaluate([0, 1, 2], inputs, labels, players=Players.NOBODY)
    assert outcome.slots == (0,)
    assert torch.allclose(outcome.log_loss[:, 0], live.log_loss[:, 0], atol=1e-5)
    network = hosts.network(2, build(99))
    network.slot("input").stage, network.slot("input").alpha = Stage.HOLDING, 1.0
    with torch.no_grad():
        wanted = F.cross_entropy(network(inputs), labels, reduction="none")
    assert torch.allclose(outcome.log_loss[2, 1], wanted, atol=1e-5)


def test_what_is_known_of_the_live_networks_is_not_computed_again():
    """[R4] All on of the live game, none of the candidates; every other coalition is as it was without."""
    hosts, (inputs, labels) = grown(stacked), examples(40, seed=9)
    stages, alphas = stages_of(E, input=(TRAINING, 0.0), hidden1=(BLENDING, 0.5))
    stages[1, 2], alphas[1, 2] = COMMITTED, 1.0  # two live grafts
    stages[2, 1], alphas[2, 1] = TRAINING, 0.0  # two candidates and no live graft
    hosts.graft(2, 1, KIND["bottleneck"], seed=1)
    hosts.set_stages(stages, alphas)
    told = Score(log_loss=torch.full((E, 40), 77.0), is_correct=torch.full((E, 40), 0.5))
    own = {Players.LIVE: ((), (1,), (1, 2)), Players.CANDIDATES: ((0, 1), (0,), (0,))}
    for players, is_known_at in ((Players.LIVE, -1), (Players.CANDIDATES, 0)):
        plain = hosts.evaluate([2, 0, 1], inputs, labels, players=players)
        known = hosts.evaluate([2, 0, 1], inputs, labels, players=players, live=told)
        for row, mine in enumerate(own[players]):
            bits = sum(1 << plain.slots.index(slot) for slot in mine)
            for coalition in range(1 << len(plain.slots)):
                is_told = bool(mine) and coalition & bits == (bits if is_known_at else 0)
                for one, other, value in (
                    (plain.log_loss, known.log_loss, 77.0),
                    (plain.is_correct, known.is_correct, 0.5),
                ):
                    wanted = torch.full((40,), value) if is_told else one[row, coalition]
                    assert torch.allclose(other[row, coalition], wanted, atol=1e-6), (players, row, coalition)


@both
def test_rows_of_two_games_in_one_pass_are_as_in_two(make: Maker):
    """[R4] A row may be named twice; a slot that only the other game varies makes no difference."""
    hosts, (inputs, labels) = grown(make), examples(40, seed=9)
    stages, alphas = stages_of(E, input=(TRAINING, 0.0), hidden1=(BLENDING, 0.5))
    stages[1, 2], alphas[1, 2] = COMMITTED, 1.0
    hosts.set_stages(stages, alphas)
    both_games = hosts.evaluate([0, 1, 1], inputs, labels, players=[Players.LIVE, Players.LIVE, Players.CANDIDATES])
    assert both_games.slots == (0, 1, 2)
    live = hosts.evaluate([0, 1], inputs, labels, players=Players.LIVE)
    candidates = hosts.evaluate([1], inputs, labels, players=Players.CANDIDATES)
    for coalition in range(8):
        assert torch.allclose(both_games.log_loss[:2, coalition], live.log_loss[:, coalition >> 1], atol=1e-6)
        assert torch.allclose(both_games.log_loss[2, coalition], candidates.log_loss[0, coalition & 1], atol=1e-6)


@both
def test_a_live_graft_stays_where_another_host_has_a_candidate_in_its_slot(make: Maker):
    """[R34] Hosts that are evaluated together do not decide what is on in each other."""
    hosts = grown(make)
    hosts.graft(0, 2, KIND["mlp"], seed=1)
    stages, alphas = stages_of(E, input=(TRAINING, 0.0), hidden1=(BLENDING, 0.5))
    stages[0, 2], stages[1, 2], alphas[1, 2] = TRAINING, COMMITTED, 1.0
    hosts.set_stages(stages, alphas)
    train(hosts, range(8, 10))
    inputs, labels = examples(30, seed=8)
    live = hosts.evaluate([1], inputs, labels, players=Players.NOBODY).log_loss[0, 0]
    alone = hosts.evaluate([1], inputs, labels, players=Players.CANDIDATES).log_loss[0]
    together = hosts.evaluate([0, 1], inputs, labels, players=Players.CANDIDATES)
    assert together.slots == (0, 2)
    assert torch.allclose(together.log_loss[1, 0], live, atol=1e-5)
    assert torch.allclose(together.log_loss[1], alone.repeat(2, 1), atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def gain_of_training(make_hosts: Callable[[], Hosts], kind: str, slot: int) -> torch.Tensor:
    """Return what each of 4 hosts on digits would gain, in nats on unseen examples, after 40 minibatches."""
    hosts, splits = make_hosts(), DIGITS.splits
    for row in range(4):
        hosts.reset(row, DIGITS.build_host(row))
        hosts.graft(row, slot, KIND[kind], seed=row)
    stages = np.zeros((4, 3), dtype=np.int64)
    stages[:, slot] = TRAINING
    hosts.set_stages(stages, np.zeros((4, 3)))
    order = torch.Generator().manual_seed(0)
    for _ in range(40):
        chosen = torch.randint(0, len(splits.train), (4, 64), generator=order)
        hosts.train(splits.train.inputs[chosen], splits.train.labels[chosen])
    unseen = splits.reward
    outcome = hosts.evaluate(range(4), unseen.inputs, unseen.labels, players=Players.CANDIDATES)
    without, at_full_weight = outcome.log_loss.mean(2).T
    return without - at_full_weight


def digits_stack() -> Hosts:
    return DIGITS.make_hosts(4, learning_rate=RATE)


def digits_loop() -> Hosts:
    return DIGITS.looped_hosts(4, learning_rate=RATE)


@pytest.mark.parametrize("make_hosts", [digits_stack, digits_loop])
def test_a_graft_in_training_learns(make_hosts: Callable[[], Hosts]):
    """[R34] In each host its loss at alpha = 1 falls well below that at alpha = 0, though the host never saw it."""
    assert (gain_of_training(make_hosts, "mlp", slot=0) > 0.1).all()


@pytest.mark.parametrize("kind", ["affine", "low-rank", "bottleneck", "mlp"])
def test_each_useful_kind_learns(kind: str):
    """[R34] On average over hosts; a small kind between small layers cannot help every host."""
    assert float(gain_of_training(digits_stack, kind, slot=1).mean()) > 0.02


@both
def test_a_host_follows_the_same_path_bit_for_bit_with_and_without_a_graft_in_training(make: Maker):
    """[R34] The shadow pass reaches the graft's parameters only."""
    alone, host = make(E), make(E)
    host.graft(1, 0, KIND["mlp"], seed=4)
    stages, alphas = stages_of(E)
    stages[1, 0] = TRAINING
    host.set_stages(stages, alphas)
    graft_before = {k: v for k, v in weights_of(host, 1).items() if "graft" in k}
    losses = [train(hosts, range(8)) for hosts in (alone, host)]
    assert all(same_bits(a, b) for a, b in zip(*losses, strict=True))
    for row in range(E):
        plain, grafted = weights_of(alone, row), weights_of(host, row)
        assert all(same_bits(plain[name], grafted[name]) for name in plain)
    graft_after = {k: v for k, v in weights_of(host, 1).items() if "graft" in k}
    assert all(not torch.equal(graft_before[name], graft_after[name]) for name in graft_before)


def test_gradients_of_a_looped_host_are_bit_equal_with_and_without_a_graft_in_training():
    """[R34]"""
    alone, host = looped(1), looped(1)
    host.graft(0, 1, KIND["mlp"], seed=4)
    host.set_stages(*stages_of(1, hidden1=(TRAINING, 0.0)))
    for hosts in (alone, host):
        train(hosts, range(3))
    plain, grafted = (
        [p.grad for layer in hosts.networks[0].layers if isinstance(layer, nn.Linear) for p in layer.parameters()]
        for hosts in (alone, host)
    )
    assert len(plain) == 6
    assert all(same_bits(a, b) for a, b in zip(plain, grafted, strict=True))


@both
def test_grafting_leaves_evaluations_bit_equal_also_of_odd_inputs(make: Maker):
    """[R34] Inf and NaN inputs included; a live graft in another row touches nobody else."""
    hosts = make(2)
    inputs, labels = examples(12)
    inputs[0, 0], inputs[1, 1], inputs[2, 2], inputs[3] = torch.inf, -torch.inf, torch.nan, -0.0
    before = hosts.evaluate([0, 1], inputs, labels, players=Players.NOBODY).log_loss
    for slot in range(3):
        hosts.graft(0, slot, KIND["mlp"], seed=slot)
        hosts.graft(1, slot, KIND["dropper"], seed=slot)
    stages, alphas = stages_of(2, input=(TRAINING, 0.0), hidden1=(TRAINING, 0.0), hidden2=(TRAINING, 0.0))
    hosts.set_stages(stages, alphas)
    assert same_bits(hosts.evaluate([0, 1], inputs, labels, players=Players.NOBODY).log_loss, before)
    stages[1], alphas[1] = HOLDING, 1.0
    hosts.set_stages(stages, alphas)
    after = hosts.evaluate([0, 1], inputs, labels, players=Players.NOBODY).log_loss
    assert same_bits(after[0], before[0])
    assert not same_bits(after[1], before[1])


def test_the_stacked_pass_skips_rows_at_alpha_zero_bit_for_bit():
    """[R34] Skipped, not multiplied by 0."""
    hidden = torch.tensor([-0.0, torch.inf, -torch.inf, torch.nan]).view(1, 1, 4).repeat(2, 1, 1)
    kind = VectorKind(name="all", width=1, has_bias=True, has_scale=True, has_offset=True)
    for chosen in (kind, VECTOR_CATALOGUE[0], VECTOR_CATALOGUE[3]):
        place = StackLayout(GrowingNetwork([Slot("s", 4), nn.Linear(4, 2)]), (chosen,)).places[0]
        rows = graft_rows(
            place,
            kinds=np.zeros(2, dtype=np.int64),
            floor=torch.zeros(2),
            hosts=np.arange(2),
            alphas=np.array([0.0, 1.0]),
        )
        after = with_grafts(hidden, *rows.weights(torch.ones(2, place.columns.stop)), rows)
        assert same_bits(after[0], hidden[0])
        assert not same_bits(after[1], hidden[1])


@both
def test_evaluation_leaves_weights_gradients_modes_and_random_state_bit_equal(make: Maker):
    """[R14]"""
    hosts = grown(make)
    state, rng, legacy = hosts.state_dict(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  the global state is what must not move
    networks = hosts.networks if isinstance(hosts, LoopedHosts) else []
    gradients = [None if p.grad is None else p.grad.clone() for net in networks for p in net.parameters()]
    modes = [module.training for net in networks for module in net.modules()]
    for players in Players:
        hosts.evaluate([0, 2], *examples(20), players=players)
    assert same(hosts.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), rng)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002  as above
    now = [p.grad for net in networks for p in net.parameters()]
    assert all((a is None and b is None) or same_bits(a, b) for a, b in zip(gradients, now, strict=True))
    assert [module.training for net in networks for module in net.modules()] == modes


def test_evaluation_of_hosts_with_buffers_and_noise_leaves_them_as_they_were():
    """[R14] Batch statistics do not move, and dropout neither acts nor draws."""

    def noisy() -> GrowingNetwork:
        return GrowingNetwork([Slot("input", 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)])

    hosts = LoopedHosts([noisy()], VECTOR_CATALOGUE, learning_rate=0.01)
    train(hosts, range(2))
    state, rng = hosts.state_dict(), torch.get_rng_state()
    first, second = (hosts.evaluate([0], *examples(20), players=Players.LIVE).log_loss for _ in range(2))
    assert same_bits(first, second)
    assert same(hosts.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(module.training for module in hosts.networks[0].modules())


@both
def test_a_state_continues_bit_equal(make: Maker):
    """[R29]"""
    hosts = grown(make)
    saved = hosts.state_dict()
    restored = make(E)
    restored.load_state_dict(saved)
    assert same(restored.state_dict(), saved)
    losses = [torch.stack(train(one, range(8, 14))) for one in (hosts, restored)]
    assert same_bits(*losses)
    assert same(hosts.state_dict(), restored.state_dict())
    assert not same(hosts.state_dict(), saved), "the saved state must not share memory with the hosts"


@pytest.mark.parametrize("other", ["kind", "stage", "alpha"])
def test_a_state_continues_bit_equal_in_a_stack_that_was_trained_with_other_grafts(other: str):
    """[R27] Nothing that the stack kept for its own grafts is left, in whichever way they differ."""
    hosts, others = grown(stacked), grown(stacked)
    state = hosts.state_dict()
    if other == "kind":
        others.graft(0, 1, KIND["affine"], seed=5)
    stages, alphas = others.stages.copy(), others.alphas.copy()
    if other == "stage":
        stages[0, 0] = Stage.EMPTY
    if other == "alpha":
        alphas[0, 1] = 1.0
    others.set_stages(stages, alphas)
    train(others, range(8, 10))
    others.load_state_dict(state)
    train(hosts, range(10, 12))
    train(others, range(10, 12))
    assert same(hosts.state_dict(), others.state_dict())


@both
def test_a_row_that_is_rolled_back_has_its_weights_and_optimizer_state_of_before(make: Maker):
    """[R29] The others go on."""
    hosts, never = grown(make), grown(make)
    hosts.remember()
    before = hosts.state_dict()
    train(hosts, range(8, 11))
    moved = hosts.state_dict()
    hosts.roll_back([1])
    train(never, range(8, 11))
    assert same(moved, never.state_dict())
    for row, wanted in ((0, moved), (1, before), (2, moved)):
        reference = make(E)
        reference.load_state_dict(wanted)
        assert same(weights_of(hosts, row), weights_of(reference, row))
    if isinstance(hosts, LoopedHosts):
        assert same(hosts.state_dict()["hosts"][1], before["hosts"][1])
    else:
        for name in ("momentum", "square", "steps"):
            assert torch.equal(hosts.state_dict()[name][1], before[name][1])


@both
def test_rows_with_numbers_that_are_not_finite_are_found_and_harm_no_other_row(make: Maker):
    """[R25]"""
    sound, sick = make(E), make(E)
    inputs, labels = minibatch(E, 0)
    spoilt = inputs.clone()
    spoilt[1] = torch.inf
    for step in range(3):
        sound.train(inputs, labels)
        sick.train(spoilt if step == 0 else inputs, labels)
    assert sound.finite_rows().tolist() == [True, True, True]
    assert sick.finite_rows().tolist() == [True, False, True]
    for row in (0, 2):
        assert same(weights_of(sound, row), weights_of(sick, row))


@both
def test_a_slot_that_is_grafted_again_starts_without_the_momentum_of_the_pruned_graft(make: Maker):
    """[R34] The first step of Adam moves each weight by the learning rate; with old momentum it does not."""
    hosts = make(1)
    learns = stages_of(1, input=(TRAINING, 0.0))
    hosts.graft(0, 0, KIND["affine"], seed=0)
    hosts.set_stages(*learns)
    train(hosts, range(6))
    hosts.prune(0, 0)
    hosts.set_stages(*stages_of(1))
    assert hosts.graft_parameter_counts().tolist() == [[0, 0, 0]]
    train(hosts, range(6, 8))
    hosts.graft(0, 0, KIND["affine"], seed=0)
    hosts.set_stages(*learns)
    train(hosts, range(8, 9))
    moved = weights_of(hosts, 0)["layers.0.graft.scale"].abs()
    assert torch.allclose(moved, torch.full((8,), 0.01), rtol=1e-3)


@both
def test_a_graft_that_neither_trains_nor_lives_waits(make: Maker):
    """[R34] A blend at alpha = 0 has no gradient; old momentum must not move it."""
    hosts = make(1)
    hosts.graft(0, 0, KIND["mlp"], seed=0)
    hosts.set_stages(*stages_of(1, input=(TRAINING, 0.0)))
    train(hosts, range(4))
    before = {name: value.clone() for name, value in weights_of(hosts, 0).items()}
    hosts.set_stages(*stages_of(1, input=(BLENDING, 0.0)))
    train(hosts, range(4, 6))
    after = weights_of(hosts, 0)
    assert all(torch.equal(before[name], after[name]) == ("graft" in name) for name in before)


@both
def test_parameters_of_grafts_are_counted_by_slot(make: Maker):
    """[R37] Against the numbers of the catalogue, which have a test by hand."""
    hosts = make(2)
    hosts.graft(0, 0, KIND["mlp"], seed=0)
    hosts.graft(0, 2, KIND["affine"], seed=0)
    hosts.graft(1, 1, KIND["dropper"], seed=0)
    assert hosts.graft_parameter_counts().tolist() == [[8 * 16 + 16 + 16 * 8 + 8, 0, 12], [0, 0, 0]]


@both
def test_reset_forgets_everything_about_a_row(make: Maker):
    """[R29] As if it had been the first."""
    used, fresh = grown(make), make(E)
    for row in range(E):
        used.reset(row, build(row))
    used.set_stages(*stages_of(E))
    losses = [torch.stack(train(hosts, range(5))) for hosts in (used, fresh)]
    assert same_bits(*losses)


def test_a_state_of_another_number_of_hosts_is_refused():
    """[R31]"""
    with pytest.raises(
        InvalidArgument, match=r"`state` of the hosts has weights of shape \(2, \d+\), wanted \(3, \d+\)"
    ):
        stacked(3).load_state_dict(stacked(2).state_dict())
    with pytest.raises(InvalidArgument, match=r"`state` of the hosts has weights of shape NoneType, wanted .*; load"):
        stacked(3).load_state_dict({})
    with pytest.raises(
        InvalidArgument, match=r"`state` of the hosts has kinds of shape \(2, 3\), wanted \(3, 3\); load"
    ):
        looped(3).load_state_dict(looped(2).state_dict())
    with pytest.raises(InvalidArgument, match="`state` of the hosts has kinds of shape NoneType, wanted"):
        looped(3).load_state_dict({})


def test_a_stack_takes_only_hosts_of_its_own_architecture():
    """[R31]"""
    wanted = r"`network` has layers Slot\(8\), Linear\[\(3, 8\), \(3,\)\], wanted Slot\(8\), .*; hosts that are stacked"
    with pytest.raises(InvalidArgument, match=wanted):
        stacked(1).reset(0, GrowingNetwork([Slot("input", 8), nn.Linear(8, 3)]))


def test_a_graft_that_waits_keeps_its_moments_while_those_of_other_hosts_move():
    """[R34] Both hosts train a graft at the input; then that of the second stands at alpha = 0 and does not learn."""
    hosts = stacked(2)
    for row in range(2):
        hosts.reset(row, build(row))
        hosts.graft(row, 0, 1, seed=row)
    stages, alphas = stages_of(2, input=(TRAINING, 0.0))
    hosts.set_stages(stages, alphas)
    train(hosts, range(3))
    stages[1, 0] = BLENDING
    hosts.set_stages(stages, alphas)
    columns, state = hosts.layout.places[0].columns, (hosts.weights, hosts.momentum, hosts.square)
    before = [tensor[:, columns].clone() for tensor in state]
    train(hosts, range(3, 5))
    for tensor, old in zip((hosts.weights, hosts.momentum, hosts.square), before, strict=True):
        assert torch.equal(tensor[1, columns], old[1])
        assert not torch.equal(tensor[0, columns], old[0])
    assert hosts.steps[:, 1].tolist() == [5.0, 3.0]


def test_the_flat_form_has_each_weight_once():
    """[R37] Columns of host and slots, counted by hand: 54 + 42 + 21 and 2 D R + R + 2 D with R = 16."""
    layout = StackLayout(build(0), VECTOR_CATALOGUE)
    ends = [(place.columns.start, place.columns.stop) for place in layout.places]
    assert ends == [(117, 405), (405, 625), (625, 845)]
    flat = torch.arange(float(layout.num_columns)).unsqueeze(0)
    slots = [layout.unpack_slot(flat, slot) for slot in range(3)]
    parts = layout.host_tensors(flat) + [t for s in slots for t in (s.inner, s.bias, s.outer, s.scale, s.offset)]
    assert torch.equal(torch.cat([part.flatten() for part in parts]), flat[0])


def test_a_stack_without_inner_layers_in_its_catalogue_works():
    """[R37] Room of at least one column, so that shapes stay valid."""
    hosts = StackedHosts(build(0), (VECTOR_CATALOGUE[0],), num_hosts=1, learning_rate=0.01)
    hosts.reset(0, build(0))
    hosts.graft(0, 0, 0, seed=0)
    hosts.set_stages(*stages_of(1, input=(TRAINING, 0.0)))
    assert bool(torch.isfinite(torch.stack(train(hosts, range(3)))).all())


def test_evaluation_gives_every_layer_its_own_mode_back():
    """[R14] A layer that its owner froze in eval mode stays frozen."""
    network = GrowingNetwork([Slot("input", 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)])
    network.train()
    network.layers[1].eval()
    hosts = LoopedHosts([network], VECTOR_CATALOGUE, learning_rate=0.01)
    modes = [module.training for module in network.modules()]
    hosts.evaluate([0], *examples(20), players=Players.LIVE)
    assert [module.training for module in network.modules()] == modes
