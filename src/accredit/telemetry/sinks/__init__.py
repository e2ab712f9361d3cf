"""Where events go: a file of JSON lines always, other sinks beside it."""

from accredit.telemetry.sinks.fan_out import Sink, fan_out
from accredit.telemetry.sinks.jsonl import JsonlSink, cut, read

__all__ = ["JsonlSink", "Sink", "cut", "fan_out", "read"]
