"""A recipe is read whole or refused in one line that names the file and the key."""

import json

import pytest

from jembench import baselines, data, zoo
from jembench.identity import canonical
from jembench.recipes import Recipe, read_recipe
from jembench.types import UserError

SOFTMAX = """
track = "digits"
about = "a test"
[model]
kind = "softmax"
width = 4
[training]
iterations = 10
"""
JEM = SOFTMAX.replace("softmax", "jem") + "log_px = 1.0\n[sampling]\nsteps = 3\n"
SHIPPED = sorted(baselines.folder("digits").glob("*/recipe.toml"))


@pytest.fixture
def refused(tmp_path):
    def refuse(text):
        path = tmp_path / "recipe.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(UserError) as error:
            read_recipe(path)
        line = str(error.value)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        return line.removeprefix(f"{path}: ")

    return refuse


@pytest.fixture
def read(tmp_path):
    def reader(text):
        (tmp_path / "recipe.toml").write_text(text)
        return read_recipe(tmp_path / "recipe.toml")

    return reader


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_shipped_recipes_parse_and_build(path):
    recipe = read_recipe(path)
    track = data.track(recipe.track)
    assert track.name == path.parent.parent.name
    model = zoo.build(recipe, track)
    assert type(model).__name__.lower() == recipe.model.kind


def test_there_are_shipped_recipes():
    assert {path.parent.name for path in SHIPPED} >= {"jem", "softmax"}


@pytest.mark.parametrize("text", [SOFTMAX, JEM])
def test_a_recipe_is_its_json(read, text):
    """What a checkpoint knows its recipe by."""
    recipe = read(text)
    assert Recipe.model_validate(json.loads(canonical(recipe.model_dump(mode="json")))) == recipe


def test_defaults_are_the_papers_sampler_in_our_units(read):
    sampling = read(JEM).sampling
    assert sampling is not None
    assert (sampling.size, sampling.noise, sampling.restart, sampling.clamp) == (0.25, 0.005, 0.05, False)
    assert read(JEM).training.input_noise == 0.015


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("lerning_rate = 1e-3", "training.lerning_rate: Extra inputs"),
        ("batch = 0", "training.batch: "),
        ("batch = 1.5", "training.batch: "),
        ('batch = "many"', "training.batch: "),
        ("learning_rate = -1.0", "training.learning_rate: "),
        ("learning_rate = nan", "training.learning_rate: "),
        ("learning_rate = inf", "training.learning_rate: "),
        ("weight_decay = nan", "training.weight_decay: "),
        ("decay_at = [0.5, 1.5]", "training.decay_at.1: "),
        ("decay_at = 0.5", "training.decay_at: "),
        ("shift = -1", "training.shift: "),
        ("log_px = 1.0", "training.log_px > 0 needs model.kind = 'jem'"),
        ("[sampling]\nrestart = 2.0", "sampling.restart: "),
        ("[sampling]\nbuffer = 32", "training.batch must not exceed sampling.buffer"),
        ("[sampling]\nclamp = 7", "sampling.clamp: "),
        ("[sampler]", "sampler: Extra inputs"),
    ],
)
def test_unknown_keys_and_impossible_values_are_named(refused, line, key):
    assert key in refused(SOFTMAX + line + "\n")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('kind = "softmax"', 'kind = "glow"', "unknown model.kind 'glow' (known: "),
        ('kind = "softmax"', 'kind = "softmaxx"', "unknown model.kind 'softmaxx'; did you mean 'softmax'?"),
        ("width = 4", 'width = 4\nnetwork = "smal"', "unknown model.network 'smal'; did you mean 'small'?"),
        ('kind = "softmax"', 'kind = "jem"', "a jem needs a [sampling] part"),
        ("width = 4", "", "model.width: Field required"),
        ("width = 4", "width = 4\nstd = 0.0", "model.std: "),
        ("width = 4", "width = 4\nmean = nan", "model.mean: "),
        ('track = "digits"', "", "track: Field required"),
        ("[training]\niterations = 10", "", "training: Field required"),
    ],
)
def test_missing_keys_and_impossible_combinations_are_named(refused, old, new, key):
    assert old in SOFTMAX
    assert key in refused(SOFTMAX.replace(old, new))


@pytest.mark.parametrize("text", ["track = ", "[model", "a = 1\na = 2\n", b"\xff\xfe\0", '{"track": "digits"}'])
def test_what_is_not_toml_is_refused(refused, text):
    assert "not a readable recipe" in refused(text)


def test_a_recipe_may_be_asked_for_by_track(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(SOFTMAX)
    assert read_recipe(path, track="digits") == read_recipe(path)
    with pytest.raises(UserError, match="is a recipe of track 'digits', not 'gauss': use --track digits"):
        read_recipe(path, track="gauss")


def test_a_missing_file_and_a_folder_are_no_recipe(tmp_path):
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(UserError, match="not a readable recipe") as error:
            read_recipe(path)
        assert "\n" not in str(error.value)
