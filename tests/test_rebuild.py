"""Rebuild: every baseline of a track from its recipe, laid out as the baselines are; killed and resumed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from jembench import data, rebuild
from jembench.engine import bench
from jembench.engine.measure import measure
from jembench.pages.card import card
from jembench.pages.seeds import read_seeds
from jembench.rebuild import Setup
from jembench.store.history import Epoch, Rollback, read_history
from jembench.store.results import read_result
from jembench.training import loop
from jembench.training.run import Progress
from jembench.types import UserError
from jembench.zoo import baselines

TOML = """
track = "digits"
about = "a test"
[model]
kind = "softmax"
width = 2
[training]
iterations = 8
batch = 16
[supervisor]
snapshot_every = 2
[selection]
every = 4
"""
FILES = {"recipe.toml", "weights.safetensors", "training.json", "curve.png", "golden", "README.md"}


class Killed(Exception):
    """What stops a run from outside."""


class Watcher:
    """An observer that counts iterations by model, and may kill one."""

    def __init__(self, kill: tuple[str, int] | None = None) -> None:
        self.seen: dict[str, list[int]] = {}
        self.said: list[str] = []
        self.kill = kill
        self.name = ""

    @contextmanager
    def __call__(self, name: str) -> Iterator["Watcher"]:
        self.name = name
        self.seen[name] = []
        yield self

    def iterated(self, progress: Progress) -> None:
        self.seen[self.name].append(progress.iteration)
        if (self.name, progress.iteration) == self.kill:
            raise Killed

    def validated(self, epoch: Epoch, samples: object) -> None:
        pass

    def rolled_back(self, event: Rollback) -> None:
        pass


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recipes as the baselines of the track, measured on ten examples of every source; no time for curves."""
    for name in ("b", "a"):
        (tmp_path / "shelf" / name).mkdir(parents=True)
        (tmp_path / "shelf" / name / "recipe.toml").write_text(f"# {name}\n{TOML}")
    monkeypatch.setattr(baselines, "folder", lambda track: tmp_path / "shelf" if track == "digits" else tmp_path / "no")
    monkeypatch.setattr(rebuild, "measure", lambda request: measure(replace(request, limit=10)))
    monkeypatch.setattr(rebuild, "draw_curve", lambda folder: (folder / "curve.png").touch())
    return tmp_path / "shelf"


def make(output: Path, watcher: Watcher, *, resume: bool = False, setup: Setup | None = None) -> Watcher:
    setup = setup if setup is not None else Setup()
    rebuild.rebuild(data.track("digits"), output, setup=setup, resume=resume, watch=watcher, say=watcher.said.append)
    return watcher


def test_the_folder_is_laid_out_as_the_baselines(
    shelf: Path, tmp_path: Path, tree: Callable[[Path], dict[str, str]]
) -> None:
    (shelf / "a" / "NOTES.md").write_text("By hand.")
    watcher = make(tmp_path / "out", Watcher())
    assert watcher.seen == {name: list(range(1, 9)) for name in ("a", "b")}
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["a", "b"]
    for name, extra in (("a", {"NOTES.md"}), ("b", set())):
        folder = tmp_path / "out" / name
        assert {path.name for path in folder.iterdir()} == FILES | extra
        assert (folder / "recipe.toml").read_bytes() == (shelf / name / "recipe.toml").read_bytes()
        document = read_result(folder / "golden")
        assert (document.model.name, document.suite, document.limit) == (name, "all", 10)
        assert (folder / "README.md").read_text() == card(folder)
    assert "By hand." in (tmp_path / "out" / "a" / "README.md").read_text()
    assert watcher.said[0] == f"{tmp_path / 'out' / 'a'}: {rebuild.summary(tmp_path / 'out' / 'a')}"
    before = tree(tmp_path / "out")
    again = make(tmp_path / "out", Watcher(), resume=True)
    assert again.seen == {}
    assert tree(tmp_path / "out") == before


