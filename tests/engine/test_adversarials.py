"""Saved adversarials: verified anew by the command line, and a file from a stranger is believed in nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jembench import data
from jembench.choices import evaluators
from jembench.data.sets import Grid
from jembench.engine import adversarials
from jembench.store.records import Store
from jembench.types import UserError

TRACK = data.track("digits")
SMALL: dict[str, Any] = {
    "attacks": ("square",),
    "queries": 20,
    "steps": 5,
    "restarts": 1,
    "subset": 10,
    "grids": (Grid("linf", (0.1,), 0.1), Grid("l2", (0.5,), 0.5)),
    "surrogates": (),
    "sigma": 0.0,
}


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]) -> tuple[Path, Any]:
    """The file of a small run on softmax, with the answer of the command."""
    made = evaluators.battery
    monkeypatch.setattr(
        evaluators, "battery", lambda *arguments, **options: replace(made(*arguments, **options), **SMALL)
    )
    answer = call(
        *("run", "--model", "softmax", "--suite", "robustness", "--limit", "16", "--output", tmp_path / "runs"),
        *("--save-adversarials", tmp_path / "kept", "--format", "json"),
    )
    assert answer.code == 0, answer.err
    return tmp_path / "kept" / "softmax.safetensors", answer


def test_what_is_saved_is_what_was_measured(saved: tuple[Path, Any], call: Callable[..., Any]) -> None:
    path, answer = saved
    (document,) = json.loads(answer.out)
    metrics = {
        "/".join(p for p in (m["source"], m["variant"], m["name"]) if p): m["value"] for m in document["metrics"]
    }
    header, tensors = adversarials.read(path, TRACK)
    assert [ball.name for ball in header.balls] == ["linf-0.1", "l2-0.5"]
    clean = data.load("digits", "test").pixels(0, 16)
    delta = np.abs(tensors["linf-0.1/images"] - clean[tensors["linf-0.1/index"]])
    assert delta.max() <= 0.1 + 1e-6
    again = call("verify-adversarials", path, "--model", "softmax")
    assert again.code == 0
    for ball in ("linf-0.1", "l2-0.5"):
        value = metrics[f"test/{ball}/worst/robust_accuracy"]
        (line,) = [line for line in again.out.splitlines() if line.startswith(ball)]
        assert line.split()[1:3] == ["16", "16"]
        assert f"{value:.3f}" in line
    other = call("verify-adversarials", path, "--model", "softmax-adv")  # adversarials of another model do less
    assert float(other.out.splitlines()[2].split()[3]) > metrics["test/linf-0.1/worst/robust_accuracy"]
    behind = call("verify-adversarials", path, "--model", "softmax", "--refine", "1", "--draws", "3")
    assert behind.code == 0
    assert "softmax-refine-1" in behind.out
    both = call("verify-adversarials", path, "--model", "softmax", "--refine", "1", "--smooth", "0.25")
    assert both.code == 2
    assert "choose --refine or --smooth" in both.err


def test_pictures_are_drawn_once(saved: tuple[Path, Any], tmp_path: Path) -> None:
    from PIL import Image

    runs = tmp_path / "runs"
    with Image.open(runs / "softmax-digits-robustness" / "robustness.png") as picture:
        assert picture.size[0] > 500
    assert not list(runs.rglob("*.svg"))
    (pairs,) = runs.glob("softmax-digits-robustness/adversarials.png")
    with Image.open(pairs) as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 500
    assert Store.open(runs).root.exists()


def broken(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """The file with something changed."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        header = json.loads(file.metadata()["jembench"])
    tensors = load_file(path)
    change(header, tensors)
    target = path.with_name("changed.safetensors")
    save_file(tensors, target, metadata={"jembench": json.dumps(header)})
    return target


def moved(header: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["linf-0.1/images"] = (tensors["linf-0.1/images"] + 0.01).astype(np.float32)


def test_an_image_out_of_its_ball_is_told(saved: tuple[Path, Any], call: Callable[..., Any]) -> None:
    answer = call("verify-adversarials", broken(saved[0], moved), "--model", "softmax")
    assert answer.code == 1
    assert "not all adversarials are in their ball" in answer.err


def eps(header: dict[str, Any], tensors: dict[str, Any]) -> None:
    header["balls"][0]["eps"] = 8.0


def images(header: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["linf-0.1/images"] = tensors["linf-0.1/images"][:, :, :4]


def index(header: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["linf-0.1/index"] = tensors["linf-0.1/index"] + 400


def absent(header: dict[str, Any], tensors: dict[str, Any]) -> None:
    del tensors["l2-0.5/target"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (eps, "outside of the L∞ threat model"),
        (images, "images of linf-0.1 are float32"),
        (index, "index of linf-0.1 must be 16 whole numbers in 0..359"),
        (absent, "lacks tensors of l2-0.5"),
        (lambda header, tensors: header.update(track="digits-v9"), "adversarials of track digits-v9"),
        (lambda header, tensors: header.update(sha256="0" * 64), "of other images than digits-v1"),
        (lambda header, tensors: header.update(extra=1), "not a valid file of adversarials"),
    ],
    ids=["eps", "shape", "index", "absent", "track", "hash", "extra"],
)
def test_a_file_that_does_not_fit_is_one_line(
    change: Any, words: str, saved: tuple[Path, Any], call: Callable[..., Any]
) -> None:
    answer = call("verify-adversarials", broken(saved[0], change), "--model", "softmax")
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_other_files_are_no_adversarials(tmp_path: Path) -> None:
    save_file({"x": np.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="holds no adversarials"):
        adversarials.read(tmp_path / "weights.safetensors", TRACK)
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        adversarials.read(tmp_path / "pickle.safetensors", TRACK)
    with pytest.raises(UserError, match="no such file"):
        adversarials.read(tmp_path / "absent", TRACK)
