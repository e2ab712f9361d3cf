from dataclasses import dataclass

import numpy as np
import pytest

from accredit.attribution import CounterfactualConfig, CounterfactualEngine, CounterfactualMatrix
from accredit.attribution.estimators.permutations import AntitheticPermutations, PermutationDesign
from accredit.attribution.games import player_names, random_unanimity
from accredit.attribution.protocols import FittedValues
from accredit.errors import MissingValue

GAME = random_unanimity(7, n_groups=12, seed=1)
CONFIG = CounterfactualConfig(strategy="shapley", max_evaluations=100, seed=5)
SAID = r"`estimator` is AntitheticPermutations\(seed=5\) as the file names it .*, wanted the estimator itself"


@dataclass(frozen=True)
class AllEqual:
    """An estimator of interactions that nobody else has."""

    def __call__(self, masks, values):
        n_pairs = masks.shape[1] * (masks.shape[1] - 1) // 2
        return FittedValues(
            value=np.full((n_pairs, values.shape[1]), 0.25),
            stderr=None,
            degrees_of_freedom=np.inf,
            estimator="all_equal",
            n_evaluations=len(masks),
        )


def engine():
    return CounterfactualEngine(
        CONFIG,
        design=PermutationDesign(),
        estimator=AntitheticPermutations(seed=5),
        interaction_estimator=AllEqual(),
    )


def test_a_file_with_estimators_of_your_own_never_answers_with_others(tmp_path):
    """[R5] [R30] Neither one that was saved nor one that grew."""
    matrix = engine().compute_matrix(player_names(7), GAME, path=tmp_path / "grown")
    matrix.save(tmp_path / "saved")
    for name in ("grown", "saved"):
        loaded = CounterfactualMatrix.load(tmp_path / name)
        with pytest.raises(MissingValue, match=SAID):
            loaded.shapley("value")
        with pytest.raises(MissingValue, match=r"`estimator` is AllEqual\(\) as the file names it"):
            loaded.interactions("value")
        assert "AntitheticPermutations(seed=5)" in str(loaded)
        assert loaded.values("value").tolist() == matrix.values("value").tolist()


def test_estimators_are_passed_to_a_file_that_names_them(tmp_path):
    """[R3]"""
    matrix = engine().compute_matrix(player_names(7), GAME, path=tmp_path / "grown")
    loaded = CounterfactualMatrix.load(
        tmp_path / "grown", estimator=AntitheticPermutations(seed=5), interaction_estimator=AllEqual()
    )
    assert loaded.shapley("value").value.tobytes() == matrix.shapley("value").value.tobytes()
    assert loaded.shapley("value").estimator == "antithetic_permutations"
    assert loaded.interactions("value")["p0", "p1"].value == 0.25


def test_the_name_survives_another_save(tmp_path):
    """[R30] A matrix that was loaded without its estimator does not get the default by being saved."""
    engine().compute_matrix(player_names(7), GAME).save(tmp_path / "first")
    CounterfactualMatrix.load(tmp_path / "first").save(tmp_path / "second")
    with pytest.raises(MissingValue, match=SAID):
        CounterfactualMatrix.load(tmp_path / "second").shapley("value")


def test_a_complete_table_needs_no_estimator(tmp_path):
    """[R4]"""
    config = CounterfactualConfig(max_evaluations=128)
    whole = CounterfactualEngine(config, estimator=AntitheticPermutations(seed=5))
    whole.compute_matrix(player_names(7), GAME).save(tmp_path / "whole")
    loaded = CounterfactualMatrix.load(tmp_path / "whole")
    np.testing.assert_allclose(loaded.shapley("value").value, GAME.shapley, atol=1e-12)


def test_continuing_a_file_uses_the_estimators_of_the_engine(tmp_path):
    """[R9] The last call says how the matrix is to be read, also in the file."""
    engine().compute_matrix(player_names(7), GAME, path=tmp_path / "file")
    default = CounterfactualEngine(CONFIG, design=PermutationDesign())
    matrix = default.compute_matrix(player_names(7), GAME, path=tmp_path / "file")
    loaded = CounterfactualMatrix.load(tmp_path / "file")
    assert loaded.shapley("value").estimator == matrix.shapley("value").estimator == "pair_process"
