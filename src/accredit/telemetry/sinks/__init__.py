"""Where events go: a file of JSON lines always, other sinks beside it."""

from accredit.telemetry.sinks.csv_tables import CsvSink
from accredit.telemetry.sinks.fan_out import Sink, fan_out
from accredit.telemetry.sinks.jsonl import JsonlSink, cut, read
from accredit.telemetry.sinks.tensorboard import TensorBoardSink
from accredit.telemetry.sinks.view import View, showing

__all__ = ["CsvSink", "JsonlSink", "Sink", "TensorBoardSink", "View", "cut", "fan_out", "read", "showing"]
