"""Results: a folder with ``result.json`` and ``examples.parquet``, and nothing else to know about a measurement.

``result.json`` is validated on reading, since it may come from strangers: schema version, every metric with its
interval and n, the protocol and its hash, the digest of every chunk, cost and provenance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer, model_validator

from jembench.ground import files
from jembench.ground.entry import Entry, reason
from jembench.ground.identity import identity, sha256
from jembench.metrics.metric import Metric
from jembench.types import UserError

RESULT = "result.json"
EXAMPLES = "examples.parquet"
LATER = ("warnings", "plugins", "request")  # parts of a document that older ones do not have


class ModelEntry(Entry):
    """The model: its name in tables, the hash of all its numbers depend on, the hash of its weights file."""

    name: str
    fingerprint: str
    weights_sha256: str | None


class ChunkEntry(Entry):
    """One chunk of records: what it is of, and the SHA-256 of its bytes."""

    key: str
    measurement: dict[str, Any]
    source: str
    start: int
    stop: int
    sha256: str


class SourceFacts(Entry):
    """The bytes and the number of examples of a source, as used; the noise on them, if there is some."""

    sha256: str
    n: int
    noise: float = 0.0

    @model_serializer(mode="wrap")
    def _without_none(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Sources without noise are described as before there was any: their hashes stay."""
        facts: dict[str, Any] = whole(self)
        return facts if self.noise else {name: value for name, value in facts.items() if name != "noise"}


class ProtocolEntry(Entry):
    """The choices behind the numbers: measurements and evaluators are name, version and settings."""

    name: str
    track: str
    sources: dict[str, SourceFacts]
    measurements: list[dict[str, Any]]
    evaluators: list[dict[str, Any]]


class Cost(Entry):
    """What the records took, when they were computed: evaluations of single examples, seconds, peak memory."""

    forwards: int
    gradients: int
    seconds: float
    peak_memory_mb: float


class Environment(Entry):
    """Where records were computed. ``commit`` is jembench's own, fixed when it was built, else null."""

    jembench: str
    commit: str | None
    python: str
    packages: dict[str, str]
    platform: str
    processor: str
    cpus: int
    device: str


class ChunkCost(Entry):
    """What is kept beside a chunk's records."""

    seconds: float
    peak_memory_mb: float
    environment: Environment


class Provenance(Entry):
    """When the result was made, and every environment that its records were computed in: one, as a rule."""

    created: str
    environments: list[Environment]


class ResultDocument(Entry):
    """The content of ``result.json``; ``warnings`` are what must be known beside its numbers, a sentence each.

    ``plugins`` are the packages of others that it was measured with: name -> version. ``request`` is what was
    asked for, by the fields of :class:`jembench.choices.request.Request`: `jembench run RESULT` asks for it again.
    """

    schema_version: Literal[1] = 1
    key: str
    model: ModelEntry
    track: str
    suite: str
    seed: int
    limit: int | None
    protocol: ProtocolEntry
    protocol_hash: str
    metrics: list[Metric]
    chunks: list[ChunkEntry]
    examples_sha256: str
    cost: Cost
    provenance: Provenance
    warnings: tuple[str, ...] = ()
    plugins: dict[str, str] = Field(default_factory=dict)
    request: dict[str, Any] = Field(default_factory=dict)
    _index: tuple[list[Metric], dict[str, Metric]] | None = PrivateAttr(
        default=None
    )  # of that very list: copies differ

    @model_serializer(mode="wrap")
    def _without_empty(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a result has nothing of is left out: files from before there was any stay as they are."""
        return {name: value for name, value in whole(self).items() if value or name not in LATER}

    @model_validator(mode="after")
    def _protocol_matches(self) -> ResultDocument:
        if identity(self.protocol.model_dump(mode="json")) != self.protocol_hash:
            raise ValueError("protocol_hash is not the hash of protocol")
        return self

    def metric(self, name: str) -> Metric | None:
        """The metric with this id; None if there is none."""
        if self._index is None or self._index[0] is not self.metrics:
            self._index = (self.metrics, {metric.id: metric for metric in reversed(self.metrics)})
        return self._index[1].get(name)

    def settings(self, evaluator: str) -> dict[str, Any]:
        """The settings of an evaluator, from the protocol; empty if the result is without it."""
        return next((entry for entry in self.protocol.evaluators if entry["name"] == evaluator), {})


def write_result(folder: Path, document: ResultDocument, examples: bytes) -> None:
    """Write both files; ``result.json`` comes last, so that a folder with it is complete."""
    files.write(folder / EXAMPLES, examples)
    files.write(folder / RESULT, document.file())


def copy_result(result: Path, folder: Path) -> None:
    """Copy a result to a folder without what was asked for, which has paths of this machine."""
    document = read_result(result).model_copy(update={"request": {}})
    write_result(folder, document, (result / EXAMPLES).read_bytes())


def read_result(folder: Path) -> ResultDocument:
    """The validated ``result.json`` of a result folder.

    Raises:
        UserError: if it is missing, damaged, of another schema, or its examples are not those it was made with.
    """
    path = folder / RESULT
    for name in (RESULT, EXAMPLES):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file, so {folder} is not a result")
    try:
        content = json.loads(path.read_bytes())
        schema = content.get("schema_version") if isinstance(content, dict) else None
        if schema != 1:
            raise UserError(
                f"{path}: has result schema {schema}, this jembench reads schema 1: make it anew, or move it away"
            )
        document = ResultDocument.model_validate(content)
        examples = (folder / EXAMPLES).read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a valid result ({reason(error)}); move it away") from error
    if sha256(examples) != document.examples_sha256:
        raise UserError(f"{folder / EXAMPLES}: not the examples that {RESULT} was made with; move the folder away")
    return document
