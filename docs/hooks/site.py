"""Hooks of the site: pages that lie beside docs/, links that leave it, and roles of docstrings.

The pages of docs/ are read on a forge too, so their links are paths in the repository. What a link leads to is in the
site if it is one of its pages; a link to anything else of the repository becomes its words.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = "docs"
BESIDE = ("CHANGELOG.md", "leaderboards/*.md", "leaderboards/*.png")
LINK = re.compile(r"(!?)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
ELSEWHERE = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>")
ROLE = re.compile(r":\w+:<code>(~?)([^<]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies beside docs/ as if it lay in it."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Lead links to pages of the site, and take off those to files that are not in it."""
    name = page.file.src_uri
    beside = any(Path(name).match(pattern) for pattern in BESIDE)
    folder = posixpath.dirname(name if beside else f"{DOCS}/{name}")

    def led(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if re.match(r"[a-z]+:|#|/", target):
            return found[0]
        path, mark, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        inside = place.removeprefix(f"{DOCS}/")
        if files.get_file_from_path(inside) is not None:
            return f"{picture}[{words}]({posixpath.relpath(inside, posixpath.dirname(name) or '.')}{mark}{anchor})"
        return words if (ROOT / place).exists() else found[0]  # a link that leads nowhere is a warning

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(led, part) for part in parts)


def on_page_content(html: str, **_: Any) -> str:
    """Show the roles of docstrings, such as ``:func:`load```, as what they name."""
    return ROLE.sub(lambda found: f"<code>{found[2].rpartition('.')[2] if found[1] else found[2]}</code>", html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would fetch something from another host.

    Raises:
        PluginError: for a script, a style or a picture of another host.
    """
    if found := ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri}: is not whole by itself: {found[0]}")
    return output
