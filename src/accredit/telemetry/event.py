"""The kinds of events: frozen records with a version, an origin and nothing but plain values.

Every event says where it happened: `environment` (one host being trained), `episode` and `step` within it; each is
None where it does not apply. A measurement that was not made is None, never 0. Lists are tuples, mappings are plain
dicts of strings, so that an event written as JSON and read back is equal to the one that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an event happened."""

    environment: str | None = None
    """The host that was being trained, or None."""
    episode: int | None = None
    """Episodes of that environment before this one, from 0."""
    step: int | None = None
    """Steps of the episode that were over when it happened, from 0."""
    game: str | None = None
    """Which question a matrix answers, where one environment asks several at the same time."""


@dataclass(frozen=True, kw_only=True)
class CoalitionsEvaluated:
    """Coalitions of one matrix were evaluated; the events of a matrix, joined in order, equal the matrix."""

    origin: Origin
    players: tuple[str, ...]
    coalitions: tuple[str, ...]
    """One string per coalition, a character per player in the order of `players`: 1 = on."""
    values: Mapping[str, tuple[float | None, ...]]
    """Per output one value per coalition (the mean over examples), None where the coalition failed."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Coalition -> message, for those that failed."""


@dataclass(frozen=True, kw_only=True)
class ContributionsEstimated:
    """Shapley values of one output: over players the raw values sum to `value_all` - `value_none`."""

    origin: Origin
    output: str
    unit: str
    higher_is_better: bool
    players: tuple[str, ...]
    values: tuple[float, ...]
    """Raw Shapley values in the unit of the output."""
    contributions: tuple[float, ...]
    """The same, signed by the declared direction: positive helps."""
    stderr: tuple[float | None, ...]
    lower: tuple[float | None, ...]
    """Lower end of the interval of the raw value at `level`; None where the uncertainty is unknown."""
    upper: tuple[float | None, ...]
    level: float
    value_all: float
    value_none: float
    estimator: str
    n_evaluations: int


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """A training run began; first event of every file."""

    origin: Origin = Origin()
    task: str
    seed: int
    config: str
    """The whole configuration as JSON."""
    code_version: str
    torch_version: str


@dataclass(frozen=True, kw_only=True)
class StageChanged:
    """A slot went from one stage to another."""

    origin: Origin
    slot: str
    kind: str
    operation: str
    """What was decided, or `blended` and `dropped` where time decided."""
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class StepCompleted:
    """One step of one environment: a decision, a training interval, an evaluation on the reward split."""

    origin: Origin
    host_seed: int
    action: str
    log_loss: float | None
    """Of the live network on the reward split after the interval, nats; None where it is not finite."""
    accuracy: float
    """Of the live network on the reward split, share in [0, 1]."""
    graft_parameters: int
    gain: float
    """Fall of the capped log-loss in this step, nats."""
    control_gain: float
    """The same for the ungrown host of the same seed at the same time, nats."""
    rent: float
    """Price of the parameters of all grafts in this step, nats."""
    graft_cost: float
    """Price of a new graft, nats."""
    reward: float
    """gain - control_gain - rent - graft_cost, before any scaling, nats."""


@dataclass(frozen=True, kw_only=True)
class HostDiverged:
    """Training left a host with weights that are not finite; it was rolled back and its episode ended."""

    origin: Origin


@dataclass(frozen=True, kw_only=True)
class UpdateCompleted:
    """One rollout and one PPO update."""

    origin: Origin = Origin()
    update: int
    environment_steps: int
    """Since the run began, over all environments."""
    episode_return: float | None
    """Mean raw return of the episodes that ended in the rollout, nats; None where none ended."""
    gain_over_control: float | None
    """Mean over these episodes of the control's final log-loss minus the host's, both capped as in the reward, nats."""
    final_log_loss: float | None
    final_accuracy: float | None
    mean_parameters: float | None
    """Mean parameters of all committed grafts at the end of these episodes."""
    return_std: float
    """Standard deviation of the value targets before any scaling, nats."""
    explained_variance: float
    entropy: float | None
    """Mean entropy of the policy, nats; None, as all measurements of the update, where it was taken back."""
    approximate_kl: float | None
    clip_fraction: float | None
    policy_loss: float | None
    value_loss: float | None
    gradient_norm: float | None
    epochs: int
    """Passes over the rollout before the bound on KL ended the update; 0 where it was taken back."""
    learning_rate: float
    action_frequencies: Mapping[str, float]
    """Operation -> share of the decisions."""
    observation_count: int
    """Samples in the observation statistics."""
    observation_drift: float | None
    """Largest move of a feature's mean in this update, in its standard deviations before it."""
    reward_scale: float
    """What raw rewards were divided by at the end of the rollout, nats."""
    observation_effective_count: float | None = None
    """Samples that the observation statistics are worth; None in files that were written before it was measured."""
    observation_dropped: int | None = None
    """Rows that the statistics left out since the run began, because a number in them was not finite; None as above."""
    decision_entropy: float | None = None
    """Mean entropy of the policy as it acted, where more than one action was legal, nats; None as above."""
    value_scale: float | None = None
    """Standard deviation that value targets are learned at, after the update; None where they are not normalized."""
    attribution_share: float | None = field(default=None, compare=False)
    """Share of the time of rollout and update that attribution took; None as above. A clock measured it, so that it is
    no part of what makes two events equal."""


@dataclass(frozen=True, kw_only=True)
class PolicyRolledBack:
    """An update of the policy was taken back, because a loss or a gradient was not finite; the run goes on."""

    origin: Origin = Origin()
    update: int
    """Which one."""
    in_a_row: int
    """Updates taken back since the last that was kept, this one included."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class HostGrown:
    """One host grown by one policy and measured on the test split."""

    origin: Origin
    policy: str
    host_seed: int
    log_loss: float
    accuracy: float
    parameters: int
    """Of host and committed grafts."""
    committed: tuple[str, ...]
    """`slot:kind` of each committed graft."""


@dataclass(frozen=True, kw_only=True)
class RunCompleted:
    """Training and evaluation are through."""

    origin: Origin = Origin()
    updates: int


Event = (
    CoalitionsEvaluated
    | ContributionsEstimated
    | RunStarted
    | StageChanged
    | StepCompleted
    | HostDiverged
    | UpdateCompleted
    | PolicyRolledBack
    | HostGrown
    | RunCompleted
)

EVENT_KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        CoalitionsEvaluated,
        ContributionsEstimated,
        RunStarted,
        StageChanged,
        StepCompleted,
        HostDiverged,
        UpdateCompleted,
        PolicyRolledBack,
        HostGrown,
        RunCompleted,
    )
}
"""Name in a file -> class."""
