"""Attacks: adversarial perturbations, eps in units of the [0, 1] pixel range; and how they are found by name.

- Here: what crafts adversarials, what stands before a model (`defences`), and what judges them (`verify`).
- Never: a data set, a store; an attack that says itself whether it has succeeded.
- A new one: a frozen dataclass in a module here, a line in `ATTACKS`, a test on a model whose answer is known.

A name is looked for among ours (:data:`ATTACKS`), then as a user's ``file.py:function``, then among the classes of
torchattacks. Those are written with capitals: ``pgd`` is ours, ``PGD`` theirs. What an entry names is a class of
attacks, or a :func:`functools.partial` of one where the name stands for some of its settings.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jembench.ground.families import Family
from jembench.types import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from jembench.attacks.contract import Attack

ATTACKS: Family[Callable[..., Attack]] = Family(
    "attack",
    {
        "pgd": (".ladder:Rung", "projected gradient descent, and the gradient ladder of a refined defence"),
        "autoattack": (
            ".autoattack:STANDARD",
            "AutoAttack standard: APGD, targeted APGD, FAB, Square (deterministic models)",
        ),
        "autoattack-rand": (".autoattack:RAND", "AutoAttack rand: APGD over 20 draws (stochastic models)"),
        "square": (".autoattack:Square", "random squares, from scores"),
        "boundary": (".decision:BOUNDARY", "walk along the decision boundary (needs foolbox)"),
        "hopskipjump": (".decision:HOPSKIPJUMP", "the boundary's normal from decisions (needs foolbox)"),
        "pointwise": (".decision:POINTWISE", "pixel after pixel set back (needs foolbox)"),
        "spsa": (".spsa:SPSA", "finite differences of scores, through any noise"),
        "transfer": (".transfer:Transfer", "adversarials of the other baselines of the track"),
        "null": (".null:Null", "the clean images"),
    },
    __package__,
    group="jembench.attacks",
    fits=lambda thing: isinstance(thing, type) and hasattr(thing, "name") and is_dataclass(thing),
)


def names() -> dict[str, str]:
    """The attacks that :func:`attack` knows, ours and the classes of torchattacks: name -> one line about it."""
    from jembench.attacks import torchattacks

    return ATTACKS.lines() | dict.fromkeys(torchattacks.names(), "of torchattacks")


def attack(name: str, **settings: Any) -> Attack:
    """The attack of a name.

    Args:
        name: one of :data:`ATTACKS`, ``path/to/file.py:function``, or a class of torchattacks.
        settings: its fields; of a class of torchattacks, its options too.

    Raises:
        UserError: for an unknown name or setting, with the nearest that is known.
    """
    if name in ATTACKS:
        return _with(partial(ATTACKS[name]), name, settings)
    if ".py:" in name:
        from jembench.attacks.plugin import Plugin

        return _with(partial(Plugin, reference=name), name, settings)
    from jembench.attacks.torchattacks import Torchattack, resolve

    class_name = resolve(name)
    if class_name is None:
        raise unknown("attack", name, names())
    own = {key: settings.pop(key) for key in ("gradient", "copies") if key in settings}
    options = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in settings.items())
    return Torchattack(class_name, options, **own)


def _with(kind: Any, name: str, settings: dict[str, Any]) -> Attack:
    """An attack by a partial of its class, with settings, lists as tuples; those of the partial are not to be set."""
    free = [field.name for field in fields(kind.func) if field.init and field.name not in {"name", *kind.keywords}]
    for key in settings:
        if key not in free:
            raise unknown(f"setting of attack {name!r}", key, free)
    instance: Attack = kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    )
    return instance
