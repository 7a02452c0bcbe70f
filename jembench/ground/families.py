"""Families: what there is of one kind, by name. A name is enough until the thing itself is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from jembench.ground.plugins import Extension, installed, single
from jembench.types import UserError, unknown

T = TypeVar("T")


class Family(Mapping[str, T]):
    """The things of one kind, in the order of their table: ``family[name]`` imports the module of one and returns it.

    Those of other packages (plug-ins) are found by their name; whoever goes through a family meets ours alone, so that
    no number of ours depends on what is installed.

    Args:
        noun: what one of them is called in an error, such as ``track``.
        table: name -> (``module:object``, one line about it); a module that begins with a dot is one of ``package``.
        package: name of the package of the table.
        group: group of entry points that join it (:mod:`jembench.ground.plugins`); None where none can.
        fits: whether an object of another package is such a thing.

    Raises:
        UserError: where an unknown name is looked up, with the nearest that is known.
    """

    def __init__(
        self,
        noun: str,
        table: Mapping[str, tuple[str, str]],
        package: str | None = None,
        *,
        group: str | None = None,
        fits: Callable[[Any], bool] | None = None,
    ) -> None:
        self.noun = noun
        self._package = package
        self._table = dict(table)
        self._group = group
        self._fits = fits

    def __getitem__(self, name: str) -> T:
        self.check(name)
        plugin = self.plugin(name)
        member: T = load(self._table[name][0], self._package) if plugin is None else plugin.load(self._fits, self.noun)
        return member

    def about(self, name: str) -> str:
        """The one line about a thing, which is not loaded."""
        self.check(name)
        plugin = self.plugin(name)
        return self._table[name][1] if plugin is None else f"of {plugin.package} {plugin.version}"

    def check(self, name: str) -> None:
        """Raise the error of an unknown name; nothing is loaded."""
        if name not in self:
            raise unknown(self.noun, name, [*self._table, *(plugin.name for plugin in self.plugins())])

    def plugin(self, name: str) -> Extension | None:
        """The plug-in of a name that is not one of ours; None if it is, or there is none.

        Raises:
            UserError: if two packages have one of that name.
        """
        return None if name in self._table else single(self.plugins(), name)

    def plugins(self) -> list[Extension]:
        """The plug-ins that are installed, also those whose names are ours and that are never taken."""
        return [] if self._group is None else installed(self._group)

    def lines(self) -> dict[str, str]:
        """One line about each of ours and each plug-in, which is loaded to be told broken."""
        lines = {name: about for name, (_, about) in self._table.items()}
        for plugin in self.plugins():
            try:
                if plugin.name in self._table:
                    raise UserError(f"{plugin}: {plugin.name!r} is one of jembench's, which stays")
                self[plugin.name]
                lines[plugin.name] = self.about(plugin.name)
            except UserError as error:
                lines[f"{plugin.name} (broken)"] = str(error)
        return lines

    def __contains__(self, name: object) -> bool:
        return name in self._table or (isinstance(name, str) and self.plugin(name) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def load(target: str, package: str | None = None) -> Any:
    """The object that ``module:object`` names; a module that begins with a dot is one of ``package``.

    >>> load("math:pi")
    3.141592653589793
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module, package), name)
