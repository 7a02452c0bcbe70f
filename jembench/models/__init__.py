"""Models: one file each, all behind the contract of :mod:`jembench.types`.

A new kind of model is a module with ``from_recipe`` and a line in :data:`KINDS`; a new network a module and a line in
:data:`NETWORKS`. Both tables are facts that a plan needs before torch is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from jembench.types import Capability


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        builder: ``module:function``, called with (recipe, track), that makes an untrained model.
        version: raised by every change of code that moves its numbers; part of the identity of its records.
        capabilities: those of its class.
    """

    builder: str
    version: int
    capabilities: frozenset[Capability]


KINDS = {
    "softmax": Kind("jembench.models.softmax:from_recipe", 1, frozenset({"classifier", "density"})),
    "jem": Kind("jembench.models.jem:from_recipe", 1, frozenset({"classifier", "density", "sampler"})),
    "oracle": Kind("jembench.models.oracle:for_track", 1, frozenset({"classifier", "density", "sampler"})),
}

#: name -> ``module:class``, made with (shape=…, classes=…, width=…)
NETWORKS = {"small": "jembench.models.small:SmallNet"}
