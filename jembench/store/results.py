"""Results: a folder with ``result.json`` and ``examples.parquet``, and nothing else to know about a measurement.

``result.json`` is validated on reading, since it may come from strangers: schema version, every metric with its
interval and n, the protocol and its hash, the digest of every chunk, cost and provenance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from jembench.ground import files
from jembench.ground.entry import Entry, reason
from jembench.ground.identity import identity, sha256
from jembench.ground.plain import Key, Name, Sentence, key, plain, sentence
from jembench.metrics.metric import Metric
from jembench.metrics.ranges import faults
from jembench.types import UserError

RESULT = "result.json"
EXAMPLES = "examples.parquet"
LATER = ("warnings", "plugins", "request", "digest")  # parts of a document that older ones do not have
LARGEST = {RESULT: 64 << 20, EXAMPLES: 256 << 20}  # bytes that are read of a file
HOW = ("cost", "provenance", "request", "digest")  # parts that say how a result came about, in no digest
WORDS = 300  # letters of a reason in an error
PARTS = 4_000_000  # lists, objects and what is in them
DEEPEST = 40  # levels of lists and objects


class ModelEntry(Entry):
    """The model: its name in tables, the hash of all its numbers depend on, the hash of its weights file."""

    name: Name
    fingerprint: Name
    weights_sha256: Name | None


class ChunkEntry(Entry):
    """One chunk of records: what it is of, and the SHA-256 of its bytes."""

    key: Key
    measurement: dict[str, Any]
    source: Key
    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=0)]
    sha256: Name


class SourceFacts(Entry):
    """The bytes and the number of examples of a source, as used; the noise on them, if there is some."""

    sha256: Name
    n: Annotated[int, Field(ge=0)]
    noise: float = 0.0

    @model_serializer(mode="wrap")
    def _without_none(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Sources without noise are described as before there was any: their hashes stay."""
        facts: dict[str, Any] = whole(self)
        return facts if self.noise else {name: value for name, value in facts.items() if name != "noise"}


class ProtocolEntry(Entry):
    """The choices behind the numbers: measurements and evaluators are name, version and settings."""

    name: Key
    track: Key
    sources: dict[Key, SourceFacts]
    measurements: list[dict[str, Any]]
    evaluators: list[dict[str, Any]]


class Cost(Entry):
    """What the records took, when they were computed: evaluations of single examples, seconds, peak memory."""

    forwards: Annotated[int, Field(ge=0)]
    gradients: Annotated[int, Field(ge=0)]
    seconds: float
    peak_memory_mb: float


class Environment(Entry):
    """Where records were computed. ``commit`` is jembench's own, fixed when it was built, else null."""

    jembench: Name
    commit: Name | None
    python: Name
    packages: dict[Name, Name]
    platform: Name
    processor: Name
    cpus: int
    device: Name


class ChunkCost(Entry):
    """What is kept beside a chunk's records."""

    seconds: float
    peak_memory_mb: float
    environment: Environment


class Provenance(Entry):
    """When the result was made, and every environment that its records were computed in: one, as a rule."""

    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT[\d:.]{5,20}([+-]\d\d:\d\d|Z)?$")]
    environments: list[Environment]


class ResultDocument(Entry):
    """The content of ``result.json``; ``warnings`` are what must be known beside its numbers, a sentence each.

    ``plugins`` are the packages of others that it was measured with: name -> version. ``request`` is what was
    asked for, by the fields of :class:`jembench.choices.request.Request`: `jembench run RESULT` asks for it again.
    ``digest`` is the hash of what the result says, so that a number that was altered in the file is not read.
    """

    schema_version: Literal[1] = 1
    key: Key
    model: ModelEntry
    track: Key
    suite: Key
    seed: int
    limit: int | None
    protocol: ProtocolEntry
    protocol_hash: Name
    metrics: list[Metric]
    chunks: list[ChunkEntry]
    examples_sha256: Name
    cost: Cost
    provenance: Provenance
    warnings: tuple[Sentence, ...] = ()
    plugins: dict[Name, Name] = Field(default_factory=dict)
    request: dict[str, Any] = Field(default_factory=dict)
    digest: str = ""

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
        metrics, index = self.__dict__.get("_index", (None, {}))  # a private attribute would count in an equality
        if metrics is not self.metrics:  # a copy has those of another
            index = {metric.id: metric for metric in reversed(self.metrics)}
            self.__dict__["_index"] = (self.metrics, index)
        found: Metric | None = index.get(name)
        return found

    def settings(self, evaluator: str) -> dict[str, Any]:
        """The settings of an evaluator, from the protocol; empty if the result is without it."""
        return next((entry for entry in self.protocol.evaluators if entry["name"] == evaluator), {})


