"""From templates to pages: all text escaped, and what would hide or turn text is made visible."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

#: Letters that a reader does not see: controls, marks that turn the direction of text, halves of letters.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Text in which hidden letters are written by their numbers.

    >>> visible("jem\u202egnp.exe")
    'jem⟨202E⟩gnp.exe'
    """
    return HIDDEN.sub(lambda match: f"⟨{ord(match[0]):04X}⟩", text)


def page(template: str, **content: Any) -> str:
    """The HTML of a page.

    Args:
        template: name of a file in ``templates``.
        content: what it shows; text is escaped, data for the script goes through the filter ``data``.
    """
    return _environment().get_template(template).render(**content)


def asset(name: str) -> str:
    """A style sheet or script of the pages."""
    return resources.files("jembench.pages.site").joinpath("assets", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jembench.pages.site", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data"] = data
    return environment


def data(content: Any) -> Markup:
    r"""JSON that no markup ends: for ``<script type="application/json">``.

    >>> data({"name": "</script>"})
    Markup('{"name":"\\u003c/script\\u003e"}')
    """
    import json

    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for letter in "<>&'":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _finalized(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
