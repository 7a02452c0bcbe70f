"""The worked package of tests/plugin joins every family; broken ones are named, and the rest goes on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jembench import api, data
from jembench.attacks import ATTACKS
from jembench.choices.protocols import PROTOCOLS
from jembench.data import TRACKS
from jembench.evaluators import EVALUATORS
from jembench.measurements import MEASUREMENTS
from jembench.measurements.detector import DETECTORS
from jembench.metrics.scores import SCORES
from jembench.types import UserError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The package, built and installed as pip does, in a folder of its own."""
    place = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(place), str(PACKAGE)],
        check=True,
        timeout=120,
    )
    return place


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))


FAMILIES = {
    "stripes": TRACKS,
    "brightness": MEASUREMENTS,
    "exposure": EVALUATORS,
    "margin": SCORES,
    "energy": DETECTORS,
    "darken": ATTACKS,
    "accuracy-only": PROTOCOLS,
}


def test_each_kind_joins_its_family_by_name(installed):
    for name, family in FAMILIES.items():
        assert name in family
        assert family.about(name) == "of jembench-example 1.2"
        family[name]
        assert name not in list(family)  # whoever goes through a family meets ours alone
        assert family.lines()[name] == "of jembench-example 1.2"


def test_nothing_joins_that_is_not_installed():
    for name, family in FAMILIES.items():
        assert name not in family
        with pytest.raises(UserError, match="unknown"):
            family[name]


def measured(tmp_path, model="softmax", suite="accuracy", **options):
    (result,) = api.measure(
        api.Request(models=(api.parse(model),), suites=(suite,), output=tmp_path / "runs", limit=20, **options)
    )
    assert result.document.plugins == {"jembench-example": "1.2"}
    return result


def test_its_track_is_measured(tmp_path, installed):
    result = measured(tmp_path, model="uniform", suite="generation", track="stripes")
    assert result.document.track == "stripes-v1"
    assert len(data.images(data.track("stripes"), "checks")) == 60


def test_its_model_is_measured(tmp_path, installed):
    result = measured(tmp_path, model="nearest")
    assert result.document.model.name == "nearest"


def test_its_evaluator_is_a_suite(tmp_path, installed):
    result = measured(tmp_path, suite="exposure")
    expected = data.load("digits", "test").pixels(0, 20).reshape(20, -1).mean(1).mean()
    assert result.metrics["test/brightness"].value == pytest.approx(float(expected), abs=1e-6)
    assert "exposure · digits-v1" in result.to_markdown()


def test_its_score_stands_beside_ours(tmp_path, installed):
    result = measured(tmp_path, suite="ood", scores=("margin",))
    own = result.metrics["textures/margin/auroc"]
    plain = api.evaluate("softmax", "ood", output=tmp_path / "runs", limit=20)
    assert plain.document.protocol_hash != result.document.protocol_hash
    assert not plain.document.plugins
    assert {key: each for key, each in result.metrics.items() if "margin" not in key} == plain.metrics
    f = {s: np.sort(_logits(result, s), axis=1) for s in ("test", "textures")}
    score = {s: values[:, -1] - values[:, -2] for s, values in f.items()}
    wins = (score["test"][:, None] > score["textures"]).mean() + 0.5 * (
        score["test"][:, None] == score["textures"]
    ).mean()
    assert own.value == pytest.approx(wins)


def _logits(result, source):
    from jembench.measurements.contract import Need
    from jembench.measurements.logits import Logits

    need = Need(Logits(), source)
    return result.evaluation.columns(need)[need]["logits"]


def test_its_detector_is_asked_for_by_name(tmp_path, installed):
    result = measured(tmp_path, suite="ood", detectors=("energy",))
    energy, log_px = (result.metrics[f"textures/{name}/auroc"].value for name in ("energy", "log_px"))
    assert energy == pytest.approx(log_px)  # the energy of a classifier is -log p(x)


