r"""Evaluator ``generation``: how good, how varied and how new are the images that a model makes?

Every figure says where the samples come from (:mod:`jembench.measurements.samples`: ``fresh``, ``buffer``,
``conditional``), which extractor looked at them and how many there are, and stands beside four references of the same
track: ``uniform`` noise, ``class-gaussians``, and the real ``test`` images, which no model has seen. The distribution
to be matched is that of the training split. Nothing is left out of the samples, unless ``keep_top`` asks for it.

- ``inception_score`` (:mod:`jembench.metrics.inception_score`), of the extractor's classes;
- ``fd`` (with the Inception network ``fid``): Frechet distance at this n, ``fd_at_test_n`` at as many samples as there
  are test images, so that it may be held against theirs, ``fd_infinity`` extrapolated, and ``fd_n100`` and the like,
  the curve (:mod:`jembench.metrics.frechet`);
- ``kd`` (``kid``): kernel distance (:mod:`jembench.metrics.kernel_distance`);
- ``precision``, ``recall``, ``density``, ``coverage`` (:mod:`jembench.metrics.manifold`);
- ``class_imbalance``: total variation from equal classes, with the band of chance
  (:mod:`jembench.metrics.class_balance`);
- ``conditional_accuracy``: the share of samples in which the extractor, an independent classifier, sees the class that
  was asked for. A model of nothing but prototypes has 1.00;
- ``nearer``: probability that a sample is nearer to a training image than a test image is, 1/2 without copying, and
  ``copies``, samples nearer than every test image (:mod:`jembench.metrics.memorisation`).

Published protocols (:mod:`jembench.choices.protocols`) take other rows, references and filters; what they chose is in
the n of every figure.

Pairwise figures are of the first :data:`PAIRWISE` of each set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jembench.data.sets import CHAINS
from jembench.ground import seeding
from jembench.measurements.contract import LATER, Need, RecordBatch, by_need
from jembench.measurements.embedded import Embedded
from jembench.measurements.samples import Samples
from jembench.metrics import classification, frechet
from jembench.metrics.class_balance import class_imbalance
from jembench.metrics.estimate import Estimate
from jembench.metrics.inception_score import inception_score_estimate
from jembench.metrics.kernel_distance import kernel_distance_estimate
from jembench.metrics.manifold import density_coverage, precision_recall
from jembench.metrics.memorisation import memorisation
from jembench.metrics.metric import Kind, Metric
from jembench.metrics.neighbours import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jembench.data.sets import Track

PAIRWISE = 10_000
SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)  # of the curve, as far as there are samples
REFERENCES = ("uniform", "class-gaussians")
FOREIGN = "the extractor does not know the track's classes"
RELATIVE = 0.1  # of a distance

KINDS = (
    Kind("inception_score", "higher", 0.3),
    Kind("distance", "lower"),
    Kind("distance_at_test_n", "lower"),
    Kind("distance_infinity", "lower"),
    Kind("kernel", "lower"),
    Kind("precision", "higher", 0.05),
    Kind("recall", "higher", 0.05),
    Kind("density", "higher", 0.1),
    Kind("coverage", "higher", 0.05),
    Kind("class_imbalance", "lower", 0.05),
    Kind("nearer", "neither"),
    Kind("copies", "neither"),
)
STEPS, TEMPERATURE = Kind("chain_steps", "neither"), Kind("chain_temperature", "neither")
CONDITIONAL = Kind("conditional_accuracy", "higher", 0.05)
NOTHING = {
    "buffer": "the model has no persistent chains",
    "conditional": "the model does not sample classes",
}  # why a row has no samples; of others the model does not sample at all


@dataclass(frozen=True)
class Looker:
    """A feature extractor: its name, the hash of its weights, and what its distances are called in files.

    Attributes:
        name: of :data:`jembench.zoo.extractors.EXTRACTORS`.
        fingerprint: of it.
        distance: ``fd``, or ``fid`` of the Inception network.
        kernel: ``kd`` or ``kid``.
    """

    name: str
    fingerprint: str
    distance: str = "fd"
    kernel: str = "kd"

    def called(self, kind: Kind) -> Kind:
        """The kind under its own name."""
        words = kind.name.replace("distance", self.distance) if kind.name.startswith("distance") else kind.name
        return replace(kind, name=self.kernel if words == "kernel" else words)


@dataclass(frozen=True)
class Look:
    """What an extractor made of images: features ``(N, F)``, probabilities ``(N, C)``, the asked classes ``(N,)``."""

    features: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    asked: NDArray[np.int64]


@dataclass(frozen=True)
class Generation:
    """Sample quality.

    Attributes:
        extractor: who looks.
        steps: of the fresh and conditional chains; the training's by default.
        temperature: of these chains; the training's by default.
        keep_top: share of the samples that is kept, those of which the model is most confident; 1 is no filter.
        rows: the samples that are looked at.
        reference: the real images of the distances, by source.
        keep_is: share that is kept for the inception score; as ``keep_top`` by default.
        by_class: whether a share is kept of each class that the model sees, not of all.
        rounded: whether samples are rounded to grey levels before they are looked at.
    """

    extractor: Looker
    steps: int | None = None
    temperature: float | None = None
    keep_top: float = 1.0
    rows: tuple[str, ...] = field(default=("fresh", "buffer", "conditional"), metadata=LATER)
    reference: tuple[str, ...] = field(default=("train",), metadata=LATER)
    keep_is: float | None = field(default=None, metadata=LATER)
    by_class: bool = field(default=False, metadata=LATER)
    rounded: bool = field(default=True, metadata=LATER)

    name: ClassVar[str] = "generation"
    version: ClassVar[int] = 1
    columns: ClassVar[tuple[str, ...]] = ("fresh_class", "buffer_class", "conditional_class", "conditional_asked")

    def samples(self) -> dict[str, Samples]:
        """What is sampled from the model, by name."""
        chain: dict[str, Any] = {"steps": self.steps, "temperature": self.temperature}
        made = {
            "fresh": Samples(**chain),
            "buffer": Samples(start="buffer", classified=self.by_class),
            "conditional": Samples(conditional=True, **chain),
        }
        return {name: made[name] for name in self.rows}

    def drawn(self) -> dict[str, Need]:
        """The samples of every row, of the model and of the reference samplers."""
        own = {name: Need(samples, CHAINS) for name, samples in self.samples().items()}
        return {**own, **{name: Need(Samples(), CHAINS, model=name) for name in REFERENCES}}

    def looked(self) -> dict[str, Need]:
        """What the extractor sees in every row, the real images too."""
        who = self.extractor.name
        real = {source: Need(Embedded(), source, model=who) for source in dict.fromkeys((*self.reference, "test"))}
        made = {
            name: Need(Embedded("image", self.rounded), CHAINS, given=(need,), model=who, essential=True)
            for name, need in self.drawn().items()
        }
        return {**real, **made}

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Samples, and the extractor's view of them and of the real images."""
        return (*self.drawn().values(), *self.looked().values())

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The class that the extractor sees in each sample, and the one asked for."""
        for name in self.samples():
            if batch.need == self.looked()[name]:
                f = batch.columns["class_logits"]
                return {f"{name}_class": np.where(np.isfinite(f).all(axis=1), f.argmax(1), -1).astype(np.int64)}
            if batch.need == self.drawn()[name] and name == "conditional":
                return {"conditional_asked": batch.columns["asked"].astype(np.int64)}
        return {}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """Every row, the model's first."""
        found = by_need(batches)
        train, test = self._real(found), self._of(found, "test")
        result = []
        for name in (*self.samples(), *REFERENCES, "test"):
            seen = self._of(found, name)
            scored = seen if self.keep_is is None else self._of(found, name, share=self.keep_is)
            if isinstance(seen, str) or isinstance(scored, str):
                result += self._missing(name, str(seen))
            elif isinstance(train, str) or isinstance(test, str):
                result += self._missing(name, train if isinstance(train, str) else str(test))
            else:
                row = _Row(self, name, seen, scored, train, test, track.classes)
                result += row.metrics()
                if name in self.samples():
                    result += row.chain(found[self.drawn()[name]])
        return result

    def _missing(self, name: str, reason: str) -> list[Metric]:
        kinds = (*KINDS, CONDITIONAL) if name in self.samples() else KINDS
        return [self.extractor.called(kind).missing(reason, source=name, variant=self.extractor.name) for kind in kinds]

    def _real(self, found: Mapping[Need, Mapping[str, NDArray[Any]]]) -> Look | str:
        """The features of the reference; or why it has none."""
        parts = [self._of(found, source) for source in self.reference]
        if bad := [part for part in parts if isinstance(part, str)]:
            return bad[0]
        looks = [part for part in parts if isinstance(part, Look)]
        return Look(*(np.concatenate([getattr(each, part.name) for each in looks]) for part in fields(Look)))

    def _of(
        self, found: Mapping[Need, Mapping[str, NDArray[Any]]], name: str, *, share: float | None = None
    ) -> Look | str:
        """The features of a row, those of all samples that are kept; or why it has no numbers.

        Args:
            found: the records.
            name: of the row.
            share: that is kept, ``keep_top`` by default.
        """
        looked = found.get(self.looked()[name])
        if looked is None:
            return NOTHING.get(name, "the model does not sample")
        count = len(looked["features"])
        drawn = found[self.drawn()[name]] if name in self.drawn() else {}
        rows, asked = drawn.get("there", np.ones(count, dtype=bool)), drawn.get("asked", np.full(count, -1))
        if not rows.any():
            return NOTHING["buffer"]
        if drawn and (bad := _not_finite(drawn["image"][rows])):
            return f"{bad} of {int(rows.sum())} samples are not finite: the chains diverge"
        if bad := _not_finite(np.hstack([looked["features"][rows], looked["class_logits"][rows]])):
            return f"the features of {bad} of {int(rows.sum())} images of {name!r} are not finite"
        kept = self.keep_top if share is None else share
        if name in self.samples() and kept < 1:
            rows = top(drawn["confidence"], rows, kept, classes=drawn["seen"] if self.by_class else None)
        return Look(
            looked["features"][rows].astype(np.float64),
            classification.softmax(looked["class_logits"][rows].astype(np.float64)),
            asked[rows].astype(np.int64),
        )


