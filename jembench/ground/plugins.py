"""Plug-ins: entry points of installed packages, which join the families of jembench by name.

A name is looked for among ours first: an entry point never replaces one. Nothing of a package is imported before its
name is asked for; one that cannot be imported, or is no such thing, is an error of whoever names it and of nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jembench.ground import guard
from jembench.types import UserError


@dataclass(frozen=True)
class Extension:
    """An entry point of a package.

    Attributes:
        group: group of the entry point, such as ``jembench.scores``.
        name: name of the entry point.
        target: ``module:object`` that it names.
        package: name of the package that brings it.
        version: version of the package.
    """

    group: str
    name: str
    target: str
    package: str
    version: str

    def load(self, fits: Callable[[Any], bool] | None, noun: str) -> Any:
        """The object of the entry point.

        Args:
            fits: whether an object is such a thing; None for anything.
            noun: what it is to be, such as ``score``.

        Raises:
            UserError: if it cannot be imported, or is no such thing.
        """
        from importlib import metadata

        entry = metadata.EntryPoint(self.name, self.target, self.group)
        with guard.guarded(f"{self} cannot be loaded"):
            thing = entry.load()
        if fits is not None and not fits(thing):
            raise UserError(f"{self} is a {type(thing).__name__}, which is no {noun}: see docs/plugins.md")
        return thing

    def __str__(self) -> str:
        return f"plug-in {self.name!r} ({self.group}) of {self.package} {self.version}"


def installed(group: str) -> list[Extension]:
    """The plug-ins of a group, by name and package."""
    from importlib import metadata  # which takes as long as the rest of the table

    extensions = set()
    for entry in metadata.entry_points(group=group):
        package = entry.dist.name if entry.dist else "an unknown package"
        version = entry.dist.version if entry.dist else ""
        extensions.add(Extension(group, entry.name, entry.value, package, version))
    return sorted(extensions, key=lambda each: (each.name, each.package))


def single(plugins: Iterable[Extension], name: str) -> Extension | None:
    """The plug-in of a name; None if there is none.

    Raises:
        UserError: if two packages have one of that name.
    """
    matches = [each for each in plugins if each.name == name]
    if len(matches) > 1:
        raise UserError(f"two plug-ins are called {name!r}: {matches[0]}, {matches[1]}: uninstall one of the packages")
    return matches[0] if matches else None
