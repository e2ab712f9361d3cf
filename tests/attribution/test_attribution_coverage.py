"""Intervals hold what they promise; sized so that right code fails less than once in 10^6 runs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, Output
from accredit.attribution.games import player_names, random_unanimity

LOSS = Output("loss", "nat", False)
GOLDEN = Path(__file__).parent.parent / "golden" / "attribution_digits8.npz"


def drawn_validation_set(game, n_players, n_examples, seed):
    """The game as one validation set shows it: every example adds normal noise to players and to a pair."""
    generator = np.random.default_rng(seed)
    effect = torch.from_numpy(generator.normal(size=(n_players, n_examples)))
    together = torch.from_numpy(generator.normal(size=n_examples))

    def value(masks):
        both = (masks[:, 0] & masks[:, 1]).double()[:, None]
        return {"loss": game(masks)["value"][:, None] + masks.double() @ effect + both * together}

    return value


@pytest.mark.long
@pytest.mark.parametrize(("strategy", "budget", "n_players"), [("full_factorial", 16, 4), ("shapley", 96, 8)])
def test_intervals_cover_against_redrawn_validation_sets(strategy, budget, n_players):
    """[R7] [R8] 150 validation sets of 60 examples; at 95 % a share below 90 % is more than five standard errors
    off."""
    game, hits = random_unanimity(n_players, n_groups=3 * n_players, seed=1), []
    for seed in range(150):
        config = CounterfactualConfig(strategy=strategy, max_evaluations=budget, outputs=(LOSS,), seed=seed)
        value = drawn_validation_set(game, n_players, 60, seed)
        result = CounterfactualEngine(config).compute_matrix(player_names(n_players), value).shapley("loss")
        hits.append(np.abs(result.value - game.shapley) <= result.half_widths())
    assert np.mean(hits) > 0.9


@pytest.mark.long
@pytest.mark.parametrize("target", [0.1, 0.07])
def test_intervals_cover_where_sampling_stopped_by_looking(target):
    """[R8] [R9] A trained network of eight parts; stopped as soon as all half-widths reach the target."""
    with np.load(GOLDEN, allow_pickle=False) as golden:
        table, truth = torch.from_numpy(golden["loss"]).double(), golden["sv_loss"]
    hits, stopped = [], 0
    for seed in range(60):
        config = CounterfactualConfig(
            strategy="shapley", max_evaluations=128, outputs=(LOSS,), seed=seed, target_half_width=target
        )
        matrix = CounterfactualEngine(config).compute_matrix(
            player_names(8), lambda masks: {"loss": table[masks.long() @ (2 ** torch.arange(8))]}
        )
        result = matrix.shapley("loss")
        stopped += matrix.provenance.stop_reason == "target_half_width"
        hits.append(np.abs(result.value - truth) <= result.half_widths())
    assert stopped > 0
    assert np.mean(hits) > 0.9
