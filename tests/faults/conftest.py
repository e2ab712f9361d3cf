"""One run that nothing goes wrong in, to compare with those in which something does."""

from pathlib import Path

import pytest
from run_in_process import TINY, end, start


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run; what it printed is beside it, in `output`."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert end(start(["grow", "--out", str(folder), "--quiet", *TINY], folder.with_name("output"))) == 0
    return folder
