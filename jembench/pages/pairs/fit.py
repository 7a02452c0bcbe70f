"""Whether two results may be held against each other, and why not."""

from __future__ import annotations

from jembench.store.results import ProtocolEntry, ResultDocument


def misfit(one: ResultDocument, other: ResultDocument) -> str | None:
    """Why two results are not of the same images, measured in the same way: the first difference; None if they are."""
    for what in ("track", "limit"):
        ours, theirs = getattr(one, what), getattr(other, what)
        if ours != theirs:
            return f"{what} is {ours} and {theirs}"
    if one.protocol.name != other.protocol.name:
        return f"protocol is {one.protocol.name} and {other.protocol.name}"
    for source in sorted(one.protocol.sources.keys() & other.protocol.sources.keys()):
        for what in ("n", "sha256", "noise"):
            ours, theirs = getattr(one.protocol.sources[source], what), getattr(other.protocol.sources[source], what)
            if ours != theirs:
                return f"{what} of {source!r} is {ours} and {theirs}"
        if one.protocol.sources[source].noise and one.seed != other.seed:
            return f"seed is {one.seed} and {other.seed}, which draw other noise on {source!r}"
    return None


def excess(protocol: ProtocolEntry, whole: ProtocolEntry) -> str | None:
    """Why a protocol is no part of another one: what it has first that the other has not; None if it is a part.

    A part has the same name and track, and no source, measurement or evaluator that the other has not in the same
    bytes, number, version and settings: numbers of the two are then of the same images, measured in the same way.

    Args:
        protocol: the protocol that may be a part, such as that of suite ``ood``.
        whole: the protocol that it may be a part of, such as that of suite ``all``.
    """
    for name in ("name", "track"):
        ours, theirs = getattr(protocol, name), getattr(whole, name)
        if ours != theirs:
            return f"{name} is {ours!r}, not {theirs!r}"
    for source, facts in protocol.sources.items():
        reference = whole.sources.get(source)
        if reference is None:
            return f"no examples of {source!r} are among the others'"
        for what in ("n", "sha256", "noise"):
            ours, theirs = getattr(facts, what), getattr(reference, what)
            if ours != theirs:
                return f"{what} of {source!r} is {ours}, not {theirs}"
    for part in ("measurements", "evaluators"):
        for entry in getattr(protocol, part):
            if entry not in getattr(whole, part):
                return _departure(part[:-1], entry, getattr(whole, part))
    return None


def _departure(kind: str, entry: dict[str, object], others: list[dict[str, object]]) -> str:
    """How a measurement or evaluator departs from the one of the same name, in the first setting that does."""
    name = entry["name"]
    same = next((other for other in others if other["name"] == name), None)
    if same is None:
        return f"{kind} {name!r} is not among the others'"
    setting = next(key for key in [*entry, *same] if entry.get(key) != same.get(key))
    return f"{setting} of {kind} {name!r} is {entry.get(setting)!r}, not {same.get(setting)!r}"
