import math

import pytest
from scipy import stats

from accredit.attribution import Output, paired_control
from accredit.errors import EvaluationError, InvalidArgument

LOSS = Output("loss", "nat", False)
WITH, WITHOUT = [1.0, 2.0, 4.0, 3.0], [1.5, 2.0, 5.5, 4.0]


def test_a_control_run_pairs_the_seeds():
    """[R15] Differences -.5, 0, -1.5, -1: a paired t interval; a helpful part lowers the loss."""
    effect = paired_control(lambda seed, on: (WITH if on else WITHOUT)[seed], part="graft", seeds=range(4), output=LOSS)
    expected = stats.ttest_rel(WITH, WITHOUT)
    assert effect.value == pytest.approx(-0.75)
    assert effect.contribution == pytest.approx(0.75)
    assert effect.stderr == pytest.approx(math.sqrt((0.0625 + 0.5625 + 0.5625 + 0.0625) / 3 / 4))
    assert effect.p_value == pytest.approx(expected.pvalue)
    assert effect.interval(0.9) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert effect.n_evaluations == 8


@pytest.mark.parametrize("seeds", [[], [1], [1, 1]])
def test_a_single_pair_has_no_known_uncertainty(seeds):
    """[R6] [R15]"""
    with pytest.raises(
        InvalidArgument, match=r"`seeds` are .*, wanted at least 2 and none twice; a single pair has no"
    ):
        paired_control(lambda seed, on: 0.0, part="graft", seeds=seeds, output=LOSS)


def test_a_diverged_run_is_not_averaged():
    """[R11]"""
    with pytest.raises(
        EvaluationError, match=r"`train` returned nan with graft and 0.0 without it from seed 3, wanted fi"
    ):
        paired_control(lambda seed, on: math.nan if on else 0.0, part="graft", seeds=[3, 4], output=LOSS)