def _not_finite(rows: NDArray[np.floating]) -> int:
    return int((~np.isfinite(rows).all(axis=1)).sum())


def top(
    confidence: NDArray[np.floating],
    there: NDArray[np.bool_],
    share: float,
    *,
    classes: NDArray[np.integer] | None = None,
) -> NDArray[np.bool_]:
    """The share of the rows that are there with the highest confidence, of each class if there are ``classes (N,)``.

    Of equal ones the earlier. The number is rounded, at least one; of a class it is rounded down, as in SADA-JEM's
    ``cond_is_fid``.
    """
    kept = np.zeros(len(there), dtype=bool)
    for group in [there] if classes is None else [there & (classes == y) for y in np.unique(classes[there])]:
        rows = np.flatnonzero(group)
        order = rows[np.argsort(-np.nan_to_num(confidence[rows], nan=-1.0), kind="stable")]
        number = max(1, round(share * len(order))) if classes is None else int(share * len(order))
        kept[order[:number]] = True
    return kept


def tolerated(estimate: Estimate) -> float:
    """How much worse a distance may be than a golden one: its scale is that of the features, and it may be near 0."""
    known = estimate.low is not None and estimate.high is not None
    half = (estimate.high - estimate.low) / 2 if known else 0.0  # type: ignore[operator]
    return max(RELATIVE * abs(estimate.value), half)


