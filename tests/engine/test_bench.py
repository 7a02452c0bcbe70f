"""The engine: every chunk once, the same bytes whoever computes them, and results from records alone."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

import jembench
from jembench import data
from jembench.api import Result
from jembench.choices.request import Request
from jembench.data.sets import Track
from jembench.engine import bench as engine
from jembench.engine.plan import Job, plan
from jembench.measurements.logits import Logits
from jembench.metrics.scores import SCORES
from jembench.models.oracle import Oracle
from jembench.pages.tables import report
from jembench.store import provenance
from jembench.store.history import HISTORY, Chosen, History, TrainingCost, write_history
from jembench.store.records import Store
from jembench.store.results import RESULT
from jembench.types import Batch, UserError
from jembench.zoo import baselines, catalogue, foreign
from jembench.zoo.catalogue import ModelSpec
from jembench.zoo.references import parse

NOISY = '''
"""A classifier with noise of its own, as a user's file."""
import torch


class Noisy:
    stochastic = True

    def logits(self, x, *, generator):
        return x.flatten(1)[:, :10] + torch.rand((len(x), 10), generator=generator)


def build():
    return Noisy()
'''


class Watched:
    """The oracle, with a function that is told of every call; copies share it."""

    normalized = True

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self.inner: Oracle = jembench.load("oracle", track="gauss")
        self.tell = tell

    def logits(self, x: Tensor) -> Tensor:
        self.tell("logits", len(x))
        return self.inner.logits(x)

    def log_density(self, x: Tensor) -> Tensor:
        self.tell("log_density", len(x))
        return self.inner.log_density(x)


class Poisoned:
    """Logits that are not finite on one image of the test split."""

    def __init__(self, example: int, value: float) -> None:
        self.image = torch.from_numpy(data.load("gauss", "test").pixels(example, example + 1))
        self.value = value

    def logits(self, x: Tensor) -> Tensor:
        bad = (x == self.image).flatten(1).all(dim=1, keepdim=True)
        return x.flatten(1)[:, :10].masked_fill(bad, self.value)


class ClassifierOnly:
    def logits(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10]


class DensityOnly:
    normalized = False

    def log_density(self, x: Tensor) -> Tensor:
        return -x.square().flatten(1).sum(dim=1)


class SamplerOnly:
    def sample(self, n: int, *, generator: Generator, **_: object) -> Tensor:
        return torch.rand((n, 1, 8, 8), generator=generator)


def records(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.rglob("chunks/*/*.parquet")}


def measured(result: Result) -> dict[str, Any]:
    """The content of result.json that must not depend on how it was computed."""
    content: dict[str, Any] = json.loads((result.folder / RESULT).read_text())
    del content["cost"]["seconds"], content["cost"]["peak_memory_mb"], content["provenance"]
    return content


def test_one_pass_of_the_model_serves_all_suites(tmp_path: Path) -> None:
    """It is called as often by one suite after the other as by all at once, and the accuracy is there already."""
    calls: Counter[str] = Counter()

    def tell(name: str, batch: int) -> None:
        calls[name] += batch == 60  # probes are smaller

    model = Watched(tell)
    jembench.evaluate(model, "accuracy", track="gauss", limit=60, output=tmp_path / "apart")
    assert calls == {"logits": 1, "log_density": 0}
    for suite in ("calibration", "unlabelled", "ood", "stress", "hybrid", "generation", "likelihood"):
        jembench.evaluate(model, suite, track="gauss", limit=60, output=tmp_path / "apart")
    one_by_one = calls.copy()
    apart = jembench.evaluate(model, "all", track="gauss", limit=60, output=tmp_path / "apart")
    assert calls == one_by_one  # what it computes are references, of samplers
    calls.clear()
    whole = jembench.evaluate(model, "all", track="gauss", limit=60, output=tmp_path / "whole")
    assert calls == one_by_one
    assert measured(whole) == measured(apart)
    names = [chunk.measurement["name"] for chunk in whole.document.chunks if chunk.source == "test"]
    assert names.count("logits") == 1


def test_the_order_of_the_suites_does_not_matter(tmp_path: Path, oracle: Result) -> None:
    for suite in ("likelihood", "stress", "ood", "generation", "accuracy", "unlabelled", "calibration"):
        jembench.evaluate("oracle", suite, track="gauss", output=tmp_path)
    result = jembench.evaluate("oracle", "all", track="gauss", output=tmp_path)
    assert not result.evaluation.outcome.computed
    assert records(tmp_path) == records(oracle.folder.parent)
    assert measured(result) == measured(oracle)


def test_several_plans_are_computed_in_one_run(tmp_path: Path) -> None:
    """Chunks that they share are computed once; progress counts chunks, and starts with none."""
    spec = catalogue.resolve(parse("oracle"), track="gauss")
    track = data.track("gauss")
    plans = [plan(spec, suite, track=track, request=Request(limit=20)) for suite in ("ood", "calibration")]
    seen: list[tuple[int, int]] = []
    outcomes = engine.run(plans, Store.open(tmp_path), progress=lambda done, total, words: seen.append((done, total)))
    total = len({job.key for made in plans for job in made.jobs})
    assert seen == [(done, total) for done in range(total + 1)]
    assert [outcome.document.suite for outcome in outcomes] == ["ood", "calibration"]
    first, second = outcomes
    assert (first.computed, second.computed) == (first.chunks, second.chunks)
    assert len(first.chunks | second.chunks) == total < len(first.chunks) + len(second.chunks)


@pytest.fixture
def record(tmp_path: Path, shelf: Callable[..., Path]) -> Callable[[str | None], tuple[ModelSpec, Track]]:
    """A function from the hash of training images to a model with that record, and a track with images."""
    for name, n in (("cifar10_test", 20), ("svhn_test", 20), ("cifar100_test", 20), ("celeba_test", 20)):
        shelf(name, n)
    track = data.track("cifar10", folder=shelf("cifar10_train", 500))

    def record(images: str | None) -> tuple[ModelSpec, Track]:
        cost = TrainingCost(seconds=1.0, sampling_seconds=0.0, gradients=0, processes=1)
        chosen = Chosen(criterion="last", iteration=1, value=None)
        about = {"recipe": "r", "seed": 0, "iterations": 1, "parameters": 1, "rollbacks": [], "epochs": []}
        made = {**about, "chosen": chosen, "cost": cost, "environment": provenance.environment("cpu")}
        write_history(tmp_path / "mine", History(**made, images=images))
        weights = str(tmp_path / "mine" / baselines.WEIGHTS)
        return ModelSpec("mine", "cifar10", "mine", weights, "f", frozenset({"classifier"})), track

    return record


def test_a_model_trained_on_another_copy_is_told_of(record: Callable[[str | None], tuple[ModelSpec, Track]]) -> None:
    """Only where it is looked at on images that another copy may train on, and where its record says so."""
    spec, track = record("ab" * 32)
    here = data.found(track, "train").sha256
    words = engine.seen(plan(spec, "unlabelled", track=track))
    assert words.startswith("mine was trained on other images than 'train' is here (sha256 abababababab, here ")
    assert here[:12] in words
    assert "some of validation, interp may be among them" in words
    assert not engine.seen(plan(spec, "accuracy", track=track))
    other = replace(spec, weights=str(Path(str(spec.weights)).with_name("converted.safetensors")))
    assert not engine.seen(plan(other, "calibration", track=track))
    for images in (here, None):
        spec, _ = record(images)
        assert not engine.seen(plan(spec, "calibration", track=track))
    Path(str(spec.weights)).with_name(HISTORY).unlink()
    assert not engine.seen(plan(spec, "calibration", track=track))


def test_what_is_to_be_told_is_told_once_before_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plans = [
        plan(
            catalogue.resolve(parse("oracle"), track="gauss"),
            "accuracy",
            track=data.track("gauss"),
            request=Request(limit=n),
        )
        for n in (2, 3)
    ]
    assert [engine.seen(made) for made in plans] == ["", ""]
    plans = [replace(made, warnings=("words",)) for made in plans]
    for _ in range(2):  # and again from the results that are there
        caplog.clear()
        engine.run(plans, Store.open(tmp_path), progress=lambda *_: caplog.records[0])
        said = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert said == [("WARNING", "warning: words")]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_write_the_same_bytes(tmp_path: Path, oracle: Result, workers: int) -> None:
    result = jembench.evaluate("oracle", "all", track="gauss", output=tmp_path, workers=workers)
    assert records(tmp_path) == records(oracle.folder.parent)
    assert measured(result) == measured(oracle)
    assert (result.folder / "examples.parquet").read_bytes() == (oracle.folder / "examples.parquet").read_bytes()


def test_noise_does_not_depend_on_workers_or_order(tmp_path: Path) -> None:
    """Every chunk draws from a stream of its own."""
    source = tmp_path / "noisy.py"
    source.write_text(NOISY)
    model = f"{source}:build"
    one = jembench.evaluate(model, "all", track="gauss", output=tmp_path / "one")
    jembench.evaluate(model, "accuracy", track="gauss", output=tmp_path / "two", limit=180)
    two = jembench.evaluate(model, "all", track="gauss", output=tmp_path / "two", workers=2)
    assert len(one.evaluation.outcome.computed - two.evaluation.outcome.computed) == 1
    assert two.evaluation.outcome.computed < one.evaluation.outcome.computed == one.evaluation.outcome.chunks
    assert records(tmp_path / "one").items() <= records(tmp_path / "two").items()
    assert measured(one) == measured(two)
    other = jembench.evaluate(model, "accuracy", track="gauss", output=tmp_path / "one", seed=1)
    assert other.document.chunks[0].sha256 != one.document.chunks[0].sha256
    chunks = [
        chunk for chunk in one.document.chunks if chunk.source == "test" and chunk.measurement["name"] == "logits"
    ]
    frames = [Store.open(tmp_path / "one").records(chunk.key)[0]["logits"] for chunk in chunks]
    images = torch.from_numpy(data.load("gauss", "test").pixels()).flatten(1)[:, :10].numpy()
    assert not (frames[0] - images[:180] == frames[1] - images[180:]).any()


def test_a_second_run_computes_nothing_and_loads_no_torch(oracle: Result) -> None:
    output = oracle.folder.parent
    code = (
        "import sys\nfrom jembench.cli import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    options = ["--model", "oracle", "--track", "gauss", "--suite", "all", "--output", str(output)]
    done = subprocess.run([sys.executable, "-c", code, "run", *options], capture_output=True, text=True, check=True)
    assert f"all {len(oracle.evaluation.outcome.chunks)} chunks reused" in done.stdout
    assert set(done.stderr.splitlines()) <= {"reading models and images"}  # on a busy machine, after a second


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_are_refused_and_named(tmp_path: Path, value: float) -> None:
    """Nothing of their chunk is kept, and all that came before it is."""
    model = Poisoned(185, value)
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match=r"NaN or infinite on example 185 of 'test' \(1 of 180 in the chunk\)"):
        jembench.evaluate(model, "accuracy", track="gauss", output=tmp_path)
    assert torch.get_num_threads() == threads
    assert len(records(tmp_path)) == 1
    assert not list(tmp_path.rglob(RESULT))
    result = jembench.evaluate(model, "accuracy", track="gauss", output=tmp_path, limit=180)
    assert (len(result.evaluation.outcome.chunks), len(result.evaluation.outcome.computed)) == (1, 0)


def test_a_model_object_cannot_travel_to_workers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model object exists in this process only"):
        jembench.evaluate(ClassifierOnly(), "accuracy", track="gauss", output=tmp_path, workers=2)
    assert not records(tmp_path)


def test_chunks_are_computed_with_one_thread_and_the_callers_come_back(tmp_path: Path) -> None:
    """Input gradients differ in bits between one thread and two."""
    threads: set[int] = set()

    def tell(name: str, batch: int) -> None:
        if batch == 180:
            threads.add(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        jembench.evaluate(Watched(tell), "ood", track="gauss", output=tmp_path)
        assert threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_users_model_is_left_as_it_was(tmp_path: Path) -> None:
    """Training goes on after an evaluation in between."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, 10)).train()
    jembench.evaluate(model, "ood", track="gauss", output=tmp_path, limit=20)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "measured", "missing"),
    [
        (ClassifierOnly(), {"max_py", "entropy", "max_logit"}, "differentiable log density"),
        (DensityOnly(), {score.name for score in SCORES.values() if score.reads[0].measurement != "logits"}, "logits"),
        (SamplerOnly(), set(), "logits"),
    ],
    ids=["classifier", "density", "sampler"],
)
def test_what_a_model_cannot_do_is_an_empty_cell_with_its_reason(
    tmp_path: Path, model: object, measured: set[str], missing: str
) -> None:
    result = jembench.evaluate(model, "all", track="gauss", output=tmp_path, limit=60)
    found = result.metrics
    with_value = {metric.variant for metric in found.values() if metric.name == "auroc" and metric.value is not None}
    assert with_value == measured
    empty = [metric for metric in found.values() if metric.value is None]
    assert empty
    assert all(metric.reason for metric in empty)
    assert any(f"no {missing}" in str(metric.reason) for metric in empty)
    assert (found["test/accuracy"].value is None) == ("max_py" not in measured)
    assert "—" in result.to_markdown()
    for table in report.tables([result.document]):
        report.rich(table)
    again = jembench.evaluate(model, "all", track="gauss", output=tmp_path, limit=60)
    assert not again.evaluation.outcome.computed
    assert again.document == result.document  # with its times: not made again


def test_a_damaged_chunk_is_named_and_computed_again_once_it_is_gone(tmp_path: Path) -> None:
    first = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)
    before, expected = records(tmp_path), measured(first)
    (first.folder / RESULT).unlink()
    path = next(tmp_path.rglob("chunks/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged records") as error:
        jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)
    assert str(path) in str(error.value)
    path.unlink()
    assert measured(jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)) == expected
    assert records(tmp_path) == before


def test_the_result_of_another_plan_is_not_taken_for_this_one(tmp_path: Path) -> None:
    first = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path, limit=60)
    other = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path, limit=61)
    for name in ("result.json", "examples.parquet"):
        (other.folder / name).write_bytes((first.folder / name).read_bytes())
    before = (other.folder / "result.json").read_bytes()
    again = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path, limit=61)
    assert again.folder not in (first.folder, other.folder)
    assert (again.document.limit, again.metrics) == (61, other.metrics)
    assert (other.folder / "result.json").read_bytes() == before


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_refused(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match=f"workers must be a whole number of at least 1, not {workers}"):
        jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path, workers=workers)


def test_a_result_holds_the_digest_of_every_chunk(oracle: Result, tree: Callable[[Path], dict[str, str]]) -> None:
    """A reader can check the records behind a number."""
    kept = {Path(name).stem: digest for name, digest in tree(oracle.folder.parent).items() if "/chunks/" in name}
    chunks = oracle.document.chunks
    assert {chunk.key: kept[chunk.key] for chunk in chunks} == {chunk.key: chunk.sha256 for chunk in chunks}


GLOBAL = """
import random
import numpy as np
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        noise = torch.rand(len(x), 10) + torch.from_numpy(np.random.rand(len(x), 10)).float() + random.random()
        return x.flatten(1)[:, :10] + noise


def build():
    return Model()
"""


def test_a_model_that_draws_from_the_global_generators_gives_the_same_numbers(tmp_path: Path) -> None:
    """On every run, by any number of workers, in any order; no two chunks draw the same."""
    source = tmp_path / "noisy.py"
    source.write_text(GLOBAL)
    model = f"{source}:build"
    one = jembench.evaluate(model, "ood", track="gauss", output=tmp_path / "one")
    torch.rand(3)
    again = jembench.evaluate(model, "ood", track="gauss", output=tmp_path / "again")
    two = jembench.evaluate(model, "ood", track="gauss", output=tmp_path / "two", workers=2)
    assert records(tmp_path / "one") == records(tmp_path / "again") == records(tmp_path / "two")
    assert measured(one) == measured(again) == measured(two)
    assert one.evaluation.outcome.computed == one.evaluation.outcome.chunks
    chunks = one.document.chunks
    digests = [chunk.sha256 for chunk in chunks if chunk.measurement["name"] != "code_length"]  # it draws nothing
    assert len(set(digests)) == len(digests)


@dataclass(frozen=True)
class Reads(Logits):
    """The difference of its own logits from those of the record that it is given; of equal length only."""

    def columns(self, model: Any, batch: Batch, generator: Generator) -> dict[str, Any]:
        (given,) = batch.given
        return {"logits": super().columns(model, batch, generator)["logits"] - given["logits"]}


def test_given_records_of_more_examples_are_cut_to_those_of_the_job(tmp_path: Path) -> None:
    """A measurement of the first 5 images builds on a record of 8: it is given the rows of its own."""
    bench = engine.Bench(Store.open(tmp_path))
    spec = catalogue.resolve(parse("softmax"), track="digits")
    longer = Job(spec, Logits(), "test", "d" * 64, 0, 8, 8, 0, 0, "cpu")
    for batch in (8, 2):
        shorter = replace(longer, measurement=Reads(), stop=5, batch=batch, given=(longer.key,))
        bench(longer)
        bench(shorter)
        columns, _ = bench.store.records(shorter.key)
        assert columns["logits"].shape == (5, 10)
        assert abs(columns["logits"]).max() < 1e-4


@pytest.mark.parametrize("model", ["jem", "file"])
def test_the_callers_generators_are_left_alone(tmp_path: Path, model: str) -> None:
    """Loading, probing and measuring draw from streams of their own."""
    if model == "file":
        (tmp_path / "noisy.py").write_text(GLOBAL)
        model = f"{tmp_path / 'noisy.py'}:build"

    def states() -> tuple[object, ...]:
        words = np.random.get_state()[1]  # noqa: NPY002
        return torch.random.get_rng_state().tolist(), words.tolist(), random.getstate()

    before = states()
    jembench.evaluate(model, "ood", limit=20, output=tmp_path / "store")
    assert states() == before
    if model != "jem":
        jembench.evaluate(foreign.build(model, None), "ood", limit=20, output=tmp_path / "object")
        assert states() == before


class Roots(torch.nn.Module):
    """Its gradient is infinite or NaN where a pixel is 0; its logits are numbers everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt().flatten(1)[:, :10]


def test_a_gradient_that_is_no_number_is_recorded_and_not_an_error(tmp_path: Path) -> None:
    result = jembench.evaluate(Roots(), "ood", limit=60, output=tmp_path)
    found = result.metrics["textures/mass/auroc"]
    assert (found.value, "NaN" in str(found.reason)) == (None, True)
    assert result.metrics["textures/max_py/auroc"].value is not None
    norms = result.records("ood")["mass"]
    assert norms.isna().any()


class Shapes:
    """A model whose outputs fit the probe, and nothing that comes after it."""

    normalized = False

    def __init__(self, shape: Callable[[int], tuple[int, ...]]) -> None:
        self.shape = shape

    def logits(self, x: Tensor) -> Tensor:
        return torch.ones(self.shape(len(x)) if len(x) > 4 else (len(x), 10))


@pytest.mark.parametrize(
    "shape", [lambda n: (n, 9), lambda n: (1, 10), lambda n: (n, 10, 1), lambda n: ()], ids=["K", "n", "more", "none"]
)
def test_outputs_of_another_shape_than_the_probes_are_one_line(
    tmp_path: Path, shape: Callable[[int], tuple[int, ...]]
) -> None:
    with pytest.raises(UserError, match=r"fails on images of the track: ValueError: logits of 64 images") as error:
        jembench.evaluate(Shapes(shape), "accuracy", limit=50, output=tmp_path)
    assert "\n" not in str(error.value)
    assert not records(tmp_path)


class Late(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 20:
            raise RuntimeError("out of\n memory")
        return x.flatten(1)[:, :10]


def test_a_model_that_fails_on_a_later_chunk_is_one_line_and_keeps_the_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fails on examples 180-199 of 'test': RuntimeError: out of memory") as error:
        jembench.evaluate(Late(), "accuracy", limit=200, output=tmp_path)
    assert "\n" not in str(error.value)
    assert len(records(tmp_path)) == 1


def test_the_clock_starts_after_model_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chunk took is what its records took."""
    load, images = catalogue.load, data.load

    def slow(original: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(1)
            return original(*arguments, **options)

        return slowly

    monkeypatch.setattr(catalogue, "load", slow(load))
    monkeypatch.setattr(data, "load", slow(images))
    result = jembench.evaluate("oracle", "accuracy", track="gauss", limit=10, output=tmp_path)
    assert result.document.cost.seconds < 0.5


def test_records_keep_the_environment_they_were_computed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is assembled elsewhere, of records from both, names both."""
    here = provenance.environment("cpu")
    other = here.model_copy(update={"processor": "Z80", "packages": {**here.packages, "torch": "0.1"}})
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "environment", lambda device: other)
        jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)
    calibration = jembench.evaluate("oracle", "calibration", track="gauss", output=tmp_path)
    assert calibration.evaluation.outcome.computed < calibration.evaluation.outcome.chunks
    found = calibration.document.provenance.environments
    assert sorted(item.processor for item in found) == sorted([here.processor, "Z80"])
    assert other in found
    assert here in found
    result = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)
    assert result.document.provenance.environments == [other]
    (result.folder / RESULT).unlink()
    again = jembench.evaluate("oracle", "accuracy", track="gauss", output=tmp_path)
    assert not again.evaluation.outcome.computed
    assert again.document.provenance.environments == [other]


@pytest.mark.parametrize("content", ["[]", '{"seconds": 1}', '{"seconds": null, "peak_memory_mb": 1}'])
def test_a_cost_of_another_form_is_one_line(tmp_path: Path, content: str) -> None:
    first = jembench.evaluate("oracle", "accuracy", track="gauss", limit=10, output=tmp_path)
    (first.folder / RESULT).unlink()
    (path,) = tmp_path.rglob("*.cost.json")
    path.write_text(content)
    with pytest.raises(UserError, match=r"the cost is damaged; remove these files") as error:
        jembench.evaluate("oracle", "accuracy", track="gauss", limit=10, output=tmp_path)
    assert "\n" not in str(error.value)
