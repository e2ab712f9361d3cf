"""The benchmark of PPO behind normalizers: its statistics, its going on after an interruption, and one quick run."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from torch.distributions import Distribution

pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed (extra bench)")
pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra bench)")

from scipy import stats

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # the benchmarks are scripts beside the package
from benchmarks import ppo_normalizers, ppo_normalizers_tables  # noqa: E402
from benchmarks.ppo_normalizers_observations import differences, largest_difference  # noqa: E402
from benchmarks.ppo_normalizers_pages import page, save_picture  # noqa: E402
from benchmarks.ppo_normalizers_runs import N_ENVS, TASKS, VARIANTS, Distorted, environments, train  # noqa: E402

FAILED = {"step": 20, "message": "ValueError: no"}


@pytest.fixture(autouse=True)
def _distributions_check_their_arguments() -> Iterator[None]:
    """As they do in a process of their own; other libraries switch it off for everybody where they are imported."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)


def record(episodes, *, failure=None, seed=0, normalizer="accredit", variant="plain", task="InvertedPendulum"):
    cell = {"kind": "training", "task": task, "variant": variant, "normalizer": normalizer, "seed": seed}
    return cell | {"n_steps": 40, "episodes": episodes, "failure": failure, "duration_s": 1.0}


@pytest.fixture
def short_window(monkeypatch):
    monkeypatch.setattr(ppo_normalizers_tables, "WINDOW", 20)


def test_curve_is_the_mean_of_the_episodes_that_ended_in_the_window_before(short_window):
    """[R35] Points every 10 steps, windows of 20, ends included."""
    one = record([(3, 1.0), (10, 3.0), (11, 7.0), (40, 9.0)])
    assert ppo_normalizers_tables.curve(one, bin_steps=10) == [2.0, pytest.approx(11 / 3), 7.0, 9.0]
    assert ppo_normalizers_tables.mean_return(one, bin_steps=10) == pytest.approx((2 + 11 / 3 + 7 + 9) / 4)
    assert ppo_normalizers_tables.final_return(one, last_share=0.75) == 8.0
    assert ppo_normalizers_tables.curve(record([(25, 1.0)]), bin_steps=10) == [None, None, 1.0, 1.0]


def test_the_window_holds_the_longest_episode_of_every_environment():
    """[R35] Points without an end would have to be made up."""
    assert max(gymnasium.spec(task.environment).max_episode_steps for task in TASKS.values()) == 1000
    assert ppo_normalizers_tables.WINDOW == 1000 * N_ENVS


def test_a_failed_run_has_no_return_and_no_curve_after_its_end(short_window):
    """[R35] Nothing is made up for what was not trained."""
    one = record([(10, 3.0), (20, 5.0)], failure=FAILED)
    assert ppo_normalizers_tables.curve(one, bin_steps=10) == [3.0, 4.0, None, None]
    assert ppo_normalizers_tables.mean_return(one, bin_steps=10) is None
    assert ppo_normalizers_tables.final_return(one, last_share=1.0) is None


def test_interval_and_p_value_are_those_of_the_t_test():
    """[R8] Against scipy's."""
    values = np.random.default_rng(0).normal(0.4, 1.0, 10)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    found = ppo_normalizers_tables.interval(values.tolist())
    assert (found["low"], found["high"], found["p"]) == pytest.approx((low, high, test.pvalue), rel=1e-9)
    assert found["mean"] == pytest.approx(values.mean())


