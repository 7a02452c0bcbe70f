"""A request survives its file; what a file says wrongly is one line."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench import api
from jembench.attacks.defences import Defence
from jembench.choices import runfile
from jembench.choices.request import Options, Request, Sampling
from jembench.cli.options import overridden
from jembench.types import UserError
from jembench.zoo.references import ModelRef, Normalisation, parse

words = st.text("abcdefghij-_", min_size=1, max_size=8)
odd = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)
unit = st.floats(0.001, 1)
numbers = st.lists(unit, min_size=1, max_size=3).map(tuple)


def maybe(strategy):
    return st.none() | strategy


scales = st.builds(Normalisation, maybe(numbers), maybe(numbers), maybe(st.just((0.0, 255.0))))
models = st.sampled_from(["jem", "net.py:build", "timm:resnet18", "jem@twin", "my/recipe.toml"]).map(parse)
settled = st.builds(
    lambda ref, key, scale, name: ref.with_weights(Path("w.pt")).adjusted(key=key, scale=scale, name=name),
    models, words, scales, words,
)  # fmt: skip
requests = st.builds(
    Request,
    models=st.lists(models | settled, max_size=3).map(tuple),
    suites=st.lists(words, min_size=1, max_size=2).map(tuple),
    track=words,
    data_dir=maybe(words.map(Path)),
    ood=st.dictionaries(odd, odd, max_size=2),
    protocol=words,
    defences=st.lists(st.builds(Defence, st.integers(0, 20), unit, st.integers(1, 9)), max_size=2).map(
        lambda each: tuple(each) or (None,)
    ),
    options=st.builds(Options, norms=maybe(st.just(("linf",))), eps=maybe(numbers), steps=maybe(st.integers(1, 9))),
    sampling=st.builds(Sampling, steps=maybe(st.integers(0, 9)), weights=maybe(words.map(Path)), keep_top=unit),
    trained_on=maybe(words),
    detectors=st.lists(words, max_size=2).map(tuple),
    scores=st.lists(words, max_size=2).map(tuple),
    seed=st.integers(-(2**40), 2**40),
    limit=maybe(st.integers(1, 10**6)),
    device=words,
    output=words.map(Path),
    workers=st.integers(1, 9),
)


@given(requests)
def test_what_is_written_is_what_is_read(request):
    content = tomllib.loads(runfile.written(request).decode())
    again = runfile.requested(content, "file")
    assert replace(again, ood=dict(again.ood)) == replace(request, ood=dict(request.ood))


def test_a_file_says_only_what_is_not_as_by_default():
    assert runfile.described(Request()) == {}
    assert runfile.described(Request(models=(parse("jem"),), limit=5)) == {"models": ["jem"], "limit": 5}
    assert runfile.described(Request(limit=5, workers=3), free=runfile.PLACE) == {"limit": 5}


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "net.py").write_text("")
    (tmp_path / "mine").mkdir()
    text = 'models = ["net.py:build", "jem"]\ntrack = "t.toml"\ndata_dir = "mine"\n'
    text += '[ood]\na = "mine"\nb = "torchvision:X"\n'
    (tmp_path / "run.toml").write_text("\ufeff" + text, encoding="utf-8")
    request = runfile.read(tmp_path / "run.toml")
    assert [str(ref) for ref in request.models] == [f"{tmp_path}/net.py:build", "jem"]
    assert request.data_dir == tmp_path / "mine"
    assert request.track == str(tmp_path / "t.toml")
    assert dict(request.ood) == {"a": f"{tmp_path}/mine", "b": "torchvision:X"}


BAD = {
    'modles = ["jem"]': "unknown key of a request 'modles'; did you mean 'models'?",
    "options = { stpes = 3 }": "unknown key of a options 'stpes'; did you mean 'steps'?",
    "models = [{ name = 'a' }]": "a model needs its 'reference'",
    "models = [{ reference = 'jem', nmae = 'a' }]": "did you mean 'name'?",
    "defences = [{ sigma = 0.1 }]": "'steps' is missing",
    "seed = 1.5": "seed must be a whole number",
    "limit = 0": "limit must be a whole number of at least 1",
    "sampling = 3": "a table of sampling is expected",
    "track = 3": "'track' is a text, not 3",
    "trained_on = 3": "'trained_on' is a text, not 3",
    'models = "jem"': "'models' is a list, not 'jem'",
    'suites = "accuracy"': "'suites' is a list, not 'accuracy'",
    "models = [3]": "a model is a reference, or a table with one, not 3",
    "models = [{ reference = 3 }]": "'reference' of a model is a text, not 3",
    "models = [{ reference = 'a.py:b', weights = 3 }]": "'weights' of a model is a text, not 3",
    "models =": "not a readable run file",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_file_is_one_line(tmp_path, text):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UserError) as error:
        runfile.read(tmp_path / "run.toml")
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_behind_a_model_are_relative_to_the_file_too(tmp_path):
    (tmp_path / "net.py").write_text("")
    (tmp_path / "w.pt").write_text("")
    (tmp_path / "run.toml").write_text('models = ["net.py:build@w.pt", { reference = "net.py:build", mean = 0.5 }]')
    one, other = runfile.read(tmp_path / "run.toml").models
    assert one == ModelRef("code", str(tmp_path / "net.py"), "build", tmp_path / "w.pt")
    assert other.scale == Normalisation(mean=(0.5,))


def test_a_model_object_has_no_text():
    with pytest.raises(UserError, match="is an object of this process"):
        runfile.written(Request(models=(ModelRef("object", "m", module=3),)))


def test_a_result_says_what_to_ask_for_again(tmp_path):
    request = Request(models=(parse("softmax"),), suites=("accuracy",), limit=20, seed=3, output=tmp_path / "a")
    (first,) = api.measure(request)
    for place in (first.folder, first.folder / "result.json"):
        (again,) = api.measure(replace(runfile.read(place), output=tmp_path / "b"))
        assert again.document.key == first.document.key
        assert again.document.metrics == first.document.metrics
    api.golden(request, tmp_path / "golden")
    with pytest.raises(UserError, match="the result does not say what was asked for"):
        runfile.read(tmp_path / "golden")


def test_what_is_typed_stands_in_place_of_what_the_file_says():
    base = Request(models=(parse("jem"),), limit=5, options=Options(steps=3, restarts=2))
    typed = Request(limit=7, options=Options(steps=9), seed=4)
    assert overridden(base, typed, {"limit", "steps"}) == replace(base, limit=7, options=Options(steps=9, restarts=2))
    assert overridden(base, typed, set()) == base
