"""How an attribution is made: one immutable record, checked when it is made and saved with every matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from accredit.attribution.output import Output
from accredit.attribution.stop import StopRule, rule_from_text, rule_text
from accredit.errors import InvalidArgument

Strategy: TypeAlias = Literal["auto", "full_factorial", "shapley", "ablation_only"]
STRATEGIES: tuple[Strategy, ...] = ("auto", "full_factorial", "shapley", "ablation_only")


@dataclass(frozen=True, kw_only=True)
class CounterfactualConfig:
    """Which coalitions are evaluated, when to stop, and what the values mean.

    Example:
        >>> CounterfactualConfig(strategy="auto", max_evaluations=256).confidence
        0.95
    """

    strategy: Strategy = "auto"
    """"full_factorial": all 2^n coalitions. "shapley": complement pairs in the order of the design. "ablation_only":
    all on, each off, all off. "auto": full_factorial if and only if 2^n <= max_evaluations, else shapley."""
    max_evaluations: int = 1024
    """Most coalitions in a matrix, earlier ones that are continued included. 1024 = all coalitions of 10 players."""
    timeout_s: float | None = None
    """Seconds after which no further evaluation begins; None inside training, where only evaluations count."""
    target_half_width: float | None = None
    """Stop a sampled matrix when every interval of every output is at most this wide to either side, in the unit of the
    output; None: no such target."""
    stop: StopRule | None = None
    """A further rule that ends a sampled matrix early, such as `SignsDecided()`; None: none."""
    confidence: float = 0.95
    """Level of the intervals in events, tables and stop rules, in (0, 1)."""
    outputs: tuple[Output, ...] = (Output("value", "1", True),)
    """What the value function returns: exactly these names at every call."""
    seed: int = 0
    """Seed of the design and of the bootstrap over examples; at least 0."""
    coalitions_per_call: int = 256
    """Most coalitions handed to the value function at once; changes the memory and what a crash costs, never a
    result."""
    bootstrap_replicates: int = 200
    """Poisson bootstrap replicates of the validation set for sampled matrices; 200 gives the standard error to 5 %."""
    max_example_bytes: int = 268_435_456
    """Most memory for the values per example of a whole matrix, 8 bytes for each coalition, output and example; a value
    function that returns more is refused at its first call. Default 256 MiB."""

    def __post_init__(self) -> None:
        """Check every field and the names of the outputs."""
        if self.strategy not in STRATEGIES:
            raise InvalidArgument(
                f"`strategy` is {self.strategy!r}, wanted one of {', '.join(STRATEGIES)}; pass one of these names."
            )
        _check_positive("max_evaluations", self.max_evaluations, integer=True)
        _check_positive("coalitions_per_call", self.coalitions_per_call, integer=True)
        _check_positive("bootstrap_replicates", self.bootstrap_replicates, integer=True)
        if self.timeout_s is not None:
            _check_positive("timeout_s", self.timeout_s, integer=False)
        if self.target_half_width is not None:
            _check_positive("target_half_width", self.target_half_width, integer=False)
        if not 0.0 < self.confidence < 1.0:
            raise InvalidArgument(
                f"`confidence` is {self.confidence}, wanted a level between 0 and 1, both excluded; pass 0.95 for 95 %."
            )
        if self.seed < 0 or self.max_example_bytes < 0:
            raise InvalidArgument(
                f"`seed` is {self.seed} and `max_example_bytes` is {self.max_example_bytes}, wanted both at least 0; "
                "pass whole numbers that are not negative."
            )
        names = [output.name for output in self.outputs]
        if not names or len(set(names)) != len(names):
            raise InvalidArgument(
                f"`outputs` are named {names}, wanted at least one output and no name twice; "
                "declare each output that the value function returns once."
            )


def _check_positive(name: str, value: float, *, integer: bool) -> None:
    """Raise unless the value is positive, finite and, where asked for, whole."""
    if not (math.isfinite(value) and value > 0) or (integer and value != int(value)):
        kind = "a whole number of at least 1" if integer else "a finite number above 0"
        raise InvalidArgument(f"`{name}` is {value}, wanted {kind}; pass such a number.")


def config_record(config: CounterfactualConfig) -> dict[str, object]:
    """A configuration as plain values for JSON, without its outputs, which stand beside it."""
    record = dict(vars(config))
    record["stop"] = rule_text(config.stop)
    del record["outputs"]
    return record


def config_from_record(record: Mapping[str, Any], *, outputs: tuple[Output, ...]) -> CounterfactualConfig:
    """The configuration of a record; Any, for it was read from JSON and is checked as any configuration is."""
    return CounterfactualConfig(**{**record, "stop": rule_from_text(record["stop"]), "outputs": outputs})
