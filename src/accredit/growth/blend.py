"""Blend weights: how much of a graft reaches the output, and how that grows with time."""

from __future__ import annotations

import enum
import math

from torch import Tensor

from accredit.errors import InvalidArgument


class BlendSchedule(enum.StrEnum):
    """How alpha rises from 0 to 1 over the steps of a blend."""

    LINEAR = "linear"
    COSINE = "cosine"
    STEP = "step"


def blend_weight(schedule: BlendSchedule, age: int, steps: int) -> float:
    """Return alpha after `age` of `steps` steps of a blend.

    With p = min(1, age / steps): linear alpha = p; cosine alpha = (1 - cos(pi p)) / 2; step alpha = 1 once p = 1,
    before that 0.  Every schedule starts at 0, never falls and ends at exactly 1.

    Args:
        schedule: the shape.
        age: steps since the blend began, >= 0.
        steps: length of the blend, >= 1.

    Raises:
        InvalidArgument: `steps` below 1 or `age` below 0.

    Example:
        >>> [blend_weight(BlendSchedule.LINEAR, age, 2) for age in range(4)]
        [0.0, 0.5, 1.0, 1.0]
    """
    if steps < 1 or age < 0:
        raise InvalidArgument(
            f"`blend_weight` got age {age} of {steps} steps, wanted age >= 0 and steps >= 1; "
            "set the length of the blend to at least one step."
        )
    if age >= steps:
        return 1.0
    progress = age / steps
    match schedule:
        case BlendSchedule.LINEAR:
            return progress
        case BlendSchedule.COSINE:
            return (1.0 - math.cos(math.pi * progress)) / 2.0
        case BlendSchedule.STEP:
            return 0.0


def blended(hidden: Tensor, change: Tensor, alpha: float) -> Tensor:
    """Return h + alpha f(h), for alpha > 0.

    At alpha = 0 the caller skips the graft instead: multiplying by 0 turns -0.0 into 0.0 and Inf into NaN.
    """
    return hidden + change if alpha == 1.0 else hidden + alpha * change
