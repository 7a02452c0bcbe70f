"""What is exported of a result: its numbers, what they depend on, its tables, its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from jembench.pages.tables import report
from jembench.store.results import EXAMPLES, RESULT, ResultDocument, read_result
from jembench.types import UserError

TABLES = "tables.md"  # what the tables are called where they are a file
PICTURES = "*.png"


@dataclass(frozen=True)
class Delivery:
    """What a user may ask of a target.

    Attributes:
        output: folder of a model card; None for the working directory.
        upload: whether the card is uploaded.
    """

    output: Path | None = None
    upload: bool = False


@dataclass(frozen=True)
class Content:
    """A result as it is exported.

    Attributes:
        document: the content of its ``result.json``.
        folder: where its files are.
    """

    document: ResultDocument
    folder: Path

    @property
    def name(self) -> str:
        """Model, track and suite in one word."""
        document = self.document
        return f"{document.model.name}-{document.track.rpartition('-v')[0]}-{document.suite}"

    @property
    def settings(self) -> dict[str, str | int]:
        """What the numbers depend on: name -> value; what there is none of is left out."""
        document = self.document
        settings: dict[str, str | int | None] = {
            "model": document.model.name,
            "track": document.track,
            "suite": document.suite,
            "protocol": document.protocol.name,
            "protocol_hash": document.protocol_hash,
            "seed": document.seed,
            "limit": document.limit,
            "fingerprint": document.model.fingerprint,
            "weights_sha256": document.model.weights_sha256,
            "key": document.key,
            "created": document.provenance.created,
            "jembench": ", ".join(dict.fromkeys(each.jembench for each in document.provenance.environments)),
        }
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def numbers(self) -> dict[str, float]:
        """Every metric that has a value, by its id, and the ends of its interval: ``id/low`` and ``id/high``."""
        return {
            f"{metric.id}{end}": float(number)
            for metric in self.document.metrics
            for end, number in (("", metric.value), ("/low", metric.low), ("/high", metric.high))
            if number is not None and metric.value is not None
        }

    @property
    def tables(self) -> str:
        """All tables, as GitHub markdown."""
        return report.markdown([self.document])

    @property
    def pictures(self) -> list[Path]:
        """The pictures beside the result."""
        return sorted(self.folder.glob(PICTURES))

    @property
    def files(self) -> list[Path]:
        """The result itself, and its pictures."""
        return [self.folder / RESULT, self.folder / EXAMPLES, *self.pictures]


def content(folder: Path) -> Content:
    """The result in a folder.

    Raises:
        UserError: if there is none, or it is not valid.
    """
    return Content(read_result(folder), folder)


def package(name: str, extra: str) -> Any:
    """The package of a target.

    Args:
        name: of the module.
        extra: that installs it.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed: pip install 'jembench[{extra}]'") from error


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Within the block, environment variables of these values; those that a user has set stay as they are."""
    absent = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(absent)
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)
