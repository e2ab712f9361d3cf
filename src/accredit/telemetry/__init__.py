"""What happened, as typed events, and the sinks that keep them."""

from accredit.telemetry.event import (
    EVENT_KINDS,
    CoalitionsEvaluated,
    ContributionsEstimated,
    Event,
    HostDiverged,
    HostGrown,
    Origin,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.telemetry.record import UnknownEvent
from accredit.telemetry.sinks import JsonlSink, Sink, cut, fan_out, read

__all__ = [
    "EVENT_KINDS",
    "CoalitionsEvaluated",
    "ContributionsEstimated",
    "Event",
    "HostDiverged",
    "HostGrown",
    "JsonlSink",
    "Origin",
    "RunCompleted",
    "RunStarted",
    "Sink",
    "StageChanged",
    "StepCompleted",
    "UnknownEvent",
    "UpdateCompleted",
    "cut",
    "fan_out",
    "read",
]
