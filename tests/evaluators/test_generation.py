"""Evaluator ``generation``: the truth on gauss, planted frauds that must show, a line where there is no number."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

import jembench
from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.data.sets import CHAINS
from jembench.evaluators.contract import scalars
from jembench.evaluators.generation import KINDS, REFERENCES, Generation, Looker
from jembench.ground import generators, seeding
from jembench.measurements.contract import RecordBatch
from jembench.measurements.embedded import Embedded
from jembench.metrics.metric import Metric
from jembench.types import Batch
from jembench.zoo import catalogue

TRACK = data.track("gauss")
LOOKER = Looker("pixels", "f" * 64)
N = 360
Columns = dict[str, NDArray[Any]]
Draw = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def pixels() -> Any:
    return catalogue.load(catalogue.extractor("pixels", track="gauss"))


def real(source: str) -> NDArray[np.float32]:
    return data.load("gauss", source).pixels().reshape(-1, 64)


def oracle_samples(n: int, key: str = "samples", labels: Tensor | None = None) -> NDArray[np.float32]:
    model = jembench.load("oracle", track="gauss")
    found: NDArray[np.float32] = model.sample(n, generator=generators.generator(key), labels=labels).flatten(1).numpy()
    return found


def embed(pixels: Any, images: NDArray[np.float32], batch: int = 10_000) -> Columns:
    """The record of the measurement, in batches of some size."""
    parts = []
    for start in range(0, len(images), batch):
        x = torch.from_numpy(images[start : start + batch]).reshape(-1, 1, 8, 8)
        given = Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), TRACK.levels)
        parts.append(Embedded().columns(pixels, given, generators.generator("unused")))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def records(
    made: Generation,
    pixels: Any,
    fresh: NDArray[np.float32],
    *,
    row: str = "fresh",
    change: Columns | None = None,
    batch: int = 10_000,
    sources: dict[str, Columns] | None = None,
) -> Iterator[RecordBatch]:
    """The records of a model whose one row of samples is given."""
    sources = sources or {source: embed(pixels, real(source), batch) for source in ("train", "test")}
    for source, columns in sources.items():
        need = made.looks()[source]
        yield RecordBatch(need.measurement, source, columns, need)
    drawn = {
        "image": fresh,
        "there": np.ones(len(fresh), dtype=bool),
        "steps": np.zeros(len(fresh), dtype=np.int32),
        "temperature": np.full(len(fresh), np.nan, dtype=np.float32),
        "asked": np.full(len(fresh), -1),
        "confidence": np.linspace(0, 1, len(fresh), dtype=np.float32),
        **(change or {}),
    }
    for need, columns in ((made.draws()[row], drawn), (made.looks()[row], embed(pixels, fresh, batch))):
        yield RecordBatch(need.measurement, CHAINS, columns, need)


def judge(pixels: Any, fresh: NDArray[np.float32], made: Generation | None = None, **options: Any) -> dict[str, Metric]:
    """The metrics of the row, by name."""
    made = made or Generation(LOOKER)
    row = options.get("row", "fresh")
    found = made.metrics(records(made, pixels, fresh, **options), TRACK)
    return {metric.name: metric for metric in found if metric.source == row}


def value(metric: Metric) -> float:
    assert metric.value is not None, metric.reason
    return metric.value


def holds(metric: Metric, truth: float) -> bool:
    return metric.low <= truth <= metric.high


# The truth on gauss: exp I(X; Y) with H(Y) = log 10 and H(Y|X) = E -log p(y|x), the NLL of the oracle.
INFORMATION = math.log(10) - gauss.TRUTH["test/raw/nll"]


def test_the_information_is_that_of_a_simulation() -> None:
    """In units of sigma along the ten patterns, where the posterior is softmax(delta u)."""
    rng = seeding.rng("information")
    n, delta = 400_000, gauss.SEPARATION
    y = rng.integers(10, size=n)
    f = delta * (rng.standard_normal((n, 10)) + delta * (np.arange(10) == y[:, None]))
    log_p = f - f.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    entropy = -(np.exp(log_p) * log_p).sum(1)
    assert math.log(10) - entropy.mean() == pytest.approx(INFORMATION, abs=4 * entropy.std() / math.sqrt(n) + 1e-4)


@pytest.mark.parametrize("row", ["fresh", "conditional"])
def test_the_oracle_has_the_truth_in_its_intervals(oracle: Result, row: str) -> None:
    found = {name: oracle.metrics[f"{row}/pixels/{name}"] for name in ("fd_infinity", "kd", "inception_score")}
    assert holds(found["fd_infinity"], 0.0)
    assert holds(found["kd"], 0.0)
    assert holds(found["inception_score"], math.exp(INFORMATION))
    assert holds(oracle.metrics["test/pixels/inception_score"], math.exp(INFORMATION))
    assert abs(value(found["fd_infinity"])) < value(oracle.metrics[f"{row}/pixels/fd"]) / 10


def test_the_conditional_accuracy_of_the_oracle_is_bayes(oracle: Result) -> None:
    assert holds(oracle.metrics["conditional/pixels/conditional_accuracy"], gauss.TRUTH["test/accuracy"])
    assert value(oracle.metrics["conditional/pixels/class_imbalance"]) < 0.03  # the classes in turn
    assert oracle.metrics["fresh/pixels/conditional_accuracy"].reason == "no class was asked for"


def test_the_oracle_copies_nothing(oracle: Result) -> None:
    """Fresh and conditional draws are nearer than test images half of the time: of two, none by 4 standard errors."""
    for row in ("fresh", "conditional"):
        nearer = oracle.metrics[f"{row}/pixels/nearer"]
        assert abs(value(nearer) - 0.5) < nearer.high - nearer.low
        assert value(oracle.metrics[f"{row}/pixels/copies"]) < 12


def test_noise_is_far(oracle: Result) -> None:
    """Var U(0, 1) = 1/12 in every dimension against sigma^2: FD = |m|^2 + 64 (1/sqrt(12) - sigma)^2, nearly."""
    noise, own = (oracle.metrics[f"{row}/pixels/fd_infinity"] for row in ("uniform", "fresh"))
    spread = gauss.SIGMA * np.sqrt(1 + gauss.SEPARATION**2 * np.array([0.1] * 9 + [0.0] * 55))
    truth = np.square(1 / math.sqrt(12) - spread).sum() + np.square(gauss.means().mean(0) - 0.5).sum()
    assert holds(noise, float(truth))
    assert noise.low > 100 * own.high
    assert value(oracle.metrics["uniform/pixels/precision"]) == value(oracle.metrics["uniform/pixels/coverage"]) == 0


def test_all_rows_have_the_same_figures(oracle: Result) -> None:
    """Those of a row without samples are empty, not absent."""
    names = {"fd" if kind.name == "distance" else kind.name for kind in KINDS}
    names = {name.replace("distance", "fd").replace("kernel", "kd") for name in names}
    for row in ("fresh", "buffer", "conditional", *REFERENCES, "test"):
        assert {f"{row}/pixels/{name}" for name in names} <= set(oracle.metrics), row
    assert oracle.metrics["buffer/pixels/fd"].reason == "the model has no persistent chains"


def test_the_curve_falls_and_ends_at_the_distance(oracle: Result) -> None:
    curve = [value(oracle.metrics[f"fresh/pixels/fd_n{n}"]) for n in (100, 200, 500, 1000)]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == pytest.approx(value(oracle.metrics["fresh/pixels/fd"]), rel=1e-9)
    at_test = oracle.metrics["fresh/pixels/fd_at_test_n"]
    assert at_test.n == {"fresh": 360, "train": 1077}
    floor = value(oracle.metrics["test/pixels/fd_at_test_n"])
    assert value(at_test) == pytest.approx(floor, rel=0.2)  # what real images have at this n


def test_the_classes_seen_and_asked_are_published(oracle: Result) -> None:
    frame = oracle.records("generation")
    rows = frame[frame["source"] == CHAINS]
    right = (rows["conditional_class"] == rows["conditional_asked"]).mean()
    assert right == value(oracle.metrics["conditional/pixels/conditional_accuracy"])
    assert "buffer_class" not in frame  # there is none
    counts = np.bincount(rows["fresh_class"], minlength=10)
    imbalance = np.abs(counts / len(rows) - 0.1).sum() / 2
    assert imbalance == pytest.approx(value(oracle.metrics["fresh/pixels/class_imbalance"]))


# Planted frauds, against honest samples of the same n.


@pytest.fixture(scope="module")
def honest(pixels: Any) -> dict[str, Metric]:
    return judge(pixels, oracle_samples(N))


def test_honest_samples_are_not_accused(honest: dict[str, Metric]) -> None:
    assert holds(honest["nearer"], 0.5)
    assert value(honest["copies"]) < 12
    assert value(honest["class_imbalance"]) < 0.1


def test_copies_of_training_images_are_caught(pixels: Any, honest: dict[str, Metric]) -> None:
    """Best in FD and recall, and nothing new: `nearer` and `copies` say it."""
    found = judge(pixels, real("train")[:N])
    assert value(found["fd"]) < value(honest["fd"])
    assert (value(found["nearer"]), value(found["copies"])) == (1.0, N)
    assert found["copies"].p < 1e-100
    slightly = real("train")[:N] + 0.2 * gauss.SIGMA * seeding.rng("jitter").standard_normal((N, 64))
    assert value(judge(pixels, slightly.astype(np.float32))["copies"]) == N


def test_a_few_copies_among_honest_samples_are_caught(pixels: Any) -> None:
    """Twenty in 360 hardly move a mean of distances; that they are nearer than every test image they cannot hide."""
    mixed = np.concatenate([real("train")[:20], oracle_samples(N - 20)])
    found = judge(pixels, mixed)
    assert value(found["copies"]) >= 20
    assert found["copies"].p < 1e-3


def test_one_mode_only_is_caught(pixels: Any, honest: dict[str, Metric]) -> None:
    """Good images of one class: precision stays, but for how many training images that class has; variety goes."""
    found = judge(pixels, oracle_samples(N, labels=torch.full((N,), 4)))
    assert value(found["precision"]) > value(honest["precision"]) - 0.15
    assert value(found["recall"]) < value(honest["recall"]) - 0.05
    assert value(found["coverage"]) < 0.75 * value(honest["coverage"])  # balls of 64 dimensions reach far
    assert value(found["inception_score"]) < 2
    assert value(found["class_imbalance"]) > 0.75
    assert value(found["class_imbalance"]) > found["class_imbalance"].high  # beyond the band of chance
    low = found["fd_infinity"].low
    assert low > 0


def test_a_single_image_repeated_is_caught(pixels: Any) -> None:
    found = judge(pixels, np.repeat(real("test")[:1], N, axis=0))
    assert value(found["inception_score"]) == pytest.approx(1)
    assert value(found["coverage"]) < 0.02
    assert value(found["recall"]) < 0.02


def test_class_means_have_all_of_the_accuracy_and_none_of_the_variety(pixels: Any) -> None:
    """The reason why conditional accuracy is never a bar alone."""
    asked = np.arange(N) % 10
    prototypes = gauss.means().astype(np.float32)[asked]
    found = judge(pixels, prototypes, row="conditional", change={"asked": asked})
    assert value(found["conditional_accuracy"]) == 1.0 > gauss.TRUTH["test/accuracy"]
    assert value(found["recall"]) < 0.02
    assert value(found["fd"]) > 0.1


def test_a_filter_shows(pixels: Any) -> None:
    """In n, under the name of the row; of the references nothing is left out."""
    made = Generation(LOOKER, keep_top=0.5)
    samples = oracle_samples(N)
    found = judge(pixels, samples, made)
    assert found["fd"].n == {"fresh, top 50 %": N // 2, "train": 1077}
    assert value(found["fd"]) == value(judge(pixels, samples[N // 2 :])["fd"])  # the last ones are the most confident
    everything = [metric.n for metric in found.values() if metric.n]
    assert all(any(name.startswith("fresh, top") for name in n) for n in everything)
    assert made != Generation(LOOKER)  # another protocol
    whole = [metric for metric in made.metrics(records(made, pixels, samples), TRACK) if metric.source == "test"]
    assert whole[0].n == {"test": 360}


def test_the_filter_keeps_the_most_confident_and_the_earlier_of_equal_ones(pixels: Any) -> None:
    confidence = np.array([0.5, np.nan, 0.9, 0.5, 0.5, 0.7] + [0.0] * (N - 6), dtype=np.float32)
    samples = oracle_samples(N)
    made = Generation(LOOKER, keep_top=4 / N)
    few = judge(pixels, samples, made, change={"confidence": confidence})
    assert few["fd"].n == {f"fresh, top {400 / N:g} %": 4, "train": 1077}
    assert value(few["fd"]) == pytest.approx(value(judge(pixels, samples[[0, 2, 3, 5]])["fd"]), rel=1e-9)


def test_chains_that_diverge_are_a_reason(pixels: Any) -> None:
    """Not left out, which would be a filter."""
    samples = oracle_samples(N)
    samples[7] = np.nan
    samples[8, 3] = np.inf
    made = Generation(LOOKER)
    found = judge(pixels, samples, made)
    assert {metric.reason for metric in found.values()} == {f"2 of {N} samples are not finite: the chains diverge"}
    seen = scalars(made, records(made, pixels, samples))[CHAINS]["fresh_class"]
    assert seen[7] == -1
    assert (seen[9:] >= 0).all()


def test_rows_beyond_a_buffer_are_not_samples(pixels: Any) -> None:
    samples = oracle_samples(N)
    samples[200:] = np.nan
    found = judge(pixels, samples, row="buffer", change={"there": np.arange(N) < 200})
    assert found["fd"].n == {"buffer": 200, "train": 1077}
    assert value(found["fd"]) == value(judge(pixels, samples[:200])["fd"])
    none = judge(pixels, samples, row="buffer", change={"there": np.zeros(N, dtype=bool)})
    assert {metric.reason for metric in none.values()} == {"the model has no persistent chains"}
    some = judge(pixels, samples, row="buffer", change={"there": np.arange(N) < 201})
    assert some["fd"].reason == "1 of 201 samples are not finite: the chains diverge"


def test_the_batch_size_moves_no_figure(pixels: Any, honest: dict[str, Metric]) -> None:
    """Features in batches of 7 and 250 instead of all: every metric within 1e-5 of itself, counts to the last."""
    for batch in (7, 250):
        found = judge(pixels, oracle_samples(N), batch=batch)
        for name, metric in honest.items():
            assert found[name].value == (metric.value and pytest.approx(metric.value, rel=1e-5, abs=1e-9)), name


# Bad input: one clear line for every figure that cannot be, never a traceback.


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20, 140])
def test_fewer_samples_than_needed(pixels: Any, n: int) -> None:
    found = judge(pixels, oracle_samples(n))
    for name, metric in found.items():
        assert (metric.value is None) == (metric.reason is not None), name
        assert metric.reason is None or ("\n" not in metric.reason and len(metric.reason) < 120)
    assert found["fd_infinity"].value is None or n >= 140
    if n < 132:
        assert found["fd_infinity"].reason == (
            f"features need at least 132 examples for F at infinitely many samples, got {n}"
            if n > 1
            else "features need at least 2 examples for a covariance, got 1"
        )
    assert (found["kd"].value is None) == (n < 4)
    assert (found["precision"].value is None) == (n < 4)
    assert value(found["copies"]) <= n


@pytest.mark.parametrize("constant", ["train", "test", "fresh", "all"])
def test_constant_features(pixels: Any, constant: str) -> None:
    sources = {source: embed(pixels, real(source)) for source in ("train", "test")}
    for source in ("train", "test"):
        if constant in (source, "all"):
            sources[source] = {name: np.repeat(column[:1], len(column), 0) for name, column in sources[source].items()}
    samples = oracle_samples(N)
    if constant in ("fresh", "all"):
        samples = np.repeat(samples[:1], N, axis=0)
    found = judge(pixels, samples, sources=sources)
    for name, metric in found.items():
        assert (metric.value is None) == (metric.reason is not None), name
        assert metric.value is None or math.isfinite(metric.value)
    assert value(found["fd"]) >= 0


@pytest.mark.parametrize("column", ["features", "class_logits"])
@pytest.mark.parametrize("source", ["train", "test"])
def test_features_that_are_not_finite_are_a_reason(pixels: Any, source: str, column: str) -> None:
    sources = {name: embed(pixels, real(name)) for name in ("train", "test")}
    sources[source][column][3, 1] = np.nan
    found = judge(pixels, oracle_samples(N), sources=sources)
    n = len(sources[source][column])
    assert {metric.reason for metric in found.values()} == {
        f"the features of 1 of {n} images of {source!r} are not finite"
    }


def test_an_extractor_of_other_classes_cannot_judge_those_asked_for(pixels: Any) -> None:
    class Two:
        def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(1)[:, :8], x.flatten(1)[:, :2]

    asked = np.arange(N) % 10
    found = judge(Two(), oracle_samples(N), row="conditional", change={"asked": asked})
    assert found["conditional_accuracy"].reason == "the extractor does not know the track's classes"
    assert value(found["fd"]) > 0


def test_only_the_inception_network_has_an_fid(pixels: Any) -> None:
    made = Generation(replace(LOOKER, name="inception-v3", distance="fid", kernel="kid"))
    found = set(judge(pixels, oracle_samples(150), made))
    assert {"fid", "fid_at_test_n", "fid_infinity", "fid_n100", "kid"} <= found
    assert not any(name.startswith(("fd", "kd")) for name in found)


def test_a_tolerance_is_a_share_of_the_distance_or_half_its_interval(honest: dict[str, Metric]) -> None:
    for name in ("fd", "fd_at_test_n", "fd_infinity", "kd"):
        metric = honest[name]
        half = 0.0 if metric.low is None or metric.high is None else (metric.high - metric.low) / 2
        assert metric.tolerance == pytest.approx(max(0.1 * abs(value(metric)), half))


class SamplerOnly:
    """Uniform noise."""

    def sample(self, n: int, *, generator: Generator, labels: Tensor | None = None) -> Tensor:
        return torch.rand((n, 1, 8, 8), generator=generator)


def test_a_sampler_alone_has_its_fresh_row(tmp_path: Any) -> None:
    found = jembench.evaluate(SamplerOnly(), "generation", track="gauss", limit=60, output=tmp_path).metrics
    assert value(found["fresh/pixels/fd"]) == pytest.approx(value(found["uniform/pixels/fd"]), rel=0.05)
    assert found["conditional/pixels/fd"].reason == "the model does not sample classes"
    assert found["buffer/pixels/fd"].reason == "the model has no persistent chains"
    assert found["20K/pixels/fd"].reason == "the model has no chains"


def test_a_reference_stands_beside_itself(tmp_path: Any) -> None:
    """Chunks of one stream draw the same samples, whatever the row is called."""
    found = jembench.evaluate("class-gaussians", "generation", track="gauss", limit=150, output=tmp_path).metrics
    for name in ("fd", "kd", "coverage", "nearer"):  # not what is drawn from streams of their own
        own, reference = (found[f"{row}/pixels/{name}"].value for row in ("fresh", "class-gaussians"))
        assert own == reference is not None, name


def test_a_classifier_has_no_samples_and_needs_no_references(tmp_path: Any) -> None:
    found = jembench.evaluate("softmax", "hybrid", limit=40, output=tmp_path).metrics
    for row in ("fresh", "test", "uniform"):
        assert found[f"{row}/digits-ref/fd"].reason == "the model does not sample"
    assert value(found["test/accuracy"]) > 0.8


def test_the_references_of_suite_all_stand_beside_any_model(digits: dict[str, Any]) -> None:
    found = digits["softmax"].metrics
    assert found["fresh/digits-ref/fd"].reason == "the model does not sample"
    assert value(found["test/digits-ref/fd"]) < value(found["uniform/digits-ref/fd"])
