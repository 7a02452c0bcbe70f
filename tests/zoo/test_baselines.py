"""Baselines: where the named models are, in a clone as in a wheel (see test_wheel.py), and what they come with."""

from pathlib import Path

import pytest
import torch
from torch import nn

from jembench import data
from jembench.attacks.pgd import pgd
from jembench.choices import batteries
from jembench.ground import generators
from jembench.ground.identity import file_sha256
from jembench.metrics.scores import PAPER
from jembench.models.recipes import read_recipe
from jembench.pages.card import card
from jembench.pages.seeds import read_seeds
from jembench.pages.tables.figures import brief
from jembench.store.history import read_history
from jembench.store.results import read_result
from jembench.types import UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import parse

DIGITS = ("glow", "glow-cond", "igebm", "jem", "jem-ssl", "jempp", "sadajem", "softmax", "softmax-10", "softmax-adv")


def test_the_cast_is_complete() -> None:
    assert tuple(baselines.recipes("digits")) == DIGITS
    assert tuple(baselines.names("digits")) == (*baselines.REFERENCES, *DIGITS)


@pytest.mark.parametrize("name", DIGITS)
def test_a_shipped_model_is_small_and_whole(name: str) -> None:
    """Recipe, weights of less than 1 MB, and the record, golden result, seeds and card that belong to them."""
    folder = baselines.folder("digits") / name
    recipe = read_recipe(folder / baselines.RECIPE)
    assert recipe.track == "digits"
    assert (folder / baselines.WEIGHTS).stat().st_size < 1_000_000
    history = read_history(folder)
    assert (history.recipe, history.seed) == (recipe.identity, recipe.training.seed)
    assert history.iterations == recipe.training.iterations
    assert history.rollbacks == []  # healthy runs: the supervisor raised no alarm
    document = read_result(folder / baselines.GOLDEN)
    assert document.model.weights_sha256 == file_sha256(folder / baselines.WEIGHTS)
    assert document.model.fingerprint == catalogue.resolve(parse(name), track="digits").fingerprint
    assert {item.jembench for item in document.provenance.environments} == {history.environment.jembench}
    seeds = read_seeds(folder)
    assert recipe.seeds == (1 if seeds is None else len(seeds.runs))
    assert card(folder) == (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["jem", "jempp", "sadajem", "softmax"])
def test_who_has_all_labels_knows_the_digits(name: str) -> None:
    metric = read_result(baselines.golden(parse(name), track="digits")).metric("test/accuracy")
    assert metric.value >= 0.97


def test_the_readme_shows_the_numbers_of_the_shipped_weights() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    document = read_result(baselines.golden(parse("jem"), track="digits"))
    for score in PAPER:
        (line,) = [line for line in lines if line.startswith(f"{score.title} ")]
        sources = ["mean", *(source.name for source in data.track("digits").ood)]
        metrics = [document.metric(f"{source}/{score.name}/auroc") for source in sources]
        assert line.split()[-7:] == [brief(metric) for metric in metrics if metric is not None]


def test_the_robust_reference_is_robust() -> None:
    """Accuracy on test images under PGD-20 in the L-infinity ball of 0.1, the worst of two random starts."""
    model = catalogue.load(catalogue.resolve(parse("softmax-adv"), track="digits"))
    test = data.load("digits", "test")
    x, y = torch.from_numpy(test.pixels()), torch.from_numpy(test.labels)
    kept = torch.ones(len(y), dtype=torch.bool)
    for start in range(2):
        moved = pgd(
            lambda images: nn.functional.cross_entropy(model.logits(images), y, reduction="none"),
            x,
            norm="linf",
            eps=0.1,
            steps=20,
            size=0.025,
            generator=generators.generator("robust", start),
        )
        kept &= model.logits(moved).argmax(1) == y
    assert kept.float().mean() >= 0.85


def test_what_is_packaged_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel carries its baselines inside; a clone has them beside the package."""
    package = tmp_path / "jembench"
    package.mkdir()
    monkeypatch.setattr(baselines, "__file__", str(package / "zoo" / "baselines.py"))
    assert baselines.folder("digits") == tmp_path / "baselines" / "digits"
    (package / "_baselines").mkdir()
    assert baselines.folder("digits") == package / "_baselines" / "digits"


def test_what_no_wheel_carries_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the line says where it goes, and suite robustness is not measured without its transfer attacks."""
    there = baselines.folder("cifar10")
    package = tmp_path / "jembench"
    (package / "_baselines").mkdir(parents=True)
    monkeypatch.setattr(baselines, "__file__", str(package / "zoo" / "baselines.py"))
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "baselines" / "cifar10"
    assert baselines.folder("cifar10") == place
    assert baselines.absent("digits") == baselines.absent("svhn") == ""
    with pytest.raises(
        UserError, match=f"^model 'jem': the baselines of track cifar10 are not in a wheel.* at {place}$"
    ):
        baselines.recipe_path("jem", track="cifar10")
    with pytest.raises(UserError, match=f"suite robustness: .* at {place}$"):
        batteries.surrogates(data.track("cifar10"))
    place.parent.mkdir(parents=True)
    place.symlink_to(there)
    assert baselines.recipe_path("jem", track="cifar10") == place / "jem" / baselines.RECIPE
    assert {each.name for each in batteries.surrogates(data.track("cifar10"))} == {"jem", "softmax", "softmax-adv"}


def test_a_recipe_is_named_or_given_by_its_path(tmp_path: Path) -> None:
    named = baselines.recipe_path("jem", track="digits")
    assert baselines.recipe_of(parse(str(named)), track="gauss") == named
    with pytest.raises(UserError, match="did you mean 'jem'"):
        baselines.recipe_path("jme", track="digits")
    with pytest.raises(UserError, match="no such file"):
        baselines.recipe_of(parse(str(tmp_path / "recipe.toml")), track="digits")
    with pytest.raises(UserError, match="is exact: it has no recipe and no weights"):
        baselines.recipe_path("oracle", track="gauss")


def test_all_golden_results_are_those_of_the_baselines() -> None:
    assert baselines.all_golden("digits") == [baselines.golden(parse(name), track="digits") for name in DIGITS]
    assert baselines.all_golden("gauss") == []


@pytest.mark.parametrize(("name", "track"), [("file.py:build", "digits"), ("oracle", "gauss")])
def test_a_model_without_golden_result_says_so(name: str, track: str) -> None:
    with pytest.raises(UserError, match="has no golden result: name a result to compare with by --baseline FILE"):
        baselines.golden(parse(name), track=track)
