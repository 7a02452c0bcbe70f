"""What users type after an option, as what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.zoo.catalogue import ModelSpec


def words(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated words, each once."""
    return None if text is None else tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def whole(word: str, option: str) -> int:
    """A whole number."""
    if not word.isdecimal():
        raise UserError(f"{option} takes whole numbers, comma-separated, not {word!r}")
    return int(word)


def numbers(text: str | None, what: str) -> tuple[float, ...] | None:
    """Comma-separated numbers, fractions among them."""
    if text is None:
        return None
    found = []
    for word in words(text) or ():
        top, _, bottom = word.partition("/")
        try:
            found.append(float(top) / float(bottom or 1))
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(f"--{what} takes numbers, comma-separated, such as 0.1 or 8/255, not {word!r}") from error
    return tuple(found)


def outliers(items: list[str]) -> dict[str, str]:
    """OOD sets ``name=PATH`` of a user."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, origin = item.partition("=")
        if not equals or not origin:
            raise UserError(f"--ood takes name=PATH, not {item!r}")
        if name in found:
            raise UserError(f"--ood names {name!r} twice")
        found[name] = origin
    return found


def defended(spec: ModelSpec, refine: str | None, smooth: float | None, votes: int | None) -> list[ModelSpec]:
    """A model behind every defence that was asked for; itself if none was."""
    from jembench.attacks.defences import Defence
    from jembench.zoo import catalogue

    if refine is None and smooth is None:
        if votes is not None:
            raise UserError("--votes goes with --refine or --smooth")
        return [spec]
    found = []
    for word in words(refine) or ():
        steps = whole(word, "--refine")
        found.append(Defence(steps) if votes is None else Defence(steps, votes=votes))
    if smooth is not None:
        found.append(Defence.smoothing(smooth) if votes is None else Defence(steps=0, sigma=smooth, votes=votes))
    return [catalogue.defended(spec, defence) for defence in found]