def test_values_without_spread_and_single_values_claim_nothing_more():
    """[R6] Ten equal differences of 0 are no difference; one value has no interval."""
    assert ppo_normalizers_tables.interval([0.0] * 10) == {"n": 10, "mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert ppo_normalizers_tables.interval([2.0] * 10)["p"] == 0.0
    assert ppo_normalizers_tables.interval([2.0]) == {"n": 1, "mean": 2.0, "low": None, "high": None, "p": None}
    assert ppo_normalizers_tables.interval([])["mean"] is None


def test_pairs_are_those_seeds_that_both_sides_finished():
    """[R35] Seed 1 is missing on one side, seed 4 on the other."""
    found = ppo_normalizers_tables.paired({0: 5.0, 2: 7.0, 4: 100.0}, {0: 4.0, 1: -50.0, 2: 4.0})
    assert (found["n"], found["mean"]) == (2, 2.0)


def test_holm_as_in_the_textbook():
    """[R8] Four p-values whose adjusted ones are .03, .06, .06, .02; an unknown one does not count."""
    adjusted = ppo_normalizers_tables.holm([0.01, 0.04, None, 0.03, 0.005])
    assert adjusted[2] is None
    assert [p for p in adjusted if p is not None] == pytest.approx([0.03, 0.06, 0.06, 0.02])


def made_up_records():
    """Ours gains 10 over VecNormalize, and 1 on the variant; VecNormalize fails there with the second of two seeds."""
    rows = []
    for seed in (0, 1):
        base = 100.0 + seed
        rows += [
            record([(40, base + 10)], seed=seed),
            record([(40, base)], seed=seed, normalizer="VecNormalize"),
            record([(40, base + 11 + seed)], seed=seed, variant="one NaN row"),
            record([(20, 5.0)], seed=seed, normalizer="VecNormalize", variant="one NaN row", failure=FAILED),
        ]
        stream = {"kind": "observations", "task": "InvertedPendulum", "variant": "one NaN row", "seed": seed}
        rows.append(stream | {"differences": {"accredit": 1e-4 * (1 + seed), "VecNormalize": None if seed else 1.0}})
    return rows


def made_up_results():
    settings = {"InvertedPendulum": TASKS["InvertedPendulum"].settings() | {"bin_steps": 10}}
    return ppo_normalizers_tables.summarize(made_up_records(), settings=settings)


def test_summary_pairs_by_seed_and_counts_failures():
    """[R35] Differences to VecNormalize and to the plain task, and the worst of the streams."""
    results = made_up_results()
    plain, nan = results["against_theirs"]
    assert (plain["final"]["mean"], plain["final"]["n"]) == (10.0, 2)
    assert nan["final"] == {"n": 0, "mean": None, "low": None, "high": None, "p": None}
    by_cell = {(row["variant"], row["normalizer"]): row for row in results["cells"]}
    assert by_cell["one NaN row", "accredit"]["final - plain"]["mean"] == 1.5
    assert by_cell["one NaN row", "VecNormalize"]["failed"] == 2
    assert by_cell["one NaN row", "VecNormalize"]["failures"] == ["failed at step 20: ValueError: no"]
    assert results["observations"][0]["worst"] == {"accredit": 2e-4, "VecNormalize": None}
    assert results["verdict"]["no_failure_of_ours"]
    assert results["verdict"]["observations_equal_to_1e-3"]


def test_verdict_is_what_the_numbers_say():
    """[R35] Worse where the whole interval is below 0; different where p is; nothing where nothing was measured."""

    def cell(variant, p, failed=0):
        return {"normalizer": "accredit", "variant": variant, "failed": failed, "final - plain": {"p": p}}

    results = {
        "against_theirs": [{"variant": "plain", "final": {"high": -1.0}}, {"variant": "x", "final": {"high": None}}],
        "cells": [cell("plain", 1.0), cell("x", 0.02), cell("y", 0.3, failed=1)],
        "observations": [{"worst": {"accredit": 1e-3}}, {"worst": {"accredit": None}}],
    }
    assert ppo_normalizers_tables.verdict(results) == {
        "no_worse_on_plain_tasks": False,
        "no_failure_of_ours": False,
        "observations_equal_to_1e-3": False,
        "variants_no_different_together": False,
        "variants_no_different_one_by_one": 1,
        "variants": 2,
    }
    # .04 alone is a difference, the least of two together (.08) is none
    results["cells"][1] = cell("x", 0.04)
    assert ppo_normalizers_tables.verdict(results)["variants_no_different_together"] is True
    nothing = ppo_normalizers_tables.verdict({"against_theirs": [], "cells": [], "observations": []})
    assert [nothing[key] for key in list(nothing)[:4]] == [None] * 4


def test_page_tells_failures_and_differences(tmp_path):
    """[R35] Numbers with intervals, dashes where nothing is known, the reason of each failure; and a picture."""
    results = made_up_results()
    text = page(results)
    assert "| InvertedPendulum | one NaN row | 2 | 2.0e-04 | NaN |" in text
    assert "| InvertedPendulum | plain | 2 | 10.0 [10.0, 10.0] |" in text
    assert "| InvertedPendulum | one NaN row | VecNormalize | 2 of 2 | - | - | - | - | - |" in text
    assert "- InvertedPendulum, one NaN row, VecNormalize: failed at step 20: ValueError: no" in text
    save_picture(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_jobs_are_the_same_seeds_for_every_cell():
    """[R35] 2 tasks x 4 variants x 3 normalizers x 10 seeds, and 3 seeds of streams; 2 seeds when quick."""
    wanted = ppo_normalizers.jobs(seed=5, n_seeds=10, quick=False)
    cells = {}
    for job in wanted:
        key = (job["kind"], job["task"], job["variant"], job.get("normalizer"))
        cells.setdefault(key, []).append((job["seed"], job["n_steps"]))
    assert len(wanted) == 240 + 18
    assert cells["training", "HalfCheetah", "plain", "accredit"] == [(seed, 100_000) for seed in range(5, 15)]
    assert cells["training", "InvertedPendulum", "one NaN row", "nothing"] == [(s, 40_000) for s in range(5, 15)]
    assert cells["observations", "HalfCheetah", "shifted 1e6", None] == [(seed, 100_000) for seed in (5, 6, 7)]
    assert {job["seed"] for job in ppo_normalizers.jobs(seed=5, n_seeds=2, quick=True)} == {5, 6}


def test_an_interrupted_study_does_what_is_left(tmp_path, monkeypatch):
    """[R11] A whole line is kept, a torn one is run again, and the order is that of the jobs."""
    wanted = [
        {
            "kind": "training",
            "task": "InvertedPendulum",
            "variant": "plain",
            "normalizer": name,
            "seed": 0,
            "n_steps": 9,
        }
        for name in ("nothing", "VecNormalize", "accredit")
    ]
    first, second, third = (job | {"duration_s": 1.0, "failure": None} for job in wanted)
    path = tmp_path / "runs.jsonl"
    lines = [json.dumps(ppo_normalizers.settings()), json.dumps(second)]
    path.write_text("\n".join(lines) + "\n" + json.dumps(first)[:20])
    asked = []

    def finish(todo, folder, *, processes):
        asked.extend(todo)
        yield third
        raise KeyboardInterrupt

    monkeypatch.setattr(ppo_normalizers, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        ppo_normalizers.study(wanted, path, processes=1)
    assert asked == [wanted[0], wanted[2]]
    monkeypatch.setattr(ppo_normalizers, "finish", lambda todo, folder, processes: iter([first]))
    assert ppo_normalizers.study(wanted, path, processes=1) == [first, second, third]


def test_runs_with_other_settings_are_refused(tmp_path):
    """[R31] Numbers of two versions are not averaged."""
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({"tasks": {}, "versions": {}}) + "\n")
    with pytest.raises(SystemExit, match="holds runs with other settings or versions than now; delete it or pass `--r"):
        ppo_normalizers.read_runs(path)


@pytest.mark.parametrize(("variant", "scale", "shift"), [("scaled 1e3", 1e3, 0.0), ("shifted 1e6", 1.0, 1e6)])
def test_variants_observe_the_plain_task_in_another_unit(variant, scale, shift):
    """[R35] float64, or the shift would eat the digits; the rewards stay."""
    plain, other = (environments(TASKS["InvertedPendulum"], which, seed=3) for which in ("plain", variant))
    np.testing.assert_allclose(other.reset(), plain.reset() * scale + shift, rtol=1e-15)
    actions = np.full((plain.num_envs, 1), 0.5, np.float32)
    (x, reward, *_), (y, reward_there, *_) = plain.step(actions), other.step(actions)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, x * scale + shift, rtol=1e-15)
    np.testing.assert_array_equal(reward, reward_there)


def test_a_task_in_single_precision_is_refused():
    """[R35] A shift of 1e6 would round its observations."""
    with pytest.raises(
        TypeError, match=r"`env` observes float32, but 1e6 \+ x needs float64; pass another environment"
    ):
        Distorted(gymnasium.make("CartPole-v1"), VARIANTS["plain"], None)


def test_exactly_one_row_is_not_a_number():
    """[R35] Half way, of the first environment, and never the last of an episode."""
    assert VARIANTS["one NaN row"].has_nan
    task = TASKS["InvertedPendulum"]
    venv = environments(task, "one NaN row", seed=0)
    venv.reset()
    rows = []
    for step in range(1, task.n_steps // venv.num_envs // 2 + 50):
        observations, _, _, infos = venv.step(np.zeros((venv.num_envs, 1), np.float32))
        rows += [(step, int(index)) for index in np.flatnonzero(np.isnan(observations).any(1))]
        assert not any(np.isnan(info.get("terminal_observation", 0.0)).any() for info in infos)
    ((step, index),) = rows
    assert index == 0
    assert 2500 <= step < 2510


def test_one_nan_row_ends_training_behind_vec_normalize_and_not_behind_ours():
    """[R25] The failure is told, the runs before it are those of the plain task."""
    theirs = train("InvertedPendulum", "one NaN row", "VecNormalize", seed=0, n_steps=2048)
    ours = train("InvertedPendulum", "one NaN row", "accredit", seed=0, n_steps=2048)
    assert theirs["failure"]["message"].startswith("ValueError: Expected parameter loc")
    assert 1024 <= theirs["failure"]["step"] <= 1100
    assert ours["failure"] is None
    assert ours["episodes"][-1][0] > 2000


def test_normalized_observations_do_not_see_the_unit():
    """[R17] 1e-3 was asked for; float64 about the running mean leaves float32's rounding."""
    for variant in ("scaled 1e3", "shifted 1e6"):
        found = differences("InvertedPendulum", variant, seed=0, n_steps=800)["differences"]
        assert found["accredit"] <= 1e-5
        assert found["VecNormalize"] > 0.01


def test_largest_difference_is_none_where_a_normalizer_gave_nan():
    """[R11] A NaN is not a small difference; the row that was NaN to begin with has no counterpart."""
    plain = np.zeros((3, 2, 1), np.float32)
    other = plain.copy()
    other[1, 0], other[1, 1], other[2, 1] = math.nan, 0.75, 0.5
    assert largest_difference(plain, other, skip=1) == 0.75
    assert largest_difference(plain, other, skip=None) is None


@pytest.mark.long
def test_the_quick_study_runs_from_the_command_line(tmp_path):
    """[R35] Minutes: 2 seeds of everything."""
    command = [sys.executable, "-m", "benchmarks.ppo_normalizers", "--quick", "--json", str(tmp_path / "results.json")]
    command += ["--runs", str(tmp_path / "runs.jsonl")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=1800)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["runs"]) == 48
    assert results["verdict"]["no_failure_of_ours"]
    assert (tmp_path / "results.png").exists()
