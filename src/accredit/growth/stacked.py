"""Many hosts as one batched network: what training costs is mostly dispatch, and here it is paid once for all.

E hosts, S slots, P columns of the flat form, N rows of a pass, B examples, C coalitions, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import Activation, VectorKind
from accredit.growth.coalition_pass import branches_of, branches_of_one, run_branches
from accredit.growth.hosts import Games, HostEvaluation, Players, games_of
from accredit.growth.metric import LogLoss, Metric, Score
from accredit.growth.network import GrowingNetwork
from accredit.growth.stack_layout import SlotWeights, StackLayout, read_graft, write_graft
from accredit.growth.stage import Stage
from accredit.growth.training_pass import TrainingPass

STATE_TENSORS = ("weights", "learnable", "floor", "momentum", "square", "steps")
EMPTY = -1
LARGEST_PASS = 2**21
"""Numbers in the widest tensor of one pass of an evaluation: bounds its memory, and small ones are faster, too."""
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class StackedHosts:
    """E hosts of one architecture with vector grafts, trained by Adam side by side; as E networks, to rounding.

    Args:
        template: a host without grafts, which says what the others are like.
        catalogue: kinds that may be grafted.
        num_hosts: E.
        learning_rate: of Adam, for hosts and grafts alike.
        metric: what is lowered and measured.

    Raises:
        InvalidArgument: a layer of the host cannot be stacked.
    """

    def __init__(
        self,
        template: GrowingNetwork,
        catalogue: Sequence[VectorKind],
        *,
        num_hosts: int,
        learning_rate: float,
        metric: Metric | None = None,
    ) -> None:
        self.layout = StackLayout(template, catalogue)
        self.learning_rate = learning_rate
        self.metric: Metric = metric or LogLoss()
        columns, slots = self.layout.num_columns, self.layout.num_slots
        self.weights = torch.zeros(num_hosts, columns)
        self.learnable = torch.zeros(num_hosts, columns)
        self.floor = torch.zeros(num_hosts, slots)  # what the inner activation is bounded by: 0 is relu, -inf identity
        self.momentum = torch.zeros(num_hosts, columns)
        self.square = torch.zeros(num_hosts, columns)
        self.steps = torch.zeros(num_hosts, 1 + slots)
        self.kinds = np.full((num_hosts, slots), EMPTY)
        self.stages = np.zeros((num_hosts, slots), dtype=np.int64)
        self.alphas = np.zeros((num_hosts, slots))
        self._remembered: tuple[Tensor, ...] = ()
        self._training_pass: tuple[tuple[bytes, ...], TrainingPass] | None = None

    @property
    def num_hosts(self) -> int:
        """E."""
        return self.weights.shape[0]

    def reset(self, row: int, network: GrowingNetwork) -> None:
        """Start row `row` again from the weights of a fresh network without grafts."""
        for tensor in (self.weights, self.learnable, self.floor, self.momentum, self.square, self.steps):
            tensor[row] = 0.0
        self.learnable[row, : len(self.layout.host_learnable)] = self.layout.host_learnable
        self.kinds[row] = EMPTY
        self.stages[row] = Stage.EMPTY
        self.alphas[row] = 0.0
        self.layout.write_host(self.weights[row : row + 1], network)

    def graft(self, row: int, slot: int, kind: int, seed: int) -> None:
        """Put a new graft of catalogue row `kind` into a slot, its weights drawn from `seed`."""
        self.prune(row, slot)
        chosen = self.layout.catalogue[kind]
        module = chosen.build(self.layout.features[slot], torch.Generator().manual_seed(seed))
        write_graft(module, self._slot(self.weights, row, slot), self._slot(self.learnable, row, slot))
        self.floor[row, slot] = 0.0 if chosen.activation == Activation.RELU else -torch.inf
        self.kinds[row, slot] = kind

    def prune(self, row: int, slot: int) -> None:
        """Remove the graft of a slot with its optimizer state."""
        for flat in (self.weights, self.learnable, self.momentum, self.square):
            flat[row, self.layout.places[slot].columns] = 0.0
        self.steps[row, 1 + slot] = 0.0
        self.floor[row, slot] = 0.0
        self.kinds[row, slot] = EMPTY

    def set_stages(self, stages: NDArray[np.int64], alphas: NDArray[np.float64]) -> None:
        """Take over stage and blend weight of every slot, [E, S] each."""
        self.stages = stages.copy()
        self.alphas = alphas.copy()
        self._training_pass = None  # sets free what the last interval needed

    def train(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Train every host on its own minibatch by one step of Adam.

        Hosts with a graft in training take part twice: as they are, and as a shadow row in which such grafts stand at
        alpha = 1 and everything else is a constant.

        Args:
            inputs: [E, B, ...].
            labels: [E, B, ...].

        Returns:
            [E], mean log-loss of each host before the update, in nats.
        """
        training = self.stages == Stage.TRAINING
        here = (self.kinds.tobytes(), training.tobytes(), self.alphas.tobytes())
        if self._training_pass is None or self._training_pass[0] != here:
            made = TrainingPass(self.layout, training=training, kinds=self.kinds, floor=self.floor, alphas=self.alphas)
            self._training_pass = (here, made)
        losses, gradient = self._training_pass[1].gradient(self.weights, inputs, labels, self.metric)
        self._adam(gradient.mul_(self.learnable), training)
        return losses

    @torch.no_grad()
    def evaluate(
        self, rows: Sequence[int], inputs: Tensor, labels: Tensor, *, players: Games, live: Score | None = None
    ) -> HostEvaluation:
        """Evaluate `rows` on shared examples, sharing what coalitions have in common up to each slot.

        Args:
            rows: R rows of hosts.
            inputs: [B, ...].
            labels: [B, ...].
            players: what is switched.
            live: of the live networks on these examples, [R, B], which is then not computed again; None: not known.
        """
        alphas, chosen = self.alphas[rows], torch.tensor(rows, dtype=torch.int64)
        switched, on = self._players(rows, games_of(players, len(rows)))
        # the live network is the coalition of all live grafts, and of no candidate
        known = None if live is None else np.asarray((switched & (alphas > 0)).any(axis=1))
        branches = branches_of(alphas, switched, on=on, known=known)
        weights, grafts = self.weights.index_select(0, chosen), (self.kinds[rows], self.floor[chosen])
        per_pass = max(1, LARGEST_PASS // max(1, len(branches.forks[-1].hosts) * self.layout.widest(inputs)))
        scores = []
        for x, y in zip(torch.split(inputs, per_pass), torch.split(labels, per_pass), strict=True):
            outputs = run_branches(
                self.layout, weights, x.expand(len(rows), *x.shape), grafts=grafts, branches=branches
            )
            scores.append(self.metric.score(outputs, y))
        columns = zip(*((score.log_loss, score.is_correct) for score in scores), strict=True)
        ends = [torch.cat(parts, 1) for parts in columns]
        if live is not None:
            ends = [torch.cat(both) for both in zip(ends, (live.log_loss, live.is_correct), strict=True)]
        log_loss, is_correct = (end.index_select(0, branches.of_coalition.flatten()) for end in ends)
        shape = (*branches.of_coalition.shape, len(inputs))
        return HostEvaluation(
            slots=tuple(np.flatnonzero(switched.any(axis=0)).tolist()),
            log_loss=log_loss.view(shape),
            is_correct=is_correct.view(shape),
        )

    @torch.no_grad()
    def evaluate_coalitions(
        self, row: int, masks: Tensor, inputs: Tensor, labels: Tensor, *, players: Players
    ) -> Score:
        """Evaluate one host under some of its coalitions, one pass for as many as memory allows.

        Args:
            row: of the host.
            masks: which players are on, [M, S] bool; slots without a player are as they are in the live network.
            inputs: [B, ...].
            labels: [B, ...].
            players: what is switched.

        Returns:
            log-loss and correctness, [M, B] each.
        """
        (plays,), (on,) = self._players([row], [players])
        weights, grafts = self.weights[[row]], (self.kinds[[row]], self.floor[[row]])
        per_pass, scores = max(1, LARGEST_PASS // max(1, len(inputs) * self.layout.widest(inputs))), []
        for part in np.split(masks.numpy(), range(per_pass, len(masks), per_pass)):
            branches = branches_of_one(np.where(plays & ~part, 0.0, on))
            outputs = run_branches(self.layout, weights, inputs.unsqueeze(0), grafts=grafts, branches=branches)
            scores.append(self.metric.score(outputs[branches.of_coalition[0]], labels))
        return Score(
            log_loss=torch.cat([score.log_loss for score in scores]),
            is_correct=torch.cat([score.is_correct for score in scores]),
        )

    def finite_rows(self) -> NDArray[np.bool_]:
        """Tell for each host whether all of its weights are finite, [E]."""
        finite: NDArray[np.bool_] = torch.isfinite(self.weights).all(1).numpy()
        return finite

    def graft_parameter_counts(self) -> NDArray[np.int64]:
        """Return the parameters of every slot's graft, [E, S]."""
        features = self.layout.features
        table = np.array(
            [[kind.parameter_count(size) for size in features] for kind in self.layout.catalogue]
            + [[0] * self.layout.num_slots]
        )
        counts: NDArray[np.int64] = table[self.kinds, np.arange(self.layout.num_slots)]
        return counts

    def remember(self) -> None:
        """Keep a copy of all weights and optimizer state, for `roll_back`."""
        self._remembered = tuple(t.clone() for t in (self.weights, self.momentum, self.square, self.steps))

    def roll_back(self, rows: Sequence[int]) -> None:
        """Put `rows` back to what was remembered last: weights and optimizer state."""
        chosen = torch.tensor(rows, dtype=torch.int64)
        current = (self.weights, self.momentum, self.square, self.steps)
        for tensor, saved in zip(current, self._remembered, strict=True):
            tensor[chosen] = saved[chosen]

    def network(self, row: int, template: GrowingNetwork) -> GrowingNetwork:
        """Write host `row` with its grafts into `template`, a fresh network of the same architecture, and return it."""
        self.layout.read_host(self.weights[row : row + 1], template)
        for index, slot in enumerate(template.slots):
            if self.kinds[row, index] == EMPTY:
                continue
            kind = self.layout.catalogue[self.kinds[row, index]]
            module = kind.build(slot.features, torch.Generator())
            read_graft(module, self._slot(self.weights, row, index))
            slot.receive(module, kind)
            slot.stage, slot.alpha = Stage(int(self.stages[row, index])), float(self.alphas[row, index])
        return template

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue."""
        state: dict[str, object] = {
            name: tensor.clone() for name, tensor in zip(STATE_TENSORS, self._state_tensors(), strict=True)
        }
        arrays = {"kinds": self.kinds, "stages": self.stages, "alphas": self.alphas}
        return state | {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state of the same number of hosts.

        Raises:
            InvalidArgument: a tensor is missing or of another shape.
        """
        for name, mine in zip(STATE_TENSORS, self._state_tensors(), strict=True):
            mine.copy_(_tensor(state, name, tuple(mine.shape)))
        shape = self.kinds.shape
        self.kinds = _tensor(state, "kinds", shape).numpy().copy()
        self.stages = _tensor(state, "stages", shape).numpy().copy()
        self.alphas = _tensor(state, "alphas", shape).numpy().copy()

    def _state_tensors(self) -> tuple[Tensor, ...]:
        return (self.weights, self.learnable, self.floor, self.momentum, self.square, self.steps)

    def _slot(self, flat: Tensor, row: int, slot: int) -> SlotWeights:
        return self.layout.unpack_slot(flat[row : row + 1], slot)

    def _players(self, rows: Sequence[int], games: Sequence[Players]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return which grafts of R rows are players, and the blend weight of each graft where it is on, [R, S]."""
        alphas, is_training = self.alphas[rows], self.stages[rows] == Stage.TRAINING
        are_live, are_candidates = (
            np.array([game == which for game in games])[:, None] for which in (Players.LIVE, Players.CANDIDATES)
        )
        candidates = are_candidates & is_training
        return candidates | (are_live & (alphas > 0)), np.where(candidates, 1.0, alphas)

    def _adam(self, gradient: Tensor, training: NDArray[np.bool_]) -> None:
        """Adam with a step count per host and per graft, so that a young graft has the bias correction of its own age.

        A graft that is neither in training nor live has no gradient; its moments and its age wait.
        """
        moves = (self.kinds != EMPTY) & (training | (self.alphas > 0))
        self._move(0, slice(0, len(self.layout.host_learnable)), gradient, torch.ones(self.num_hosts, 1))
        for slot in np.flatnonzero(moves.any(axis=0)).tolist():
            active = torch.from_numpy(moves[:, slot]).float().unsqueeze(1)
            self._move(1 + slot, self.layout.places[slot].columns, gradient, active)

    def _move(self, group: int, columns: slice, gradient: Tensor, active: Tensor) -> None:
        """Move what stands in some columns, in place, in the rows where `active` [E, 1] is 1; at 0 all waits."""
        steps, weights = self.steps[:, group : group + 1], self.weights[:, columns]
        momentum, square, slope = self.momentum[:, columns], self.square[:, columns], gradient[:, columns]
        steps += active
        age = steps.clamp(min=1.0)
        momentum.lerp_(slope, (1 - BETA_1) * active)
        square.lerp_(slope * slope, (1 - BETA_2) * active)
        # both bias corrections in one number a row: w - rate m / (sqrt(v) + epsilon')
        correction = (1 - BETA_2**age).sqrt_()
        rate = self.learning_rate * active * correction / (1 - BETA_1**age)
        weights.addcmul_(momentum / square.sqrt().add_(EPSILON * correction), -rate)


def _tensor(state: Mapping[str, object], name: str, shape: tuple[int, ...]) -> Tensor:
    value = state.get(name)
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InvalidArgument(
            f"`state` of the hosts has {name} of shape {got}, wanted {shape}; load a state of the same number of hosts."
        )
    return value
