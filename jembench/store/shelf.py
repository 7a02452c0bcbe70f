"""The shelf: folders of results by names that people read, each name a link to the key of a result.

A name belongs to the first key that takes it; the next one of the same words gets a number behind it, so that two
runs with other options lie beside each other, each with its pictures. The link is a file of the store: a folder that
was removed is filled again, one that was renamed stays a result under its new name.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from jembench.ground import files
from jembench.ground.identity import sha256
from jembench.store.records import HIDDEN, SCHEMA, Store
from jembench.store.results import RESULT, ResultDocument, read_result
from jembench.types import UserError

HEAD = 4096  # bytes of a result that hold its key
NAMES = "names"  # below the records: a file for each name, with the key that it belongs to
LONGEST = 120  # letters of a name
LOG = logging.getLogger("jembench")


def place(store: Store, key: str, name: str) -> Path | None:
    """The folder that belongs to a key under a name, there or not; None if there is no such name.

    Args:
        store: the store.
        key: hash of the result.
        name: the words that the folder's name begins with.
    """
    for word in _numbered(name):
        owner = _owner(store, word)
        if owner == key and not _strange(store.output / word, key):
            return store.output / word
        if owner is None and not (store.output / word).exists():
            return None
    raise AssertionError("names have no end")


def claim(store: Store, key: str, name: str) -> Path:
    """The folder of a key under a name, which belongs to it from now on.

    Args:
        store: the store.
        key: hash of the result.
        name: the words that the folder's name begins with.

    Raises:
        UserError: if the place cannot be written.
    """
    for word in _numbered(name):
        owner = _owner(store, word)
        if owner is None and not (store.output / word).exists():
            with suppress(FileExistsError):
                files.create(store.root / NAMES / word, key.encode())
            owner = _owner(store, word)
        if owner == key and not _strange(store.output / word, key):
            return store.output / word
    raise AssertionError("names have no end")


def settle(output: Path) -> None:
    """Bring a store of the layout before, with its results beside the records, into this one.

    Raises:
        UserError: if the place cannot be written.
    """
    before, store = output / f"v{SCHEMA}", Store(output)
    if not (before / "chunks").is_dir() or (store.root / "chunks").exists():
        return
    LOG.info("%s: results are folders of their own from now on, their records in %s", output, HIDDEN)
    try:
        for path in sorted(before.glob(f"*-v*/*/*/*/{RESULT}")):
            _shelved(store, path)
        store.root.mkdir(parents=True, exist_ok=True)
        for path in sorted(before.iterdir(), key=lambda path: path.name == "chunks"):  # stopped before, it begins again
            path.rename(store.root / path.name)
        before.rmdir()
    except FileNotFoundError:
        return  # another process does the same
    except OSError as error:
        raise UserError(f"{output}: cannot be brought into the layout of this jembench ({error})") from error


def _shelved(store: Store, path: Path) -> None:
    """Bring one result of the layout before to its place; one that cannot be read stays where it is."""
    try:
        document = json.loads(path.read_bytes())
        track, suite, protocol = str(document["track"]), str(document["suite"]), document["protocol"]["name"]
        name = word(document["model"]["name"], track.rpartition("-v")[0], suite, own(protocol))
        path.parent.rename(claim(store, str(document["key"]), name))
    except (ValueError, KeyError, TypeError) as error:
        LOG.warning("warning: %s: not a result that can be read (%s); left there", path, error)


def word(*parts: str) -> str:
    """Words joined to the name of a folder: what a file system or a shell would take for something else is a dash."""
    name = "-".join(re.sub(r"[^\w.+=@]+", "-", part).strip("-.") for part in parts if part)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{sha256(name.encode())[:6]}"


def own(protocol: str) -> str:
    """What the name of a folder says of a protocol: nothing of our own."""
    return "" if protocol == "v1" else protocol


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}-{number}"


def _owner(store: Store, name: str) -> str | None:
    try:
        return (store.root / NAMES / name).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{store.root / NAMES / name}: cannot be read ({error}); remove it") from error


def _strange(folder: Path, key: str) -> bool:
    """Whether a folder holds a result of another key: one that was renamed to this."""
    try:
        with (folder / RESULT).open("rb") as file:
            return key.encode() not in file.read(HEAD)
    except OSError:
        return False


@dataclass(frozen=True)
class Listing:
    """A result on the shelf.

    Attributes:
        folder: of the result.
        document: the content of its ``result.json``.
    """

    folder: Path
    document: ResultDocument

    @property
    def kind(self) -> tuple[object, ...]:
        """What results that are held against each other share: track, suite, protocol, limit."""
        return kind(self.document)


def kind(document: ResultDocument) -> tuple[object, ...]:
    """Track, suite, protocol and limit of a result."""
    return document.track, document.suite, document.protocol.name, document.limit


def entries(output: Path) -> list[Listing]:
    """The results in a folder, the latest last; what is no result is left out."""
    settle(output)
    found = []
    for path in output.glob(f"*/{RESULT}"):
        try:
            found.append(Listing(path.parent, read_result(path.parent)))
        except UserError as error:
            LOG.warning("warning: left out: %s", error)
    return sorted(found, key=lambda entry: (entry.document.provenance.created, entry.folder.name))


def folder(word: str, output: Path) -> Path | None:
    """The folder that a word is the path of, or the name of on the shelf; None if there is none."""
    for path in (Path(word), output / word):
        with suppress(OSError):  # a name too long for the system
            if path.is_dir():
                return path
    return None


def find(words: Sequence[str], output: Path) -> list[Path]:
    """The folders of results, each by its path, its name on the shelf, or the name of its model.

    A model's latest result is meant, of a track and suite of which all models that are named have one.

    Args:
        words: what the results are called.
        output: the shelf.

    Raises:
        UserError: if there is no such result.
    """
    places = {word: folder(word, output) for word in words}
    paths = {word: place for word, place in places.items() if place is not None and (place / RESULT).is_file()}
    others = [word for word in words if word not in paths]
    if others:
        shelf = entries(output)
        for word in others:
            if not any(entry.document.model.name == word for entry in shelf):
                raise UserError(
                    f"{word}: neither a result nor a model with one in {output}: see `jembench list results`"
                )
        fixed = {kind(document) for document in map(read_result, paths.values())}
        kinds = [entry.kind for entry in shelf if entry.document.model.name in others]
        kinds.sort(key=lambda each: each in fixed)  # what goes with the results that are named by themselves
        known = {(entry.document.model.name, entry.kind) for entry in shelf}
        common = [each for each in kinds if all((word, each) in known for word in others)]
        if not common:
            raise UserError(f"{', '.join(others)} have no results of one track, suite, protocol and limit in {output}")
        for entry in shelf:
            if entry.document.model.name in others and entry.kind == common[-1]:
                paths[entry.document.model.name] = entry.folder
    return [paths[word] for word in words]


def collection(words: Sequence[str], tracks: Collection[str], output: Path) -> list[Path]:
    """The folders of results, each by its path or its name; of the name of a model all its latest ones.

    Args:
        words: what the results or their models are called.
        tracks: versioned names of the tracks that a model's are of.
        output: the shelf.

    Raises:
        UserError: if there is no such result.
    """
    shelf: list[Listing] | None = None
    found: dict[Path, None] = {}
    for word in words:
        place = folder(word, output)
        if place is not None and (place / RESULT).is_file():
            found[place] = None
            continue
        shelf = entries(output) if shelf is None else shelf
        latest = {
            (entry.document.suite, entry.document.protocol_hash, entry.document.model.weights_sha256): entry.folder
            for entry in shelf
            if entry.document.model.name == word and entry.document.track in tracks
        }
        if not latest:
            whose = ", ".join(tracks)
            raise UserError(f"{word}: neither a result nor a model with one of {whose} in {output}")
        found |= dict.fromkeys(latest.values())
    return list(found)
