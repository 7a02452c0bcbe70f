r"""Measurement ``detector``: the classical post-hoc detectors of outliers, from pytorch-ood, through one adapter.

A post-hoc detector takes a trained classifier as it is. With penultimate features z, logits f = W z + b and what it
learns from the **training** images alone, it gives every image a score; pytorch-ood's is larger for outliers, so the
column ``detector_score`` is minus it, larger = more in-distribution. The detectors, with the settings of their papers:

| name | what it measures | source |
| --- | --- | --- |
| mahalanobis | distance of z to the nearest class mean, one covariance | Lee et al., NeurIPS 2018 |
| rmd | the same less the distance to the mean of all | Ren et al., arXiv 2106.09022 |
| knn | distance of z / \|z\| to its 50th neighbour | Sun et al., ICML 2022 |
| vim | norm of z outside its principal subspace, as a logit | Wang et al., CVPR 2022 |
| react | energy with features clipped at the 90th percentile | Sun et al., NeurIPS 2021 |
| dice | energy with the weakest 90 % of the weights left out | Sun & Li, ECCV 2022 |
| ash | energy of the largest 35 % of the features, sharpened | Djurisic et al., ICLR 2023 |
| scale | energy of all features, scaled by these | Xu et al., ICLR 2024 |
| she | inner product of z with the mean of its predicted class | Zhang et al., ICLR 2023 |
| nnguide | energy times the similarity to training features | Park et al., ICCV 2023 |
| fdbd | distance of z to the decision boundaries | Liu & Qin, ICML 2024 |
| gradnorm | gradient of KL(uniform, p(y\|x)) in W | Huang et al., NeurIPS 2021 |
| kl_matching | KL of p(y\|x) to the nearest mean posterior | Hendrycks et al., ICML 2022 |
| gen | generalised entropy of p(y\|x) | Liu et al., CVPR 2023 |
| odin | max p(y\|x) at T = 1000, one step of .0014 towards it | Liang et al., ICLR 2018 |

Left out are those that :mod:`jembench.metrics.scores` has (energy, max p(y|x), entropy, max logit) and those that need
dropout, several layers or a tuned weight. Features are those of the last layer only; ``react``, ``ash`` and ``scale``
were made for ReLU features, which are never negative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from jembench.attacks.passes import ModelFacts, Passes
from jembench.ground.families import Family
from jembench.measurements.contract import costs
from jembench.types import Batch, Capability, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

Reads = Literal["features", "maps", "logits", "images"]


class PostHoc(NamedTuple):
    """A detector of pytorch-ood.

    Attributes:
        make: function that builds the detector from pytorch-ood's module ``detector``, the model, and its readout.
        reads: what the detector is a function of; ``maps`` are features as ``(B, F, 1, 1)``.
        fitted: whether the detector learns from the training split.
        least: number of training images that the detector needs at least.
    """

    make: Callable[[Any, Any, Any], Any]
    reads: Reads = "features"
    fitted: bool = True
    least: int = 2


INPUTS = {"features": "features", "maps": "feature_maps", "logits": "logits"}  # in the names of pytorch-ood's methods
NEIGHBOURS = 50  # of knn, the paper's for CIFAR-10


def _head(readout: Any) -> Callable[[Tensor], Tensor]:
    """The readout of feature maps ``(B, F, 1, 1)``."""
    return lambda maps: readout(maps.flatten(1))


def _bias(readout: Any) -> Any:
    """Its bias ``(K,)``, zeros if it has none."""
    return readout.weight.new_zeros(readout.out_features) if readout.bias is None else readout.bias


MAHALANOBIS = PostHoc(lambda ood, model, last: ood.Mahalanobis(None))
RMD = PostHoc(lambda ood, model, last: ood.RMD(None))
KNN = PostHoc(lambda ood, model, last: ood.KNN(None, k=NEIGHBOURS), least=NEIGHBOURS)
VIM = PostHoc(lambda ood, model, last: ood.ViM(None, min(last.in_features // 2, 512), last.weight, _bias(last)))
REACT = PostHoc(lambda ood, model, last: ood.ReAct(None, _head(last), percentile=0.9), "maps")
DICE = PostHoc(lambda ood, model, last: ood.DICE(None, last.weight, _bias(last), p=0.9))
ASH = PostHoc(lambda ood, model, last: ood.ASH(None, _head(last), "ash-s", 0.65), "maps", fitted=False)
SCALE = PostHoc(lambda ood, model, last: ood.SCALE(None, _head(last), 0.65), "maps", fitted=False)
SHE = PostHoc(lambda ood, model, last: ood.SHE(None, last))
NNGUIDE = PostHoc(lambda ood, model, last: ood.NNGuide(None, last, k=10), least=10)
FDBD = PostHoc(lambda ood, model, last: ood.fDBD(None, last))
GRADNORM = PostHoc(lambda ood, model, last: ood.GradNorm(last, lambda name: name == "weight"), fitted=False)
KL_MATCHING = PostHoc(lambda ood, model, last: ood.KLMatching(None), "logits")
GEN = PostHoc(lambda ood, model, last: ood.GEN(None), "logits", fitted=False)
ODIN = PostHoc(lambda ood, model, last: ood.ODIN(model.logits, eps=0.0014, temperature=1000.0), "images", False)

DETECTORS: Family[PostHoc] = Family(
    "detector",
    {
        "mahalanobis": (".detector:MAHALANOBIS", "distance to the nearest class mean (Lee et al. 2018)"),
        "rmd": (".detector:RMD", "that, relative to one mean of all (Ren et al. 2021)"),
        "knn": (".detector:KNN", "distance to the 50th training neighbour (Sun et al. 2022)"),
        "vim": (".detector:VIM", "residual against the principal space, and energy (Wang et al. 2022)"),
        "react": (".detector:REACT", "energy of clipped features (Sun et al. 2021)"),
        "dice": (".detector:DICE", "energy of sparse weights (Sun & Li 2022)"),
        "ash": (".detector:ASH", "energy of pruned and scaled features (Djurisic et al. 2023)"),
        "scale": (".detector:SCALE", "energy of scaled features (Xu et al. 2024)"),
        "she": (".detector:SHE", "inner product with the class's stored pattern (Zhang et al. 2023)"),
        "nnguide": (".detector:NNGUIDE", "energy guided by neighbours (Park et al. 2023)"),
        "fdbd": (".detector:FDBD", "distance to the decision boundaries (Liu & Qin 2024)"),
        "gradnorm": (".detector:GRADNORM", "gradient norm of the last layer (Huang et al. 2021)"),
        "kl_matching": (".detector:KL_MATCHING", "divergence from class-typical posteriors (Hendrycks et al. 2022)"),
        "gen": (".detector:GEN", "generalised entropy of the posteriors (Liu et al. 2023)"),
        "odin": (".detector:ODIN", "perturbed and tempered confidence (Liang et al. 2018)"),
    },
    __package__,
    group="jembench.detectors",
    fits=lambda thing: isinstance(thing, PostHoc),
)


@dataclass(frozen=True)
class Detector:
    """Column ``detector_score (B,)`` of one detector.

    It is given :class:`~jembench.measurements.features.Features` of its examples, and those of the whole training split
    with their labels; a detector of images takes neither, one that learns nothing only the first.

    Attributes:
        detector: name of the detector, a key of :data:`DETECTORS`.

    Raises:
        UserError: for an unknown name, or if pytorch-ood is not installed.
    """

    detector: str

    name: ClassVar[str] = "detector"
    version: ClassVar[int] = 1
    finite: ClassVar[frozenset[str]] = frozenset()
    requires: ClassVar[frozenset[Capability]] = frozenset({"classifier", "features"})

    def __post_init__(self) -> None:
        DETECTORS.check(self.detector)
        if find_spec("pytorch_ood") is None:
            raise UserError(f"detector {self.detector!r} needs pytorch-ood: pip install 'jembench[ood]'")

    @property
    def title(self) -> str:
        """What people read while it is computed."""
        return f"detector {self.detector}"

    @property
    def fitted(self) -> bool:
        """Whether it learns from the training split."""
        return DETECTORS[self.detector].fitted

    @property
    def featured(self) -> bool:
        """Whether it reads features."""
        return DETECTORS[self.detector].reads != "images"

    def passes(self, facts: ModelFacts) -> Passes:
        """None of one of features; two and a gradient of one of images."""
        return Passes(seconds=2e-4) if self.featured else Passes(2, 1)

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, NDArray[Any]]:
        """Fit the detector, then score the batch; NaN where its score is no finite number.

        Raises:
            UserError: if the training split has too few images, or misses a class.
        """
        import torch

        method, device = DETECTORS[self.detector], batch.images.device
        detector = method.make(_package(), model, model.readout)
        with torch.no_grad():
            if method.fitted:
                features, labels = self._training(batch, model.readout.out_features)
                inputs = _inputs(features, method.reads, model.readout, device)
                getattr(detector, f"fit_{INPUTS[method.reads]}")(inputs, labels.to(device))
            if self.featured:
                (record,) = batch.given
                assert record is not None
                inputs = _inputs(record["features"], method.reads, model.readout, device)
                outlierness = getattr(detector, f"predict_{INPUTS[method.reads]}", detector.predict)(inputs)
            else:
                outlierness = detector.predict(batch.images)
        score = -outlierness.detach().double().cpu().numpy()
        passes = (0, 0) if self.featured else (2, 1)
        return {"detector_score": np.where(np.isfinite(score), score, np.nan), **costs(len(score), *passes)}

    def _training(self, batch: Batch, classes: int) -> tuple[NDArray[Any], Tensor]:
        """Features ``(N, F)`` and labels ``(N,)`` of the training split."""
        (record,) = batch.whole
        assert record is not None
        labels = record["label"]
        least = DETECTORS[self.detector].least
        if len(labels) < least or len(np.unique(labels)) < classes:
            raise UserError(
                f"detector {self.detector!r} is fitted on the training split and needs {least} images of it, some of "
                f"every class, not {len(labels)} images of {len(np.unique(labels))} classes: raise the limit"
            )
        return record["features"], batch.labels.new_tensor(labels)


def _package() -> Any:
    """The module of the detectors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("pytorch_ood.detector")


def _inputs(features: NDArray[Any], reads: Reads, readout: Any, device: Any) -> Tensor:
    """Recorded features ``(N, F)`` as what a detector reads."""
    import torch

    z = torch.tensor(features, device=device)
    if reads == "logits":
        logits: Tensor = readout(z)
        return logits
    return z[:, :, None, None] if reads == "maps" else z
