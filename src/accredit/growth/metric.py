"""What hosts are trained to lower and measured by: one number per example.

N hosts or other leading axes, C coalitions, B examples, L positions of an example, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Score:
    """Values per example; lower loss and higher correctness are better."""

    log_loss: Tensor
    """[..., B], in nats."""
    is_correct: Tensor
    """[..., B], 1 where the likeliest class is the label; the share of such positions where an example has many."""

    def of_rows(self, rows: NDArray[np.int64]) -> Score:
        """Return the values [R, B] of some rows of [N, B]."""
        chosen = torch.from_numpy(rows)
        return Score(log_loss=self.log_loss.index_select(0, chosen), is_correct=self.is_correct.index_select(0, chosen))

    def of_examples(self, examples: Tensor) -> Score:
        """Return the values [N, R] of some examples of [N, B]."""
        return Score(
            log_loss=self.log_loss.index_select(1, examples), is_correct=self.is_correct.index_select(1, examples)
        )


class Metric(Protocol):
    """A task's loss in two forms: one to train on, one to measure with."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return what training lowers, [N, B], of outputs [N, B, ...] and labels [N, B, ...]; it has a gradient."""
        ...

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Return what evaluation reports, [..., B], of outputs [..., B, ...] and labels [B, ...] that all share."""
        ...


@dataclass(frozen=True)
class LogLoss:
    """Log-loss of a class: -log softmax(outputs) at the label, in nats.

    Labels of one number per example make a classification.  Labels [B, L] make a sequence, whose value is the mean
    over its L positions, so that an example stays one draw: positions of one sequence are not independent.

    Example:
        >>> import torch
        >>> score = LogLoss().score(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64))
        >>> score.log_loss.tolist() == [torch.tensor(4.0).log().item()] * 2  # a guess among four
        True
    """

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the log-loss of each example, [N, B].

        Args:
            outputs: [N, B, K] or [N, B, L, K].
            labels: [N, B] or [N, B, L] int64.
        """
        if labels.dim() == 2:
            # classes are few: along the examples it is several times as fast
            return F.cross_entropy(outputs.movedim(-1, 1), labels, reduction="none")
        losses = F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)
        return losses.flatten(2).mean(2)

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Return log-loss and correctness of each example.

        Args:
            outputs: [..., B, K] or [..., B, L, K].
            labels: [B] or [B, L] int64.
        """
        if labels.dim() == 1:
            # Classes are few: along the examples every pass is several times as fast.
            by_class, answer = outputs.movedim(-1, -2).contiguous(), labels.expand(outputs.shape[:-1])
            log_loss = -by_class.log_softmax(-2).gather(-2, answer.unsqueeze(-2)).squeeze(-2)
            return Score(log_loss=log_loss, is_correct=(by_class.max(-2).indices == labels).float())
        answer = labels.expand(outputs.shape[:-1]).unsqueeze(-1)
        log_loss = -outputs.log_softmax(-1).gather(-1, answer).squeeze(-1)
        # A maximum is ten times as fast as its place, which is wanted where it is the label's: others may be as high.
        is_correct = outputs.gather(-1, answer).squeeze(-1) >= outputs.amax(-1)
        is_correct[is_correct.clone()] = outputs[is_correct].argmax(-1) == answer[is_correct].squeeze(-1)
        first = -(labels.dim() - 1)
        return Score(log_loss=log_loss.flatten(first).mean(-1), is_correct=is_correct.float().flatten(first).mean(-1))
