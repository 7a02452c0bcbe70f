"""The results that a user puts beside the shipped ones: `--add` and `--results` of leaderboards and sites."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jembench.choices.request import STORE
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.store.results import ResultDocument

Guest = tuple["ResultDocument", Path]
AddOption = Annotated[
    list[str] | None,
    typer.Option("--add", help="A result, by its name, folder or archive, beside the shipped ones.", metavar="RESULT"),
]
ResultsOption = Annotated[
    list[Path] | None,
    typer.Option("--results", help="All results and archives in or below a folder.", metavar="DIR"),
]


@contextmanager
def guests(words: Sequence[str], places: Sequence[Path], tracks: Sequence[str]) -> Iterator[list[Guest]]:
    """The results of a user with their folders, for as long as the block lasts; each is read once.

    Args:
        words: names of results or of models, whose latest results are meant; folders; archives.
        places: folders with results and archives, of any track.
        tracks: versioned names of the tracks that are shown, of one of which all that is named has to be.

    Raises:
        UserError: if one is damaged or of another track, or there is none of a name.
    """
    from jembench.store import archives, shelf
    from jembench.store.results import read_result

    with ExitStack() as stack:
        if (
            gc.isenabled()
        ):  # of a thousand results there are no cycles, and looking for them takes a quarter of the time
            gc.disable()
            stack.callback(gc.enable)
        files = [word for word in words if Path(word).is_file()]
        named = shelf.collection([word for word in words if word not in files], tracks, STORE)
        named += [stack.enter_context(archives.opened(Path(word))) for word in files]
        paths = [path for place in places for path in archives.below(place)]
        below = [stack.enter_context(archives.opened(path)) for path in paths]
        found = [(read_result(folder), folder) for folder in dict.fromkeys([*named, *below])]
        for document, folder in found[: len(named)]:
            if document.track not in tracks:
                raise UserError(f"{folder} is of {document.track}, a track that is not shown: name it by --track")
        yield found
