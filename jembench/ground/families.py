"""Families: what there is of one kind, by name. A name is enough until the thing itself is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

from jembench.types import unknown

T = TypeVar("T")


class Family(Mapping[str, T]):
    """The things of one kind, in the order of their table: ``family[name]`` imports the module of one and returns it.

    Args:
        noun: what one of them is called in an error, such as ``track``.
        table: name -> (``module:object``, one line about it); a module that begins with a dot is one of ``package``.
        package: name of the package of the table.

    Raises:
        UserError: where an unknown name is looked up, with the nearest that is known.
    """

    def __init__(self, noun: str, table: Mapping[str, tuple[str, str]], package: str | None = None) -> None:
        self.noun = noun
        self._package = package
        self._table = dict(table)  # the place where entry points of other packages would join

    def __getitem__(self, name: str) -> T:
        self.check(name)
        member: T = load(self._table[name][0], self._package)
        return member

    def about(self, name: str) -> str:
        """The one line about a thing, which is not loaded."""
        self.check(name)
        return self._table[name][1]

    def check(self, name: str) -> None:
        """Raise the error of an unknown name; nothing is loaded."""
        if name not in self._table:
            raise unknown(self.noun, name, self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table

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
