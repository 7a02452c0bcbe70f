"""Own data on the command line: a track from a file, files to train on, shared images, run files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jembench import data

TOML = 'name = "halves"\nsize = 8\nclasses = 2\ntrain = "train.npz"\ntest = "test.npz"\n\n[ood]\nnoise = "noise.npz"\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A track of two classes, bright above or below."""
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, n in (("train", 60), ("test", 30)):
        rng = np.random.default_rng(n)
        y = np.arange(n) % 2
        x = rng.integers(0, 80, (n, 8, 8, 3))
        for image, label in zip(x, y, strict=True):
            image[4 * label : 4 * label + 4] += 150
        np.savez(f"{name}.npz", images=x.astype(np.uint8), labels=y)
    np.savez("noise.npz", images=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
    Path("halves.toml").write_text(TOML)
    Path("net.py").write_text(
        "import torch\nfrom torch import nn\n\nclass Halves(nn.Module):\n    def forward(self, x):\n"
        "        return 20 * torch.stack([x[:, :, :4].mean((1, 2, 3)), x[:, :, 4:].mean((1, 2, 3))], 1)\n"
    )
    return folder


def test_a_track_is_checked_and_measured_and_has_a_leaderboard(place, call):
    answer = call("track", "check", "halves.toml", "--picture", "sets.png")
    assert answer.code == 0, answer.err
    assert "halves-v1: 8x8, 3 channels, 256 levels, 2 classes; extractor pixels" in answer.out
    with Image.open("sets.png") as picture:
        assert picture.width > 8 * 10
    answer = call("check", "net.py:Halves", "--track", "halves.toml")
    assert (answer.code, answer.out) == (0, "net.Halves: nothing found by 10 checks of 128 images\n")
    measured = ("-m", "net.py:Halves", "-t", "halves.toml", "-s", "all", "--limit", "20", "-q")
    assert call("run", *measured, "-o", "runs").code == 0
    answer = call("leaderboard", "--track", "halves.toml", "--results", "runs", "--output", "boards")
    assert answer.code == 0, answer.err
    board = Path("boards/halves.md").read_text()
    assert "net.Halves" in board
    assert str(place) not in board
    assert "from results of a user; do not edit" in board
    assert call("golden", *measured, "--store", "runs", "-o", "gold.zip").code == 0
    assert call("gate", "--baseline", "gold.zip", "-m", "net.py:Halves", "-t", "halves.toml", "-o", "runs").code == 0


def test_an_extractor_is_trained_once(place, call):
    assert call("track", "extractor", "halves.toml", "--iterations", "2", "-q").code == 0
    assert data.track("halves.toml").extractor == "halves-ref"
    answer = call("track", "extractor", "halves.toml", "--iterations", "2", "-q")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert call("track", "extractor", "digits").code == 2


def test_a_run_file_is_written_and_run(place, call):
    options = ("-m", "net.py:Halves", "-t", "halves.toml", "-s", "accuracy", "-o", "runs")
    assert call("run", *options, "--save-config", "run.toml").code == 0
    answer = call("run", *options, "--save-config", "run.toml")
    assert (answer.code, answer.err) == (2, "jembench: run.toml is there already: choose another file\n")
    assert "all 1 chunks reused" in call("run", "run.toml").out
    assert "limit" not in Path("run.toml").read_text()
    assert "nothing reused" in call("run", "run.toml", "--limit", "5").out


def test_export_and_overlap(place, call):
    assert call("data", "export", "--track", "digits", "--split", "train", "train_of_digits.npz").code == 0
    answer = call("data", "overlap", "train_of_digits.npz")
    assert answer.code == 0, answer.out
    assert call("data", "export", "--split", "test", "test_of_digits.npz").code == 0
    assert call("data", "overlap", "test_of_digits.npz").code == 1
    assert call("data", "export", "--split", "tets", "x.npz").code == 2
