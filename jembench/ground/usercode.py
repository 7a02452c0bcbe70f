"""Users' code, from a file or a module: imported once per use.

Models (:mod:`jembench.zoo.foreign`) and attacks (:mod:`jembench.attacks.plugin`) come from ``file.py:name`` or from
``package.module:name``. Such code may print, read the arguments of its process and import its neighbours; none of
this is left behind.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from jembench.ground.files import require_file
from jembench.ground.identity import identity
from jembench.types import UserError

MOST = 10  # names in a message


@contextmanager
def importable(reference: str) -> Iterator[None]:
    """Let the code of a reference import its neighbours, and see no arguments of ours, while it is imported and run."""
    location = reference.rpartition(":")[0]
    folder = Path(location).resolve().parent if location.endswith(".py") else Path.cwd()
    arguments = sys.argv
    sys.path.insert(0, str(folder))
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
        sys.path.remove(str(folder))


def load(reference: str) -> Any:
    """What a reference names; a file is executed anew each time.

    Raises:
        UserError: if there is no such file, or it has no such name; anything else is the code's own failure.
    """
    location, _, attribute = reference.rpartition(":")
    module = _import(location)
    if not hasattr(module, attribute):
        names = [name for name, thing in vars(module).items() if _own(thing, module) and not name.startswith("_")]
        raise UserError(f"{reference}: no function {attribute!r} in it: it has {', '.join(names[:MOST]) or 'none'}")
    return getattr(module, attribute)


def _own(thing: Any, module: ModuleType) -> bool:
    """Whether a module defines a function or a class itself."""
    return callable(thing) and getattr(thing, "__module__", "") == module.__name__


def _import(location: str) -> Any:
    if not location.endswith(".py"):
        return importlib.import_module(location)
    path = Path(location)
    require_file(path)
    name = f"jembench_user_{identity(str(path.resolve()))[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling of the user's classes look it up
    spec.loader.exec_module(module)
    return module
