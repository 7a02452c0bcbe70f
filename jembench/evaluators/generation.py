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
from jembench.evaluators.quantities import Headline
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
    from jembench.types import Capability

PAIRWISE = 10_000
SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)  # of the curve, as far as there are samples
REFERENCES = ("uniform", "class-gaussians")
FOREIGN = "the extractor does not know the track's classes"
RELATIVE = 0.1  # of a distance

KINDS = (
    Kind("inception_score", "higher", 0.3, least=1.0),
    Kind("distance", "lower"),
    Kind("distance_at_test_n", "lower"),
    Kind("distance_infinity", "lower"),
    Kind("kernel", "lower"),
    Kind("precision", "higher", 0.05, least=0.0, most=1.0),
    Kind("recall", "higher", 0.05, least=0.0, most=1.0),
    Kind("density", "higher", 0.1, least=0.0),
    Kind("coverage", "higher", 0.05, least=0.0, most=1.0),
    Kind("class_imbalance", "lower", 0.05),
    Kind("nearer", "neither"),
    Kind("copies", "neither"),
)
STEPS, TEMPERATURE = Kind("chain_steps", "neither"), Kind("chain_temperature", "neither")
CONDITIONAL = Kind("conditional_accuracy", "higher", 0.05, least=0.0, most=1.0)
NOTHING = {
    "buffer": "the model has no persistent chains",
    "conditional": "the model does not sample classes",
}  # why a row has no samples; of others the model does not sample at all


