"""The benchmark of PPO that goes on with and without its statistics: its arithmetic, and one short run."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed (extra bench)")
pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra bench)")

sys.path.append(str(Path(__file__).parents[2]))  # the benchmarks are scripts beside the package
from benchmarks import ppo_resume
from benchmarks.ppo_normalizers_runs import TASKS, Episodes


def record(seed: int, kept: tuple[float | None, float], lost: tuple[float | None, float]) -> ppo_resume.Record:
    arms = {
        name: {"before": 5.0, "at once": values[0], "final": values[1]}
        for name, values in (("kept", kept), ("lost", lost))
    }
    return {"task": "HalfCheetah", "seed": seed, "arms": arms}


def test_differences_are_paired_by_seed_and_a_seed_without_an_end_is_in_no_pair():
    """[R35] At once: -2 and -4 of seeds 0 and 1; t(.975, 1) = 12.706, so half-width 12.706."""
    records = [record(2, (None, 9.0), (1.0, 9.0)), record(0, (3.0, 9.0), (1.0, 8.0)), record(1, (5.0, 9.0), (1.0, 7.0))]
    task = ppo_resume.summarize(records)["tasks"]["HalfCheetah"]
    assert task["seeds"] == [0, 1, 2]
    at_once = task["lost_minus_kept"]["at once"]
    assert (at_once["n"], at_once["mean"]) == (2, -3.0)
    assert (at_once["low"], at_once["high"]) == pytest.approx((-3 - 12.706, -3 + 12.706), abs=1e-3)
    assert task["lost_minus_kept"]["final"]["n"] == 3
    assert task["returns"]["at once"]["kept"]["mean"] == 4.0
    table = ppo_resume.page(ppo_resume.summarize(records))
    assert "| HalfCheetah | the first 8,000 steps after | 4 [-9, 17] |" in table


def test_a_span_of_steps_holds_its_end_and_not_its_beginning():
    """[R35]"""
    recorder = Episodes()
    recorder.episodes = [(10, 1.0), (11, 2.0), (20, 4.0), (21, 8.0)]
    assert ppo_resume.mean_between(recorder, 10, 20) == 3.0
    assert ppo_resume.mean_between(recorder, 21, 30) is None


def test_a_run_goes_on_in_both_ways_from_one_half(monkeypatch):
    """[R26] [R35] The pendulum, whose episodes are short, for 4,096 steps."""
    monkeypatch.setitem(ppo_resume.QUICK, "InvertedPendulum", 4096)
    found = ppo_resume.run("InvertedPendulum", 0, quick=True)["arms"]
    assert found["kept"]["before"] == found["lost"]["before"] > 0
    assert found["kept"]["at once"] != found["lost"]["at once"]
    assert all(value > 0 for arm in found.values() for value in arm.values())
    assert TASKS["InvertedPendulum"].n_steps == 40_000