def test_its_attack_is_asked_for_by_name(tmp_path, installed):
    options = api.Options(norms=("linf",), eps=(0.1,), attacks=("darken",), steps=1, restarts=1)
    result = measured(tmp_path, suite="robustness", options=options)
    assert any("darken" in key for key in result.metrics)


def test_its_protocol_is_asked_for_by_name(tmp_path, installed):
    result = measured(tmp_path, suite="all", protocol="accuracy-only")
    assert set(result.metrics) == {"test/accuracy"}


def package(folder, name, entries, code=""):
    """An installed package by hand: its metadata and one module."""
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = []
    for group, line in entries:
        lines += [f"[{group}]", line]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / f"{name}.py").write_text(code)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    place = tmp_path / "broken"
    package(place, "lost", [("jembench.scores", "gone = nowhere_at_all:X")])
    package(place, "failing", [("jembench.scores", "boom = failing:X")], "raise RuntimeError('two\\nlines')")
    package(place, "wrong", [("jembench.scores", "number = wrong:X")], "X = 3")
    package(place, "clash", [("jembench.scores", "log_px = clash:X"), ("jembench.tracks", "digits = clash:X")], "X = 3")
    package(place, "twin_a", [("jembench.scores", "same = twin_a:X")], "X = 3")
    package(place, "twin_b", [("jembench.scores", "same = twin_b:X")], "X = 3")
    monkeypatch.syspath_prepend(str(place))
    return place


BROKEN = {
    "gone": r"plug-in 'gone' \(jembench.scores\) of lost 0.1 cannot be loaded: ModuleNotFoundError",
    "boom": r"plug-in 'boom' \(jembench.scores\) of failing 0.1 cannot be loaded: RuntimeError: two lines",
    "number": r"plug-in 'number' \(jembench.scores\) of wrong 0.1 is a int, which is no score",
    "same": r"two plug-ins are called 'same': .*twin_a 0.1, .*twin_b 0.1: uninstall one",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_named_where_it_is_asked_for(broken, installed, name):
    with pytest.raises(UserError, match=BROKEN[name]) as error:
        SCORES[name]
    assert "\n" not in str(error.value)
    assert SCORES["margin"].name == "margin"  # of the package that works


def test_ours_stay_and_a_list_names_what_is_broken(broken, installed, tmp_path):
    assert SCORES["log_px"].name == "log_px"
    assert data.track("digits").name == "digits"
    lines = SCORES.lines()
    assert lines["margin"] == "of jembench-example 1.2"
    assert "'log_px' is one of jembench's, which stays" in lines["log_px (broken)"]
    assert {f"{name} (broken)" for name in BROKEN} <= set(lines)
    plain = api.evaluate("softmax", "accuracy", output=tmp_path / "runs", limit=20)
    assert not plain.document.plugins


def test_on_the_command_line(broken, site, tmp_path):
    path = f"{site}:{broken}"

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "jembench", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{path}:{ROOT}"},
        )

    listed = run("list", "scores")
    assert listed.returncode == 0
    assert "of jembench-example 1.2" in listed.stdout
    assert "boom (broken)" in listed.stdout
    refused = run("run", "-m", "softmax", "-s", "ood", "--limit", "10", "--score", "boom")
    assert refused.returncode == 2
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("jembench: "))
    assert line.startswith("jembench: plug-in 'boom'")
    works = run("run", "-q", "-m", "nearest", "-s", "exposure", "--limit", "10", "-f", "json")
    assert works.returncode == 0
    assert json.loads(works.stdout)[0]["plugins"] == {"jembench-example": "1.2"}


def test_a_plan_of_ours_is_the_same_whatever_is_installed(broken, installed):
    from jembench.engine.measure import planned

    request = api.Request(models=(api.parse("softmax"),), suites=("all",), limit=20)
    golden = json.loads((ROOT / "baselines/digits/softmax/golden/result.json").read_text())
    (whole,) = planned(replace(request, limit=golden["limit"], suites=(golden["suite"],)))
    assert whole.protocol_hash == golden["protocol_hash"]
