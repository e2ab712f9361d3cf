"""Any `nn.Module` as players: switch its components from outside, and evaluate what each of them earns."""

from accredit.models.component import Component
from accredit.models.metrics import (
    Metric,
    Weighted,
    absolute_error,
    accuracy,
    class_recalls,
    log_loss,
    squared_error,
    token_log_loss,
)
from accredit.models.switchable import SwitchableModel
from accredit.models.task import AttributionTask
from accredit.models.value import ModelValue, SharingReport
from accredit.models.workers import ProcessWorkers

__all__ = [
    "AttributionTask",
    "Component",
    "Metric",
    "ModelValue",
    "ProcessWorkers",
    "SharingReport",
    "SwitchableModel",
    "Weighted",
    "absolute_error",
    "accuracy",
    "class_recalls",
    "log_loss",
    "squared_error",
    "token_log_loss",
]
