"""What a change to a network changed, and how the optimizer follows it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn, optim


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """The report of one operation on one slot."""

    slot: str
    added: tuple[nn.Parameter, ...] = ()
    """Parameters that are new and want an optimizer."""
    removed: tuple[nn.Parameter, ...] = ()
    """Parameters that are gone, with their optimizer state."""

    def follow(self, optimizer: optim.Optimizer) -> None:
        """Make `optimizer` hold exactly what the network holds now: no momentum of a pruned graft lives on.

        New parameters come as a group of their own, with the optimizer's defaults.
        """
        gone = {id(parameter) for parameter in self.removed}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        for parameter in self.removed:
            optimizer.state.pop(parameter, None)
        if self.added:
            optimizer.add_param_group({"params": list(self.added)})
