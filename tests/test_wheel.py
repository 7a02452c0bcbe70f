"""The wheel: it carries what a run needs and no more, knows its own commit, and works without the clone."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

LARGEST = 20 * 10**6  # bytes of a wheel
CLONE = Path(__file__).resolve().parents[1]
COPIED = (
    "jembench",
    "baselines",
    "leaderboards",
    "tests",
    "*.py",
    "*.toml",
    "*.md",
    "*.txt",
    "*.ini",
    "*.yml",
    "*.cff",
    "docs",
    "LICENSE",
    "NOTICE",
    ".gitignore",
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def copy(target: Path) -> Path:
    """The sources, without what git ignores, and a baseline of a track that must not be in the wheel."""
    target.mkdir(parents=True)
    for path in (path for pattern in COPIED for path in CLONE.glob(pattern)):
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__", "_b*"))
        else:
            shutil.copy(path, target)
    (target / "baselines" / "mine" / "jem").mkdir(parents=True)
    (target / "baselines" / "mine" / "jem" / "weights.safetensors").write_bytes(bytes(100))
    return target


def build(sources: Path, target: Path, kind: str = "wheel") -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def commit_of(wheel: Path) -> object:
    with zipfile.ZipFile(wheel) as content:
        return json.loads(content.read("jembench/_build.json"))["commit"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as a clean checkout of their own."""
    pytest.importorskip("hatchling")
    if not (CLONE / "pyproject.toml").exists() or shutil.which("git") is None:
        pytest.skip("needs the sources and git")
    folder = copy(tmp_path_factory.mktemp("clone") / "jembench")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(repository, tmp_path_factory.mktemp("wheel"))


def test_it_carries_what_a_run_needs_and_no_more(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    package = [name for name in names if ".dist-info/" not in name]
    site = repository / "jembench" / "pages" / "site"
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.*") if path.suffix in (".html", ".css", ".js")}
    assert pages == {
        name.removeprefix("jembench/pages/site/") for name in package if name.endswith((".html", ".css", ".js"))
    }
    whole = repository / "baselines"
    trained = [path for part in ("digits", "extractors") for path in (whole / part).rglob("*") if path.is_file()]
    shipped = {f"jembench/_baselines/{path.relative_to(whole)}" for path in trained}
    assert "jembench/_baselines/extractors/digits-ref/weights.safetensors" in shipped
    for model in ("jem", "softmax", "glow"):
        assert {
            f"jembench/_baselines/digits/{model}/{name}" for name in ("recipe.toml", "weights.safetensors")
        } <= shipped
    assert {name for name in package if "_baselines" in name} == shipped
    assert {"jembench/data/textures.npy", "jembench/py.typed", "jembench/_build.json"} <= set(package)
    printed = (repository / "leaderboards" / "published.json").read_bytes()
    with zipfile.ZipFile(wheel) as content:
        assert content.read("jembench/_published.json") == printed
    assert all(name.startswith("jembench/") for name in package)
    assert not [name for name in names if "_baselines/mine" in name or "__pycache__" in name]
    licences = {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert wheel.stat().st_size <= LARGEST


def test_it_knows_the_commit_it_was_built_from(wheel: Path, repository: Path) -> None:
    assert commit_of(wheel) == git(repository, "rev-parse", "HEAD")


def test_building_leaves_the_checkout_clean(wheel: Path, repository: Path) -> None:
    assert git(repository, "status", "--porcelain") == ""


def test_it_takes_nobody_elses_commit(repository: Path, tmp_path: Path) -> None:
    """Sources that are no checkout, inside somebody's repository: an unpacked archive, a vendored copy."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "mine")
    inside = tmp_path / "vendor" / "jembench"
    shutil.copytree(repository, inside, ignore=shutil.ignore_patterns(".git"))
    assert commit_of(build(inside, tmp_path / "out")) is None


def test_a_source_archive_makes_the_same_wheel(repository: Path, wheel: Path, tmp_path: Path) -> None:
    """But for the commit, which an archive does not know."""
    with tarfile.open(build(repository, tmp_path / "sdist", "sdist")) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    again = build(sources, tmp_path / "out")
    assert commit_of(again) is None
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert set(second.namelist()) == set(first.namelist())
        for name in first.namelist():
            if not name.endswith(("RECORD", "_build.json")):
                assert second.read(name) == first.read(name), name


def test_installed_it_finds_its_baselines_without_the_clone(wheel: Path, repository: Path, tmp_path: Path) -> None:
    """From a folder of its own: which package runs, the models it lists, and the commit it reports."""
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    # without the coverage of this process, which would count the copy as files that no test reaches
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment = {**inherited, "PYTHONPATH": str(target)}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    code = (
        "import jembench, jembench.zoo.baselines as b, jembench.store.provenance as p; "
        "from jembench.choices import published; "
        "print(jembench.__file__, b.folder('digits'), published.place(), p.commit())"
    )
    package, folder, printed, commit = python("-c", code).split()
    assert Path(package).is_relative_to(target)
    assert Path(folder).is_relative_to(target)
    assert Path(printed).is_relative_to(target)
    assert commit == git(repository, "rev-parse", "HEAD")
    listed = python("-m", "jembench", "list", "models")
    for name in ("jem (digits)", "softmax (digits)", "oracle (gauss)"):
        assert name in listed
    apart = "jem (cifar10)"  # of a track whose baselines a wheel is too small for
    assert apart not in listed
    refused = subprocess.run(
        [sys.executable, "-m", "jembench", "run", "-m", "jem", "-t", "cifar10", "-s", "accuracy"],
        cwd=tmp_path,
        env=environment | {"JEMBENCH_CACHE": str(tmp_path / "cache")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert f"at {tmp_path / 'cache' / 'baselines' / 'cifar10'}" in refused.stderr
    shutil.copytree(repository / "baselines" / "cifar10", tmp_path / "cache" / "baselines" / "cifar10")
    environment["JEMBENCH_CACHE"] = str(tmp_path / "cache")
    assert apart in python("-m", "jembench", "list", "models")


def test_a_changed_checkout_says_so(repository: Path, tmp_path: Path) -> None:
    """The commit alone would name code that was not built."""
    changed = tmp_path / "jembench"
    shutil.copytree(repository, changed)
    (changed / "jembench" / "version.py").write_text('__version__ = "0.2.0"  # changed\n')
    assert commit_of(build(changed, tmp_path / "dist")) == git(repository, "rev-parse", "HEAD") + "-dirty"
