"""A run of a million events is read once with progress, then answered at once, in bounded memory."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watched_runs import asked, started, story, update, write_run

from accredit.telemetry.record import encode

EVENTS = 1_000_000


def write_million(folder: Path) -> None:
    """Repeat the episodes of 32 environments, with an update after each, until there are so many."""
    write_run(folder, iter([started()]), environments=32, updates=5000)
    names = tuple(f"train-{number:03d}" for number in range(32))
    slots = ("input", "hidden1", "hidden2")
    block = [encode(event, time_s=1.0) for event in list(story(names, 1, slots=slots))[1:-1]]
    lines = "".join(f"{line}\n" for line in block)
    count, number = 1, 0
    with (folder / "events.jsonl").open("a") as file:
        while count < EVENTS:
            number += 1
            file.write(lines.replace('"episode": 0', f'"episode": {number}'))
            file.write(encode(update(number), time_s=float(number)) + "\n")
            count += len(block) + 1


def peak_mb(process: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.mark.long
def test_a_million_events_are_answered_within_a_second_in_under_500_mb(tmp_path: Path):
    folder = tmp_path / "run"
    write_million(folder)
    command = [sys.executable, "-c", "import sys; from accredit.cli import main; sys.exit(main())"]
    arguments = ["watch", str(folder), "--port", "0"]
    for is_indexed in (False, True):
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        seen, progress = [], 0.0
        while progress < 1.0:
            progress = json.loads(asked(url, "/data")[2])["runs"][0]["progress"]
            seen.append(progress)
            time.sleep(0.2)
        assert is_indexed or len(set(seen)) > 5, "reading is shown with progress"
        for path in ("/", "/charts.js", "/page.js", "/data", "/data?place=train-007", "/events?run=0&before=500000"):
            begin = time.monotonic()
            assert asked(url, path)[0] == 200
            assert time.monotonic() - begin < 1
        assert peak_mb(process.pid) < 500
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert ("done" in errors) == (not is_indexed), "the second time it is read from the index"
    assert (folder / "events.index").stat().st_size < 50e6
    shutil.rmtree(folder)
