"""Plans: a key depends on what the records depend on, and on nothing else."""

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from jembench import data
from jembench.choices.request import Request
from jembench.data.sets import CHAINS
from jembench.engine import plan as plans
from jembench.engine.plan import Job, Plan, plan
from jembench.evaluators.accuracy import Accuracy
from jembench.measurements.contract import Need
from jembench.measurements.embedded import Embedded
from jembench.measurements.logits import Logits
from jembench.measurements.samples import Samples
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.catalogue import ModelSpec
from jembench.zoo.references import ModelRef, parse

TRACK = data.track("gauss")
MODEL = ModelSpec("model", "gauss", parse("model"), None, "f" * 64, frozenset({"classifier", "density"}))


@dataclass(frozen=True)
class Noisy(Logits):
    """Another measurement of the same name, with a setting."""

    sigma: float = 0.5


@dataclass(frozen=True)
class Newer(Logits):
    """The same measurement, corrected."""

    version: ClassVar[int] = 2


JOB = Job(MODEL, Logits(), "test", "d" * 64, 0, 180, 180, 0, 0, "cpu")


def keys(made: Plan, measurement: str = "", source: str = "") -> list[str]:
    return [job.key for job in made.jobs if measurement in ("", job.measurement.name) and source in ("", job.source)]


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, model=replace(MODEL, fingerprint="e" * 64)),
        replace(JOB, measurement=Noisy()),
        replace(JOB, measurement=Newer()),
        replace(JOB, source="shifted"),
        replace(JOB, data="c" * 64),
        replace(JOB, start=1),
        replace(JOB, stop=179),
        replace(JOB, batch=90),
        replace(JOB, index=1),
        replace(JOB, seed=1),
        replace(JOB, device="cuda"),
    ],
    ids=["fingerprint", "fields", "version", "source", "data", "start", "stop", "batch", "index", "seed", "device"],
)
def test_a_key_depends_on(other: Job) -> None:
    assert other.key != JOB.key


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, model=replace(MODEL, name="renamed")),
        replace(JOB, model=replace(MODEL, weights="/elsewhere/weights.safetensors", ref=parse("/elsewhere.toml"))),
        replace(JOB, model=replace(MODEL, ref=ModelRef("object", "model", module=object()))),
        replace(JOB, device="cpu:0"),
    ],
    ids=["name", "path", "object", "device number"],
)
def test_a_key_does_not_depend_on(other: Job) -> None:
    """Where a model lies, what tables call it, and which of several equal devices measures it."""
    assert other.key == JOB.key


def test_two_settings_of_a_measurement_have_two_keys_and_two_streams() -> None:
    jobs = [replace(JOB, measurement=Noisy(sigma)) for sigma in (0.5, 0.25)]
    assert len({job.key for job in jobs}) == len({job.stream for job in jobs}) == 2


def test_no_two_jobs_of_a_plan_share_a_key() -> None:
    made = plan(MODEL, "all", track=TRACK)
    assert len({job.key for job in made.jobs}) == len(made.jobs)


def test_no_two_jobs_of_a_model_share_a_stream() -> None:
    """Two models may: see below; and looking at what was drawn draws nothing."""
    drawing = [job for job in plan(MODEL, "all", track=TRACK).jobs if job.measurement.name != "embedded"]
    assert len({(job.model.name, job.stream) for job in drawing}) == len(drawing)


def test_a_stream_does_not_depend_on_the_model() -> None:
    """So that two models are measured with the same noise, and their difference is theirs."""
    assert replace(JOB, model=replace(MODEL, fingerprint="e" * 64)).stream == JOB.stream


