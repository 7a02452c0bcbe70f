"""Batteries: what a user may ask for, what is refused, and that planning them costs no torch."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from jembench import data
from jembench.attacks import attack as attack_of
from jembench.attacks.defences import Defence
from jembench.choices import batteries
from jembench.choices.batteries import battery
from jembench.choices.evaluators import evaluators
from jembench.choices.request import Options, Request
from jembench.engine.plan import plan
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import ModelRef, parse

TRACK = data.track("digits")
NOISY = """
import torch
class Noisy(torch.nn.Module):
    stochastic = True
    def logits(self, x, *, generator):
        return x.flatten(1)[:, :10] + torch.randn((len(x), 10), generator=generator)
def build():
    return Noisy()
"""


def spec(name: str = "softmax") -> Any:
    return catalogue.resolve(parse(name), track="digits")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(norms=("l1",)), "unknown norm 'l1'"),
        (Options(norms=("linf",), eps=(0.0,)), "outside of the L∞ threat model"),
        (Options(norms=("linf",), eps=(-0.1,)), "outside of the L∞ threat model"),
        (Options(norms=("linf",), eps=(8.0,)), "8/255"),
        (Options(norms=("l2",), eps=(8.5,)), "outside of the L2 threat model"),
        (Options(eps=(0.1,)), "name one of them"),
        (Options(goal="targetted"), "did you mean 'targeted'"),
        (Options(attacks=("sqare",)), "did you mean"),
        (Options(steps=0), "steps of an attack must be at least 1"),
        (Options(restarts=-1), "restarts of an attack must be at least 1"),
        (Options(losses=("margn",)), "did you mean 'margin'"),
        (Options(precision="fp16"), "unknown precision 'fp16'"),  # type: ignore[arg-type]
        (Options(attacks=("transfer",)), "part of every battery"),
        (Options(attacks=("pgd",)), "part of every battery"),
        (Options(attacks=("autoattack-rand",)), "use 'autoattack'"),
        (Options(norms=("linf",), attacks=("boundary",)), "'boundary' serves L2, not L∞"),
        (Options(goal="targeted", attacks=("autoattack",)), "cannot aim at a class"),
        (Options(norms=("linf",), eps=(0.1, 0.10000001)), "equal to six digits"),
    ],
)
def test_what_is_refused(options: Options, words: str) -> None:
    with pytest.raises(UserError) as error:
        evaluators("robustness", spec(), TRACK, Request(options=options))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_two_attacks_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text("def f(model, x, y, *, norm, eps, generator):\n    return x\n")
    twice = tuple(f"{tmp_path / folder / 'x.py'}:f" for folder in ("a", "b"))
    with pytest.raises(UserError, match=r"would both be called 'x\.py:f'"):
        battery(spec(), TRACK, Options(attacks=twice))


def test_a_noisy_model_has_no_least_likely_class(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    noisy = catalogue.resolve(parse(f"{tmp_path / 'noisy.py'}:build"), track="digits")
    with pytest.raises(UserError, match="its least likely class is another at each query"):
        battery(noisy, TRACK, Options(goal="least-likely"))
    assert battery(noisy, TRACK, Options(goal="targeted")).goal == "targeted"


def test_options_of_attacks_go_with_attacks() -> None:
    with pytest.raises(UserError, match="has no attacks"):
        evaluators("ood", spec(), TRACK, Request(options=Options(steps=3)))
    with pytest.raises(UserError, match="has one attack"):
        evaluators("distance", spec(), TRACK, Request(options=Options(attacks=("square",))))


def test_decision_attacks_need_foolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite leaves them out, and says so by its protocol; a name that is asked for says what to install."""
    monkeypatch.setattr(batteries, "find_spec", lambda name: None)
    made = battery(spec(), TRACK, Options())
    assert made.attacks == ("autoattack", "square")
    with pytest.raises(UserError, match="attack 'hopskipjump' needs foolbox: pip install"):
        battery(spec(), TRACK, Options(attacks=("hopskipjump",)))


def test_eps_of_a_user() -> None:
    made = battery(spec(), TRACK, Options(norms=("linf",), eps=(0.3, 0.05)))
    (grid,) = made.grids
    assert (grid.eps, grid.headline) == ((0.05, 0.3), 0.3)
    (grid,) = battery(spec(), TRACK, Options(norms=("linf",), eps=(0.3, 0.1))).grids
    assert grid.headline == 0.1


