"""What a file can say of an estimator that a user put in place of the default: its name, never its code."""

from __future__ import annotations

from dataclasses import dataclass

from accredit.attribution.estimators.pair_interactions import PairInteractions
from accredit.attribution.estimators.pair_process import PairProcess
from accredit.attribution.protocols import Estimator, FittedValues, FloatArray, InteractionEstimator, MaskArray
from accredit.errors import MissingValue

_LONGEST_TEXT = 300


@dataclass(frozen=True)
class SavedEstimator:
    """Stands for an estimator that a file names, so that no other one answers in its place."""

    text: str
    """As it printed itself."""

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Refuse to estimate.

        Raises:
            MissingValue: always.
        """
        raise MissingValue(
            f"`estimator` is {self.text} as the file names it for {len(masks)} coalitions and {values.shape[1]} "
            "columns of values, wanted the estimator itself, which no file holds; pass it to "
            "`CounterfactualMatrix.load`."
        )


def estimator_texts(estimator: Estimator, interaction_estimator: InteractionEstimator) -> tuple[str | None, str | None]:
    """What a file keeps of both; None for a default, which every reader has.

    Example:
        >>> estimator_texts(PairProcess(), SavedEstimator("Mine()"))
        (None, 'Mine()')
    """
    return _text(estimator, PairProcess()), _text(interaction_estimator, PairInteractions())


def _text(estimator: Estimator | InteractionEstimator, default: Estimator | InteractionEstimator) -> str | None:
    """One of them."""
    if estimator == default:
        return None
    return estimator.text if isinstance(estimator, SavedEstimator) else repr(estimator)[:_LONGEST_TEXT]


def estimators_of(
    texts: tuple[str | None, str | None],
    *,
    estimator: Estimator | None = None,
    interaction_estimator: InteractionEstimator | None = None,
) -> tuple[Estimator, InteractionEstimator]:
    """Both estimators of a file: the ones given now, else the defaults where the file named no others."""
    shapley, interactions = texts
    if estimator is None:
        estimator = PairProcess() if shapley is None else SavedEstimator(shapley)
    if interaction_estimator is None:
        interaction_estimator = PairInteractions() if interactions is None else SavedEstimator(interactions)
    return estimator, interaction_estimator
