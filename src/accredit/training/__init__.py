"""Growth under PPO: environments that anybody's agent trains on, and the training system (extra `grow`)."""

from accredit.training.extra import require_packages

require_packages()

from accredit.training.comparison import Comparison
from accredit.training.config import EpisodeConfig, EvaluationConfig, TrainConfig
from accredit.training.data import Examples, Splits
from accredit.training.environment import GrowthEnv, GrowthVectorEnv
from accredit.training.loop import Phase, Stopped, Watcher, evaluate, resume, train
from accredit.training.reward import RewardConfig
from accredit.training.task import TASKS, Task

__all__ = [
    "TASKS",
    "Comparison",
    "EpisodeConfig",
    "EvaluationConfig",
    "Examples",
    "GrowthEnv",
    "GrowthVectorEnv",
    "Phase",
    "RewardConfig",
    "Splits",
    "Stopped",
    "Task",
    "TrainConfig",
    "Watcher",
    "evaluate",
    "resume",
    "train",
]