def test_one_protocol_for_all_models_and_one_for_each_refinement() -> None:
    """Otherwise no two rows could be ranked; and a model's own adversarials are not transferred to it."""
    hashes = set()
    for defence in (None, Defence(1), Defence(10)):
        made = []
        for name in ("jem", "softmax"):
            model = spec(name) if defence is None else catalogue.defended(spec(name), defence)
            made.append(plan(model, "robustness", track=TRACK))
            models = {job.model.name for job in made[-1].jobs}
            assert name not in models - {model.name}
            assert {"igebm", "glow-cond"} <= models
            assert "glow" not in models
        assert made[0].protocol_hash == made[1].protocol_hash
        hashes.add(made[0].protocol_hash)
    assert len(hashes) == 3


def test_every_chunk_comes_after_those_that_it_builds_on() -> None:
    for model in (spec(), catalogue.defended(spec(), Defence(1))):
        done: set[str] = set()
        for job in plan(model, "robustness", track=TRACK).jobs:
            assert job.before <= done
            done.add(job.key)


def test_a_key_depends_on_what_it_builds_on() -> None:
    """Weights of a surrogate are part of the identity of the worst case."""
    jobs = plan(spec(), "robustness", track=TRACK, request=Request(limit=20)).jobs
    worst = next(job for job in jobs if job.measurement.name == "worst" and job.before)
    from dataclasses import replace

    assert replace(worst, given=("0" * 64, *worst.given[1:])).key != worst.key


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from jembench import data; from jembench.engine.plan import plan; "
        "from jembench.zoo import catalogue as zoo, references; "
        "plan(zoo.resolve(references.parse('jem'), track='digits'), 'robustness', track=data.track('digits')); "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_every_attack_of_a_battery_serves_its_norms() -> None:
    made = battery(spec(), TRACK, Options(attacks=("PGDL2",)))
    for part in made.parts(TRACK):
        attack = getattr(part.need.measurement, "attack", None)
        if attack is not None and part.norm:
            assert part.norm in attack.norms
    assert attack_of("PGDL2").norms == ("l2",)


def test_detectors_go_with_detection() -> None:
    for suite in ("accuracy", "calibration", "generation", "robustness"):
        with pytest.raises(UserError, match=f"^suite '{suite}' detects nothing: "):
            evaluators(suite, spec(), TRACK, Request(detectors=("knn",)))
    with pytest.raises(UserError, match=r"did you mean 'knn'"):
        evaluators("ood", spec(), TRACK, Request(detectors=("kn",)))
    made = evaluators("ood", spec(), TRACK, Request(detectors=("knn", "vim", "knn")))
    assert [item.name for item in made] == ["ood", "detectors"]
    assert made == evaluators("ood", spec(), TRACK, Request(detectors=("knn", "vim")))  # each once
    assert [item.name for item in evaluators("ood", spec(), TRACK)] == ["ood"]


def test_evaluators_that_generate_look_through_the_extractor_of_the_track() -> None:
    for track, name in (("digits", "digits-ref"), ("gauss", "pixels")):
        model = catalogue.resolve(parse("uniform"), track=track)
        made = {item.name: item for item in evaluators("generation", model, data.track(track))}
        assert {item.extractor.name for item in made.values()} == {name}  # type: ignore[attr-defined]
        assert set(made) == {"generation", "chains"}
    assert [item.name for item in evaluators("hybrid", spec(), TRACK)] == ["accuracy", "generation"]


def test_photographs_meet_what_two_cores_carry_and_what_is_asked_for() -> None:
    """Every attack on them is of at most 200 images, and none of them runs AutoAttack unasked."""
    import torch

    track = data.track("cifar10")
    bare = catalogue.resolve(
        ModelRef("object", "m", module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))),
        track="cifar10",
    )
    for model in (bare, catalogue.defended(bare, Defence(1))):
        made = battery(model, track, Options())
        limits = [part.need.limit for part in made.parts(track) if part.need.measurement.name == "attacked"]
        assert limits
        assert max(limit or 10**6 for limit in limits) == made.images == 200
        assert "autoattack" not in made.attacks
        asked = battery(model, track, Options(steps=100))
        assert (asked.steps, asked.restarts) == (100, made.restarts)
    assert battery(bare, track, Options(attacks=("autoattack",))).attacks == ("square", "autoattack")
    assert battery(spec(), TRACK, Options()).images is None


@pytest.mark.parametrize(("track", "images"), [("digits", None), ("cifar10", 200)])
def test_the_nearest_adversarials_are_of_a_bounded_number_of_photographs(track: str, images: int | None) -> None:
    """A search of every test image would take hours where an image has thousands of pixels."""
    description = data.track(track)
    bare = catalogue.resolve(
        ModelRef("object", "m", module=nn.Sequential(nn.Flatten(), nn.Linear(math.prod(description.shape), 10))),
        track=track,
    )
    for model, n in ((bare, images), (catalogue.defended(bare, Defence(1)), 100)):
        (made,) = evaluators("distance", model, description)
        assert {need.limit for need in made.needs(description)} == {n}
