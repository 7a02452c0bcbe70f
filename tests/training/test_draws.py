"""Chains on CUDA graphs, on a CPU: what jembench asks of torch, and what torch may rely on. The replay is torch's."""

import copy

import pytest
import torch

from jembench import data
from jembench.models.recipes import Recipe
from jembench.training import run as runs
from jembench.training.draws import GraphedEnergy
from jembench.training.supervisor import Signals
from jembench.training.team import Team

CHANGES = {
    "jem": {"optimiser": {"ema": 0.9, "sam": 0.05}},
    "conditional": {"objective": {"log_px": 0.0, "log_px_y": 1.0}},
    "bf16": {"sampling": {"steps": 3, "buffer": 64, "precision": "bf16", "clamp": True}},
    "igebm": {
        "model": {"kind": "igebm", "network": "residual", "width": 2},
        "objective": {"log_py_x": 0.0, "log_px_y": 1.0},
    },
}


def alone(changes, folder):
    content = {
        "track": "digits",
        "about": "a test",
        "model": {"kind": "jem", "width": 4},
        "objective": {"log_px": 1.0},
        "sampling": {"steps": 3, "buffer": 64},
        "training": {"iterations": 12, "batch": 8},
        **changes,
    }
    return runs.Run(Recipe.model_validate(content), data.track("digits"), torch.device("cpu"), Team(), folder)


@pytest.fixture
def captures(monkeypatch):
    """The names of the densities for which torch is asked to make graphs; the stand-in computes them as they are."""
    names = []

    def make(density, sample):
        x, *labels = sample
        assert x.is_leaf
        assert x.requires_grad
        assert not torch.is_autocast_cache_enabled()
        names.append((density.__name__, torch.is_autocast_enabled("cpu")))

        def replay(images, *classes):
            assert images.shape == x.shape
            assert images.data_ptr() != x.data_ptr()
            assert [y.shape for y in classes] == [y.shape for y in labels]
            return density(images, *classes)

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    return names


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_on_graphs_ends_in_the_same_weights_and_captures_once(name, captures, tmp_path):
    one, other = (alone(CHANGES[name], tmp_path / run) for run in ("one", "other"))
    other.energy = GraphedEnergy(other.model)
    for _ in range(3):
        one.iterate(), other.iterate()
    other.load(copy.deepcopy(one.state()))  # as after a rollback
    one.iterate(), other.iterate()
    for key, value in one.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[key], value), key
    assert torch.equal(one.buffer.images, other.buffer.images)
    conditional = one.settings.objective.log_px_y > 0
    assert captures == [("log_conditional" if conditional else "log_density", name == "bf16")]


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_weights_leaves_them_where_they_are(name, tmp_path):
    """A graph reads them there: updates, sharpening, averages, validation, snapshots and rollbacks."""
    run = alone(CHANGES[name], tmp_path)
    places = [part.data_ptr() for part in (*run.model.parameters(), *run.model.buffers())]
    run.begin(resume=False)
    run.iterate()
    run.keep()
    run.validate()
    run.roll_back("a test", Signals(loss=float("nan"), gradient=1.0))
    run.iterate()
    assert [part.data_ptr() for part in (*run.model.parameters(), *run.model.buffers())] == places


def test_what_cannot_be_captured_is_run_as_it_is_and_said_once(monkeypatch, tmp_path):
    def refuse(*_):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    one, other = (alone({}, tmp_path / name) for name in ("one", "other"))
    other.energy = GraphedEnergy(other.model)
    with pytest.warns(UserWarning, match="not permitted when stream"):
        other.iterate()
    other.iterate()  # a warning is an error
    one.iterate(), one.iterate()
    assert torch.equal(one.buffer.images, other.buffer.images)


def test_on_a_cpu_nothing_is_captured(captures, tmp_path):
    run = alone({}, tmp_path)
    run.iterate()
    assert run.energy is None
    assert captures == []
