"""The user's own program: a Python file with a function that builds an `AttributionTask`.

The file is run, as `python FILE.py` would run it. It is the user's; nothing here makes it safe to run a stranger's.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from accredit.errors import AccreditError, EvaluationError, InvalidArgument, UnknownName
from accredit.models.task import AttributionTask

DEFAULT_BUILDER = "build"


def split_name(what: str) -> tuple[Path, str] | None:
    """Path and builder of `FILE.py` or `FILE.py:BUILDER`; None where that is no name of a Python file.

    Example:
        >>> split_name("models/heads.py:small")
        (PosixPath('models/heads.py'), 'small')
        >>> split_name("runs/digits-seed0") is None
        True
    """
    path, colon, builder = what.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, builder = what, DEFAULT_BUILDER
    return (Path(path), builder) if path.endswith(".py") else None


def build_task(path: Path, builder: str) -> AttributionTask:
    """Run the file and call its builder.

    Raises:
        InvalidArgument: there is no such file, it or its builder raises, or what it returns is no `AttributionTask`.
        UnknownName: it has no such function.
    """
    module = _run(path)
    functions = [name for name, member in vars(module).items() if inspect.isfunction(member)]
    if builder not in functions:
        own = [name for name in functions if getattr(module, name).__module__ == module.__name__]
        near = difflib.get_close_matches(builder, own, n=1, cutoff=0.0)
        hint = f"did you mean {path}:{near[0]}?" if near else "define one that returns an AttributionTask."
        raise UnknownName(f"`{path}` has no function {builder!r}, wanted one that builds an AttributionTask; {hint}")
    try:
        task = getattr(module, builder)()
    except Exception as error:
        raise _failed(error, path, what=f"`{builder}` of {path}") from error
    if not isinstance(task, AttributionTask):
        raise InvalidArgument(
            f"`{builder}` of {path} returned {type(task).__name__!r}, wanted an AttributionTask; end it by "
            "`return accredit.models.AttributionTask(model, components, batches, metrics)`."
        )
    return task


def _run(path: Path) -> ModuleType:
    """Run the file as a module that processes which evaluate can import too."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [one.name for one in path.parent.glob("*.py")], n=1)
        hint = f"did you mean {path.with_name(near[0])}?" if near else "name a Python file."
        raise InvalidArgument(f"`FILE` is {path}, which does not exist, wanted a Python file; {hint}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # as python does for its script: so it finds its neighbours, and a worker finds its classes by the same name
        sys.path.insert(0, folder)
    loaded = sys.modules.get(path.stem)
    taken = loaded is not None and getattr(loaded, "__file__", None) != str(path.resolve())
    name = f"{path.stem}_of_the_user" if taken else path.stem
    specification = importlib.util.spec_from_file_location(name, path.resolve())
    if specification is None or specification.loader is None:
        raise InvalidArgument(f"`FILE` is {path}, which Python cannot load, wanted a Python file; name one.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(error, path, what=f"`{path}`") from error
    return module


def _failed(error: BaseException, path: Path, *, what: str) -> InvalidArgument:
    """What went wrong in the user's program, and in which of its lines."""
    return InvalidArgument(
        f"{what} raised {type(error).__name__}{line_of(error, path)} ({error}), wanted an AttributionTask; mend the "
        "file."
    )


@contextmanager
def telling_lines(what: str) -> Iterator[None]:
    """Turn what the model or data of a file raise inside into a sentence that names the line.

    Args:
        what: `FILE.py`, `FILE.py:BUILDER`, or something else, for which nothing is turned.

    Raises:
        EvaluationError: an error went through a line of the file; any other error is passed on as it is.
    """
    try:
        yield
    except AccreditError:
        raise
    except Exception as error:
        named = split_name(what)
        line = "" if named is None else line_of(error, named[0])
        if not line:
            raise
        raise EvaluationError(
            f"`{what}` raised {type(error).__name__}{line} ({error}), wanted a model that can be evaluated on its "
            "batches; mend the file."
        ) from error


def line_of(error: BaseException, path: Path) -> str:
    """` at line 12`: the last line of the file that an error went through; nothing where it went through none.

    Example:
        >>> line_of(ValueError(), Path("heads.py"))
        ''
    """
    if isinstance(error, SyntaxError):
        return f" at line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
    return f" at line {lines[-1]}" if lines else ""
