import gc

import numpy as np
import pytest
import torch

from accredit.attribution import CounterfactualConfig, CounterfactualHelper, CounterfactualMatrix, Output
from accredit.attribution.games import player_names, random_unanimity
from accredit.errors import BudgetError, EvaluationError, InvalidArgument, MissingValue
from accredit.telemetry.event import CoalitionsEvaluated, ContributionsEstimated, Origin

CONFIG = CounterfactualConfig(outputs=(Output("value", "1", False),))
GAME = random_unanimity(4, n_groups=7, seed=3)
NAMES = player_names(4)


def test_contributions_from_results_equal_those_evaluated_here():
    """[R13] In whatever order the results come."""
    helper = CounterfactualHelper(CONFIG)
    here = helper.compute_contributions(NAMES, GAME, environment="a")
    masks = helper.required_coalitions(NAMES).flip(0)
    elsewhere = helper.contributions_from_results(NAMES, masks, GAME(masks), environment="b")
    np.testing.assert_allclose(elsewhere.shapley("value").value, GAME.shapley, rtol=0, atol=1e-12)
    np.testing.assert_allclose(here.shapley("value").contributions, -GAME.shapley, rtol=0, atol=1e-12)


def test_the_order_of_sampled_results_changes_no_bit():
    """[R10] [R13]"""
    names, game = player_names(8), random_unanimity(8, n_groups=9, seed=5)
    helper = CounterfactualHelper(CounterfactualConfig(strategy="shapley", max_evaluations=60))
    masks = helper.required_coalitions(names)
    answers = set()
    for order in (
        torch.arange(60),
        torch.arange(60).flip(0),
        torch.randperm(60, generator=torch.Generator().manual_seed(1)),
    ):
        matrix = helper.contributions_from_results(names, masks[order], game(masks[order]))
        result = matrix.shapley("value")
        pairs = matrix.interactions("value")
        answers.add((result.value.tobytes(), result.stderr.tobytes(), pairs.value.tobytes()))
    assert len(answers) == 1


def test_required_coalitions_follow_the_strategy():
    """[R13] [R1]"""
    assert len(CounterfactualHelper(CONFIG).required_coalitions(NAMES)) == 16
    ablation = CounterfactualHelper(CounterfactualConfig(strategy="ablation_only"))
    masks = ablation.required_coalitions(NAMES)
    assert masks.dtype == torch.bool
    assert masks.sum(dim=1).tolist() == [0, 4, 3, 3, 3, 3]
    with pytest.raises(BudgetError, match=r"`max_evaluations` is 3, wanted at least 10 for the strategy 'shapley'"):
        CounterfactualHelper(CounterfactualConfig(max_evaluations=3)).required_coalitions(NAMES)


def test_two_environments_give_two_ids_and_events_equal_the_matrix():
    """[R13] [R32]"""
    events = []
    helper = CounterfactualHelper(CONFIG, events.append)
    for environment, step in (("left", 3), ("right", 5)):
        matrix = helper.compute_contributions(NAMES, GAME, environment=environment, episode=1, step=step)
        rows, estimate = events[-2:]
        assert isinstance(rows, CoalitionsEvaluated)
        assert isinstance(estimate, ContributionsEstimated)
        assert rows.origin == estimate.origin == Origin(environment=environment, episode=1, step=step)
        assert list(rows.values["value"]) == matrix.values("value").tolist()
        assert estimate.values == tuple(matrix.shapley("value").value.tolist())
    assert len(events) == 4


def test_shapley_values_are_optional():
    """[R13]"""
    events = []
    helper = CounterfactualHelper(CONFIG, events.append)
    helper.compute_contributions(NAMES, GAME, shapley=False)
    assert [type(event) for event in events] == [CoalitionsEvaluated]
    masks = helper.required_coalitions(NAMES)
    helper.contributions_from_results(NAMES, masks, GAME(masks), shapley=False)
    assert [type(event) for event in events] == [CoalitionsEvaluated, CoalitionsEvaluated]


