"""Options of commands: those of a request, read off its fields, and what others share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from jembench.choices.flags import KEY, Flag
from jembench.choices.request import Request
from jembench.ground.families import Family
from jembench.ground.progress import spoken
from jembench.types import UserError

AnyTrackOption = Annotated[str | None, typer.Option("--track", "-t", help="The track; digits by default.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of .npz files with the images of a track that does not carry its own."),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.", callback=lambda quiet: spoken(quiet)),
]


def member(family: Family[Any]) -> Callable[[str], str]:
    """The callback of an option or an argument whose values are the names of a family."""

    def check(name: str) -> str:
        try:
            family.check(name)
        except UserError as error:
            raise typer.BadParameter(str(error)) from error
        return name

    return check


def requesting(
    *names: str, arguments: tuple[str, ...] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a :class:`~jembench.choices.request.Request`.

    The command has an option for each flag of the request's fields, beside the function's own parameters.

    Args:
        names: fields of the request that the command asks for; all by default.
        arguments: options that are typed without a name, as the first words of the command.
        defaults: option -> the command's own default, in place of the field's.
    """
    chosen = [each for each in fields(Request) if not names or each.name in names]

    def command(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        flags = {name: flag for each in chosen for name, flag in _flags(each).items()}
        options = [
            _parameter(name, flag, defaults.get(name, flag.default), bare=name in arguments)
            for name, flag in flags.items()
        ]

        @wraps(function)
        def run(**typed: Any) -> None:
            request = Request(**{each.name: _value(each, typed) for each in chosen})
            function(request, **{each.name: typed[each.name] for each in own})

        parameters = (each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*options, *own))
        run.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return command


def overridden(base: Request, request: Request, typed: set[str]) -> Request:
    """A request with the fields of another in place of its own, where one of their options was typed.

    Args:
        base: what holds for all else.
        request: the request of the command line.
        typed: names of the options that were typed.
    """
    changes = {}
    for each in fields(Request):
        if KEY not in each.metadata:
            inner = {part.name for part in _inner(each) if typed & set(_flags(part))}
            own, other = getattr(base, each.name), getattr(request, each.name)
            changes[each.name] = replace(own, **{name: getattr(other, name) for name in inner})
        elif typed & set(_flags(each)):
            changes[each.name] = getattr(request, each.name)
    return replace(base, **changes)


def _flags(field: Field[Any]) -> Mapping[str, Flag]:
    """The options of a field, or of all fields of the dataclass that it holds."""
    if KEY in field.metadata:
        return field.metadata[KEY].options  # type: ignore[no-any-return]
    return {name: flag for inner in _inner(field) for name, flag in _flags(inner).items()}


def _value(field: Field[Any], typed: Mapping[str, Any]) -> Any:
    """The value of a field, from all that was typed."""
    if KEY in field.metadata:
        flags = field.metadata[KEY]
        return flags.parse(**{name: typed[name] for name in flags.options})
    return type(field.default)(**{inner.name: _value(inner, typed) for inner in _inner(field)})  # type: ignore[misc]


def _inner(field: Field[Any]) -> tuple[Field[Any], ...]:
    """The fields of the dataclass that a field holds."""
    return fields(field.default)  # type: ignore[arg-type]


def _parameter(name: str, flag: Flag, default: Any, *, bare: bool) -> inspect.Parameter:
    absent = inspect.Parameter.empty if default is ... else default
    typed = typer.Argument(help=flag.help) if bare else typer.Option(*flag.names, help=flag.help)
    annotation: Any = Annotated[flag.type, typed]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=absent, annotation=annotation)
