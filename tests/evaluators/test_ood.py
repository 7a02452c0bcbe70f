"""Evaluator ``ood``: hand-made scores with known AUROC, missing capabilities, and the oracle's closed forms."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from jembench import data
from jembench.api import Result
from jembench.data import gauss
from jembench.engine.plan import plan
from jembench.evaluators.ood import FITTED, KINDS, Ood, groups
from jembench.measurements.code_length import CodeLength
from jembench.measurements.contract import RecordBatch
from jembench.measurements.input_gradient import InputGradient
from jembench.measurements.logits import Logits
from jembench.measurements.refinement import RefinementEffect
from jembench.metrics.metric import Metric
from jembench.metrics.scores import BASELINE, SCORES
from jembench.store.results import read_result
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import parse

TRACK = data.track("gauss")
SETS = [source.name for source in TRACK.ood]


def densities(source: str, values: list[float], cuts: tuple[int, ...] = ()) -> list[RecordBatch]:
    """Records of a model whose log density is ``values`` and whose gradient norm is minus that, plus 10."""
    parts = np.split(np.array(values, dtype=np.float32), cuts)
    return [RecordBatch(InputGradient(), source, {"log_density": v, "gradient_norm": 10 - v}) for v in parts]


def logits(source: str, confidence: list[float]) -> RecordBatch:
    f = np.zeros((len(confidence), 10), dtype=np.float32)
    f[:, 3] = confidence
    return RecordBatch(Logits(), source, {"logits": f, "label": np.zeros(len(confidence), dtype=np.int64)})


def codes(source: str, bits: list[int]) -> RecordBatch:
    return RecordBatch(CodeLength(), source, {"code_length": np.array(bits)})


def refined(source: str, moved: list[float]) -> RecordBatch:
    """Records of chains that moved so far, and gained as much."""
    zero, way = np.zeros(len(moved), dtype=np.float32), np.array(moved, dtype=np.float32)
    names = ("log_density_before", "log_density_after", "gradient_norm_before", "gradient_norm_after", "distance")
    return RecordBatch(RefinementEffect(), source, dict(zip(names, (zero, way, zero, way, way), strict=True)))


def by_id(found: list[Metric]) -> dict[str, Metric]:
    return {metric.id: metric for metric in found}


def test_a_separated_set_and_a_reversed_one() -> None:
    """Larger = more in-distribution: 1 where the test split scores higher, 0 where the OOD set does."""
    batches = densities("test", [5, 6, 7, 8]) + densities("shifted", [1, 2, 3]) + densities("scaled", [9, 10])
    found = by_id(Ood().metrics(batches, TRACK))
    for score in ("log_px", "mass"):
        assert found[f"shifted/{score}/auroc"].value == 1
        assert found[f"shifted/{score}/fpr95"].value == 0
        assert found[f"shifted/{score}/aupr_in"].value == found[f"shifted/{score}/aupr_out"].value == 1
        assert found[f"scaled/{score}/auroc"].value == 0
        assert found[f"scaled/{score}/fpr95"].value == 1
        assert found[f"mean/{score}/auroc"].value == pytest.approx(0.5)
    assert found["shifted/log_px/auroc"].n == {"test": 4, "shifted": 3}
    assert found["mean/log_px/auroc"].n == {"test": 4, "shifted": 3, "scaled": 2}


def test_the_numbers_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(loc, size=40).round(1).tolist() for name, loc in (("test", 1), ("shifted", 0), ("scaled", 0.5))
    }
    found = by_id(Ood().metrics([item for name, v in values.items() for item in densities(name, v)], TRACK))
    for name in SETS:
        scores = np.array(values["test"] + values[name], dtype=np.float32)
        truth = np.array([1] * 40 + [0] * 40)
        assert found[f"{name}/log_px/auroc"].value == pytest.approx(roc_auc_score(truth, scores))
        assert found[f"{name}/log_px/aupr_in"].value == pytest.approx(average_precision_score(truth, scores))
        assert found[f"{name}/log_px/aupr_out"].value == pytest.approx(average_precision_score(1 - truth, -scores))


def test_a_model_without_density_has_empty_cells_with_the_reason() -> None:
    """And its other score is measured all the same."""
    batches = [logits("test", [3, 4, 5]), logits("shifted", [1, 2]), logits("scaled", [0, 6])]
    found = by_id(Ood().metrics(batches, TRACK))
    assert found["shifted/max_py/auroc"].value == 1
    for score in ("log_px", "mass"):
        for kind in KINDS:
            empty = found[f"shifted/{score}/{kind.name}"]
            assert (empty.value, empty.reason, empty.better) == (
                None,
                "the model gives no differentiable log density",
                kind.better,
            )
        assert found[f"mean/{score}/auroc"].value is None


def test_a_model_without_logits_has_empty_cells_with_the_reason() -> None:
    batches = densities("test", [5, 6]) + densities("shifted", [1, 2]) + densities("scaled", [1, 2])
    found = by_id(Ood().metrics(batches, TRACK))
    assert found["shifted/log_px/auroc"].value == 1
    assert found["shifted/max_py/auroc"].value is None
    assert found["shifted/max_py/auroc"].reason == "the model gives no logits"


def test_a_score_that_is_no_number_is_an_empty_cell_with_the_reason() -> None:
    """NaN on the test split empties every set, on an OOD set that set and the mean; other scores are measured."""
    nan = float("nan")
    for test, shifted, empty, source in (
        ([5.0, nan, 7.0], [1.0, 2.0], {"shifted", "scaled", "near", "mean"}, "test"),
        ([5.0, 6.0, 7.0], [nan, nan], {"shifted", "near", "mean"}, "shifted"),
    ):
        batches = densities("test", test) + densities("shifted", shifted) + densities("scaled", [1, 2])
        batches += [logits("test", [3, 4, 5]), logits("shifted", [1, 2]), logits("scaled", [0, 6])]
        found = by_id(Ood().metrics(batches, TRACK))
        for metric in found.values():
            if metric.variant not in ("log_px", "mass", "max_py"):
                continue
            missing = metric.variant != "max_py" and metric.source in empty
            assert (metric.value is None) == missing, metric.id
            assert (metric.reason is not None) == missing, metric.id
        bad, n = (1, 3) if source == "test" else (2, 2)
        assert f"is NaN on {bad} of {n} images of {source}" in str(found["mean/mass/auroc"].reason)


def test_an_infinite_score_is_ranked() -> None:
    """It is larger, or smaller, than every other: an AUROC asks no more of it."""
    batches = densities("test", [5, np.inf]) + densities("shifted", [-np.inf, 4]) + densities("scaled", [6, 7])
    found = by_id(Ood().metrics(batches, TRACK))
    assert found["shifted/log_px/auroc"].value == 1
    assert found["scaled/log_px/auroc"].value == 0.5


def test_every_set_and_score_has_every_metric_even_without_records() -> None:
    ids = {f"{name}/{score}/{kind.name}" for name in SETS for score in SCORES for kind in KINDS}
    means = ("near", "mean")  # no set of gauss is far
    ids |= {f"{name}/{score}/{kind.name}" for name in means for score in SCORES for kind in KINDS}
    ids |= {
        f"{name}/{score.name}/auroc_gain"
        for name in (*SETS, "near", "mean")
        for score in SCORES.values()
        if score != BASELINE
    }
    assert set(by_id(Ood().metrics([], TRACK))) == ids


def test_chunk_boundaries_do_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=(3, 30)).tolist()
    names = ("test", *SETS)
    whole = [item for name, v in zip(names, values, strict=True) for item in densities(name, v)]
    parts = [item for name, v in zip(names, values, strict=True) for item in densities(name, v, (7, 19))]
    assert Ood().metrics(whole, TRACK) == Ood().metrics(parts, TRACK)


def test_its_scalars_are_the_scores_of_the_batchs_measurement() -> None:
    """Together the measurements give exactly the published columns; those of several are joined."""
    first, (second,) = Ood().scalars(logits("test", [3, 4])), densities("test", [5, 6])
    assert set(first) == {"max_py", "entropy", "max_logit"}
    np.testing.assert_allclose(first["max_py"], [np.exp(3) / (np.exp(3) + 9), np.exp(4) / (np.exp(4) + 9)])
    scalars = Ood().scalars(second)
    assert set(scalars) == {"log_px", "mass"}
    np.testing.assert_array_equal(scalars["log_px"], [5, 6])
    np.testing.assert_array_equal(scalars["mass"], [-5, -4])
    batches = [logits("test", [3, 4]), second, codes("test", [8, 16]), refined("test", [1, 2])]
    joined = Ood().joined([*batches, *densities("train", [5, 7])])
    assert set(joined["test"]) == set(Ood.columns)
    np.testing.assert_array_equal(joined["test"]["typicality"], [-1, 0])
    np.testing.assert_allclose(joined["test"]["complexity"], [5 + 8 * np.log(2), 6 + 16 * np.log(2)])
    assert "typicality" in joined["train"]
    assert "typicality" not in Ood().joined(batches)["test"]  # without the training split there is none


def test_typicality_is_fitted_on_the_training_split_alone() -> None:
    """Planted: a mean that also saw the test split would make the test images typical."""
    batches = densities("train", [0, 2]) + densities("test", [10, 12]) + densities("shifted", [0, 2])
    found = Ood().joined(batches)
    np.testing.assert_array_equal(found["test"]["typicality"], [-9, -11])
    np.testing.assert_array_equal(found["shifted"]["typicality"], [-1, -1])


def test_typicality_is_fitted_on_a_bounded_number_of_training_images() -> None:
    """One mean does not need 45,000 gradients, nor the 65,937 of svhn."""
    for name in data.TRACKS:
        track = data.track(name)
        (need,) = (need for need in Ood().needs(track) if need.source == "train")
        assert need.limit is not None
        assert need.limit == FITTED < 45_000
        assert all(other.limit is None for other in Ood().needs(track) if other != need)


@pytest.mark.parametrize("name", ["jem", "glow"])
def test_the_bound_is_above_the_digits(name: str) -> None:
    """No key and no protocol of theirs has moved by it: they are those of the golden results."""
    golden = read_result(baselines.golden(parse(name), track="digits"))
    made = plan(catalogue.resolve(parse(name), track="digits"), "all", track=data.track("digits"))
    ours = {job.key for job in made.jobs if job.source == "train"}
    assert len(ours) == len([chunk for chunk in golden.chunks if chunk.source == "train"]) > 0
    assert ours == {chunk.key for chunk in golden.chunks if chunk.source == "train"}
    assert (made.protocol_hash, made.key) == (golden.protocol_hash, golden.key)


def test_chains_that_diverge_are_named() -> None:
    batches = [refined(name, [1, np.inf]) for name in ("test", *SETS)]
    found = by_id(Ood().metrics(batches, TRACK))
    reason = "SGLD L2 is NaN on 1 of 2 images of test: its SGLD steps diverge"
    assert found["mean/refine_distance/auroc"].reason == reason


def test_near_and_far_sets_have_means_of_their_own() -> None:
    track = data.track("digits")
    assert {name: [source.name for source in sources] for name, sources in groups(track).items()} == {
        "near": ["interp", "rotated", "flipped"],
        "far": ["textures", "inverted", "noise"],
        "mean": ["textures", "interp", "rotated", "flipped", "inverted", "noise"],
    }
    rng = np.random.default_rng(0)
    batches = [item for i, s in enumerate(track.ood) for item in densities(s.name, rng.normal(-i, 1, 20).tolist())]
    found = by_id(Ood().metrics([*batches, *densities("test", rng.normal(0, 1, 30).tolist())], track))
    value = {key: metric.value for key, metric in found.items()}
    for name, sources in groups(track).items():
        parts = [value[f"{source.name}/log_px/auroc"] for source in sources]
        assert value[f"{name}/log_px/auroc"] == pytest.approx(np.mean(parts))  # type: ignore[arg-type]


def test_a_gain_is_the_difference_of_two_aurocs_with_its_test() -> None:
    """Nothing to gain for a score that ranks as the baseline does; its p-value travels with it."""
    rng = np.random.default_rng(0)
    batches = []
    for name, shift in (("test", 1.0), ("shifted", 0.0), ("scaled", 0.5)):
        confidence = rng.normal(shift, 1, 60)
        batches += [
            logits(name, confidence.tolist()),
            *densities(name, (confidence + rng.normal(2 * shift, 1, 60)).tolist()),
        ]
    found = by_id(Ood().metrics(batches, TRACK))
    for name in (*SETS, "mean"):
        gain, score, base = (found[f"{name}/{part}"] for part in ("log_px/auroc_gain", "log_px/auroc", "max_py/auroc"))
        assert gain.value == pytest.approx(score.value - base.value)  # type: ignore[operator]
        assert gain.n == score.n
        assert (gain.p < 0.05) == (gain.low > 0)
    assert f"shifted/{BASELINE.name}/auroc_gain" not in found
    assert all(metric.p is None for metric in found.values() if metric.name != "auroc_gain")


@pytest.mark.parametrize("name", [name for name in gauss.TRUTH if name.endswith("/auroc")])
def test_the_oracles_intervals_hold_the_truth(oracle: Result, name: str) -> None:
    found = oracle.metrics[name]
    assert found.low <= gauss.TRUTH[name] <= found.high


def test_the_truths_without_simulation_follow_from_the_geometry(oracle: Result) -> None:
    """A shift that p(y|x) cannot see: max p(y|x) separates nothing, and every truth is a metric of the oracle."""
    assert gauss.TRUTH["shifted/max_py/auroc"] == 0.5
    assert set(gauss.TRUTH) <= set(oracle.metrics)
