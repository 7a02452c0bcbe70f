"""Baselines: where the named models are, in a clone as in a wheel (see test_wheel.py), and what they come with."""

from pathlib import Path

import pytest

from jembench import baselines
from jembench.recipes import read_recipe
from jembench.types import UserError
from jembench.weights import require_file


def test_the_shipped_models_are_small_and_whole() -> None:
    """Recipe, weights of less than 2 MB, golden result and card."""
    assert set(baselines.names("digits")) == {"jem", "softmax"}
    for name in baselines.names("digits"):
        folder = baselines.folder("digits") / name
        assert read_recipe(folder / baselines.RECIPE).track == "digits"
        assert (folder / baselines.WEIGHTS).stat().st_size < 2_000_000
        for file in (folder / "README.md", baselines.golden(name, track="digits") / "result.json"):
            require_file(file)


def test_what_is_packaged_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel carries its baselines inside; a clone has them beside the package."""
    package = tmp_path / "jembench"
    package.mkdir()
    monkeypatch.setattr(baselines, "__file__", str(package / "baselines.py"))
    assert baselines.folder("digits") == tmp_path / "baselines" / "digits"
    (package / "_baselines").mkdir()
    assert baselines.folder("digits") == package / "_baselines" / "digits"


def test_a_recipe_is_named_or_given_by_its_path(tmp_path: Path) -> None:
    named = baselines.recipe_path("jem", track="digits")
    assert baselines.recipe_path(str(named), track="gauss") == named
    with pytest.raises(UserError, match="did you mean 'jem'"):
        baselines.recipe_path("jme", track="digits")
    with pytest.raises(UserError, match="no such file"):
        baselines.recipe_path(str(tmp_path / "recipe.toml"), track="digits")
    with pytest.raises(UserError, match="is exact: it has no recipe and no weights"):
        baselines.recipe_path("oracle", track="gauss")


def test_all_golden_results_are_those_of_the_baselines() -> None:
    assert baselines.all_golden("digits") == [baselines.golden(name, track="digits") for name in ("jem", "softmax")]
    assert baselines.all_golden("gauss") == []


@pytest.mark.parametrize(("name", "track"), [("file.py:build", "digits"), ("oracle", "gauss")])
def test_a_model_without_golden_result_says_so(name: str, track: str) -> None:
    with pytest.raises(UserError, match="has no golden result: name a result to compare with by --golden FOLDER"):
        baselines.golden(name, track=track)
