"""The pages of docs/: every block runs, or says why not; every command line is one that jembench takes.

A block runs in order with those before it on its page, in a folder where a reader would be: with `net.py`, its weights
and results of before. What is not run has a comment above the block, `<!-- not run: REASON -->`; what takes a minute
has `<!-- slow: REASON -->` and runs under `tox -e slow`.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

from jembench import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (not run|slow): ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
KINDS = {"python", "sh", "toml", "yaml", "text", "diff", "mermaid", ""}
NET = """
from torch import nn


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


class Block(NamedTuple):
    """A block of a page: whether it is left out, why, its language, its content."""

    mark: str
    reason: str
    kind: str
    content: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def lines(block: Block) -> list[list[str]]:
    """The words of each command of a block."""
    commands = [command for line in block.content.splitlines() for command in line.split(" && ")]
    return [words for command in commands if (words := shlex.split(command, comments=True))]


def runnable(page: Path, mark: str) -> bool:
    return any(block.kind in ("sh", "python") and block.mark == mark for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_has_a_language_and_every_command_line_is_one_that_jembench_takes(page: Path) -> None:
    command = typer.main.get_command(cli.app)
    for block in blocks(page):
        assert block.kind in KINDS
        assert bool(block.mark) == bool(block.reason)
        if block.kind == "toml":
            tomllib.loads(block.content)
        if block.kind == "python":
            compile(block.content, page.name, "exec")
        for words in lines(block) if block.kind == "sh" else ():
            if words[0] == "jembench":
                parsed(command, words[1:])


def parsed(command: Any, words: list[str]) -> None:
    """Read words as the command line does, and run nothing."""
    context = command.make_context("jembench", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not rest:
            return
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)


def test_an_option_that_there_is_not_is_noticed() -> None:
    with pytest.raises(Exception, match="--sweet"):
        parsed(typer.main.get_command(cli.app), ["run", "-m", "jem", "--sweet", "ood"])
    with pytest.raises(Exception, match="rum"):
        parsed(typer.main.get_command(cli.app), ["rum", "-m", "jem"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader is: a network and its weights, images, a track, and what was measured before."""
    import torch

    import jembench
    from jembench import data

    place = tmp_path_factory.mktemp("home")
    (place / "net.py").write_text(NET)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images = data.images(data.track("digits"), "train")
    x, y = torch.from_numpy(images.pixels(0, 1000)), torch.from_numpy(images.labels[:1000])
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    state = net.state_dict()
    torch.save(state, place / "last.pt")
    torch.save({"state_dict": state, "ema": {name: 0.9 * each for name, each in state.items()}}, place / "last.ckpt")
    np.savez(place / "my_training_images.npz", images=(x * 255).round().byte().numpy())
    draw = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/a", "test/b", "textures", "path/to/pictures"):
        (place / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            image.save(place / name / f"{number}.png")
    noise = draw.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(place / "noise.npz", images=noise)
    np.savez(place / "images.npz", images=noise[..., :1])
    for name in ("jem", "softmax"):
        jembench.evaluate(name, "ood", output=place / "jembench-runs", progress=False)
        shutil.copytree(ROOT / f"baselines/digits/{name}/golden", place / f"jembench-runs/{name}-digits-all")
    return place


def read(page: Path, mark: str, call: Callable[..., Any]) -> None:
    """Do in this folder what a page says, of its blocks with that mark or none."""
    for block in blocks(page):
        if block.mark not in ("", mark):
            continue
        if block.kind in ("python", "toml") and (name := re.match(r"# ([\w./-]+\.(?:py|toml))\b", block.content)):
            Path(name[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(name[1]).write_text(block.content)
        elif block.kind == "python":
            subprocess.run([sys.executable, "-c", block.content], check=True, capture_output=True)
        for words in lines(block) if block.kind == "sh" else ():
            if words[0] == "jembench":
                answer = call(*words[1:])
                assert answer.code == 0, (words, answer.out, answer.err)
            else:
                assert words[0] == "python", words
                subprocess.run([sys.executable, *words[1:]], check=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in PAGES[2:] if runnable(page, "")], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(
    page: Path, home: Path, tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:.")
    read(page, "", call)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", [page for page in PAGES[2:] if runnable(page, "slow")], ids=lambda page: page.stem)
def test_a_page_does_what_it_says_slowly(
    page: Path, home: Path, tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:.")
    read(page, "slow", call)
