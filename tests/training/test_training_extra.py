"""What a missing optional package says."""

import importlib.util
import sys

import pytest

from accredit.cli import main
from accredit.errors import MissingExtra
from accredit.training.extra import require_packages


@pytest.mark.parametrize("missing", ["gymnasium", "tensordict", "torchrl", "sklearn"])
def test_each_package_of_the_extra_is_asked_for_by_name(missing: str, monkeypatch: pytest.MonkeyPatch):
    """[R37]"""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    wanted = (
        rf"`accredit.training` needs the package {missing}, which is not installed; .* pip install 'accredit\[grow\]'"
    )
    with pytest.raises(MissingExtra, match=wanted):
        require_packages()


def test_nothing_is_asked_for_where_all_packages_are_there():
    """[R37]"""
    require_packages()


def test_the_command_line_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """[R37] Exit status 2 and a sentence instead of a traceback."""
    for module in ("accredit.cli.program", "accredit.cli.commands"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["grow"]) == 2
    said = capsys.readouterr().err
    assert "accredit: `accredit` needs the package tyro, which is not installed; install" in said
    assert "pip install 'accredit[grow]'" in said
    assert main(["attribute", "heads.py"]) == 2
    assert "pip install 'accredit[cli]'" in capsys.readouterr().err
