"""Options of sampling: what is refused, and that all of them are part of the protocol."""

from dataclasses import replace
from typing import Any

import pytest

import jembench
from jembench import data
from jembench.choices import sampling
from jembench.choices.evaluators import evaluators
from jembench.choices.request import Options, Request, Sampling
from jembench.choices.sampling import chains, generation, looker
from jembench.engine.plan import plan
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse

TRACK = data.track("digits")


def spec(name: str) -> Any:
    return catalogue.resolve(parse(name), track="digits")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "a whole number of steps of at least 0, not -1"),
        ({"steps": 2.5}, "a whole number of steps of at least 0, not 2.5"),
        ({"steps": True}, "a whole number of steps of at least 0, not True"),
        ({"temperature": -0.1}, "a temperature is a number of at least 0, not -0.1"),
        ({"temperature": float("nan")}, "a temperature is a number of at least 0, not nan"),
        ({"temperature": float("inf")}, "a temperature is a number of at least 0, not inf"),
        ({"temperature": "cold"}, "a temperature is a number of at least 0, not 'cold'"),
        ({"keep_top": 0.0}, "above 0 and at most 1, not 0.0"),
        ({"keep_top": 1.5}, "above 0 and at most 1, not 1.5"),
        ({"keep_top": float("nan")}, "above 0 and at most 1, not nan"),
        ({"keep_top": None}, "above 0 and at most 1, not None"),
    ],
)
def test_values_that_mean_nothing(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        Sampling(**options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [Sampling(steps=5), Sampling(temperature=1.0), Sampling(steps=0, temperature=0.0)])
def test_exact_samplers_have_no_chain(options: Sampling) -> None:
    for name in ("glow", "glow-cond", "uniform", "class-gaussians"):
        with pytest.raises(UserError, match=rf"^model '{name}' draws exact samples, without a chain: leave out its "):
            generation(spec(name), TRACK, options)
    assert generation(spec("jem"), TRACK, options).steps == options.steps
    assert generation(spec("softmax"), TRACK, options).steps == options.steps  # its cells are empty anyway


def test_who_has_no_confidence_cannot_be_filtered_by_it() -> None:
    for name in ("glow", "uniform"):
        with pytest.raises(UserError, match=rf"^model '{name}' has no confidence to keep the top of"):
            generation(spec(name), TRACK, Sampling(keep_top=0.9))
    assert generation(spec("glow-cond"), TRACK, Sampling(keep_top=0.9)).keep_top == 0.9


def test_extractors_are_checked_by_name_track_and_weights(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="unknown extractor 'digit-ref'; did you mean 'digits-ref'"):
        generation(spec("jem"), TRACK, Sampling(extractor="digit-ref"))
    with pytest.raises(UserError, match="'pixels' is not for track digits"):
        chains(TRACK, Sampling(extractor="pixels"))
    with pytest.raises(UserError, match="weights go with extractor 'inception-v3', not with 'digits-ref'"):
        looker(TRACK, Sampling(weights=tmp_path / "weights.pth"))


@pytest.mark.parametrize("suite", ["accuracy", "calibration", "ood", "likelihood", "robustness", "distance"])
def test_suites_that_do_not_generate_refuse_them(suite: str) -> None:
    for options in (Sampling(steps=3), Sampling(extractor="digits-ref"), Sampling(keep_top=0.5)):
        with pytest.raises(UserError, match=f"^suite '{suite}' generates no images: "):
            evaluators(suite, spec("jem"), TRACK, Request(sampling=options))
    assert evaluators(suite, spec("jem"), TRACK, Request(sampling=Sampling()))


@pytest.mark.parametrize("suite", ["generation", "hybrid", "all", "accuracy"])
def test_suites_without_attacks_refuse_theirs(suite: str) -> None:
    with pytest.raises(UserError, match=f"^suite '{suite}' has no attacks: "):
        evaluators(suite, spec("jem"), TRACK, Request(options=Options(steps=3)))
    assert evaluators(suite, spec("jem"), TRACK, Request(options=Options()))


@pytest.mark.parametrize(
    "options", [Sampling(steps=3), Sampling(temperature=0.5), Sampling(keep_top=0.5), Sampling(steps=20)]
)
def test_every_option_is_in_the_protocol(options: Sampling) -> None:
    """Figures under other options share no table; that a number is spelt out is another protocol too."""
    plain, other = (
        plan(spec("jem"), "generation", track=TRACK, request=Request(sampling=item)) for item in (Sampling(), options)
    )
    assert plain.protocol_hash != other.protocol_hash
    assert (
        plan(spec("jem"), "generation", track=TRACK, request=Request(sampling=Sampling())).protocol_hash
        == plain.protocol_hash
    )


def test_an_option_moves_only_the_records_that_it_moves() -> None:
    """A filter is applied to records; steps make new fresh and conditional samples, of the same buffer and images."""
    plain, top, short = (
        plan(spec("jem"), "generation", track=TRACK, request=Request(sampling=item))
        for item in (Sampling(), Sampling(keep_top=0.5), Sampling(steps=3))
    )
    keys = [{job.key for job in made.jobs} for made in (plain, top, short)]
    assert keys[0] == keys[1]
    moved = [job for job in short.jobs if job.key not in keys[0]]
    assert {getattr(job.measurement, "start", "fresh") for job in moved} == {"fresh"}
    assert {job.measurement.name for job in moved} == {"samples", "embedded"}
    assert {job.source for job in moved} == {"chains"}


def test_another_extractor_is_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its weights, not by its name."""
    plain = plan(spec("jem"), "generation", track=TRACK)
    whole = catalogue.extractor
    with monkeypatch.context() as patch:
        patch.setattr(
            sampling.catalogue,
            "extractor",
            lambda name, **options: replace(whole(name, **options), fingerprint="e" * 64),
        )
        other = plan(spec("jem"), "generation", track=TRACK)
    assert plain.protocol_hash != other.protocol_hash
    own = {job.key for job in plain.jobs if job.measurement.name == "samples"}
    assert own == {job.key for job in other.jobs if job.measurement.name == "samples"}


def test_options_reach_the_samples(tmp_path: Any) -> None:
    """Without steps noise stays noise."""
    found = jembench.evaluate("jem", "hybrid", limit=60, output=tmp_path, sampling=Sampling(steps=0)).metrics
    noise = found["uniform/digits-ref/fd"].value
    assert noise is not None
    assert found["fresh/digits-ref/fd"].value == pytest.approx(noise, rel=0.1)
    assert found["fresh/digits-ref/fd"].n == {"fresh": 60, "train": 60}
    other = jembench.evaluate("jem", "hybrid", limit=60, output=tmp_path, sampling=Sampling(keep_top=0.5)).metrics
    assert other["fresh/digits-ref/fd"].n == {"fresh, top 50 %": 30, "train": 60}
    assert other["test/accuracy"].n == {"test": 60}
