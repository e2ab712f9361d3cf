"""An adapter without its library says what to install; each package is hidden as if it were not there."""

import importlib
import sys

import pytest

from accredit.errors import MissingExtra


@pytest.mark.parametrize(
    ("adapter", "hidden", "package", "extra"),
    [
        ("stable_baselines3", "stable_baselines3.common.vec_env", "stable-baselines3", "sb3"),
        ("torchrl", "torchrl.envs.transforms", "torchrl", "grow"),
        ("torchrl", "tensordict", "torchrl", "grow"),
        ("gymnasium", "gymnasium", "gymnasium", "grow"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    adapter: str, hidden: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    """[R37]"""
    name = f"accredit.integrations.{adapter}"
    for module in (name, "accredit.integrations.observation_spaces"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, hidden, None)
    wanted = rf"`{name}` needs the package {package}, which is not installed; .*pip install 'accredit\[{extra}\]'"
    with pytest.raises(MissingExtra, match=wanted):
        importlib.import_module(name)
