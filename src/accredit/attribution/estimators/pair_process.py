"""Shapley values from complement pairs: Gaussian processes on the odd part of the game, averaged by evidence.

Axes: C complement pairs, N players, R columns of values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit

from accredit.attribution.estimators.conditioning import NOISE, Posterior, average, posterior, whiten
from accredit.attribution.estimators.kernel import OddKernel, PairGeometry, shapley_covariance
from accredit.attribution.estimators.mixture import NEGLIGIBLE, ROUGH, TEMPER, default_hypotheses, tempered_weights
from accredit.attribution.estimators.pairing import PairedValues, paired_values
from accredit.attribution.estimators.player_lengths import fit_player_lengths
from accredit.attribution.protocols import FittedValues, FloatArray, MaskArray
from accredit.errors import InvalidArgument

SCREEN = 96
"""Pairs, at least, on which hypotheses are screened and lengths are fitted; further ones say little more."""

SCREEN_MARGIN = 7.0
"""A hypothesis whose log evidence on the screening pairs is so far below the best is not fitted to the rest."""

MOST_INDIVIDUAL = 0.9
"""Weight of the family with a length for each player where the evidence leaves no doubt."""

CLEAR_LEAD = 20.0
"""Lead in log evidence that is half way to no doubt: more than fitting a dozen lengths gains by chance."""

FEW_LEVELS = 12
"""Values with no more levels than this jump where the hypotheses are smooth."""


@dataclass(frozen=True, kw_only=True)
class PairProcess:
    """Shapley values from the odd part of the game, modelled as a mixture of Gaussian processes.

    The odd part o(S) = (v(S) - v(S^c)) / 2 decides the Shapley values, phi_i = E[o(S + i) - o(S)]. It is modelled as an
    additive game plus a Gaussian process, under two families of hypotheses:

    - 42 covariances that treat all players alike, weighted by their evidence to the power 0.4;
    - one in which every player has a length of its own, fitted to the data. Its share grows with the number of pairs C
      to one half at C = 4 N, because N lengths cannot be told from few pairs, and beyond, to 0.9 at most, where its
      evidence is clearly ahead.

    Posterior mean and covariance follow in closed form, for every column of values.

    - Estimand: the Shapley values of the game as evaluated. Estimator: posterior mean.
    - Bias: of the order of the standard error, shrinking with the number of pairs; none for additive games. Efficiency
      holds to rounding.
    - Standard error: of the posterior mixture, times `widening`, Student t with C - 2 degrees of freedom. It assumes
      that the game looks like a draw from some mixture of the hypotheses: measured, it covers networks, and too little
      some games with a threshold (voting, glove, bankruptcy), most at 4 evaluations a player and below; `caution` says
      so where the budget or few levels of the values show it.
    - Cost: no evaluation beyond the pairs; O(C^3) per hypothesis. Columns share all factorisations, and the lengths
      fitted to the first column: pass one output in a call, its replicates after it.

    Source: Rasmussen and Williams (2006), chapters 2 and 5; odd part: OddSHAP (2026). Differs from both in the tempered
    average over kernels and in the two families.

    Example:
        >>> from accredit.attribution.design import ComplementPairDesign
        >>> masks = ComplementPairDesign()(6, 24, seed=0)
        >>> fitted = PairProcess()(masks, masks[:, :1] * (1.0 + masks[:, 1:2]))
        >>> (fitted.value.round(2) + 0.0).ravel()
        array([1.5, 0.5, 0. , 0. , 0. , 0. ])
    """

    hypotheses: tuple[OddKernel, ...] = field(default_factory=default_hypotheses)
    """Covariances that treat all players alike."""
    individual_share: float = 0.5
    """Weight of the family with a length for each player from C = 4 N pairs on, in [0, 1); 0 leaves it out."""
    widening: float = 1.15
    """Factor on the standard error, > 0. The posterior of a mixture that was fitted to the data is a little too sure:
    with factor 1 the worst network covered 87 % where 95 % were asked for, with 1.15 it covered 92 %."""
    noise: float = NOISE
    """Variance of an error of the values themselves, as a share of the process's; larger where a value is noisy."""

    def __post_init__(self) -> None:
        if not 0 <= self.individual_share < 1:
            raise InvalidArgument(
                f"`individual_share` is {self.individual_share}, but the other family needs some weight; pass a share"
                " in [0, 1)."
            )
        if not self.widening > 0:
            raise InvalidArgument(
                f"`widening` is {self.widening}, but an interval needs a width; pass a factor above 0, 1 for the "
                "posterior as it is."
            )
        if not self.noise > 0:
            raise InvalidArgument(
                f"`noise` is {self.noise}, but the factorisations need some; pass a number above 0, such as {NOISE}."
            )

    def __call__(self, masks: MaskArray, values: FloatArray) -> FittedValues:
        """Estimate the Shapley values from the complement pairs among the rows.

        Args:
            masks: distinct coalitions in any order, [M, N], among them none and all.
            values: finite, [M, R].

        Raises:
            MissingValue: none or all is not among the rows.
            InvalidArgument: shapes that do not belong together, values that are not finite, a coalition twice.
        """
        pairs = paired_values(masks, values)
        n_pairs, n_players = pairs.masks.shape
        unit = np.maximum(np.abs(pairs.odd).max(axis=0), np.finfo(np.float64).tiny)
        value, covariance = self._mixture(pairs.masks, pairs.odd / unit)
        value, covariance = value * unit, covariance * np.square(unit * self.widening)[:, None, None]
        value = value + (pairs.total - value.sum(axis=0)) / n_players
        variance = np.einsum("rpp->pr", covariance)
        return FittedValues(
            value=value,
            stderr=np.sqrt(variance) if n_pairs > 2 else None,
            degrees_of_freedom=float(max(3, n_pairs - 2)),
            estimator="pair_process",
            n_evaluations=2 * n_pairs,
            covariance=covariance if n_pairs > 2 else None,
            caution=_caution(pairs),
        )

    def _mixture(self, masks: MaskArray, odd: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean [N, R] and covariance [R, N, N] over both families."""
        n_pairs, n_players = masks.shape
        alike = self._alike(masks, odd)
        evidence = np.concatenate([each.log_evidence for each in alike])
        weight = tempered_weights(evidence)
        if self.individual_share == 0.0 or n_players == 1:
            return average(alike, weight)
        own = self._individual(masks, odd)
        own_weight = tempered_weights(own.log_evidence)
        clear = expit(TEMPER * (own.log_evidence.max(axis=0) - evidence.max(axis=0) - CLEAR_LEAD))
        share = self.individual_share + max(0.0, MOST_INDIVIDUAL - self.individual_share) * clear
        share = share * min(1.0, n_pairs / (4 * n_players))
        return average([*alike, own], np.concatenate([(1 - share) * weight, share * own_weight]))

    def _alike(self, masks: MaskArray, odd: FloatArray) -> list[Posterior]:
        """Return the posteriors of the covariances that treat all players alike, less what is negligible."""
        geometry = PairGeometry.of(masks)
        best = np.full(odd.shape[1], -np.inf)
        posteriors = []
        for hypothesis, lead in self._screened(geometry, masks, odd):
            white = whiten(hypothesis.gram(geometry), masks, odd, noise=self.noise)
            # screened column by column, or the columns beside one would have a say in its average
            evidence = np.where(lead > -SCREEN_MARGIN, white.log_evidence, -np.inf)
            best = np.maximum(best, evidence.max(axis=0))
            if (evidence > best - NEGLIGIBLE).any():
                table = hypothesis.shapley_table(masks.shape[1])
                covariance = shapley_covariance(masks, table=table)
                here = posterior(white, covariance, prior=_prior_covariance(hypothesis, table))
                posteriors.append(replace(here, log_evidence=evidence))
        return posteriors

    def _screened(
        self, geometry: PairGeometry, masks: MaskArray, odd: FloatArray
    ) -> list[tuple[OddKernel, FloatArray]]:
        """Return the hypotheses that do well on the first pairs, with their leads [R] over the best; the best first."""
        n_screen = _n_screen(masks)
        if n_screen == len(masks):
            return [(hypothesis, np.zeros(odd.shape[1])) for hypothesis in self.hypotheses]
        first = geometry.first(n_screen)
        evidence = np.array(
            [
                whiten(each.gram(first), masks[:n_screen], odd[:n_screen], noise=self.noise).log_evidence.max(axis=0)
                for each in self.hypotheses
            ]
        )
        lead = evidence - evidence.max(axis=0)
        furthest = lead.max(axis=1)
        order = [index for index in np.argsort(-furthest, kind="stable") if furthest[index] > -SCREEN_MARGIN]
        return [(self.hypotheses[index], lead[index]) for index in order]

    def _individual(self, masks: MaskArray, odd: FloatArray) -> Posterior:
        """Return the posterior under a covariance with a length for each player."""
        n_screen, n_players = _n_screen(masks), masks.shape[1]
        rough = ROUGH.gram(PairGeometry.of(masks))
        lengths = fit_player_lengths(masks[:n_screen], odd[:n_screen, :1], rough=rough[:n_screen, :n_screen])
        share = lengths.rough_share
        table = ROUGH.shapley_table(n_players)
        white = whiten((1 - share) * lengths.gram(masks) + share * rough, masks, odd, noise=self.noise)
        covariance = (1 - share) * lengths.shapley_covariance(masks)
        covariance += share * shapley_covariance(masks, table=table)
        prior = (1 - share) * lengths.shapley_prior() + share * _prior_covariance(ROUGH, table)
        return posterior(white, covariance, prior=prior)


def _n_screen(masks: MaskArray) -> int:
    """Return how many of the first pairs are enough to screen hypotheses and to fit lengths."""
    n_pairs, n_players = masks.shape
    n_enough: int = max(SCREEN, 3 * n_players)
    return min(int(n_pairs), n_enough)


def _prior_covariance(hypothesis: OddKernel, table: FloatArray) -> FloatArray:
    """Return the prior covariance of the Shapley values, [N, N]: by symmetry one variance and one covariance.

    The covariance follows from efficiency: the values sum to 2 o(all).
    """
    n_players = len(table)
    everyone = PairGeometry.of(np.ones((1, n_players), dtype=bool))
    variance = 2 * float(table.mean())
    total = 4 * float(hypothesis.gram(everyone)[0, 0])
    between = (total - n_players * variance) / max(n_players * (n_players - 1), 1)
    return np.full((n_players, n_players), between) + (variance - between) * np.eye(n_players)


def _caution(pairs: PairedValues) -> str | None:
    """Say where the standard errors are known to be missing or too small."""
    n_pairs, n_players = pairs.masks.shape
    if n_pairs <= 2:
        return "no standard error: two pairs of coalitions or fewer say nothing about the spread"
    if n_pairs <= 2 * n_players:
        return "at 4 evaluations a player or fewer the intervals of thresholded games (voting, glove) are too narrow"
    levels = len(np.unique(np.concatenate([pairs.even[:, 0] + pairs.odd[:, 0], pairs.even[:, 0] - pairs.odd[:, 0]])))
    if levels <= FEW_LEVELS < n_pairs:
        return f"the values have only {levels} levels; intervals of such games were measured to cover .80 to .95 at .95"
    return None
