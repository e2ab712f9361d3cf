"""The study of growth: intervals over seeds, pairs of hosts, and runs that are kept.

The studies themselves take hours and are in docs/evidence/growth.md; here are their arithmetic and their memory.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from accredit.training.config_record import to_plain
from accredit.training.task import DIGITS

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are scripts beside the package
from benchmarks import growth
from benchmarks.growth_studies import STUDIES, configuration
from benchmarks.growth_tables import page, summarize

Record = dict[str, Any]


def record(study: str, seed: int, *, losses: dict[str, list[float]], returns: list[float]) -> Record:
    """A finished run as the driver keeps it; hosts 1 and 2 of every seed."""
    policies = {
        name: {"host_seed": [1, 2], "log_loss": values, "accuracy": [0.5, 0.7], "parameters": [10, 20]}
        for name, values in losses.items()
    }
    return {
        "kind": "policy" if "learned" in losses else "baselines",
        "study": study,
        "seed": seed,
        "quick": True,
        "config": to_plain(configuration(study, seed, quick=True)),
        "code": "0123456",
        "duration_s": 2.0,
        "curve": {"episode_return": returns, "gain_over_control": returns},
        "policies": policies,
    }


RECORDS = [
    record("digits", 5, losses={"learned": [1.0, 3.0]}, returns=[0.0, 1.0, 2.0, 3.0]),
    record("digits", 5, losses={"random": [2.0, 3.0]}, returns=[]),
    record("digits", 6, losses={"learned": [2.0, 2.0]}, returns=[0.0, 1.0, 2.0, 3.0]),
    record("digits", 6, losses={"random": [4.0, 3.0]}, returns=[]),
    record("value normalizer", 5, losses={"learned": [1.5, 3.0]}, returns=[0.0, 1.0, 2.5, 3.0]),
    record("value normalizer", 6, losses={"learned": [2.0, 2.0]}, returns=[0.0, 1.0, 2.0, 4.5]),
]


def test_differences_are_paired_by_host_and_intervals_run_over_the_means_of_seeds():
    """[R35] By hand: means -0.5 and -1.5 over hosts; two seeds, so t(.975, 1) = 12.706 and half-width 12.706 * .5."""
    found = summarize(RECORDS)["learned_minus"]["random"]
    assert found["mean"] == -1.0
    assert found["seeds"] == 2
    assert (found["lower"], found["upper"]) == pytest.approx((-1 - 6.353, -1 + 6.353), abs=1e-3)


def test_a_study_is_compared_with_the_one_beside_it_seed_by_seed():
    """[R35] Log-loss: .25 and 0 over hosts; returns of the second half: (.5, 0) and (0, 1.5)."""
    study = summarize(RECORDS)["studies"]["value normalizer"]
    assert study["minus_beside"]["mean"] == 0.125
    assert study["return_minus_beside"]["first_update_after_half"]["mean"] == 0.25
    assert study["return_minus_beside"]["second_half"]["mean"] == 0.5
    assert study["return_minus_beside"]["last_quarter"]["mean"] == 0.75
    assert "| value normalizer | digits | +0.125 ± 1.588 |" in page(summarize(RECORDS))


def test_the_fixed_large_network_of_a_seed_is_no_smaller_than_what_its_policy_grew():
    """[R35] Hosts of 15 parameters on average: 12 are too few, 15 are enough, 40 too many."""
    sizes = {f"fixed network, {width} wide": [width / 10, width / 10] for width in (12, 15, 40)}
    networks = record("digits", 5, losses=sizes, returns=[])
    for name, values in networks["policies"].items():
        values["parameters"] = [int(name.split()[2])] * 2
    found = summarize([RECORDS[0], networks])["studies"]["digits"]["policies"]
    assert found["fixed large"]["log_loss"]["mean"] == 1.5


def test_runs_on_other_hosts_are_not_paired():
    """[R35]"""
    other = json.loads(json.dumps(RECORDS))
    other[4]["policies"]["learned"]["host_seed"] = [1, 3]
    with pytest.raises(ValueError, match="hosts of value normalizer and digits differ at seed 5; delete the runs"):
        summarize(other)


def test_a_run_that_failed_is_named_and_counts_in_no_mean():
    """[R35] A policy that collapsed is a result too."""
    failed = {**RECORDS[0], "failure": "`train` has a policy that only waits", "seed": 7}
    found = summarize([*RECORDS, failed])["studies"]["digits"]
    assert found["seeds"] == [5, 6]
    assert found["failures"] == {"7": "`train` has a policy that only waits"}


def test_finished_runs_are_kept_unless_a_field_of_their_study_changed(tmp_path: Path):
    """[R29] A torn last line is left out; so is a run with another value, or from before a field was there."""
    older, changed = json.loads(json.dumps(RECORDS[0])), json.loads(json.dumps(RECORDS[2]))
    del older["config"]["ppo"]["memory"]
    changed["config"]["ppo"]["clip"] = 0.3
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (older, changed, RECORDS[4])) + '{"kind": "pol')
    assert [(one["study"], one["seed"]) for one in growth.read_runs(path)] == [("value normalizer", 5)]
    assert growth.changes(older) == ["ppo.memory: None -> none"]
    assert growth.changes(changed) == ["ppo.clip: 0.3 -> 0.2"]
    assert growth.read_runs(tmp_path / "none.jsonl") == []


def test_baselines_are_kept_where_only_the_learning_of_the_policy_changed():
    """[R35] They play without it; the hosts that they grow are not theirs to change."""
    losses = {"random": [2.0, 3.0]} | {f"fixed network, {width} wide": [1.0, 1.0] for width in DIGITS.large_widths}
    learns, grows = (record("digits", 5, losses=losses, returns=[]) for _ in range(2))
    learns["config"]["ppo"]["clip"], learns["config"]["updates"] = 0.3, 7
    grows["config"]["episode"]["minibatches"] += 1
    assert growth.changes(learns) == []
    assert [name.split(":")[0] for name in growth.changes(grows)] == ["episode.minibatches"]
    assert growth.changes(learns | {"kind": "policy"}) != []
    losses.popitem()
    (sizes,) = growth.changes(record("digits", 5, losses=losses, returns=[]))
    assert sizes.startswith("sizes: [8, 9, ")


def test_every_study_has_a_configuration_and_a_study_to_stand_beside():
    """[R35] Names are those that --only takes."""
    for name, study in STUDIES.items():
        assert configuration(name, 1000, quick=False).task == study.task
        assert study.beside is None or study.beside in STUDIES
        assert "," not in name
