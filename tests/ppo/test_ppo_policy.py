"""The policy: one masked categorical, the same numbers where it acts and where it learns.

N decisions, F fields, A actions.
"""

import math

import pytest
import torch
from tensordict import TensorDict

from accredit.ppo.config import Memory
from accredit.ppo.policy import ActorCritic, entropy, sample

N, F, A = 40, 5, 6


def policy(seed: int = 0, *, scale: float = 1.0) -> ActorCritic:
    made = ActorCritic(F, A, hidden=16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made.logits[-1].weight.mul_(scale)
    return made


def situation(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(N, A, generator=generator) < 0.5
    masks[:, 0] = True
    return torch.randn(N, F, generator=generator), masks


def test_log_probabilities_are_a_distribution_over_what_is_legal():
    """[R35]"""
    observations, masks = situation()
    log_probabilities = policy(scale=100.0).log_probabilities(observations, masks)
    assert torch.equal(log_probabilities == -torch.inf, ~masks)
    assert torch.allclose(log_probabilities.exp().sum(1), torch.ones(N), atol=1e-6)


def test_the_loss_sees_the_log_probabilities_that_were_stored():
    """[R35] So that the first ratio is 1: TorchRL's masked categorical on the same observations and masks."""
    observations, masks = situation()
    acting = policy(scale=100.0)
    stored = acting.log_probabilities(observations, masks)
    drawn = sample(stored, torch.Generator().manual_seed(2))
    batch = TensorDict({"context": observations, "mask": masks}, batch_size=[N])
    again = acting.actor.get_dist(batch).log_prob(drawn)
    assert torch.allclose(stored.gather(1, drawn.unsqueeze(1)).squeeze(1), again, atol=1e-6)
    assert torch.allclose(acting.critic(batch)["state_value"].squeeze(-1), acting.values(observations), atol=1e-6)


def test_a_first_policy_is_close_to_uniform_and_its_weights_are_orthogonal():
    """[R35] Gains sqrt 2, 0.01 before the logits, 1 before the value; biases 0."""
    made = policy()
    observations, masks = situation()
    uniform = masks / masks.sum(1, keepdim=True)
    assert float((made.log_probabilities(observations, masks).exp() - uniform).abs().max()) < 0.02
    for layer, gain in ((made.logits[2], math.sqrt(2.0)), (made.value[2], math.sqrt(2.0)), (made.logits[4], 0.01)):
        product = layer.weight @ layer.weight.T
        assert torch.allclose(product, gain**2 * torch.eye(len(product)), atol=1e-5)
    assert made.value[4].weight.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert all(p.abs().sum().item() == 0 for name, p in made.named_parameters() if name.endswith("bias"))


def test_weights_depend_on_the_generator_alone():
    """[R10]"""
    first, second, other = policy(3), policy(3), policy(4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.logits[0].weight, other.logits[0].weight)


def test_sampling_has_the_right_frequencies_and_never_draws_what_is_illegal():
    """[R35] 20,000 draws a row, within 6 standard deviations: fails by chance less than once in 10^7."""
    wanted = torch.tensor([[0.5, 0.3, 0.0, 0.2], [0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    draws = 20_000
    generator = torch.Generator().manual_seed(0)
    drawn = sample(wanted.log().repeat(draws, 1), generator).view(draws, 3)
    for row in range(3):
        share = torch.bincount(drawn[:, row], minlength=4) / draws
        assert torch.equal(share[wanted[row] == 0], torch.zeros(int((wanted[row] == 0).sum())))
        assert ((share - wanted[row]).abs() <= 6 * (wanted[row] * (1 - wanted[row]) / draws).sqrt()).all()


def test_sampling_repeats_with_its_generator_and_leaves_the_global_one_alone():
    """[R10]"""
    log_probabilities = torch.full((50, 4), math.log(0.25))
    before = torch.get_rng_state()
    first, second, third = (sample(log_probabilities, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)


def test_acting_tracks_no_gradient():
    """[R20]"""
    observations, masks = situation()
    assert not policy().log_probabilities(observations, masks).requires_grad
    assert not policy().values(observations).requires_grad


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def recurrent(seed: int = 0) -> ActorCritic:
    return ActorCritic(F, A, hidden=16, memory=Memory.GRU, generator=torch.Generator().manual_seed(seed))


def test_a_memory_follows_the_equations_of_a_gated_unit():
    """[R35] Cho et al. 2014 with PyTorch's reset gate, written out with the weights of the policy."""
    made = recurrent()
    seen, memory = numbers(3, F), numbers(3, 16)
    assert made.memory is not None
    with torch.no_grad():
        made.memory.bias_hh.copy_(numbers(48))
        of_seen, of_memory = (
            (x @ w.T + b).chunk(3, dim=1)
            for x, w, b in (
                (seen, made.memory.weight_ih, made.memory.bias_ih),
                (memory, made.memory.weight_hh, made.memory.bias_hh),
            )
        )
        reset, update = torch.sigmoid(of_seen[0] + of_memory[0]), torch.sigmoid(of_seen[1] + of_memory[1])
        wanted = (1 - update) * torch.tanh(of_seen[2] + reset * of_memory[2]) + update * memory
    context, after = made.look(seen, memory)
    assert torch.allclose(after, wanted, atol=1e-6)
    assert torch.equal(context, torch.cat([seen, after], dim=1))


def test_sequences_are_unrolled_as_they_were_acted_and_nothing_is_remembered_over_a_begin():
    """[R35] So that the first ratio is 1 with a memory too."""
    made, steps = recurrent(), 5
    seen, memory = numbers(steps, 3, F), numbers(3, 16)
    begins = torch.tensor([[False, True, False]] + [[False, False, step == 2] for step in range(1, steps)])
    contexts, acting = [], memory
    for step in range(steps):
        context, acting = made.look(seen[step], torch.where(begins[step].unsqueeze(1), 0.0, acting))
        contexts.append(context)
    unrolled = made.unroll(seen, begins, memory)
    assert torch.allclose(unrolled, torch.stack(contexts), atol=1e-6)
    assert unrolled.requires_grad
    alone = made.unroll(seen[2:, 2:], torch.zeros(steps - 2, 1, dtype=torch.bool), made.empty_memory(1))
    assert torch.allclose(unrolled[2:, 2:], alone, atol=1e-6), "what was before a begin left a trace"
    assert not torch.allclose(made.unroll(seen, begins, 2 * memory)[-1, 0], unrolled[-1, 0])


def test_without_a_memory_a_context_is_the_observation():
    """[R35]"""
    made, seen = policy(), numbers(2, 3, F)
    context, memory = made.look(seen[0], made.empty_memory(3))
    assert torch.equal(context, seen[0])
    assert memory.shape == (3, 0)
    assert torch.equal(made.unroll(seen, torch.ones(2, 3, dtype=torch.bool), memory), seen)


def test_the_gates_of_a_new_memory_are_orthogonal_and_depend_on_the_generator_alone():
    """[R10]"""
    first, second = recurrent(3), recurrent(3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.memory is not None
    for gate in first.memory.weight_hh.chunk(3):
        assert torch.allclose(gate @ gate.T, torch.eye(16), atol=1e-5)
    assert not first.memory.bias_ih.any()
    assert not first.memory.bias_hh.any()


def test_values_of_a_normalized_critic_come_back_in_the_unit_of_the_rewards():
    """[R23] Statistics of mean 200 and standard deviation 100: what the head says at unit scale is denormalized."""
    generator = torch.Generator().manual_seed(0)
    made = ActorCritic(F, A, hidden=16, normalize_values=True, generator=generator)
    seen = numbers(3, F)
    with torch.no_grad():
        at_unit_scale = made.value(seen).squeeze(-1)
    assert made.value_normalizer is not None
    made.value_normalizer.statistics.update(torch.tensor([[100.0], [300.0]]))
    assert torch.allclose(made.values(seen), 100 * at_unit_scale + 200, atol=1e-4)
    assert any(name.startswith("value_normalizer.") for name in made.state_dict())


def test_entropy_is_that_of_the_distribution_in_nats():
    """[R35] A uniform one over k actions has log k; what is not legal adds nothing."""
    rows = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    assert entropy(rows).tolist() == pytest.approx([math.log(4), math.log(2), 0.0], abs=1e-6)