def write_result(folder: Path, document: ResultDocument, examples: bytes) -> ResultDocument:
    """Write both files; ``result.json`` comes last, so that a folder with it is complete.

    Returns:
        The document as it was written: with the digest of what it says.
    """
    signed = document.model_copy(update={"digest": _digest(document.model_dump(mode="json"))})
    files.write(folder / EXAMPLES, examples)
    files.write(folder / RESULT, signed.file())
    return signed


def _digest(content: dict[str, Any]) -> str:
    """The hash of what a result says, whoever computed it: of all but cost, provenance, request and itself."""
    return identity({name: part for name, part in content.items() if name not in HOW})


def copy_result(result: Path, folder: Path) -> None:
    """Copy a result to a folder without what was asked for, which has paths of this machine."""
    document = read_result(result).model_copy(update={"request": {}})
    write_result(folder, document, (result / EXAMPLES).read_bytes())


def read_result(folder: Path) -> ResultDocument:
    """The validated ``result.json`` of a result folder.

    Raises:
        UserError: if it is missing, too large, damaged, altered, of another schema, has names or numbers that there
            cannot be, or its examples are not those it was made with.
    """
    path = folder / RESULT
    for name in (RESULT, EXAMPLES):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file, so {folder} is not a result")
        if (size := (folder / name).stat().st_size) > LARGEST[name]:
            raise UserError(f"{folder / name}: has {size >> 20} MiB, no result has more than {LARGEST[name] >> 20}")
    try:
        content = _parsed(path.read_bytes())
        schema = content.get("schema_version")
        if schema != 1:
            raise UserError(
                f"{path}: has result schema {str(schema)[:40]!s}, this jembench reads schema 1: make it anew, "
                "or move it away"
            )
        document = ResultDocument.model_validate(content)
        _check_metrics(document)
        if document.digest and document.digest != _digest(content):
            raise ValueError("its digest is not that of its content: it was altered")
        examples = (folder / EXAMPLES).read_bytes()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        words = " ".join(reason(error).split())
        raise UserError(f"{path}: not a valid result ({printable(words)}); move it away") from error
    if sha256(examples) != document.examples_sha256:
        raise UserError(f"{folder / EXAMPLES}: not the examples that {RESULT} was made with; move the folder away")
    return document


def _check_metrics(document: ResultDocument) -> None:
    """Refuse metrics that there cannot be: names that are none, ids that are there twice, values out of range.

    Raises:
        ValueError: naming the first.
    """
    ids = set()
    for metric in document.metrics:
        for word in (metric.name, metric.source, metric.variant, metric.evaluator):
            plain(word)
        for word in metric.n:
            key(word)
        sentence(metric.reason or "")
        if metric.id in ids:
            raise ValueError(f"metric {metric.id} is there twice")
        ids.add(metric.id)
        for fault in faults(metric):
            raise ValueError(fault)


def printable(words: str) -> str:
    """Words of a stranger in an error: of letters that print, and not too many."""
    text = "".join(letter if letter.isprintable() else "?" for letter in words)
    return text if len(text) <= WORDS else f"{text[:WORDS]}…"


def _parsed(data: bytes) -> dict[str, Any]:
    """The object of a JSON text without NaN, infinities, keys that are there twice, or too many levels.

    Raises:
        ValueError: if it is none.
        TypeError: if it is something else than an object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            raise ValueError("a key is there twice")
        return content

    def refused(word: str) -> Any:
        raise ValueError(f"{word} is no number")

    parts = sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if parts > PARTS:
        raise ValueError(f"{parts:,} parts, no result has more than {PARTS:,}")
    content = json.loads(data, object_pairs_hook=once, parse_constant=refused)
    if not isinstance(content, dict):
        raise TypeError("not an object")
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        level = [
            item
            for part in level
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return content
    raise ValueError(f"has more than {DEEPEST} levels")
