"""Evaluator ``detectors``: planned on the training split, computed by the engine, judged as every score is."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jembench import data
from jembench.choices.request import Request
from jembench.engine import bench
from jembench.engine import plan as plan_module
from jembench.evaluators.detectors import Detectors
from jembench.evaluators.ood import KINDS
from jembench.measurements.contract import RecordBatch
from jembench.measurements.detector import Detector
from jembench.measurements.features import Features
from jembench.store.records import Store, decode
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse

TRACK = data.track("digits")
NAMES = ("knn", "odin", "gen")


@pytest.fixture
def plan(monkeypatch):
    """A plan of these detectors: no suite has them yet."""
    monkeypatch.setattr(plan_module, "evaluators", lambda *arguments, **options: (Detectors(NAMES),))
    return lambda model, **options: plan_module.plan(
        catalogue.resolve(parse(model), track="digits"), "ood", track=TRACK, request=Request(**options)
    )


def test_a_run_fits_on_the_training_split_and_its_numbers_are_scikit_learns(plan, tmp_path):
    made = plan("softmax")
    training = {job.key for job in made.jobs if job.source == "train"}
    assert {job.measurement for job in made.jobs if job.source == "train"} == {Features()}
    for job in made.jobs:
        if isinstance(job.measurement, Detector):
            fitted = job.measurement.detector == "knn"
            assert {key for keys in job.whole for key in keys} == (training if fitted else set())
            assert len(job.given) == (job.measurement.detector != "odin")
    (outcome,) = bench.run([made], Store.open(tmp_path))
    table = decode((outcome.folder / "examples.parquet").read_bytes())
    sources = table["source"].astype(str)
    found = {metric.id: metric for metric in outcome.document.metrics}
    for name in NAMES:
        inside = table[name][sources == "test"]
        assert np.isfinite(inside).all()
        assert np.isnan(table[name][sources == "train"]).all()
        for source in TRACK.ood:
            outside = table[name][sources == source.name]
            truth, scores = [1] * len(inside) + [0] * len(outside), np.concatenate([inside, outside])
            assert found[f"{source.name}/{name}/auroc"].value == pytest.approx(roc_auc_score(truth, scores))
    sets = (*(source.name for source in TRACK.ood), "near", "far", "mean")
    assert set(found) == {f"{source}/{name}/{kind.name}" for source in sets for name in NAMES for kind in KINDS}
    assert {metric.evaluator for metric in found.values()} == {"detectors"}


def test_a_limit_that_leaves_too_few_training_images_is_one_line(plan, tmp_path):
    with pytest.raises(UserError, match="detector 'knn' is fitted on the training split and needs 50 images of it"):
        bench.run([plan("softmax", limit=20)], Store.open(tmp_path))


def test_a_model_without_features_has_empty_cells_with_the_reason(plan, tmp_path):
    made = plan("glow-cond")
    assert not made.jobs
    (outcome,) = bench.run([made], Store.open(tmp_path))
    assert {metric.reason for metric in outcome.document.metrics} == {"the model shows no penultimate features"}


def test_a_score_that_is_no_number_is_an_empty_cell_with_the_reason():
    values = {name: np.ones(3) for name in ("test", *(source.name for source in TRACK.ood))}
    values["noise"] = np.array([1.0, np.nan, 2.0])
    batches = [RecordBatch(Detector("knn"), name, {"detector_score": column}) for name, column in values.items()]
    found = {metric.id: metric for metric in Detectors(("knn",)).metrics(batches, TRACK)}
    assert found["noise/knn/auroc"].reason == "knn is no finite number on 1 of 3 images of noise"
    assert found["mean/knn/auroc"].value is None
    assert found["textures/knn/auroc"].value == 0.5


@pytest.mark.parametrize(("names", "words"), [((), "not none"), (("knn", "knn"), "not knn, knn")])
def test_every_detector_is_named_once(names, words):
    with pytest.raises(UserError, match=f"name every detector once, {words}"):
        Detectors(names)


def test_planning_loads_no_torch():
    code = (
        "import sys; from jembench import data; from jembench.evaluators.detectors import Detectors; "
        "Detectors().needs(data.track('digits')); print('torch' in sys.modules, 'pytorch_ood' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
