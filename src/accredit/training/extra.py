"""Checks, before anything else of this folder is imported, that the packages of the extra `grow` are there."""

from __future__ import annotations

import importlib.util

from accredit.errors import MissingExtra

REQUIRED = ("gymnasium", "tensordict", "torchrl", "sklearn")


def require_packages() -> None:
    """Raise unless every package of the extra is installed.

    Raises:
        MissingExtra: one is not.
    """
    for name in REQUIRED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(
                f"`accredit.training` needs the package {name}, which is not installed; install the extra `grow`: "
                "pip install 'accredit[grow]'."
            )
