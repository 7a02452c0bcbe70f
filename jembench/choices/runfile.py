"""Run files: a request as a few lines of TOML, to be kept, shared and run again.

The keys are the fields of :class:`~jembench.choices.request.Request`; what is not there is as by default. A model is a
reference, or a table with a reference and its settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from jembench.attacks.defences import Defence
from jembench.choices.request import Options, Request, Sampling
from jembench.ground.files import read_table
from jembench.types import UserError, unknown
from jembench.zoo.references import ModelRef, Normalisation, parse

PATHS = ("data_dir", "output", "trained_on", "corruptions")
PLACE = ("output", "workers", "label")  # where and how fast: no number depends on them
LISTS = ("models", "suites", "defences", "detectors", "scores")
TEXTS = ("track", "protocol", "device", "label", *PATHS)
SETTINGS = ("weights", "weights_key", "mean", "std", "range", "name")  # of a model, beside its reference


def described(request: Request, *, free: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a request that are not as by default, as plain values.

    Args:
        request: the request.
        free: names of fields that are left out.

    Raises:
        UserError: for a model object, which no text stands for.
    """
    special: dict[str, Callable[[Any], Any]] = {
        "models": _models,
        "defences": _defences,
        "ood": lambda sets: dict(sets),
    }
    values = {}
    for each in fields(request):
        value = getattr(request, each.name)
        if each.name not in free and value != each.default:
            values[each.name] = special[each.name](value) if each.name in special else _plain(value)
    return values


def requested(values: Mapping[str, Any], where: str, *, folder: Path | None = None) -> Request:
    """The request of plain values.

    Args:
        values: names of fields and their values.
        where: where they are from, for messages.
        folder: what paths are relative to; None for the working directory.

    Raises:
        UserError: for an unknown key, or a value that cannot be.
    """
    _check(values, Request, where)
    content = dict(values)
    for key in LISTS:
        if not isinstance(content.get(key, []), list):
            raise UserError(f"{where}: {key!r} is a list, not {content[key]!r}")
    for key in TEXTS:
        if not isinstance(content.get(key, ""), str):
            raise UserError(f"{where}: {key!r} is a text, not {content[key]!r}")
    if folder is not None:
        content |= {key: str(folder / Path(content[key]).expanduser()) for key in PATHS if key in content}
        if str(content.get("track", "")).endswith(".toml"):
            content["track"] = str(folder / content["track"])
    try:
        models = tuple(_reference(each, where, folder) for each in content.pop("models", ()))
        defences = tuple(_built(Defence, each, where) for each in content.pop("defences", ())) or (None,)
        ood = content.pop("ood", {})
        nested = {"options": Options, "sampling": Sampling}
        parts = {key: _built(kind, content.pop(key), where) for key, kind in nested.items() if key in content}
        plain = {each.name: each.type for each in fields(Request)}
        options = {key: _typed(value, str(plain[key])) for key, value in content.items()}
        sets = {name: _joined(str(place), folder) for name, place in dict(ood).items()}
        return Request(models=models, defences=defences, ood=sets, **parts, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {error}") from error


def read(path: Path) -> Request:
    """The request of a run file, or of a result.

    Args:
        path: a ``.toml`` file, a ``result.json`` or the folder that holds it.

    Raises:
        UserError: if there is no such file, or it says nothing that can be run.
    """
    if path.suffix == ".toml":
        return requested(read_table(path, "run file"), str(path), folder=path.parent)
    from jembench.store.results import RESULT, read_result

    folder = path.parent if path.name == RESULT else path
    request = read_result(folder).request
    if not request:
        raise UserError(f"{folder}: the result does not say what was asked for: it is older, or a golden one")
    return requested(request, str(folder / RESULT))


def written(request: Request) -> bytes:
    """A run file of a request.

    Raises:
        UserError: for a model object.
    """
    values = described(request)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(["# jembench run FILE", *lines, ""]).encode()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _plain(part)
            for each in fields(value)
            if (part := getattr(value, each.name)) != each.default and each.init
        }
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _models(models: tuple[ModelRef, ...]) -> list[Any]:
    return [_model(ref) for ref in models]


def _model(ref: ModelRef) -> Any:
    if ref.form == "object":
        raise UserError(f"model {ref.place!r} is an object of this process, which no text stands for: name it by code")
    scale = {key: list(value) for key, value in ref.scale.options().items()}
    settings = {"weights": ref.weights and str(ref.weights), "weights_key": ref.key, **scale, "name": ref.name}
    settings = {key: value for key, value in settings.items() if value}
    return {"reference": str(ref), **settings} if settings else str(ref)


def _reference(value: Any, where: str, folder: Path | None) -> ModelRef:
    if isinstance(value, str):
        return parse(_joined(value, folder))
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: a model is a reference, or a table with one, not {value!r}")
    settings = dict(value)
    for key in settings:
        if key not in ("reference", *SETTINGS):
            raise UserError(f"{where}: {unknown('key of a model', key, ('reference', *SETTINGS))}")
    if "reference" not in settings:
        raise UserError(f"{where}: a model needs its 'reference'")
    for key in ("reference", "weights", "weights_key", "name"):
        if not isinstance(settings.get(key, ""), str):
            raise UserError(f"{where}: {key!r} of a model is a text, not {settings[key]!r}")
    columns = {key: settings[key] for key in ("mean", "std", "range") if key in settings}
    columns = {key: value if isinstance(value, list) else [value] for key, value in columns.items()}
    numbers = {key: tuple(map(float, value)) for key, value in columns.items()}
    weights = settings.get("weights")
    ref = parse(_joined(settings["reference"], folder))
    if weights is not None:
        ref = ref.with_weights(Path(_joined(weights, folder)))
    scale = Normalisation(**numbers)  # type: ignore[arg-type]
    return ref.adjusted(key=settings.get("weights_key", ""), scale=scale, name=settings.get("name", ""))


def _joined(text: str, folder: Path | None) -> str:
    """A text whose path is relative to a folder, if it is one that is there."""
    if folder is None:
        return text
    reference, at, weights = text.partition("@")
    if at and (folder / weights).exists():
        return f"{_joined(reference, folder)}@{folder / weights}"
    head, code, function = text.partition(".py:")
    path = folder / (f"{head}.py" if code else text)
    return (f"{path}:{function}" if code else f"{path}{'/' if text.endswith('/') else ''}") if path.exists() else text


def _defences(defences: tuple[Defence | None, ...]) -> list[dict[str, Any]]:
    return [asdict(each) for each in defences if each is not None]


def _built(kind: type, values: Any, where: str) -> Any:
    _check(values, kind, where)
    hints = {each.name: str(each.type) for each in fields(kind)}
    return kind(**{key: _typed(value, hints[key]) for key, value in values.items()})


def _typed(value: Any, hint: str) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if hint.startswith("Path") and isinstance(value, str) else value


def _check(values: Any, kind: Any, where: str) -> None:
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: a table of {kind.__name__.lower()} is expected, not {values!r}")
    names = [each.name for each in fields(kind) if each.init]
    for key in values:
        if key not in names:
            raise UserError(f"{where}: {unknown(f'key of a {kind.__name__.lower()}', key, names)}")
    required = [
        each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING and each.init
    ]
    if absent := [name for name in required if name not in values]:
        raise UserError(f"{where}: {absent[0]!r} is missing")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml(name)


def _toml(value: Any) -> str:
    """A value as TOML: its strings and numbers are those of JSON, its tables are not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