def test_suites_share_their_chunks() -> None:
    """The model runs once for all of them."""
    parts = ("accuracy", "calibration", "unlabelled", "ood", "stress", "generation", "hybrid", "likelihood")
    plans = {name: plan(MODEL, name, track=TRACK) for name in (*parts, "all")}
    shared = keys(plans["accuracy"])
    assert len(shared) == 2
    for name in ("accuracy", "calibration", "ood", "hybrid", "all"):
        assert keys(plans[name], "logits", "test") == shared
    union = {key for name in parts for key in keys(plans[name])}
    alone = {job.key: job.measurement.name for job in plans["all"].jobs if job.key not in union}
    assert union < set(keys(plans["all"]))
    assert set(alone.values()) == {"samples", "embedded"}  # references, in suite all even of what cannot sample
    sampler = replace(MODEL, capabilities=MODEL.capabilities | {"sampler"})
    whole = set(keys(plan(sampler, "all", track=TRACK)))
    assert {key for name in parts for key in keys(plan(sampler, name, track=TRACK))} == whole
    assert len({made.key for made in plans.values()}) == len(plans)


def test_an_evaluators_version_is_in_the_result_but_not_in_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected metric is computed again from the records, without the model."""
    before = plan(MODEL, "accuracy", track=TRACK)
    monkeypatch.setattr(Accuracy, "version", Accuracy.version + 1)
    after = plan(MODEL, "accuracy", track=TRACK)
    assert keys(after) == keys(before)
    assert after.key != before.key
    assert after.protocol_hash != before.protocol_hash


def test_the_protocol_is_of_the_choices_and_not_of_the_model_or_the_seed() -> None:
    """Models are ranked within a protocol."""
    one = plan(MODEL, "ood", track=TRACK)
    two = plan(replace(MODEL, fingerprint="e" * 64), "ood", track=TRACK, request=Request(seed=7))
    assert one.protocol_hash == two.protocol_hash
    assert one.key != two.key
    assert plan(MODEL, "ood", track=TRACK, request=Request(limit=100)).protocol_hash != one.protocol_hash


def test_a_limit_reuses_the_whole_chunks_before_it() -> None:
    whole, limited = plan(MODEL, "ood", track=TRACK), plan(MODEL, "ood", track=TRACK, request=Request(limit=200))
    for source in ("test", "shifted", "scaled"):
        first, second = keys(limited, "logits", source)
        assert first == keys(whole, "logits", source)[0]
        assert second not in keys(whole)
    assert keys(plan(MODEL, "ood", track=TRACK, request=Request(limit=180))) == [
        job.key for job in whole.jobs if job.index == 0
    ]


@pytest.mark.parametrize(("limit", "n"), [(1, 1), (180, 180), (181, 181), (10_000, 360), (None, 360)])
def test_n_is_the_smaller_of_limit_and_size(limit: int | None, n: int) -> None:
    made = plan(MODEL, "accuracy", track=TRACK, request=Request(limit=limit))
    assert made.protocol["sources"]["test"]["n"] == n
    assert [(job.start, job.stop) for job in made.jobs] == [(s, min(s + 180, n)) for s in range(0, n, 180)]


def test_a_limit_beyond_every_source_changes_no_record_and_no_protocol() -> None:
    whole, large = plan(MODEL, "all", track=TRACK), plan(MODEL, "all", track=TRACK, request=Request(limit=10_000))
    assert (keys(large), large.protocol, large.key) == (keys(whole), whole.protocol, whole.key)


@pytest.mark.parametrize("limit", [0, -1, 1.5, 2.0, "3", True])
def test_a_limit_that_is_no_count_is_refused(limit: Any) -> None:
    """True is 1, and 2.0 is 2, under another key."""
    with pytest.raises(UserError, match=re.escape(f"limit must be a whole number of at least 1, not {limit!r}")):
        plan(MODEL, "accuracy", track=TRACK, request=Request(limit=limit))


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(UserError, match=re.escape(f"seed must be a whole number, not {seed!r}")):
        plan(MODEL, "accuracy", track=TRACK, request=Request(seed=seed))


def test_a_result_is_of_one_model_even_without_records() -> None:
    """Two models that can do nothing have no chunk to tell them apart."""
    nothing = replace(MODEL, capabilities=frozenset())
    one, two = (plan(replace(nothing, fingerprint=name * 64), "accuracy", track=TRACK) for name in "ab")
    assert not one.jobs
    assert one.key != two.key


def test_an_unknown_suite_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown suite 'calibratoin'; did you mean 'calibration'\?"):
        plan(MODEL, "calibratoin", track=TRACK)


def test_what_a_model_cannot_do_is_not_planned_but_stays_in_the_protocol() -> None:
    """Its empty cells stand in the same ranking."""
    classifier = replace(MODEL, capabilities=frozenset({"classifier"}))
    made = plan(classifier, "stress", track=TRACK)
    assert {job.measurement.name for job in made.jobs} == {"logits", "seen"}
    assert all(job.measurement.requires <= {"classifier"} for job in made.jobs)
    assert made.protocol_hash == plan(MODEL, "stress", track=TRACK).protocol_hash


SAMPLER = replace(MODEL, capabilities=frozenset({"sampler"}))


def needed(*needs: Need, model: ModelSpec = SAMPLER, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Plan:
    """The plan of an evaluator with these needs."""

    class Some(Accuracy):
        def needs(self, track: Any) -> tuple[Need, ...]:
            return needs

    monkeypatch.setattr(plans, "evaluators", lambda *_, **__: (Some(),))
    return plan(model, "accuracy", track=TRACK, request=Request(**options))


def test_an_extractor_is_planned_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As what is measured, with its own fingerprint; a baseline likewise."""
    look, draw = Need(Embedded(), "test", model="pixels"), Need(Samples(), CHAINS, model="uniform")
    made = needed(look, draw, monkeypatch=monkeypatch)
    models = {job.measurement.name: job.model for job in made.jobs}
    assert models["embedded"] == catalogue.extractor("pixels", track="gauss")
    assert models["samples"] == catalogue.resolve(parse("uniform"), track="gauss")


