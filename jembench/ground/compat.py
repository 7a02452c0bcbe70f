"""Compat: third-party attack and model packages, repaired where they are imported. Nothing else imports them.

Three faults of the released packages, none of which a version pin mends:

- robustbench 1.1.1 imports ``pkg_resources``, which setuptools dropped in version 82. If it is missing, a stand-in with
  the one function that robustbench uses takes its place while robustbench is imported.
- robustbench imports ``autoattack`` but depends on ``pyautoattack``, which has another module name and other arguments.
  :mod:`jembench.ground.autoattack` is registered under the original name, unless the original is installed.
- the torchattacks wheel carries a stale ``robustbench`` folder that overwrites the real one if it is installed last.
  It is recognised by what it lacks, and the message says the repair.

The first two can go when robustbench declares what it imports, the third when torchattacks ships its own files only.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from jembench.types import UserError


def robustbench() -> ModuleType:
    """The imported ``robustbench`` package, usable as its documentation says.

    Raises:
        UserError: if the stale copy from the torchattacks wheel is installed in its place.
    """
    package = _imported("robustbench")
    if not hasattr(package, "benchmark"):
        raise UserError(
            "the installed robustbench is the stale copy of the torchattacks wheel: "
            "run `pip install --force-reinstall --no-deps robustbench==1.1.1`"
        )
    return package


def torchattacks() -> ModuleType:
    """The imported ``torchattacks`` package."""
    return _imported("torchattacks")


def _imported(name: str) -> ModuleType:
    _register_autoattack()
    with _pkg_resources(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def _register_autoattack() -> None:
    """Make ``from autoattack import AutoAttack`` work through pyautoattack."""
    if "autoattack" in sys.modules or importlib.util.find_spec("autoattack") is not None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = import_module("jembench.ground.autoattack")
    sys.modules["autoattack"], sys.modules["autoattack.state"] = adapter, adapter.state


@contextmanager
def _pkg_resources() -> Iterator[None]:
    """Lend robustbench the one function of ``pkg_resources`` that it uses, where setuptools has it no more."""
    if importlib.util.find_spec("pkg_resources") is not None:
        yield
        return
    stand_in = ModuleType("pkg_resources", "A stand-in by jembench, while robustbench is imported.")
    stand_in.resource_filename = _resource_filename  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        sys.modules.pop("pkg_resources", None)


def _resource_filename(module: str, name: str) -> str:
    """Path of a file beside the module's."""
    file = sys.modules[module].__file__
    assert file is not None
    return str(Path(file).parent / name)