@dataclass(frozen=True)
class _Row:
    """The metrics of one set of samples."""

    of: Generation
    name: str
    seen: Look
    scored: Look
    train: Look
    test: Look
    classes: int

    def metrics(self) -> list[Metric]:
        """All of them; a figure that cannot be computed says why."""
        looker = self.of.extractor
        made = []
        estimates = self._estimates()
        for kind in KINDS:
            found = estimates[kind.name]
            called = looker.called(kind)
            if isinstance(found, str):
                made.append(called.missing(found, source=self.name, variant=looker.name))
                continue
            estimate, n, *p = found
            metric = called.of(estimate, source=self.name, variant=looker.name, n=n, p=p[0] if p else None)
            if kind.name.startswith(("distance", "kernel")):
                metric = replace(metric, tolerance=tolerated(estimate))
            made.append(metric)
        return [*made, *self._conditional(), *self._curve()]

    def chain(self, record: Mapping[str, NDArray[Any]]) -> list[Metric]:
        """Length and temperature of the chains, where some were run: not of a buffer as it lies, nor of a flow."""
        heat = float(record["temperature"][0])
        if np.isnan(heat):
            return []
        where: dict[str, Any] = {"source": self.name, "variant": self.of.extractor.name}
        n = {self._words: len(self.seen.features)}
        facts = ((STEPS, float(record["steps"][0])), (TEMPERATURE, heat))
        return [kind.of(Estimate(value, None, None, "exact"), n=n, **where) for kind, value in facts]

    def _estimates(self) -> dict[str, Any]:
        """Estimate and n of every kind, with a p-value where there is one; or why there is none."""
        x, y = self.seen.features, self.train.features
        few, real = x[:PAIRWISE], y[:PAIRWISE]
        n = {self._words: len(x), self._real: len(y)}
        pairs = {self._words: len(few), self._real: len(real)}

        def attempt(make: Any, sizes: dict[str, int]) -> tuple[Estimate, dict[str, int]] | str:
            try:
                return make(), sizes
            except ValueError as error:  # fewer samples than the figure needs
                return str(error)

        rng = seeding.rng("generation", self.name)
        labels = self.seen.probabilities.argmax(1)
        equal = min(len(x), len(self.test.features))
        first: Any = attempt(lambda: precision_recall(few, real), pairs)
        second: Any = attempt(lambda: density_coverage(few, real, rng=rng), pairs)
        found: dict[str, Any] = {
            "inception_score": attempt(
                lambda: inception_score_estimate(self.scored.probabilities), {self._scored: len(self.scored.features)}
            ),
            "distance": attempt(lambda: frechet.frechet_estimate(x, y), n),
            "distance_at_test_n": attempt(
                lambda: Estimate(float(frechet.frechet_curve(x, y, [equal], rng=rng)[0]), None, None, "none"),
                {self._words: equal, self._real: len(y)},
            ),
            "distance_infinity": attempt(lambda: frechet.frechet_infinity(x, y, rng=rng), n),
            "kernel": attempt(lambda: kernel_distance_estimate(few, real), pairs),
            "class_imbalance": FOREIGN
            if self.seen.probabilities.shape[1] != self.classes
            else attempt(lambda: class_imbalance(labels, self.classes, rng=rng), {self._words: len(x)}),
        }
        for pair, names in ((first, ("precision", "recall")), (second, ("density", "coverage"))):
            for place, name in enumerate(names):
                found[name] = pair if isinstance(pair, str) else (pair[0][place], pair[1])
        return found | self._memorised(few, real)

    def _memorised(self, few: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, Any]:
        reason = "the test images are what others are compared with" if self.name == "test" else ""
        if "test" in self.of.reference:
            reason = "the reference holds the test images, to which the training images would be compared"
        if reason:
            return {"nearer": reason, "copies": reason}
        held = self.test.features[:PAIRWISE]
        own, theirs = (nearest(part, real, 1)[1][:, 0] for part in (few, held))
        found = memorisation(own, theirs)
        n = {self._words: len(few), "test": len(held), self._real: len(real)}
        copies = Estimate(float(found.copies), None, None, "exact")
        return {"nearer": (found.nearer, n), "copies": (copies, n, found.copies_p_value)}

    @property
    def _words(self) -> str:
        """What the samples are called where n is said; a filter is never hidden."""
        return self._chosen(self.of.keep_top)

    @property
    def _scored(self) -> str:
        """The same of those behind the inception score."""
        return self._chosen(self.of.keep_top if self.of.keep_is is None else self.of.keep_is)

    def _chosen(self, share: float) -> str:
        kept = share if self.name in self.of.samples() else 1.0
        of_what = " of each class" if self.of.by_class else ""
        return self.name if kept == 1 else f"{self.name}, top {100 * kept:g} %{of_what}"

    @property
    def _real(self) -> str:
        """The real images of the distance where n is said."""
        return " + ".join(self.of.reference)

    def _conditional(self) -> list[Metric]:
        if self.name not in self.of.samples():
            return []
        where: dict[str, Any] = {"source": self.name, "variant": self.of.extractor.name}
        if (self.seen.asked < 0).any():
            return [CONDITIONAL.missing("no class was asked for", **where)]
        if self.seen.probabilities.shape[1] != self.classes:
            return [CONDITIONAL.missing(FOREIGN, **where)]
        right = self.seen.probabilities.argmax(1) == self.seen.asked
        return [CONDITIONAL.of(classification.accuracy(right), n={self._words: len(right)}, **where)]

    def _curve(self) -> list[Metric]:
        """The distance against n, of random subsets."""
        x, y = self.seen.features, self.train.features
        sizes = [size for size in SIZES if size <= len(x)]
        if not sizes:
            return []
        looker = self.of.extractor
        values = frechet.frechet_curve(x, y, sizes, rng=seeding.rng("generation", "curve", self.name))
        return [
            Kind(f"{looker.distance}_n{size}", "lower").of(
                Estimate(float(value), None, None, "none"),
                source=self.name,
                variant=looker.name,
                n={self._words: size, self._real: len(y)},
            )
            for size, value in zip(sizes, values, strict=True)
        ]