def test_an_essential_record_that_is_not_there_leaves_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor can look at anything, but not at samples that the model cannot draw."""
    buffer = Need(Samples(start="buffer"), CHAINS)
    look = Need(Embedded("image"), CHAINS, given=(buffer,), model="pixels", essential=True)
    made = needed(buffer, look, monkeypatch=monkeypatch)
    assert not made.jobs
    assert {item["name"] for item in made.protocol["measurements"]} == {"samples", "embedded"}
    able = replace(SAMPLER, capabilities=frozenset({"sampler", "chain"}))
    there = needed(buffer, look, model=able, monkeypatch=monkeypatch)
    assert there.protocol == made.protocol
    looks = [job for job in there.jobs if job.measurement.name == "embedded"]
    draws = [job for job in there.jobs if job.measurement.name == "samples"]
    assert [job.given for job in looks] == [(job.key,) for job in draws]
    optional = Need(Embedded("image"), CHAINS, given=(buffer,), model="pixels")
    assert [job.given for job in needed(optional, monkeypatch=monkeypatch).jobs] == [(None,)] * 6


def test_records_of_a_look_are_of_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One measurement of one source by one extractor: keys tell apart whose samples it saw."""
    needs = [Need(Samples(steps=steps), CHAINS) for steps in (1, 2)]
    looks = [Need(Embedded("image"), CHAINS, given=(need,), model="pixels", essential=True) for need in needs]
    made = needed(*looks, monkeypatch=monkeypatch)
    keys = [job.key for need, jobs in made.parts for job in jobs if need in looks]
    assert len(set(keys)) == len(keys) == 2 * 6


def test_where_an_image_set_was_read_from_is_no_part_of_its_key() -> None:
    """Its hash is: the same images in another folder are the same records."""
    assert replace(JOB, origin="/elsewhere/images.npz").key == JOB.key


def test_weights_go_to_the_extractor(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from jembench.choices.request import Sampling

    asked = []
    whole = catalogue.extractor

    def extractor(name: str, *, track: str, weights: Any = None) -> ModelSpec:
        asked.append((name, track, weights))
        return whole(name, track=track)

    monkeypatch.setattr(plans.catalogue, "extractor", extractor)
    needed(
        Need(Embedded(), "test", model="pixels"), monkeypatch=monkeypatch, sampling=Sampling(weights=tmp_path / "w.pth")
    )
    assert asked == [("pixels", "gauss", tmp_path / "w.pth")]
