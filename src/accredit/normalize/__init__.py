"""Running normalization of observations, rewards and values for reinforcement learning."""

from accredit.normalize.observation import RunningMeanStd as RunningMeanStd
from accredit.normalize.reward import RewardNormalizer as RewardNormalizer
