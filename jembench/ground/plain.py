"""Words of strangers: what may stand in a name or a sentence of a stored document."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

LONGEST = 300  # letters of a name
SENTENCE = 4000  # letters of a sentence
MARKUP = frozenset("<>`|\\")
STEP = re.compile(r"(^|/)\.\.(/|$)")


@lru_cache(maxsize=4096)  # the same few names come again and again
def plain(word: str) -> str:
    """A name as it is; what a page, a path or a terminal would take for something else is an error.

    Raises:
        ValueError: for letters that do not print (controls, changes of direction), markup, or more than
            :data:`LONGEST` letters.
    """
    if len(word) > LONGEST:
        raise ValueError(f"a name has at most {LONGEST} letters, this one has {len(word)}")
    if not word.isprintable() or not MARKUP.isdisjoint(word):
        strange = next(letter for letter in word if letter in MARKUP or not letter.isprintable())
        raise ValueError(f"a name has no {strange!r}")
    return word


@lru_cache(maxsize=4096)
def key(word: str) -> str:
    """A name that is also part of a path: no slash steps out of it.

    Raises:
        ValueError: as :func:`plain`; for an empty name, one that begins with a slash or has a step `..`.
    """
    if not word or word.startswith("/") or STEP.search(word):
        raise ValueError(f"no name of a part: {word[:40]!r}")
    return plain(word)


def sentence(text: str) -> str:
    """A sentence as it is: one line, of letters that print.

    Raises:
        ValueError: for other letters, or more than :data:`SENTENCE` of them.
    """
    if len(text) > SENTENCE:
        raise ValueError(f"a sentence has at most {SENTENCE} letters, this one has {len(text)}")
    if not text.isprintable():
        strange = next(letter for letter in text if not letter.isprintable())
        raise ValueError(f"a sentence has no {strange!r}")
    return text


Name = Annotated[str, AfterValidator(plain)]
Key = Annotated[str, AfterValidator(key)]
Sentence = Annotated[str, AfterValidator(sentence)]
