"""The policy that was trained, as an evaluation meets it.

E environments, F fields, A actions, H numbers of memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.ppo.policy import ActorCritic


class LearnedPolicy:
    """Takes the likeliest action, under statistics that do not move.

    A memory begins empty wherever an observation says that no step of its episode is over, so that the policy can be
    asked about one set of environments after another.

    Args:
        network: actor and critic.
        see: raw observations -> what the network sees, [E, F] each.
        time: column of the observation that is 0 at the beginning of an episode.
    """

    def __init__(self, network: ActorCritic, see: Callable[[Tensor], Tensor], *, time: int) -> None:
        self.network, self.see, self.time = network, see, time
        self._memory = network.empty_memory(0)

    def act(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the likeliest legal action per environment, [E]."""
        raw = torch.from_numpy(observations)
        if len(self._memory) != len(raw):
            self._memory = self.network.empty_memory(len(raw))
        memory = torch.where(raw[:, self.time : self.time + 1] == 0, 0.0, self._memory)
        contexts, self._memory = self.network.look(self.see(raw), memory)
        probabilities = self.network.log_probabilities(contexts, torch.from_numpy(legal))
        choices: NDArray[np.int64] = probabilities.argmax(-1).numpy()
        return choices