def test_the_cache_holds_a_bounded_number_of_matrices():
    """[R13] Live objects after 1000 calls of 1000 environments: as many as the bound says."""
    helper = CounterfactualHelper(CONFIG, kept_matrices=3)
    gc.collect()
    before = sum(type(thing) is CounterfactualMatrix for thing in gc.get_objects())
    for at in range(1000):
        helper.compute_contributions(
            ["a", "b"], lambda masks: {"value": masks.all(dim=1).double()}, environment=f"e{at}"
        )
    gc.collect()
    assert sum(type(thing) is CounterfactualMatrix for thing in gc.get_objects()) - before == 3
    assert helper.matrix_of("e996") is None
    assert helper.matrix_of("e997") is not None
    assert helper.last_matrix is helper.matrix_of("e999")


def test_interactions_are_those_of_the_last_matrix():
    """[R13]"""
    helper = CounterfactualHelper(CONFIG)
    helper.compute_contributions(NAMES, random_unanimity(4, n_groups=5, seed=9), environment="x")
    helper.compute_contributions(NAMES, GAME, environment="y")
    assert helper.interaction_terms("value")["p0", "p2"].value == pytest.approx(GAME.interaction(0, 2), abs=1e-12)


def test_without_a_matrix_it_says_there_is_none():
    """[R13]"""
    helper = CounterfactualHelper(CONFIG)
    assert helper.last_matrix is None
    message = r"`interaction_terms` got no matrix, wanted one call of `compute_contributions`"
    with pytest.raises(MissingValue, match=message):
        helper.interaction_terms("value")
    helper.compute_contributions(NAMES, GAME, environment="x")
    helper.compute_contributions(NAMES, GAME, environment="y")
    helper.reset("y")
    assert helper.last_matrix is helper.matrix_of("x")
    helper.reset()
    with pytest.raises(MissingValue, match=message):
        helper.interaction_terms("value")


def test_a_failure_is_an_event_and_leaves_the_last_matrix():
    """[R11] [R13]"""
    events = []
    helper = CounterfactualHelper(CONFIG, events.append)
    good = helper.compute_contributions(NAMES, GAME)

    def failing(masks):
        values = GAME(masks)["value"]
        values[3] = float("inf")
        return {"value": values}

    with pytest.raises(EvaluationError) as caught:
        helper.compute_contributions(NAMES, failing)
    assert len(caught.value.matrix.masks) == 15
    assert list(events[-1].failures) == [events[-1].coalitions[-1]]
    assert events[-1].values["value"][-1] is None
    assert helper.last_matrix is good


def test_results_that_are_not_finite_are_refused_with_the_good_rows():
    """[R11]"""
    helper = CounterfactualHelper(CONFIG)
    masks = helper.required_coalitions(NAMES)
    values = GAME(masks)["value"]
    values[1] = float("nan")
    with pytest.raises(
        EvaluationError, match=r"`values` has 1 failed coalition\(s\), the first \{p0, p1, p2, p3\}"
    ) as caught:
        helper.contributions_from_results(NAMES, masks, {"value": values})
    assert len(caught.value.matrix.masks) == 15


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.bool), r"`masks` has 2 rows of which 1 differ, wanted at least one and each"),
        (torch.zeros(0, 4, dtype=torch.bool), r"`masks` has 0 rows of which 0 differ, wanted at least one"),
        (torch.zeros(2, 5, dtype=torch.bool), r"`mask` has 5 columns, but the model has 4 players"),
        (torch.zeros(2, 4), r"`mask` has dtype float32, wanted bool"),
    ],
)
def test_masks_of_results_are_checked(masks, message):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=message):
        CounterfactualHelper(CONFIG).contributions_from_results(NAMES, masks, {"value": torch.zeros(len(masks))})


def test_the_bound_of_the_cache_must_be_positive():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`kept_matrices` is 0, wanted at least 1"):
        CounterfactualHelper(CONFIG, kept_matrices=0)
