"""Every public name is documented, and in the reference."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from types import ModuleType

import pytest
from pages import ROOT

import accredit

INSIDE = {
    "accredit.cli": "commands, whose reference is their help",
    "accredit.dashboard": "the live page, which is reached by `accredit watch`",
}


def public_modules() -> list[str]:
    """The face, the packages and modules beside it, and one module per neighbour."""
    beside = [f"accredit.{module.name}" for module in pkgutil.iter_modules(accredit.__path__)]
    neighbours = importlib.import_module("accredit.integrations").__path__
    each = [f"accredit.integrations.{module.name}" for module in pkgutil.iter_modules(neighbours)]
    return ["accredit", *(name for name in [*beside, *each] if name not in {*INSIDE, "accredit.integrations"})]


def exported(module: ModuleType) -> list[str]:
    """What a module offers: `__all__`, what a package imports as itself, or what a module defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    is_package = hasattr(module, "__path__")
    return [
        name
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(member) or inspect.isfunction(member))
        and (
            member.__module__.startswith(f"{module.__name__}.") if is_package else member.__module__ == module.__name__
        )
    ]


MODULES = public_modules()


def members() -> Iterator[tuple[str, object]]:
    """Every public class and function, and every public method and property of these classes."""
    for module in map(importlib.import_module, MODULES):
        for name in exported(module):
            found = getattr(module, name)
            if not (inspect.isclass(found) or inspect.isfunction(found)):
                continue  # aliases and tables have the docstring under their assignment
            yield f"{module.__name__}.{name}", found
            for inner, member in vars(found).items() if inspect.isclass(found) else ():
                is_documented_thing = isinstance(member, property | classmethod | staticmethod)
                if not inner.startswith("_") and (is_documented_thing or inspect.isfunction(member)):
                    yield f"{module.__name__}.{name}.{inner}", getattr(found, inner)


def undocumented_fields(kind: type) -> list[str]:
    """Fields of a record without a line under them and without an entry of `Args:`."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    after = dict(itertools.pairwise(body))
    lacking = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            below = after.get(node)
            explained = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if not explained and not re.search(rf"\b{node.target.id}\b", inspect.getdoc(kind) or ""):
                lacking.append(node.target.id)
    return lacking


def test_every_public_name_and_every_method_has_a_docstring():
    """[R37] Of its own: a record without one is given its signature by Python, which does not count."""
    lacking = {
        name
        for name, member in members()
        if not (inspect.getdoc(member) or "").strip()
        or (inspect.isclass(member) and (member.__doc__ or "").startswith(f"{member.__name__}("))
    }
    # defaults of fields, which are no methods; the next test looks at fields
    assert lacking <= {f"accredit.training.Watcher.{name}" for name in ("on_progress", "on_notice", "should_stop")}


def test_every_field_of_a_configuration_and_of_a_result_says_what_it_is():
    """[R37] Under the field, or in `Args:`; docs/metrics.md has those of events."""
    places = ("accredit.attribution", "accredit.models", "accredit.normalize", "accredit.growth", "accredit.training")
    kinds = {
        kind
        for name, kind in members()
        if inspect.isclass(kind)
        and dataclasses.is_dataclass(kind)
        and (kind.__module__.startswith(places[:-1]) or name.endswith("Config"))
    }
    assert len(kinds) > 10
    assert {kind.__name__: fields for kind in kinds if (fields := undocumented_fields(kind))} == {}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_is_in_the_reference(name: str):
    """[R37] A new one is found here, not by its readers."""
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. automodule:: {re.escape(name)}$", reference, re.MULTILINE)
    assert re.search(rf"^## `{re.escape(name)}`$", reference, re.MULTILINE)


def test_the_extra_of_the_documentation_brings_what_the_reference_imports():
    """[R37] In a fresh clone `make docs` installs that extra alone; the gate builds the pages."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brought = set(re.findall(r"\w+", next(each for each in extras["docs"] if each.startswith("accredit["))))
    adapters = (ROOT / "src" / "accredit" / "integrations").glob("*.py")
    named = {extra for path in adapters for extra in re.findall(r"pip install 'accredit\[(\w+)\]'", path.read_text())}
    assert {"sb3", "peft", "dask"} <= named <= brought
    assert "\nmake docs\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
