"""References: every form of a model's name is read once, and written as it was."""

from pathlib import Path

import pytest

from jembench.zoo.references import ModelRef, parse


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("jem", ModelRef("baseline", "jem")),
        ("jem@twin", ModelRef("baseline", "jem", twin=True)),
        ("jem@other", ModelRef("baseline", "jem@other")),
        ("my/recipe.toml", ModelRef("recipe", "my/recipe.toml")),
        ("timm:resnet18.a1_in1k", ModelRef("library", "timm", "resnet18.a1_in1k")),
        ("robustbench:L2/Rice2020Overfitting", ModelRef("library", "robustbench", "L2/Rice2020Overfitting")),
        ("my/net.py:build", ModelRef("code", "my/net.py", "build")),
        ("package.module:build", ModelRef("code", "package.module", "build")),
        ("c:/odd.toml", ModelRef("recipe", "c:/odd.toml")),
    ],
)
def test_a_text_is_read_once_and_written_as_it_was(text: str, ref: ModelRef) -> None:
    assert parse(text) == ref
    assert str(ref) == text
    weights = Path("w.safetensors")
    assert parse(text, weights=weights) == ref.with_weights(weights)


def test_a_folder_with_a_recipe_is_that_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    assert parse(str(tmp_path / "mine")).form == "baseline"
    (tmp_path / "mine" / "recipe.toml").touch()
    assert parse(str(tmp_path / "mine")) == ModelRef("recipe", str(tmp_path / "mine" / "recipe.toml"))
    monkeypatch.chdir(tmp_path)
    assert parse("mine").form == "baseline"  # a name is a baseline's; ./mine is the folder
    assert parse("./mine").form == "recipe"
