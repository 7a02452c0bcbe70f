"""Models: one file each, all behind the contract of :mod:`jembench.types`.

- Here: networks, kinds (what the logits mean), and `recipes`, the validated data that they are built from.
- Never: a file of weights, a training loop, an evaluation.
- A new one: a module with `from_recipe`, a constant in `kinds` and a line in `KINDS`; a network likewise in
  `networks`, `NETWORKS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.ground.families import Family

if TYPE_CHECKING:
    from jembench.models.kinds import ModelKind
    from jembench.models.networks import Network
    from jembench.types import Capability

KINDS: Family[ModelKind] = Family(
    "kind",
    {
        "softmax": (".kinds:SOFTMAX", "a classifier, whose logits are read as a density too"),
        "jem": (".kinds:JEM", "a classifier that is a density by its logits, trained with SGLD chains"),
        "igebm": (".kinds:IGEBM", "an energy for every class, trained with SGLD chains"),
        "glow": (".kinds:GLOW", "a normalizing flow: exact log density and samples"),
        "glow-cond": (".kinds:GLOW_COND", "a normalizing flow with a Gaussian for every class"),
        "oracle": (".kinds:ORACLE", "the mixture itself: exact logits, log density and samples"),
        "uniform": (".kinds:UNIFORM", "noise: the generator to beat by far"),
        "class-gaussians": (
            ".kinds:CLASS_GAUSSIANS",
            "a Gaussian per class of the training images: the generator to beat",
        ),
        "pixels": (".kinds:PIXELS", "an extractor: the pixels as features, the oracle's classes"),
        "inception-v3": (".kinds:INCEPTION_V3", "an extractor: the Inception network of 2015"),
    },
    __package__,
)

NETWORKS: Family[Network] = Family(
    "network",
    {
        "small": (".networks:SMALL", "3x3 convolutions without normalisation layers, for digits"),
        "wrn": (".networks:WRN", "the wide residual network of the JEM papers"),
        "timm": (".networks:TIMM", "a classifier of the timm library, with fresh weights"),
        "torchvision": (".networks:TORCHVISION", "a classifier of torchvision, with fresh weights"),
        "residual": (".networks:RESIDUAL", "the class-conditional residual energy network of IGEBM"),
        "flow": (".networks:FLOW", "the invertible network of Glow"),
    },
    __package__,
)


def able(kind: str, network: str) -> frozenset[Capability]:
    """What a model of a kind can do that is made of a network."""
    features: frozenset[Capability] = frozenset({"features"})
    return KINDS[kind].capabilities | (features if NETWORKS[network].features else frozenset())
