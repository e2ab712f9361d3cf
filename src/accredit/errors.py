"""Every exception that Accredit raises on purpose.

Each class also derives from the builtin that a caller would think of first, so `except ValueError` works as expected::

    AccreditError
    ├── InvalidArgument     (ValueError)      an argument out of range, of the wrong shape, dtype or device
    ├── UnknownName         (LookupError)     a player, output, task, field or file kind that does not exist
    ├── BudgetError         (ValueError)      a budget below the minimum of the strategy
    ├── EvaluationError     (RuntimeError)    a value function failed; carries what was evaluated before
    ├── OutOfMemory         (MemoryError)     a pass of a model does not fit into memory
    ├── MissingValue        (LookupError)     a quantity needs coalitions that were not evaluated
    ├── StateMismatch       (ValueError)      a saved state, matrix or configuration that belongs to something else
    ├── FileDamaged         (ValueError)      a file that is torn, altered, from a newer version, or not ours
    ├── RunFolderError      (OSError)         a run folder that exists, cannot be written, or holds no run
    ├── TrainingFailed      (RuntimeError)    training that went wrong in a way that must not pass unseen
    │   └── PolicyCollapsed                   a policy that does one thing, whatever it sees
    └── MissingExtra        (ImportError)     an optional dependency that is not installed

`EvaluationInterrupted` stands beside the tree: it is a `KeyboardInterrupt` with the matrix of what was finished.

A message is one sentence in four parts: what (in backticks), got, wanted, do this.
"""

from __future__ import annotations

from typing import Any


class AccreditError(Exception):
    """Base of every exception that Accredit raises on purpose."""


class InvalidArgument(AccreditError, ValueError):
    """An argument is out of range, or of the wrong shape, dtype or device."""


class UnknownName(AccreditError, LookupError):
    """A name (player, output, task, field) does not exist."""


class BudgetError(AccreditError, ValueError):
    """A budget is below the minimum of the strategy."""


class EvaluationError(AccreditError, RuntimeError):
    """A value function failed; nothing that was evaluated before is lost."""

    def __init__(self, message: str, *, matrix: Any = None) -> None:
        super().__init__(message)
        self.matrix = matrix
        """The `CounterfactualMatrix` of all that was finished, to be continued; None where no matrix was begun."""


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation; a `KeyboardInterrupt` and no `AccreditError`, so that it ends a program as usual."""

    def __init__(self, message: str, *, matrix: Any = None) -> None:
        super().__init__(message)
        self.matrix = matrix
        """The `CounterfactualMatrix` of everything that was finished, to be continued."""


class OutOfMemory(AccreditError, MemoryError):
    """A pass of a model does not fit into memory."""


class MissingValue(AccreditError, LookupError):
    """A quantity needs coalitions that were not evaluated."""


class StateMismatch(AccreditError, ValueError):
    """A saved state, matrix or configuration belongs to something else."""


class FileDamaged(AccreditError, ValueError):
    """A file is torn, altered, from a newer version, or not ours."""


class RunFolderError(AccreditError, OSError):
    """A run folder exists already, cannot be written, or holds no run."""


class TrainingFailed(AccreditError, RuntimeError):
    """Training went wrong in a way that must not pass unseen."""


class PolicyCollapsed(TrainingFailed):
    """A policy does one and the same thing in every situation and explores no more."""


class MissingExtra(AccreditError, ImportError):
    """An optional dependency is not installed."""
