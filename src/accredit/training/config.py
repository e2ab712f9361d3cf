"""Everything that decides what a run does; saved with every run and every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from accredit.errors import InvalidArgument
from accredit.growth.blend import BlendSchedule
from accredit.ppo.config import PPOConfig
from accredit.training.credit import AttributionConfig
from accredit.training.host_seeds import POOL
from accredit.training.proof import CommitRule
from accredit.training.reward import RewardConfig

LARGEST_SEED = 2**40  # with it the largest host seed still fits in 64 bits


@dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """How one host is trained and grown."""

    steps: int = 16
    """T, decisions an episode, >= 1."""
    minibatches: int = 6
    """Minibatches of host training between two decisions, >= 1."""
    batch_size: int = 64
    """Examples a minibatch, >= 1."""
    learning_rate: float = 1e-2
    """Of Adam for hosts and grafts, > 0; 3e-3 was far too slow on digits."""
    blend_steps: int = 2
    """Steps from alpha = 0 to 1, >= 1."""
    blend_schedule: BlendSchedule = BlendSchedule.LINEAR
    """Shape of the blend."""
    confidence: float = 0.95
    """Level at which a contribution must be positive before a commit is legal, in (0, 1)."""
    commit_rule: CommitRule = CommitRule.SIGNIFICANT
    """What makes a commit legal: `significant`, a contribution that is positive with significance, as a candidate and
    now; `significant-holm`, the same with Holm's correction over all grafts that play at that step; `any`, no proof."""
    observe_kinds: bool = True
    """Whether a policy sees and chooses the kinds of grafts. False: it grafts by slot, each host draws the kind by its
    own seed, and measured contribution is the only clue to what was drawn."""
    holding_steps: int = 0
    """Steps that a graft must hold at alpha = 1 before it can be committed, >= 0."""
    cooldown_steps: int = 0
    """Decisions for which a slot stays empty after its graft was pruned, >= 0."""
    prune_committed: bool = False
    """Whether a committed graft can be pruned, from 3 steps after it was committed."""
    host_seeds: int = 256
    """Different hosts met in training, >= 1; each wants its control trained once."""
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    """When grafts are measured, and by how much work."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """Prices."""

    def __post_init__(self) -> None:
        counts = {
            "steps": self.steps,
            "minibatches": self.minibatches,
            "batch_size": self.batch_size,
            "blend_steps": self.blend_steps,
            "host_seeds": self.host_seeds,
        }
        for name, value in counts.items():
            _check_at_least_one(f"episode.{name}", value)
        if self.holding_steps < 0 or self.cooldown_steps < 0:
            raise InvalidArgument(
                f"`episode` got holding_steps {self.holding_steps} and cooldown_steps {self.cooldown_steps}, wanted "
                "whole numbers of at least 0; correct the configuration."
            )
        if not self.learning_rate > 0 or not 0 < self.confidence < 1:
            raise InvalidArgument(
                f"`episode` got learning_rate {self.learning_rate} and confidence {self.confidence}, wanted a "
                "positive rate and a level in (0, 1); correct the configuration."
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The final comparison."""

    hosts: int = 64
    """Paired hosts a policy, >= 2; their seeds are used for nothing else."""
    calibration_episodes: int = 2
    """Random episodes, each with all environments, from which baselines learn which kind pays in which slot, >= 1."""
    confidence: float = 0.95
    """Level of the intervals, in (0, 1)."""

    def __post_init__(self) -> None:
        _check_at_least_one("evaluation.calibration_episodes", self.calibration_episodes)
        if self.hosts < 2 or not 0 < self.confidence < 1:
            raise InvalidArgument(
                f"`evaluation` got {self.hosts} hosts and confidence {self.confidence}, wanted at least 2 hosts for an "
                "interval and a level in (0, 1); correct the configuration."
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run of the training system."""

    task: str = "digits"
    """What is grown: a name of `accredit.training.task.TASKS`, or that of a task of your own."""
    data: str = ""
    """Folder with the files of a task that needs any, such as cifar10."""
    seed: int = 0
    """Root of every random number of the run, 0 to 2^40."""
    environments: int = 32
    """Hosts that are trained side by side, >= 1."""
    groups: int = 1
    """Stacks that these hosts are split into, 1 to `environments`; decides how numbers round, and what processes can
    share out."""
    processes: int = 1
    """Processes that groups are spread over, 1 to `groups`; decides nothing but how fast it goes."""
    updates: int = 40
    """Rollouts, each followed by a PPO update, >= 1."""
    checkpoint_every: int = 5
    """Updates between two checkpoints, >= 1."""
    checkpoints_kept: int = 3
    """Checkpoints that are kept, >= 2 so that a damaged one has a predecessor."""
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    """How a host is trained and grown."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """How the policy learns."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How it is compared."""

    def __post_init__(self) -> None:
        for name, value in (
            ("environments", self.environments),
            ("updates", self.updates),
            ("checkpoint_every", self.checkpoint_every),
        ):
            _check_at_least_one(name, value)
        check_split(self.environments, groups=self.groups, processes=self.processes)
        if self.checkpoints_kept < 2 or not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidArgument(
                f"`checkpoints_kept` is {self.checkpoints_kept} and `seed` is {self.seed}, wanted at least 2 and 0 to "
                f"{LARGEST_SEED}; correct the configuration."
            )
        met = {
            "episode.host_seeds": self.episode.host_seeds,
            "evaluation.hosts": self.evaluation.hosts,
            "environments * evaluation.calibration_episodes": self.environments * self.evaluation.calibration_episodes,
        }
        for name, count in met.items():
            if count > POOL:
                raise InvalidArgument(
                    f"`{name}` is {count}, but each purpose has {POOL} host seeds; pass at most as many, or hosts of "
                    "one purpose would be met in another."
                )

    @property
    def environment_steps(self) -> int:
        """Decisions of a whole training run."""
        return self.environments * self.episode.steps * self.updates


MAY_CHANGE_ON_RESUME = ("updates", "checkpoint_every", "checkpoints_kept", "processes")
"""Fields that a resumed run may set anew; every other difference is refused by name."""


def check_split(environments: int, *, groups: int, processes: int) -> None:
    """Refuse more groups than environments, and more processes than groups."""
    if not 1 <= groups <= environments:
        raise InvalidArgument(
            f"`groups` is {groups}, but the environments are {environments}; pass 1 to {environments} groups."
        )
    if not 1 <= processes <= groups:
        raise InvalidArgument(
            f"`processes` is {processes}, but environments are in {groups} groups, and a group lives in one process; "
            f"pass 1 to {groups} processes, or more groups."
        )


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InvalidArgument(f"`{name}` is {value}, wanted a whole number of at least 1; correct the configuration.")
