"""The house: what the contract of layers promises is what breaks it, and each wing says what it is for."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jembench

ROOT = Path(__file__).parents[1]
PACKAGE = Path(jembench.__path__[0])
WINGS = sorted(each.name for each in pkgutil.iter_modules(jembench.__path__) if each.ispkg)

#: A file that breaks a contract -> a line in it, and the start of the contract's name.
PLANTS = {
    "attic.py": ("", "Layers"),
    "cellar/__init__.py": ("", "Layers"),
    "exports/tensors.py": ("import torch", "Pages and"),
    "evaluators/peek.py": ("import jembench.models.softmax", "Measurements and evaluators"),
    "measurements/keep.py": ("import jembench.store.records", "Measurements and evaluators"),
    "metrics/tensors.py": ("import torch", "Metrics"),
    "pages/pictures/tensors.py": ("import torch", "Pages import"),
    "pages/tables/tensors.py": ("import torch", "Pages and"),
    "store/rise.py": ("import jembench.engine.plan", "Layers"),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the contract."""
    place = tmp_path_factory.mktemp("house")
    shutil.copytree(PACKAGE, place / "jembench", ignore=shutil.ignore_patterns("__pycache__", "_baselines", "*.npy"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def broken(place: Path) -> list[str]:
    """The names of the contracts that are broken."""
    lint = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(place)}
    run = subprocess.run([lint, "--no-cache"], cwd=place, env=environment, capture_output=True, text=True)
    return [line.rpartition(" BROKEN")[0] for line in run.stdout.splitlines() if " BROKEN" in line]


@pytest.mark.parametrize("names", [("attic.py",), ("cellar/__init__.py",), tuple(PLANTS)], ids=len)
def test_what_stands_in_the_wrong_place_fails(names: tuple[str, ...], checked: Path) -> None:
    files = [checked / "jembench" / name for name in names]
    try:
        for name, file in zip(names, files, strict=True):
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{PLANTS[name][0]}\n")
        starts = {PLANTS[name][1] for name in names}
        lines = broken(checked)
        assert {start for start in starts if any(line.startswith(start) for line in lines)} == starts
    finally:
        for file in files:
            file.unlink()
        shutil.rmtree(checked / "jembench" / "cellar", ignore_errors=True)


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_what_belongs_there(wing: str) -> None:
    words = importlib.import_module(f"jembench.{wing}").__doc__ or ""
    assert [mark for mark in ("- Here: ", "- Never: ", "- A new one: ") if mark not in words] == []
