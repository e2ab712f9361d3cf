"""The pages on models: what they print adds up, and a reader can copy them."""

import functools
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = {
    2: "02_blocks_of_a_residual_network.py",
    3: "03_heads_of_a_transformer.py",
    4: "04_lora_adapters.py",
    5: "05_experts_of_a_mixture.py",
    6: "06_members_of_an_ensemble.py",
    7: "07_hugging_face_model.py",
}
FACE = {"accredit", "accredit.models", "accredit.integrations.peft"}


@functools.cache
def printed(number):
    """What a page prints, run as a reader runs it; warnings are errors, and nothing goes to the error stream."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / PAGES[number]), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def tables(text):
    """Of every table of a page: the contributions of the players, by their names."""
    found = []
    for block in re.findall(r"^player +contribution .*\n((?:.+\n)+?)(?:exact|pair_process), ", text, re.MULTILINE):
        rows = [re.split(r" {2,}", line) for line in block.splitlines()]
        found.append({name: float(contribution) for name, contribution, _ in rows})
    return found


def changes(text):
    """Of every "... off: loss 2.3 nat; all on: 0.1 nat" of a page: how far the output falls."""
    pairs = re.findall(r": (?:loss|squared error) ([\d.]+)[^;\n]*; all[ on]*: (?:loss )?([\d.]+\d)", text)
    return [float(off) - float(on) for off, on in pairs]


@pytest.mark.parametrize("number", PAGES)
def test_contributions_of_a_page_sum_to_the_fall_that_it_tells(number):
    """[R4] Of every table beneath which nothing but its players is switched."""
    text = printed(number)
    falls, sums = changes(text), [sum(table.values()) for table in tables(text)]
    assert len(falls) == {2: 1, 3: 2, 4: 4, 5: 2, 6: 1, 7: 1}[number]
    assert sums[: len(falls)] == pytest.approx(falls, abs=5e-3)


@pytest.mark.parametrize("number", PAGES)
def test_a_page_uses_the_public_face_alone_and_is_short(number):
    """[R37] A reader can copy it; and it stays short enough to be read."""
    source = (EXAMPLES / PAGES[number]).read_text().splitlines()
    assert len(source) <= 150
    imported = [line.split()[1] for line in source if line.startswith(("import accredit", "from accredit"))]
    assert set(imported) <= FACE


def test_blocks_are_measured_in_many_outputs_and_under_three_kinds_of_off():
    """[R3] One run gives loss, accuracy and recalls; zero of a branch is identity of its block."""
    text = printed(2)
    assert re.search(r"^blocks\.0: [+-][\d.]+ of accuracy; of recall most for digit \d: \+", text, re.MULTILINE)
    assert "Best together: blocks." in text
    assert re.search(r"^Evaluated by: \w[^(]* \(\w.*\); [\d.]+ MiB kept at most\.$", text, re.MULTILINE)
    kinds = dict(re.findall(r"^ *(zero|mean|resample): (.*?)   \(", text, re.MULTILINE))
    assert set(kinds) == {"zero", "mean", "resample"}
    by_zero = [float(number) for number in kinds["zero"].split()]
    assert by_zero == pytest.approx([tables(text)[0][f"blocks.{at}"] for at in range(4)], abs=1e-3)


def test_heads_are_sampled_and_the_matrix_goes_on():
    """[R9] Twice as many coalitions, and an error that is told by its sources."""
    text = printed(3)
    assert "20 of 2^6 coalitions were evaluated" in text
    assert "40 of 2^6 coalitions were evaluated" in text
    drawn = [float(each) for each in re.findall(r"Standard error of .*: ([\d.]+) from drawing coalitions", text)]
    assert drawn[1] < drawn[0]
    assert set(tables(text)[2]) == {"heads 0", "heads 1", "layers.0.feed", "layers.1.feed"}


def test_each_adapter_earns_most_on_what_it_was_trained_for():
    """[R33] Four adapters, of which two learned the same."""
    plain, mirrored, upside_down, moved = tables(printed(4))
    assert max(mirrored, key=mirrored.get) == "mirror"
    assert max(upside_down, key=upside_down.get) == "turn"
    assert set(sorted(moved, key=moved.get)[2:]) == {"move", "move_again"}
    assert sum(plain.values()) < 0
    losses = [float(each) for each in re.findall(r"weight [\d.]+: loss ([\d.]+) nat", printed(4))]
    assert losses[0] > losses[1] > losses[2]


def test_both_games_of_the_mixture_end_at_the_same_two_values():
    """[R2] Silenced and rerouted differ in between alone."""
    text = printed(5)
    silenced, rerouted = tables(text)
    assert changes(text)[0] == changes(text)[1]
    assert silenced != rerouted
    assert "a component is a function that sets a weight" in text
    assert text.count("% of the router's weight; silenced") == 4
    assert len(re.findall(r"^  without ", text, re.MULTILINE)) == 3


def test_copies_earn_alike_nonsense_harms_and_nobody_guesses():
    """[R4] Symmetry; and with no member the ensemble guesses evenly among ten digits."""
    text = printed(6)
    earned = tables(text)[0]
    assert earned["copy"] == earned["ordinary 0"]
    assert min(earned, key=earned.get) == "wrong labels"
    assert earned["wrong labels"] < 0
    assert float(re.search(r"No member: loss ([\d.]+)", text)[1]) == pytest.approx(math.log(10), abs=1e-4)


def test_layers_of_a_hugging_face_model_earn_what_the_whole_does():
    """[R4] Groups of modules as one player: the same two ends."""
    text = printed(7)
    by_part, by_layer = tables(text)
    assert sum(by_layer.values()) == pytest.approx(sum(by_part.values()), abs=5e-3)
    assert set(by_part) == {f"transformer.h.{at}.{part}" for at in range(2) for part in ("attn", "mlp")}
    assert len(re.findall(r"^layer \d at one half, the others on: loss ", text, re.MULTILINE)) == 2
