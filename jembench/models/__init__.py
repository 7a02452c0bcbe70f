"""Models: one file each, all behind the contract of :mod:`jembench.types`.

A new kind of model is a module with ``from_recipe`` and a line in :data:`KINDS`; a new network a module and a line in
:data:`NETWORKS`. Both tables are facts that a plan needs before torch is loaded.
"""

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
        version: raised by every change of code that moves its numbers; part of the identity of its records.
        capabilities: those of its class.
        family: the family of networks that it is made of.
        chains: whether it is trained on the ends of SGLD chains and samples by them.
        normalized: whether its log density is exact.
    """

    builder: str
    version: int
    capabilities: frozenset[Capability]
    family: str = "classifier"
    chains: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class Network:
    """An architecture that a recipe can name.

    Attributes:
        builder: ``module:class``, called with ``shape``, ``classes`` and its options.
        family: ``classifier``, ``energy`` or ``flow``.
        options: keys of ``[model]`` that it takes; all are required but those in ``optional``.
        optional: the ones with a default.
        stem: whether it shows its first layer, which proximal sampling needs.
        features: whether it shows its last layer, a linear one (``readout``), and what enters it (``penultimate``).
            Of a library's networks no table knows which do.
        channels_last: whether an evaluation keeps its weights with the channels last, which is faster on photographs.
            It changes the last bits: not for networks that golden results were made with before.
        version: raised by every change of code that moves its numbers; part of the identity of its records where it is
            not 1, as records that were there before it have it.
    """

    builder: str
    family: str
    options: tuple[str, ...]
    optional: tuple[str, ...] = ()
    stem: bool = False
    features: bool = False
    channels_last: bool = False
    version: int = 1


KINDS = {
    "softmax": ModelKind("jembench.models.softmax:from_recipe", 1, CLASSIFIER | DENSITY),
    "jem": ModelKind("jembench.models.jem:from_recipe", 2, CLASSIFIER | DENSITY | CHAIN, chains=True),
    "igebm": ModelKind("jembench.models.igebm:from_recipe", 1, CLASSIFIER | DENSITY | CHAIN, "energy", chains=True),
    "glow": ModelKind("jembench.models.glow:from_recipe", 1, DENSITY | SAMPLER, "flow", normalized=True),
    "glow-cond": ModelKind(
        "jembench.models.glow:conditional_from_recipe", 1, CLASSIFIER | DENSITY | SAMPLER, "flow", normalized=True
    ),
    "oracle": ModelKind(
        "jembench.models.oracle:for_track", 1, CLASSIFIER | DENSITY | SAMPLER, "exact", normalized=True
    ),
    "uniform": ModelKind("jembench.models.reference:uniform", 1, SAMPLER, "exact"),
    "class-gaussians": ModelKind("jembench.models.reference:class_gaussians", 1, SAMPLER, "exact"),
    "pixels": ModelKind("jembench.models.oracle:pixels", 1, frozenset(), "exact"),
    "inception-v3": ModelKind("jembench.models.inception:load", 1, frozenset(), "exact"),
}

NETWORKS = {
    "small": Network("jembench.models.small:SmallNet", "classifier", ("width",), stem=True, features=True),
    "wrn": Network(
        "jembench.models.wrn:WideResNet",
        "classifier",
        ("depth", "width"),
        ("norm",),
        stem=True,
        features=True,
        channels_last=True,
        version=2,  # 1 was evaluated with its channels first
    ),
    "timm": Network("jembench.models.library:from_timm", "classifier", ("name",)),
    "torchvision": Network("jembench.models.library:from_torchvision", "classifier", ("name",)),
    "residual": Network("jembench.models.residual:ResidualEBM", "energy", ("width",)),
    "flow": Network("jembench.models.flow:Flow", "flow", ("width", "depth", "scales")),
}


def able(kind: str, network: str) -> frozenset[Capability]:
    """What a model of a kind can do that is made of a network."""
    features: frozenset[Capability] = frozenset({"features"})
    return KINDS[kind].capabilities | (features if NETWORKS[network].features else frozenset())
