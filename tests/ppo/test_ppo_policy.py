"""The policy: one masked categorical, the same numbers where it acts and where it learns.

N decisions, F fields, A actions.
"""

import math

import pytest
import torch
from tensordict import TensorDict

from accredit.ppo.policy import ActorCritic, sample

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
