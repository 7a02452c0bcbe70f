"""Names of files from names of models: letters, digits, dots and dashes, and never the same twice."""

from __future__ import annotations

import hashlib
import re

LONGEST = 60  # letters of a name
HASH = 6  # digits that tell names apart which have the same letters


class Slugs:
    """Names of files that no system confuses, by the names of what they are of."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, name: str) -> str:
        """A name that none before had, in any case of its letters.

        >>> slugs = Slugs()
        >>> slugs.new("jem-1.5"), slugs.new("../JEM 1.5"), slugs.new("jem-1.5")
        ('jem-1.5', 'jem-1.5-f34836', 'jem-1.5-2')
        """
        plain = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")[:LONGEST].strip("-._") or "model"
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH]
        first = plain if plain == name else f"{plain}-{digest}"
        slug, number = first, 1
        while slug in self._taken:
            number += 1
            slug = f"{first}-{number}"
        self._taken.add(slug)
        return slug
