"""What happened, as typed events, and the sinks that keep them."""

from accredit.telemetry.event import (
    EVENT_KINDS,
    CoalitionsEvaluated,
    ContributionsEstimated,
    Event,
    HostDiverged,
    HostGrown,
    Origin,
    PolicyRolledBack,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.frame import read_frame
from accredit.telemetry.record import UnknownEvent
from accredit.telemetry.sinks import CsvSink, JsonlSink, Sink, TensorBoardSink, View, cut, fan_out, read, showing

__all__ = [
    "EVENT_KINDS",
    "CoalitionsEvaluated",
    "ContributionsEstimated",
    "CsvSink",
    "Event",
    "HostDiverged",
    "HostGrown",
    "JsonlSink",
    "Origin",
    "PolicyRolledBack",
    "RunCompleted",
    "RunStarted",
    "Sink",
    "StageChanged",
    "StepCompleted",
    "TensorBoardSink",
    "UnknownEvent",
    "UpdateCompleted",
    "View",
    "cut",
    "fan_out",
    "read",
    "read_frame",
    "showing",
]
