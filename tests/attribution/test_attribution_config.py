import dataclasses

import pytest

from accredit.attribution import CounterfactualConfig, HalfWidthReached, Output, SignsDecided, TopDecided
from accredit.attribution.config import config_from_record, config_record
from accredit.attribution.stop import Look, SavedRule
from accredit.errors import InvalidArgument


def test_the_configuration_is_immutable():
    """[R1]"""
    with pytest.raises(dataclasses.FrozenInstanceError):
        CounterfactualConfig().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"strategy": "permutations"},
            r"`strategy` is 'permutations', wanted one of auto, full_factorial, shapley, abl",
        ),
        ({"max_evaluations": 0}, r"`max_evaluations` is 0, wanted a whole number of at least 1"),
        ({"max_evaluations": 2.5}, r"`max_evaluations` is 2.5, wanted a whole number"),
        ({"coalitions_per_call": -1}, r"`coalitions_per_call` is -1, wanted a whole number"),
        ({"bootstrap_replicates": 0}, r"`bootstrap_replicates` is 0, wanted a whole number"),
        ({"timeout_s": 0.0}, r"`timeout_s` is 0.0, wanted a finite number above 0"),
        ({"timeout_s": float("inf")}, r"`timeout_s` is inf, wanted a finite number above 0"),
        ({"timeout_s": float("nan")}, r"`timeout_s` is nan, wanted a finite number above 0"),
        ({"target_half_width": -0.1}, r"`target_half_width` is -0.1, wanted a finite number above 0"),
        ({"confidence": 1.0}, r"`confidence` is 1.0, wanted a level between 0 and 1"),
        ({"seed": -1}, r"`seed` is -1 and `max_example_bytes` is \d+, wanted both at least 0"),
        ({"max_example_bytes": -1}, r"`max_example_bytes` is -1, wanted both at least 0"),
        ({"outputs": ()}, r"`outputs` are named \[\], wanted at least one output"),
        ({"outputs": (Output("a", "1", True), Output("a", "2", True))}, r"`outputs` are named \['a', 'a'\], wanted"),
    ],
)
def test_fields_out_of_range_are_refused(arguments, message):
    """[R37]"""
    with pytest.raises(InvalidArgument, match=message):
        CounterfactualConfig(**arguments)


def test_an_output_needs_a_name():
    """[R37]"""
    with pytest.raises(InvalidArgument, match=r"`name` of an output is '', wanted a text that is not empty"):
        Output("", "nat", False)


@pytest.mark.parametrize("stop", [None, SignsDecided(), TopDecided(3), HalfWidthReached(0.25)])
def test_a_configuration_survives_its_record(stop):
    """[R3]"""
    config = CounterfactualConfig(
        strategy="shapley", max_evaluations=77, timeout_s=1.5, target_half_width=0.1, stop=stop, seed=9
    )
    assert config_from_record(config_record(config), outputs=config.outputs) == config


def test_a_rule_of_the_users_is_kept_as_text_and_refuses_to_decide():
    """[R3] [R30] Nothing from a file is executed."""

    @dataclasses.dataclass(frozen=True)
    class Mine:
        text: str = "import os"

        def __call__(self, look):
            return True

    record = config_record(CounterfactualConfig(stop=Mine()))
    stop = config_from_record(record, outputs=(Output("a", "1", True),)).stop
    assert isinstance(stop, SavedRule)
    assert "import os" in stop.text
    with pytest.raises(InvalidArgument, match=r"`stop` is .*Mine.* as a file names it, and 5 evaluations wait"):
        stop(Look(n_evaluations=5, contribution=None, half_width=None))
