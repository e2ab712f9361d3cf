"""Text for the transformer: whole paragraphs, in one split each, as windows with the characters that follow.

B examples, L positions.
"""

import re
from pydoc_data.topics import topics

import torch

from accredit.training.task import TEXT, find_task
from accredit.training.text import ALPHABET, CONTEXT, OTHER, dealt_out, paragraphs, simplified, text, windows


def spelled(tokens: torch.Tensor) -> str:
    return "".join(ALPHABET[token] for token in tokens)


def test_a_window_gives_the_character_that_follows_each_of_its_own():
    """[R36] Cut by hand; what is too short for a window is left out."""
    first, second = "abcdefghijklmnopqrs", "the end of (it all)."
    examples = windows([first, second])
    assert [spelled(row) for row in examples.inputs] == [first[:16], second[:16]]
    assert [spelled(row) for row in examples.labels] == [first[1:17], second[1:17]]
    assert len(windows(["too short", "a" * 34])) == 2


def test_characters_are_lower_case_letters_and_few_signs():
    """[R37] 32 of them; runs of others are one sign."""
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert simplified('A  "del_item" [x],\n  (2.0)') == "a ~del~item~ ~x~, (~.~)"
    assert all(set(passage) <= set(ALPHABET) for passage in paragraphs())


def test_no_paragraph_is_in_two_splits_and_none_comes_twice():
    """[R36] Every paragraph of the topics is in exactly one piece, and pieces are dealt out in turn."""
    passages = paragraphs()
    assert len(passages) == len(set(passages))
    pieces = dealt_out(passages)
    assert len(pieces) == 10
    assert " ".join(passages[8 * 20 : 9 * 20]) == pieces[8][0]
    assert sum(len(piece) for dealt in pieces for piece in dealt) == sum(map(len, passages)) + len(passages) - sum(
        map(len, pieces)
    )
    source = {simplified(part) for topic in topics.values() for part in re.split(r"\n\s*\n", topic)} - {""}
    assert set(passages) == source


def test_splits_hold_windows_of_their_own_pieces():
    """[R36] Each window of a split is found in the text of that split, and in no other but by a phrase that recurs."""
    splits, pieces = text(), dealt_out(paragraphs())
    texts = {"train": "|".join(map("|".join, pieces[:8])), "reward": "|".join(pieces[8]), "test": "|".join(pieces[9])}
    for name, mine in texts.items():
        rows = torch.cat([vars(splits)[name].inputs, vars(splits)[name].labels[:, -1:]], 1)[:200]
        words = [spelled(row) for row in rows]
        assert all(word in mine for word in words)
        others = "|".join(other for other_name, other in texts.items() if other_name != name)
        assert sum(word in others for word in words) < len(words) / 4
    assert (len(splits.reward), len(splits.test)) == (96, 480)
    assert splits.train.inputs.shape == splits.train.labels.shape
    assert len(splits.train) > 16 * 6 * 16  # an episode meets no window twice


def test_the_task_of_text_is_a_tight_transformer_with_slots_on_its_residual_stream():
    """[R37] And guesses among 32 characters before it has learned anything."""
    assert find_task("text") is TEXT
    assert TEXT.slot_names == ("embedding", "attention1", "block1")
    assert (
        TEXT.host_parameters == 32 * 3 + 3 * 16 + (16 * 48 + 16 * 16 + 16) + (16 * 4 + 4 + 4 * 16 + 16) + 16 * 32 + 32
    )
    host, reward = TEXT.build_host(3), TEXT.splits.reward
    assert reward.inputs.shape[1] == CONTEXT
    with torch.no_grad():
        loss = TEXT.metric.score(host(reward.inputs).unsqueeze(0), reward.labels).log_loss
    assert abs(float(loss.mean()) - torch.tensor(32.0).log()) < 0.5
    assert TEXT.episode.reward.loss_cap > torch.tensor(32.0).log()
    assert ALPHABET[-1] == OTHER