@dataclass(frozen=True)
class Looker:
    """A feature extractor: its name, the hash of its weights, and what its distances are called in files.

    Attributes:
        name: name of the extractor, a key of :data:`jembench.zoo.extractors.EXTRACTORS`.
        fingerprint: hash of the extractor's weights, on which all distances depend.
        distance: name of its Frechet distance: ``fd``, of the Inception network ``fid``.
        kernel: name of its kernel distance: ``kd``, of the Inception network ``kid``.
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
    """What an extractor makes of N images.

    Attributes:
        features: features ``(N, F)`` of the images.
        probabilities: p(y|x) ``(N, C)`` over the classes of the extractor.
        labels: class ``(N,)`` that each image was sampled for; -1 if none was asked for.
    """

    features: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Generation:
    """Sample quality.

    Attributes:
        extractor: the feature extractor by which samples and real images are compared.
        steps: number of SGLD steps of fresh and conditional chains; None for that of the training.
        temperature: temperature of fresh and conditional chains; None for that of the training.
        keep_top: share of the samples that is kept, those of which the model is most confident; 1 is no filter.
        rows: the kinds of samples that are measured, among ``fresh``, ``buffer`` and ``conditional``.
        reference: sources of the real images that the samples are compared with.
        keep_is: share of the samples that is kept for the inception score; None for ``keep_top``.
        by_class: whether the share is kept of each class that the model sees, not of all samples together.
        rounded: whether samples are rounded to the track's grey levels before the extractor sees them.
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
    headlines: ClassVar[tuple[Headline, ...]] = (
        Headline("fresh/<extractor>/<fd>", "FD samples", "distance of fresh chains to training images"),
        Headline("buffer/<extractor>/<fd>", "FD buffer", "the same of the replay buffer"),
        Headline("fresh/<extractor>/inception_score", "IS", "how sure and how varied the classes of samples are"),
        Headline("fresh/<extractor>/coverage", "coverage", "share of training neighbourhoods with a sample"),
    )
    assembly: ClassVar[float] = 2e-4
    tables: ClassVar[str] = "jembench.pages.tables.samples:generation"
    pictures: ClassVar[dict[str, str]] = {
        "samples-fresh": "jembench.gallery:draw_fresh",
        "samples-buffer": "jembench.gallery:draw_buffer",
        "samples-conditional": "jembench.gallery:draw_conditional",
        "neighbours": "jembench.gallery:draw_neighbours",
    }
    figures: ClassVar[dict[str, str]] = {
        "generation": "jembench.gallery:plot_generation",
        "hybrid": "jembench.gallery:plot_hybrid",
    }
    columns: ClassVar[tuple[str, ...]] = ("fresh_class", "buffer_class", "conditional_class", "conditional_asked")

    def samples(self) -> dict[str, Samples]:
        """What is sampled from the model, by the name of the row."""
        chain: dict[str, Any] = {"steps": self.steps, "temperature": self.temperature}
        samples = {
            "fresh": Samples(**chain),
            "buffer": Samples(start="buffer", classified=self.by_class),
            "conditional": Samples(conditional=True, **chain),
        }
        return {name: samples[name] for name in self.rows}

    def draws(self) -> dict[str, Need]:
        """The records of samples by row, of the model and of the reference samplers."""
        own = {name: Need(samples, CHAINS) for name, samples in self.samples().items()}
        return {**own, **{name: Need(Samples(), CHAINS, model=name) for name in REFERENCES}}

    def looks(self) -> dict[str, Need]:
        """The records of what the extractor sees, by row; the real images are rows by their source."""
        who = self.extractor.name
        real = {source: Need(Embedded(), source, model=who) for source in dict.fromkeys((*self.reference, "test"))}
        views = {
            name: Need(Embedded("image", self.rounded), CHAINS, given=(need,), model=who, essential=True)
            for name, need in self.draws().items()
        }
        return {**real, **views}

    def idle(self, capabilities: frozenset[Capability]) -> bool:
        """Whether a model gives samples of no kind."""
        return not any(samples.requires <= capabilities for samples in self.samples().values())

    def needs(self, track: Track) -> tuple[Need, ...]:
        """Samples, and the extractor's view of them and of the real images."""
        return (*self.draws().values(), *self.looks().values())

    def scalars(self, batch: RecordBatch) -> dict[str, NDArray[Any]]:
        """The class that the extractor sees in each sample (-1 of one that is not finite), and the one asked for."""
        for name in self.samples():
            if batch.need == self.looks()[name]:
                f = batch.columns["class_logits"]
                return {f"{name}_class": np.where(np.isfinite(f).all(axis=1), f.argmax(1), -1).astype(np.int64)}
            if batch.need == self.draws()[name] and name == "conditional":
                return {"conditional_asked": batch.columns["asked"].astype(np.int64)}
        return {}

    def metrics(self, batches: Iterable[RecordBatch], track: Track) -> list[Metric]:
        """Every row, the model's first."""
        records = by_need(batches)
        train, test = self._real(records), self._of(records, "test")
        result = []
        for name in (*self.samples(), *REFERENCES, "test"):
            look = self._of(records, name)
            inception = look if self.keep_is is None else self._of(records, name, share=self.keep_is)
            if isinstance(look, str) or isinstance(inception, str):
                result += self._missing(name, str(look))
            elif isinstance(train, str) or isinstance(test, str):
                result += self._missing(name, train if isinstance(train, str) else str(test))
            else:
                row = _Row(self, name, look, inception, train, test, track.classes)
                result += row.metrics()
                if name in self.samples():
                    result += row.chain(records[self.draws()[name]])
        return result

    def _missing(self, name: str, reason: str) -> list[Metric]:
        kinds = (*KINDS, CONDITIONAL) if name in self.samples() else KINDS
        return [self.extractor.called(kind).missing(reason, source=name, variant=self.extractor.name) for kind in kinds]

    def _real(self, records: Mapping[Need, Mapping[str, NDArray[Any]]]) -> Look | str:
        """What the extractor makes of the reference images; or why it has no numbers."""
        parts = [self._of(records, source) for source in self.reference]
        if bad := [part for part in parts if isinstance(part, str)]:
            return bad[0]
        looks = [part for part in parts if isinstance(part, Look)]
        return Look(*(np.concatenate([getattr(each, part.name) for each in looks]) for part in fields(Look)))

    def _of(
        self, records: Mapping[Need, Mapping[str, NDArray[Any]]], name: str, *, share: float | None = None
    ) -> Look | str:
        """What the extractor makes of the samples of a row that are kept; or why the row has no numbers.

        Args:
            records: columns of every need.
            name: name of the row.
            share: share of the samples that is kept, the most confident ones; None for ``keep_top``.
        """
        view = records.get(self.looks()[name])
        if view is None:
            return NOTHING.get(name, "the model does not sample")
        count = len(view["features"])
        draw = records[self.draws()[name]] if name in self.draws() else {}
        rows, labels = draw.get("there", np.ones(count, dtype=bool)), draw.get("asked", np.full(count, -1))
        if not rows.any():
            return NOTHING["buffer"]
        if draw and (bad := _not_finite(draw["image"][rows])):
            return f"{bad} of {int(rows.sum())} samples are not finite: the chains diverge"
        if bad := _not_finite(np.hstack([view["features"][rows], view["class_logits"][rows]])):
            return f"the features of {bad} of {int(rows.sum())} images of {name!r} are not finite"
        share = self.keep_top if share is None else share
        if name in self.samples() and share < 1:
            rows = top(draw["confidence"], rows, share, classes=draw["seen"] if self.by_class else None)
        return Look(
            view["features"][rows].astype(np.float64),
            classification.softmax(view["class_logits"][rows].astype(np.float64)),
            labels[rows].astype(np.int64),
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
    """Mask ``(N,)`` of the rows with the highest confidence, a share of those that are there.

    Of rows with equal confidence the earlier ones are taken. With ``classes (N,)`` it is the share of each class. The
    number is rounded, at least one; of a class it is rounded down, as in SADA-JEM's ``cond_is_fid``.
    """
    mask = np.zeros(len(there), dtype=bool)
    for group in [there] if classes is None else [there & (classes == y) for y in np.unique(classes[there])]:
        rows = np.flatnonzero(group)
        order = rows[np.argsort(-np.nan_to_num(confidence[rows], nan=-1.0), kind="stable")]
        number = max(1, round(share * len(order))) if classes is None else int(share * len(order))
        mask[order[:number]] = True
    return mask


def tolerated(estimate: Estimate) -> float:
    """How much worse a distance may be than a golden one: its scale is that of the features, and it may be near 0."""
    half = 0.0 if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / 2
    return max(RELATIVE * abs(estimate.value), half)


@dataclass(frozen=True)
class _Row:
    """The metrics of one set of samples.

    Attributes:
        of: settings of the evaluator.
        name: name of the row.
        look: what the extractor makes of the samples.
        inception: what the extractor makes of the samples behind the inception score, which may have their own filter.
        train: what the extractor makes of the reference images.
        test: what the extractor makes of the test images.
        classes: number of classes of the track.
    """

    of: Generation
    name: str
    look: Look
    inception: Look
    train: Look
    test: Look
    classes: int

    def metrics(self) -> list[Metric]:
        """All metrics of the row; a figure that cannot be computed says why."""
        metrics = []
        estimates = self._estimates()
        for kind in KINDS:
            figure = estimates[kind.name]
            own = self.of.extractor.called(kind)
            if isinstance(figure, str):
                metrics.append(own.missing(figure, **self._where))
                continue
            estimate, n, *p = figure
            metric = own.of(estimate, n=n, p=p[0] if p else None, **self._where)
            if kind.name.startswith(("distance", "kernel")):
                metric = replace(metric, tolerance=tolerated(estimate))
            metrics.append(metric)
        return [*metrics, *self._conditional(), *self._curve()]

    def chain(self, record: Mapping[str, NDArray[Any]]) -> list[Metric]:
        """Length and temperature of the chains, where some were run: not of a buffer as it lies, nor of a flow."""
        heat = float(record["temperature"][0])
        if np.isnan(heat):
            return []
        n = {self._words: len(self.look.features)}
        facts = ((STEPS, float(record["steps"][0])), (TEMPERATURE, heat))
        return [kind.of(Estimate(value, method="exact"), n=n, **self._where) for kind, value in facts]

    def _estimates(self) -> dict[str, Any]:
        """Estimate and n of every kind, with a p-value where there is one; or why there is none."""
        x, y = self.look.features, self.train.features
        few, real = x[:PAIRWISE], y[:PAIRWISE]
        n = {self._words: len(x), self._real: len(y)}
        pairs = {self._words: len(few), self._real: len(real)}

        def attempt(make: Any, sizes: dict[str, int]) -> tuple[Estimate, dict[str, int]] | str:
            try:
                return make(), sizes
            except ValueError as error:  # fewer samples than the figure needs
                return str(error)

        rng = seeding.rng("generation", self.name)
        labels = self.look.probabilities.argmax(1)
        equal = min(len(x), len(self.test.features))
        first: Any = attempt(lambda: precision_recall(few, real), pairs)
        second: Any = attempt(lambda: density_coverage(few, real, rng=rng), pairs)
        figures: dict[str, Any] = {
            "inception_score": attempt(
                lambda: inception_score_estimate(self.inception.probabilities),
                {self._inception_words: len(self.inception.features)},
            ),
            "distance": attempt(lambda: frechet.frechet_estimate(x, y), n),
            "distance_at_test_n": attempt(
                lambda: Estimate(float(frechet.frechet_curve(x, y, [equal], rng=rng)[0])),
                {self._words: equal, self._real: len(y)},
            ),
            "distance_infinity": attempt(lambda: frechet.frechet_infinity(x, y, rng=rng), n),
            "kernel": attempt(lambda: kernel_distance_estimate(few, real), pairs),
            "class_imbalance": FOREIGN
            if self.look.probabilities.shape[1] != self.classes
            else attempt(lambda: class_imbalance(labels, self.classes, rng=rng), {self._words: len(x)}),
        }
        for pair, names in ((first, ("precision", "recall")), (second, ("density", "coverage"))):
            for place, name in enumerate(names):
                figures[name] = pair if isinstance(pair, str) else (pair[0][place], pair[1])
        return figures | self._memorised(few, real)

    def _memorised(self, few: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, Any]:
        reason = "the test images are what others are compared with" if self.name == "test" else ""
        if "test" in self.of.reference:
            reason = "the reference holds the test images, to which the training images would be compared"
        if reason:
            return {"nearer": reason, "copies": reason}
        test = self.test.features[:PAIRWISE]
        own, theirs = (nearest(part, real, 1)[1][:, 0] for part in (few, test))
        memory = memorisation(own, theirs)
        n = {self._words: len(few), "test": len(test), self._real: len(real)}
        copies = Estimate(float(memory.copies), method="exact")
        return {"nearer": (memory.nearer, n), "copies": (copies, n, memory.copies_p_value)}

    @property
    def _where(self) -> dict[str, Any]:
        """Source and variant of the row's metrics."""
        return {"source": self.name, "variant": self.of.extractor.name}

    @property
    def _words(self) -> str:
        """What the samples are called where n is said; a filter is never hidden."""
        return self._filter_words(self.of.keep_top)

    @property
    def _inception_words(self) -> str:
        """What the samples behind the inception score are called where their n is said."""
        return self._filter_words(self.of.keep_top if self.of.keep_is is None else self.of.keep_is)

    def _filter_words(self, share: float) -> str:
        if share == 1 or self.name not in self.of.samples():
            return self.name
        return f"{self.name}, top {100 * share:g} %{' of each class' if self.of.by_class else ''}"

    @property
    def _real(self) -> str:
        """The real images of the distance where n is said."""
        return " + ".join(self.of.reference)

    def _conditional(self) -> list[Metric]:
        if self.name not in self.of.samples():
            return []
        if (self.look.labels < 0).any():
            return [CONDITIONAL.missing("no class was asked for", **self._where)]
        if self.look.probabilities.shape[1] != self.classes:
            return [CONDITIONAL.missing(FOREIGN, **self._where)]
        right = self.look.probabilities.argmax(1) == self.look.labels
        return [CONDITIONAL.of(classification.accuracy(right), n={self._words: len(right)}, **self._where)]

    def _curve(self) -> list[Metric]:
        """The distance against n, of random subsets."""
        x, y = self.look.features, self.train.features
        sizes = [size for size in SIZES if size <= len(x)]
        if not sizes:
            return []
        values = frechet.frechet_curve(x, y, sizes, rng=seeding.rng("generation", "curve", self.name))
        return [
            Kind(f"{self.of.extractor.distance}_n{size}", "lower").of(
                Estimate(float(value)), n={self._words: size, self._real: len(y)}, **self._where
            )
            for size, value in zip(sizes, values, strict=True)
        ]
