"""Any growing networks, trained one after the other: slower than a stack, and open to every architecture.

E hosts, S slots, R rows asked for, B examples, C coalitions, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, optim

from accredit.errors import InvalidArgument
from accredit.growth.catalogue import Kind
from accredit.growth.hosts import Games, HostEvaluation, Players, games_of
from accredit.growth.metric import LogLoss, Metric, Score
from accredit.growth.network import GrowingNetwork
from accredit.growth.slot import Slot
from accredit.growth.stage import Stage

EMPTY = -1
Saved = tuple[dict[str, Tensor], dict[str, object]]


class LoopedHosts:
    """E growing networks, each with an Adam of its own.

    Args:
        networks: fresh networks of one slot layout, without grafts.
        catalogue: kinds that may be grafted.
        learning_rate: of Adam, for hosts and grafts alike.
        metric: what is lowered and measured.
    """

    def __init__(
        self,
        networks: Sequence[GrowingNetwork],
        catalogue: Sequence[Kind],
        *,
        learning_rate: float,
        metric: Metric | None = None,
    ) -> None:
        self.networks = list(networks)
        self.catalogue = tuple(catalogue)
        self.learning_rate = learning_rate
        self.metric: Metric = metric or LogLoss()
        self.optimizers = [self._optimizer(network) for network in self.networks]
        self.kinds = np.full((len(self.networks), len(self.networks[0].slots)), EMPTY)
        self._remembered: list[Saved] = []

    @property
    def num_hosts(self) -> int:
        """E."""
        return len(self.networks)

    def reset(self, row: int, network: GrowingNetwork) -> None:
        """Start row `row` again from `network`, a fresh network without grafts, which the row takes over."""
        self.networks[row] = network
        self.optimizers[row] = self._optimizer(network)
        self.kinds[row] = EMPTY

    def graft(self, row: int, slot: int, kind: int, seed: int) -> None:
        """Put a new graft of catalogue row `kind` into a slot, its weights drawn from `seed`."""
        network = self.networks[row]
        name = network.slots[slot].name
        generator = torch.Generator().manual_seed(seed)
        network.graft(name, self.catalogue[kind], generator).follow(self.optimizers[row])
        self.kinds[row, slot] = kind

    def prune(self, row: int, slot: int) -> None:
        """Remove the graft of a slot with its optimizer state."""
        network = self.networks[row]
        network.prune(network.slots[slot].name).follow(self.optimizers[row])
        self.kinds[row, slot] = EMPTY

    def set_stages(self, stages: NDArray[np.int64], alphas: NDArray[np.float64]) -> None:
        """Take over stage and blend weight of every slot, [E, S] each."""
        for network, stage_row, alpha_row in zip(self.networks, stages, alphas, strict=True):
            for slot, stage, alpha in zip(network.slots, stage_row, alpha_row, strict=True):
                slot.stage, slot.alpha = Stage(int(stage)), float(alpha)

    def train(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Train every host on its own minibatch by one step of Adam.

        Args:
            inputs: [E, B, ...].
            labels: [E, B, ...].

        Returns:
            [E], mean log-loss of each host before the update, in nats.
        """
        return torch.stack(
            [
                _train_one(network.train(), optimizer, self.metric, (x, y))
                for network, optimizer, x, y in zip(self.networks, self.optimizers, inputs, labels, strict=True)
            ]
        )

    @torch.no_grad()
    def evaluate(
        self, rows: Sequence[int], inputs: Tensor, labels: Tensor, *, players: Games, live: Score | None = None
    ) -> HostEvaluation:
        """Evaluate `rows` on shared examples, host by host.

        Args:
            rows: R rows of hosts.
            inputs: [B, ...].
            labels: [B, ...].
            players: what is switched.
            live: of the live networks on these examples; a loop does not need it.
        """
        del live
        games = games_of(players, len(rows))
        switched = tuple(
            slot
            for slot in range(self.kinds.shape[1])
            if any(_plays(self.networks[row].slots[slot], game) for row, game in zip(rows, games, strict=True))
        )
        scores = []
        for row, game in zip(rows, games, strict=True):
            with _evaluating(self.networks[row]) as network:
                scores.append(self.metric.score(_coalitions(network, inputs, switched, game), labels))
        return HostEvaluation(
            slots=switched,
            log_loss=torch.stack([score.log_loss for score in scores]),
            is_correct=torch.stack([score.is_correct for score in scores]),
        )

    @torch.no_grad()
    def evaluate_coalitions(
        self, row: int, masks: Tensor, inputs: Tensor, labels: Tensor, *, players: Players
    ) -> Score:
        """Evaluate one host under some of its coalitions, one after the other.

        Args:
            row: of the host.
            masks: which players are on, [M, S] bool; slots without a player are as they are in the live network.
            inputs: [B, ...].
            labels: [B, ...].
            players: what is switched.

        Returns:
            log-loss and correctness, [M, B] each.
        """
        with _evaluating(self.networks[row]) as network:
            outputs = torch.stack([_coalition(network, inputs, mask, players) for mask in masks])
        return self.metric.score(outputs, labels)

    def finite_rows(self) -> NDArray[np.bool_]:
        """Tell for each host whether all of its weights are finite, [E]."""
        return np.array([all(bool(torch.isfinite(p).all()) for p in network.parameters()) for network in self.networks])

    def graft_parameter_counts(self) -> NDArray[np.int64]:
        """Return the parameters of every slot's graft, [E, S]."""
        return np.array([[sum(p.numel() for p in slot.parameters()) for slot in net.slots] for net in self.networks])

    def remember(self) -> None:
        """Keep a copy of all weights and optimizer state, for `roll_back`."""
        self._remembered = self._saved()

    def roll_back(self, rows: Sequence[int]) -> None:
        """Put `rows` back to what was remembered last: weights and optimizer state."""
        for row in rows:
            weights, optimizer = self._remembered[row]
            self.networks[row].load_state_dict(weights)
            self.optimizers[row].load_state_dict(_copied(optimizer))

    def _saved(self) -> list[Saved]:
        return [
            ({name: value.clone() for name, value in network.state_dict().items()}, _copied(optimizer.state_dict()))
            for network, optimizer in zip(self.networks, self.optimizers, strict=True)
        ]

    def network(self, row: int, template: GrowingNetwork) -> GrowingNetwork:
        """Write host `row` with its grafts into `template`, a fresh network of the same architecture, and return it."""
        _write_grafts(template, self.networks[row], self.catalogue, self.kinds[row])
        template.load_state_dict(self.networks[row].state_dict())
        return template

    def state_dict(self) -> dict[str, object]:
        """Return everything that is needed to continue."""
        return {
            "kinds": torch.from_numpy(self.kinds.copy()),
            "stages": [[int(slot.stage) for slot in network.slots] for network in self.networks],
            "alphas": [[slot.alpha for slot in network.slots] for network in self.networks],
            "hosts": [list(saved) for saved in self._saved()],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state of the same number of hosts, whose networks here are fresh.

        Raises:
            InvalidArgument: the state has another number of hosts or slots.
        """
        kinds, hosts = state.get("kinds"), state.get("hosts")
        if not isinstance(kinds, Tensor) or tuple(kinds.shape) != self.kinds.shape or not isinstance(hosts, list):
            got = tuple(kinds.shape) if isinstance(kinds, Tensor) else type(kinds).__name__
            raise InvalidArgument(
                f"`state` of the hosts has kinds of shape {got}, wanted {self.kinds.shape}; "
                "load a state of the same number of hosts and slots."
            )
        for row, (network, row_kinds) in enumerate(zip(self.networks, kinds.tolist(), strict=True)):
            for slot, kind in enumerate(row_kinds):
                if kind != EMPTY:
                    self.graft(row, slot, kind, seed=0)
            network.load_state_dict(hosts[row][0])
            self.optimizers[row].load_state_dict(_copied(hosts[row][1]))
        stages, alphas = np.array(state["stages"], dtype=np.int64), np.array(state["alphas"], dtype=np.float64)
        self.set_stages(stages, alphas)

    def _optimizer(self, network: GrowingNetwork) -> optim.Adam:
        # One implementation of Adam whatever the number of tensors, so that a restart repeats it bit for bit.
        return optim.Adam(network.parameters(), lr=self.learning_rate, foreach=False)


def _train_one(
    network: GrowingNetwork, optimizer: optim.Optimizer, metric: Metric, batch: tuple[Tensor, Tensor]
) -> Tensor:
    inputs, labels = batch
    optimizer.zero_grad(set_to_none=True)
    loss = _mean_loss(metric, network(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    learning = network.training_parameters()
    if learning:
        shadow_loss = _mean_loss(metric, network.shadow(inputs), labels)
        for parameter, gradient in zip(learning, torch.autograd.grad(shadow_loss, learning), strict=True):
            parameter.grad = gradient
    optimizer.step()
    return loss.detach()


def _mean_loss(metric: Metric, outputs: Tensor, labels: Tensor) -> Tensor:
    return metric.loss(outputs.unsqueeze(0), labels.unsqueeze(0)).mean()


@contextmanager
def _evaluating(network: GrowingNetwork) -> Iterator[GrowingNetwork]:
    """Put a network into eval mode for a while; every module gets its own mode back, frozen ones too."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield network
    finally:
        for module, mode in modes:
            module.training = mode


def _plays(slot: Slot, players: Players) -> bool:
    match players:
        case Players.NOBODY:
            return False
        case Players.LIVE:
            return slot.is_live
        case Players.CANDIDATES:
            return slot.stage == Stage.TRAINING


def _coalitions(network: GrowingNetwork, inputs: Tensor, switched: Sequence[int], players: Players) -> Tensor:
    """Return outputs [C, B, ...], sharing what coalitions have in common up to each slot."""
    varied = {id(network.slots[slot]) for slot in switched}
    hidden = [inputs]
    for layer in network.layers:
        if isinstance(layer, Slot) and id(layer) in varied:
            on = [layer.shadow(h) if players == Players.CANDIDATES else layer(h) for h in hidden]
            # A slot that is switched in another host only is here as it is, whichever way it is switched there.
            hidden = hidden + on if _plays(layer, players) else on + on
        else:
            hidden = [layer(h) for h in hidden]
    return torch.stack(hidden)


def _coalition(network: GrowingNetwork, inputs: Tensor, mask: Tensor, players: Players) -> Tensor:
    """Return outputs [B, ...] with the players on that `mask` [S] has on."""
    is_on = {id(slot): on for slot, on in zip(network.slots, mask.tolist(), strict=True)}
    hidden = inputs
    for layer in network.layers:
        if not isinstance(layer, Slot) or not _plays(layer, players):
            hidden = layer(hidden)
        elif is_on[id(layer)]:
            hidden = layer.shadow(hidden) if players == Players.CANDIDATES else layer(hidden)
    return hidden


def _write_grafts(template: GrowingNetwork, source: GrowingNetwork, catalogue: tuple[Kind, ...], kinds: object) -> None:
    for place, original, kind in zip(template.slots, source.slots, np.asarray(kinds), strict=True):
        if kind != EMPTY:
            place.receive(catalogue[int(kind)].build(place.features, torch.Generator()), catalogue[int(kind)])
            place.stage, place.alpha = original.stage, original.alpha


def _copied(state: dict[str, object]) -> dict[str, object]:
    """Return a deep copy of an optimizer state: tensors, containers and plain values."""
    return {key: _copy_value(value) for key, value in state.items()}


def _copy_value(value: object) -> object:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy_value(item) for item in value)
    return value
