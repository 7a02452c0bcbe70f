"""jembench: the benchmark suite for joint energy-based models.

A few calls do the work, and importing this package loads nothing heavy:

- :func:`load` returns a trained baseline, ready to classify;
- :func:`wrap` makes any ``torch.nn.Module`` that returns logits a model of the contract;
- :func:`evaluate` measures a model and returns a result with intervals; a :class:`~jembench.attacks.defences.Defence`
  may stand before it, and :class:`~jembench.choices.request.Options` say which attacks it meets.

- :func:`load_result` reads one that was measured before, :func:`compare` tests which of several is better,
  :func:`gate` whether one is as good as a golden one, by a :class:`~jembench.pages.gates.rule.Rule`.

Several models and suites at once are a :class:`~jembench.choices.request.Request`, for :func:`measure`;
:func:`estimate` says what that will take, and :func:`check` looks for slips in how a model is wired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.types import UserError
from jembench.version import __version__

if TYPE_CHECKING:
    from jembench.api import (
        Defence,
        Options,
        Request,
        Rule,
        Sampling,
        check,
        compare,
        estimate,
        evaluate,
        gate,
        load,
        load_result,
        measure,
        wrap,
    )

__all__ = [
    "Defence",
    "Options",
    "Request",
    "Rule",
    "Sampling",
    "UserError",
    "__version__",
    "check",
    "compare",
    "estimate",
    "evaluate",
    "gate",
    "load",
    "load_result",
    "measure",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from jembench import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
