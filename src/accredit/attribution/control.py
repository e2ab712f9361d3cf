"""What a part is worth to training, beside what its removal costs: a paired control run.

Leave-one-out and Shapley values ask what happens when a part of a trained network is switched off. The rest has
adapted to the part, so that the answer is a cost of removal, not the effect of having trained with it. That effect
needs runs without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from accredit.attribution.estimate import MarginalEstimate
from accredit.attribution.output import Output
from accredit.errors import EvaluationError, InvalidArgument
from accredit.moments import sample_variance


def paired_control(
    train: Callable[[int, bool], float], *, part: str, seeds: Sequence[int], output: Output
) -> MarginalEstimate:
    """Train with and without a part from each seed, and estimate what having it changes.

    d_r = train(seed_r, True) - train(seed_r, False); estimate = mean of d_r

    Pairing by the seed takes out what both runs share (initial weights of the rest, order of the data, the evaluation
    set). Bias: none for the effect averaged over seeds, as far as `train` changes nothing but the part. Standard
    error: sample deviation of d_r over the root of the number of seeds; Student t, which assumes that d_r is close to
    normal. Cost: two trainings per seed. It is the calibration of a contribution: their ratio says how much of a
    removal cost is adaptation.

    Args:
        train: seed, whether the part takes part -> value of the output after training.
        part: name of the part.
        seeds: at least 2, none twice.
        output: what `train` returns.

    Returns:
        The estimate; its `stderr_data` is that over seeds, `n_evaluations` counts trainings.

    Raises:
        InvalidArgument: fewer than two seeds, or one twice.
        EvaluationError: `train` returned a value that is not finite.

    Example:
        >>> effect = paired_control(lambda seed, on: 0.1 * seed - (0.5 if on else 0.0), part="adapter",
        ...                         seeds=range(5), output=Output("loss", "nat", False))
        >>> round(effect.value, 3), round(effect.contribution, 3)
        (-0.5, 0.5)
    """
    if len(seeds) < 2 or len(set(seeds)) != len(seeds):
        raise InvalidArgument(
            f"`seeds` are {list(seeds)}, wanted at least 2 and none twice; a single pair has no known uncertainty."
        )
    differences = np.array([_difference(train, seed, part=part) for seed in seeds])
    value = float(differences.mean())
    variance = sample_variance(float(differences.var()), float(len(seeds)))
    return MarginalEstimate(
        name=f"training with {part} minus without",
        value=value,
        contribution=value * output.direction,
        stderr_sampling=0.0,
        stderr_data=math.sqrt(variance / len(seeds)),
        data_degrees_of_freedom=float(len(seeds) - 1),
        n_evaluations=2 * len(seeds),
    )


def _difference(train: Callable[[int, bool], float], seed: int, *, part: str) -> float:
    """With minus without, from one seed."""
    with_part, without = float(train(seed, True)), float(train(seed, False))
    if not (math.isfinite(with_part) and math.isfinite(without)):
        raise EvaluationError(
            f"`train` returned {with_part} with {part} and {without} without it from seed {seed}, wanted finite "
            "numbers; leave the seed out only if you say so where you report."
        )
    return with_part - without
