"""Running normalization of observations, rewards and values for reinforcement learning."""

from accredit.normalize.nested import ChannelNormalizer as ChannelNormalizer
from accredit.normalize.nested import NestedNormalizer as NestedNormalizer
from accredit.normalize.observation import RunningMeanStd as RunningMeanStd
from accredit.normalize.popart import HeadRescaling as HeadRescaling
from accredit.normalize.popart import ValueNormalizer as ValueNormalizer
from accredit.normalize.reward import RewardNormalizer as RewardNormalizer
from accredit.normalize.status import NormalizerStatus as NormalizerStatus
from accredit.normalize.status import status as status
from accredit.normalize.sync import RolloutStatistics as RolloutStatistics
from accredit.normalize.sync import synchronized_update as synchronized_update
