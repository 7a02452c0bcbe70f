"""Networks of recipes as facts that a plan needs before torch is loaded: one constant each, by name in `NETWORKS`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """An architecture that a recipe can name.

    Attributes:
        builder: ``module:class``, called with ``shape``, ``classes`` and its options.
        family: family of the network: ``classifier``, ``energy`` or ``flow``.
        options: keys of ``[model]`` that are required.
        optional: keys of ``[model]`` that have a default.
        stem: whether it shows its first layer, which proximal sampling needs.
        features: whether it shows its last layer, a linear one (``readout``), and what enters it (``penultimate``).
            Of a library's networks no table knows which do.
        channels_last: whether an evaluation keeps its weights with the channels last, which is faster on photographs.
            It changes the last bits: not for networks that golden results were made with before.
        version: number that every change of code raises that moves figures; part of the identity of the records where
            it is not 1, since records from before there were versions have none.
    """

    builder: str
    family: str
    options: tuple[str, ...]
    optional: tuple[str, ...] = ()
    stem: bool = False
    features: bool = False
    channels_last: bool = False
    version: int = 1


SMALL = Network("jembench.models.small:SmallNet", "classifier", ("width",), stem=True, features=True)
WRN = Network(
    "jembench.models.wrn:WideResNet",
    "classifier",
    ("depth", "width"),
    ("norm",),
    stem=True,
    features=True,
    channels_last=True,
    version=2,  # 1 was evaluated with its channels first
)
TIMM = Network("jembench.models.library:from_timm", "classifier", ("name",))
TORCHVISION = Network("jembench.models.library:from_torchvision", "classifier", ("name",))
RESIDUAL = Network("jembench.models.residual:ResidualEBM", "energy", ("width",))
FLOW = Network("jembench.models.flow:Flow", "flow", ("width", "depth", "scales"))
