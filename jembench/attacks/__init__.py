"""Attacks: adversarial perturbations, eps in units of the [0, 1] pixel range; and how they are found by name.

A name is looked for among ours (:data:`ATTACKS`), then as a user's ``file.py:function``, then among the classes of
torchattacks. Those are written with capitals: ``pgd`` is ours, ``PGD`` theirs.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from jembench.types import unknown

if TYPE_CHECKING:
    from jembench.attacks.contract import Attack

#: name -> (``module:Class``, settings that the name stands for)
ATTACKS: dict[str, tuple[str, dict[str, str]]] = {
    "pgd": ("jembench.attacks.ladder:Rung", {}),
    "autoattack": ("jembench.attacks.autoattack:AutoAttack", {"version": "standard"}),
    "autoattack-rand": ("jembench.attacks.autoattack:AutoAttack", {"version": "rand"}),
    "square": ("jembench.attacks.autoattack:Square", {}),
    "boundary": ("jembench.attacks.decision:Decision", {"name": "boundary"}),
    "hopskipjump": ("jembench.attacks.decision:Decision", {"name": "hopskipjump"}),
    "pointwise": ("jembench.attacks.decision:Decision", {"name": "pointwise"}),
    "spsa": ("jembench.attacks.spsa:SPSA", {}),
    "transfer": ("jembench.attacks.transfer:Transfer", {}),
    "null": ("jembench.attacks.null:Null", {}),
}


#: One line about each of ours.
ABOUT = {
    "pgd": "projected gradient descent, and the gradient ladder of a refined defence",
    "autoattack": "AutoAttack standard: APGD, targeted APGD, FAB, Square (deterministic models)",
    "autoattack-rand": "AutoAttack rand: APGD over 20 draws (stochastic models)",
    "square": "random squares, from scores",
    "boundary": "walk along the decision boundary (needs foolbox)",
    "hopskipjump": "the boundary's normal from decisions (needs foolbox)",
    "pointwise": "pixel after pixel set back (needs foolbox)",
    "spsa": "finite differences of scores, through any noise",
    "transfer": "adversarials of the other baselines of the track",
    "null": "the clean images",
}


def about(name: str) -> str:
    """One line about an attack that :func:`known` lists."""
    return ABOUT.get(name, "of torchattacks")


def known() -> list[str]:
    """Names of the attacks that :func:`attack` knows: ours, and the classes of torchattacks."""
    from jembench.attacks.torchattacks import names

    return [*ATTACKS, *names()]


def attack(name: str, **settings: Any) -> Attack:
    """The attack of a name.

    Args:
        name: one of :data:`ATTACKS`, ``path/to/file.py:function``, or a class of torchattacks.
        settings: its fields; of a class of torchattacks, its options too.

    Raises:
        UserError: for an unknown name or setting, with the nearest that is known.
    """
    if name in ATTACKS:
        place, fixed = ATTACKS[name]
        module, _, kind = place.partition(":")
        return _made(getattr(import_module(module), kind), name, settings, fixed)
    if ".py:" in name:
        from jembench.attacks.plugin import Plugin

        return _made(Plugin, name, settings, {"reference": name})
    from jembench.attacks.torchattacks import Torchattack, resolve

    found = resolve(name)
    if found is None:
        raise unknown("attack", name, known())
    own = {key: settings.pop(key) for key in ("gradient", "copies") if key in settings}
    options = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in settings.items())
    return Torchattack(found, options, **own)


def _made(kind: Any, name: str, settings: dict[str, Any], fixed: dict[str, str]) -> Attack:
    """A dataclass from settings, lists as tuples; what the name stands for is not to be set."""
    free = [each.name for each in fields(kind) if each.init and each.name not in {"name", *fixed}]
    for key in settings:
        if key not in free:
            raise unknown(f"setting of attack {name!r}", key, free)
    chosen = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    made: Attack = kind(**chosen, **fixed)
    return made