def test_a_killed_rebuild_goes_on(shelf: Path, tmp_path: Path) -> None:
    """What is finished is left as it is, and the killed run goes on from its snapshot."""
    with pytest.raises(Killed):
        make(tmp_path / "out", Watcher(kill=("b", 5)))
    with pytest.raises(UserError, match=r"a already holds a training run: .* or go on with --resume"):
        make(tmp_path / "out", Watcher())
    watcher = make(tmp_path / "out", Watcher(), resume=True)
    assert watcher.seen == {"b": [5, 6, 7, 8]}
    with Watcher()("b") as observer:
        whole = rebuild.fit(
            shelf / "b" / "recipe.toml",
            tmp_path / "whole",
            track=data.track("digits"),
            setup=Setup(),
            resume=False,
            observer=observer,
        )
    assert (tmp_path / "out" / "b" / "weights.safetensors").read_bytes() == whole.read_bytes()


def test_training_seeds_lie_aside_and_only_their_numbers_get_in(shelf: Path, tmp_path: Path) -> None:
    source = shelf / "b" / "recipe.toml"
    source.write_text(source.read_text().replace('about = "a test"', 'about = "a test"\nseeds = 3'))
    watcher = make(tmp_path / "out", Watcher())
    assert watcher.seen["b"] == list(range(1, 9))
    assert {path.name for path in (tmp_path / "out" / "b").iterdir()} == FILES | {"seeds.json"}
    assert sorted(path.name for path in (tmp_path / "out.seeds" / "b").iterdir()) == ["1", "2"]
    seeds = read_seeds(tmp_path / "out" / "b")
    assert [run.seed for run in seeds.runs] == [0, 1, 2]
    assert [read_history(tmp_path / "out.seeds" / "b" / str(seed)).seed for seed in (1, 2)] == [1, 2]
    assert "mean of 3 training seeds" in (tmp_path / "out" / "b" / "README.md").read_text()
    shutil.rmtree(tmp_path / "out")
    source.write_text(source.read_text().replace("iterations = 8", "iterations = 4"))
    with pytest.raises(UserError, match="holds a finished run of another recipe or seed"):
        make(tmp_path / "out", Watcher(), resume=True)
    assert not (tmp_path / "out" / "b").exists()


def test_a_kill_between_training_and_measuring(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bench, "run", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            make(tmp_path / "out", Watcher())
    assert make(tmp_path / "out", Watcher(), resume=True).seen.keys() == {"b"}
    assert (tmp_path / "out" / "a" / "golden" / "result.json").exists()


def test_the_seed_is_in_the_record_and_not_in_the_recipe(shelf: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", Watcher(), setup=Setup(seed=7))
    assert read_history(tmp_path / "out" / "a").seed == 7
    assert (tmp_path / "out" / "a" / "recipe.toml").read_bytes() == (shelf / "a" / "recipe.toml").read_bytes()
    with pytest.raises(UserError, match="a holds a finished run of another recipe or seed"):
        make(tmp_path / "out", Watcher(), resume=True)


def test_bad_input_is_refused_before_anything_is_trained(shelf: Path, tmp_path: Path) -> None:
    (shelf / "b" / "recipe.toml").write_text("track = 1")
    with pytest.raises(UserError, match=r"b/recipe\.toml: track"):
        make(tmp_path / "out", Watcher())
    with pytest.raises(UserError, match="seed must be a whole number of at least 0, not -1"):
        make(tmp_path / "out", Watcher(), setup=Setup(seed=-1))
    with pytest.raises(UserError, match="track gauss has no recipes to train"):
        rebuild.rebuild(data.track("gauss"), tmp_path / "out", setup=Setup(), resume=False, watch=Watcher(), say=print)
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_is_named(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(*_: object, **__: object) -> None:
        raise UserError("training diverged")

    monkeypatch.setattr(loop, "train", diverged)
    with pytest.raises(UserError, match=r"^a: training diverged$"):
        make(tmp_path / "out", Watcher())


def test_a_team_trains_one_recipe_at_a_time(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process group of the same ``torchrun`` never comes together."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="under torchrun, name one recipe"):
        make(tmp_path / "out", Watcher())
