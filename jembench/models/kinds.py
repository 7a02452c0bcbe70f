"""Kinds of models as facts that a plan needs before torch is loaded: one constant each, by name in `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass

from jembench.types import Capability

CLASSIFIER: frozenset[Capability] = frozenset({"classifier"})
DENSITY: frozenset[Capability] = frozenset({"density"})
SAMPLER: frozenset[Capability] = frozenset({"sampler"})
CHAIN: frozenset[Capability] = frozenset({"sampler", "chain"})


@dataclass(frozen=True)
class ModelKind:
    """A kind of model.

    Attributes:
        builder: ``module:function``, called with (recipe, track), that makes an untrained model.
        version: number that every change of code raises that moves figures; part of the identity of the records.
        capabilities: what a model of the kind can do, whatever its network.
        family: family of the networks that it is made of: ``classifier``, ``energy``, ``flow`` or ``exact``.
        chains: whether it is trained on the ends of SGLD chains and samples by them.
        normalized: whether its log density is exact.
    """

    builder: str
    version: int
    capabilities: frozenset[Capability]
    family: str = "classifier"
    chains: bool = False
    normalized: bool = False


SOFTMAX = ModelKind("jembench.models.softmax:from_recipe", 1, CLASSIFIER | DENSITY)
JEM = ModelKind("jembench.models.jem:from_recipe", 2, CLASSIFIER | DENSITY | CHAIN, chains=True)
IGEBM = ModelKind("jembench.models.igebm:from_recipe", 1, CLASSIFIER | DENSITY | CHAIN, "energy", chains=True)
GLOW = ModelKind("jembench.models.glow:from_recipe", 1, DENSITY | SAMPLER, "flow", normalized=True)
GLOW_COND = ModelKind(
    "jembench.models.glow:conditional_from_recipe", 1, CLASSIFIER | DENSITY | SAMPLER, "flow", normalized=True
)
ORACLE = ModelKind("jembench.models.oracle:for_track", 1, CLASSIFIER | DENSITY | SAMPLER, "exact", normalized=True)
UNIFORM = ModelKind("jembench.models.reference:uniform", 1, SAMPLER, "exact")
CLASS_GAUSSIANS = ModelKind("jembench.models.reference:class_gaussians", 1, SAMPLER, "exact")
PIXELS = ModelKind("jembench.models.oracle:pixels", 1, frozenset(), "exact")
INCEPTION_V3 = ModelKind("jembench.models.inception:load", 1, frozenset(), "exact")
