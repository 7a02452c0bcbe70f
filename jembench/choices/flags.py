"""Flags: how a field of a choice is asked for on a command line, declared beside the field itself.

A field with flags is read by the command line (:mod:`jembench.cli.options` makes typer's options of them), by the
Python interface (its keyword is the field's name) and by every message that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jembench.types import UserError

KEY = "flags"  # of the metadata of a field


@dataclass(frozen=True)
class Flag:
    """One option of a command line.

    Attributes:
        type: type of the value as it is typed.
        names: the option's spellings, the long one first.
        help: one line about it.
        default: its value where it is left out.
    """

    type: Any
    names: tuple[str, ...]
    help: str
    default: Any = None


@dataclass(frozen=True)
class Flags:
    """The options behind one field.

    Attributes:
        options: name -> option; most fields have one.
        parse: what was typed, a keyword for each option, to the value of the field.
    """

    options: Mapping[str, Flag]
    parse: Callable[..., Any]


def flagged(type: Any, *names: str, help: str, default: Any = None, parse: Callable[[Any], Any] | None = None) -> Any:
    """A field with one option.

    Args:
        type: type of the value as it is typed.
        names: the option's spellings, the long one first.
        help: one line about it.
        default: default of the field, and of the option if it is typed as it is kept.
        parse: what is typed, if anything is, to the value of the field; as it is by default.
    """
    name = names[0].strip("-").replace("-", "_")

    def value(**typed: Any) -> Any:
        if typed[name] is None or typed[name] == []:
            return default
        return parse(typed[name]) if parse else typed[name]

    options = {name: Flag(type, names, help, None if parse else default)}
    return field(default=default, metadata={KEY: Flags(options, value)})


def composed(default: Any, parse: Callable[..., Any], **options: Flag) -> Any:
    """A field that several options make up together."""
    return field(default=default, metadata={KEY: Flags(options, parse)})


def departures(choice: Any, *, free: tuple[str, ...] = ()) -> list[str]:
    """The options, as they are typed, of all fields of a choice that are not what they are by default.

    Args:
        choice: a dataclass with defaults for all fields.
        free: names of the fields that do not count.
    """
    plain = type(choice)()
    return [
        flag.names[0]
        for each in fields(choice)
        if each.name not in free and getattr(choice, each.name) != getattr(plain, each.name)
        for flag in each.metadata[KEY].options.values()
    ]


def words(text: str) -> tuple[str, ...]:
    """Comma-separated words, each once.

    >>> words("ce, margin,ce")
    ('ce', 'margin')
    """
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def whole(word: str, option: str) -> int:
    """A whole number that was typed after an option.

    Raises:
        UserError: if it is none.
    """
    if not word.isdecimal():
        raise UserError(f"{option} takes whole numbers, comma-separated, not {word!r}")
    return int(word)


def radii(text: str) -> tuple[float, ...]:
    """Comma-separated numbers, fractions among them.

    Raises:
        UserError: if one is none.

    >>> radii("0.5, 1/4")
    (0.5, 0.25)
    """
    numbers = []
    for word in words(text):
        top, _, bottom = word.partition("/")
        try:
            numbers.append(float(top) / float(bottom or 1))
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(f"--eps takes numbers, comma-separated, such as 0.1 or 8/255, not {word!r}") from error
    return tuple(numbers)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Comma-separated numbers that were typed after an option.

    Raises:
        UserError: if one is none.

    >>> numbers("0.485, .456", "--mean")
    (0.485, 0.456)
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} takes a number, or one per channel, comma-separated, not {text!r}") from error


def ends(text: str) -> tuple[float, float]:
    """The two ends of a range.

    Raises:
        UserError: if there are no two numbers.

    >>> ends("-1..1")
    (-1.0, 1.0)
    """
    low, _, high = text.partition("..")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise UserError(f"--range takes two numbers, such as 0..255 or -1..1, not {text!r}") from error


def places(pairs: list[str]) -> tuple[tuple[str, str], ...]:
    """Names with a place each, ``name=PATH``.

    Raises:
        UserError: for a pair without a name or a place, or a name that comes twice.
    """
    origins: dict[str, str] = {}
    for pair in pairs:
        name, equals, origin = pair.partition("=")
        if not equals or not origin:
            raise UserError(f"--ood takes name=PATH, not {pair!r}")
        if name in origins:
            raise UserError(f"--ood names {name!r} twice")
        origins[name] = origin
    return tuple(origins.items())
