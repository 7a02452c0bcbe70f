"""The journal: grids of the chains that it was given, and every value of a validation in the event files."""

import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from jembench.models.recipes import Recipe
from jembench.pages import journal as module
from jembench.pages.journal import Journal
from jembench.pages.pictures import grids, plots, style
from jembench.store.history import Epoch, Rollback, read_history
from jembench.training import loop
from jembench.training.events import Events
from jembench.types import UserError

RECIPE = Recipe.model_validate(
    {
        "track": "digits",
        "about": "a test",
        "model": {"kind": "jem", "width": 4},
        "objective": {"log_px": 1.0},
        "sampling": {"steps": 2, "buffer": 64},
        "training": {"iterations": 12, "batch": 32},
        "selection": {"every": 4},
    }
)


def epoch(iteration: int, **values: float | None) -> Epoch:
    return Epoch(iteration=iteration, values=values)


def rollback(iteration: int, back_to: int) -> Rollback:
    return Rollback(iteration=iteration, reason="the loss is nan", signals={}, back_to=back_to, change="less")


def samples(level: float = 0.5, n: int = 64) -> Tensor:
    return torch.full((n, 1, 8, 8), level)


def picture(folder: Path, iteration: int, images: Tensor) -> bytes:
    """The grid of images, below the name of the model and the iteration."""
    head = f"{folder.name} · persistent chains after {iteration:,} iterations"
    return style.render(grids.grid(images.numpy(), head=head))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "samples").glob("*"))


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(item.step, item.value) for item in events(folder).Scalars(tag)]


def test_a_run_is_written_down(tmp_path: Path) -> None:
    """What is on disk is what the observers were told."""
    seen: list[tuple[Epoch, Tensor | None]] = []

    class Listener(Journal):
        def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
            seen.append((epoch, samples))
            super().validated(epoch, samples)

    with Events(tmp_path) as written:
        loop.train(RECIPE, tmp_path, observers=[Listener(tmp_path, samples_every=8), written])
    module.draw_curve(tmp_path)
    assert [epoch.iteration for epoch, _ in seen] == [4, 8, 12]
    assert kept(tmp_path) == ["000008.png"]
    for name, (_, images) in (("samples.png", seen[2]), ("samples/000008.png", seen[1])):
        assert images.shape == (32, 1, 8, 8)
        iteration = 12 if name == "samples.png" else 8
        assert (tmp_path / name).read_bytes() == picture(tmp_path, iteration, images)
    found = read_history(tmp_path)
    for name in ("nll", "auroc_log_px"):
        expected = [(item.iteration, pytest.approx(item.values[name])) for item in found.epochs]
        assert scalars(tmp_path, f"validation/{name}") == expected
    losses = [(item.iteration, pytest.approx(item.values["train_loss"])) for item in found.epochs]
    assert scalars(tmp_path, "train/loss") == losses
    assert (tmp_path / "curve.png").read_bytes() == style.render(plots.curve(found, tmp_path.name))


def test_only_the_last_grid_is_kept_by_default(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for i, level in enumerate((0.2, 0.8), start=1):
        journal.validated(epoch(10 * i), samples(level))
    journal.validated(epoch(30), None)  # a model without chains
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
    assert (tmp_path / "samples.png").read_bytes() == picture(tmp_path, 20, samples(0.8))


def test_grids_are_kept_every_so_often_also_over_a_kill(tmp_path: Path) -> None:
    journal = Journal(tmp_path, samples_every=50)
    for iteration in range(17, 120, 17):
        journal.validated(epoch(iteration), samples())
    assert kept(tmp_path) == ["000051.png", "000102.png"]
    journal = Journal(tmp_path, samples_every=50)  # from a snapshot of iteration 60
    for iteration in range(68, 160, 17):
        journal.validated(epoch(iteration), samples())
    assert kept(tmp_path) == ["000051.png", "000102.png", "000153.png"]


def test_a_rollback_takes_back_what_was_given_up(tmp_path: Path) -> None:
    with Events(tmp_path) as written:
        for observer in (Journal(tmp_path, samples_every=10), written):
            for iteration in (10, 20, 30):
                observer.validated(epoch(iteration, nll=float(iteration), ece=None), samples(0.1))
            observer.rolled_back(rollback(33, back_to=10))
            observer.validated(epoch(20, nll=7.0), samples(0.9))
    assert kept(tmp_path) == ["000010.png", "000020.png"]
    assert (tmp_path / "samples" / "000020.png").read_bytes() == picture(tmp_path, 20, samples(0.9))
    assert scalars(tmp_path, "validation/nll") == [(10, 10.0), (20, 7.0)]
    found = events(tmp_path)
    assert found.Tags()["scalars"] == ["validation/nll"]
    (text,) = found.Tensors("rollback/text_summary")
    assert text.tensor_proto.string_val == [b"at 33: the loss is nan; back to 10, less"]


def test_a_rollback_before_anything_was_seen(tmp_path: Path) -> None:
    with Events(tmp_path) as written:
        written.rolled_back(rollback(7, back_to=0))
    assert events(tmp_path).Tags()["tensors"] == ["rollback/text_summary"]
    Journal(tmp_path / "none").rolled_back(rollback(7, back_to=0))
    assert not (tmp_path / "none").exists()


def test_without_tensorboard_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'jembench\[tensorboard\]'"):
        Events(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("every", [0, -3])
def test_samples_cannot_be_kept_every_zero_iterations(tmp_path: Path, every: int) -> None:
    with pytest.raises(UserError, match=f"at least 1, not {every}"):
        Journal(tmp_path, samples_every=every)
