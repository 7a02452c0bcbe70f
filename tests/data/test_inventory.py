"""The inventory, and the commands that print it: what is here, in what state, in one line if it is damaged."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jembench import data
from jembench.data import archives, cache, external, inventory


def states(track):
    return {entry.source.name: (entry.state, entry.n) for entry in inventory.sources(track)}


@pytest.fixture
def small(monkeypatch):
    """The published test set of CIFAR-10 has 40 images, and that of SVHN 30."""
    for name, n in (("cifar10", 40), ("svhn", 30)):
        known = archives.ARCHIVES[name]
        monkeypatch.setitem(archives.ARCHIVES, name, replace(known, images={"train": 50000, "test": n}))


def test_the_state_of_every_source_of_a_folder(small, shelf):
    shelf("svhn_test", 30)
    shelf("cifar100_test", 20)
    shelf("cifar10_train", 500)
    folder = shelf("cifar10_test", 40)
    (folder / "celeba_test.npz").write_bytes(b"none")
    assert states(data.track("cifar10", folder=folder)) == {
        "train": ("subset", 450),
        "validation": ("subset", 30),
        "ood-base": ("subset", 20),
        "test": ("damaged", 0),  # as many as there are, but random ones
        "svhn": ("unpinned", 30),
        "interp": ("subset", states(data.track("cifar10", folder=folder))["interp"][1]),
        "cifar100": ("subset", 20),
        "celeba": ("damaged", 0),
    }


def test_what_is_complete_has_the_pinned_hash(small, shelf):
    folder = shelf("cifar10_test", 40)
    track = data.track("cifar10", folder=folder)
    test = replace(track.source("test"), sha256="")
    sha256 = data.found(replace(track, sources=(test,)), "test").sha256
    pinned = replace(track, sources=(replace(test, sha256=sha256),))
    assert states(pinned) == {"test": ("complete", 40)}


def test_nothing_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    assert {state for state, _ in states(data.track("cifar100")).values()} == {"missing"}
    assert [inventory.downloaded(name) for name in archives.ARCHIVES] == [None] * 4
    assert not (tmp_path / "cache").exists()


def test_the_command_lists_the_sets_and_the_sources(call, shelf):
    folder = shelf("cifar10_test", 20)
    answer = call("data", "list")
    assert answer.code == 0
    for name, known in archives.ARCHIVES.items():
        assert f"{name:9}{known.about}; {known.terms}\n" in answer.out
        assert f"{known.megabytes} MB, not here" in answer.out
    place = cache.downloads() / "svhn"
    place.mkdir(parents=True)
    for split in ("train", "test"):
        (place / f"{split}_32x32.mat").touch()
    assert f"246 MB, in {cache.downloads()}" in call("data", "list").out
    table = call("data", "list", "--track", "cifar10", "--data-dir", folder).out.splitlines()
    (row,) = [line.split() for line in table if line.startswith("test ")]
    assert row == ["test", "test", "20", "10000", "subset"]


def test_a_folder_is_verified_for_a_track(call, shelf):
    folder = shelf("cifar10_test", 20)
    answer = call("data", "verify", "--track", "cifar10", "--data-dir", folder)
    assert (answer.code, answer.err) == (0, "")
    (folder / "svhn_test.npz").write_bytes(b"none")
    answer = call("data", "verify", "--track", "cifar10", "--data-dir", folder)
    assert answer.code == 2
    assert answer.err.startswith(f"jembench: {folder / 'svhn_test.npz'}: not a readable .npz file")
    assert answer.err.count("\n") == 1
    assert "damaged" in answer.out


def test_a_prepared_set_is_verified_by_its_bytes(call, shelf):
    """One bit in it is another: no size tells."""
    folder = shelf("cifar10_test", 20)
    verify = ("data", "verify", "--track", "cifar10", "--data-dir", folder)
    assert call(*verify).code == 0
    place = Path(data.found(data.track("cifar10", folder=folder), "test").origin)
    content = bytearray((place / external.IMAGES).read_bytes())
    content[1000] ^= 1
    (place / external.IMAGES).write_bytes(content)
    answer = call(*verify)
    assert answer.code == 2
    assert answer.err.startswith(f"jembench: cifar10/test: the prepared images in {place} are gone or damaged (sha256 ")
    assert answer.err.endswith("remove that folder and run the command again\n")
    assert answer.err.count("\n") == 1
    shutil.rmtree(place)
    assert call(*verify).code == 0


def test_downloads_are_verified(call, shelf, monkeypatch):
    folder = cache.downloads() / "svhn"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}_32x32.mat").write_bytes(b"x")
    monkeypatch.setattr(
        type(archives.archive("svhn")),
        "checksums",
        lambda _: dict.fromkeys(("svhn/train_32x32.mat", "svhn/test_32x32.mat"), "9dd4e461268c8034f5c8564e155c67a6"),
    )
    answer = call("data", "verify", "svhn")
    assert (answer.code, answer.out) == (0, "svhn: complete, every checksum is right\n")
    (folder / "test_32x32.mat").write_bytes(b"y")
    answer = call("data", "verify", "svhn")
    assert answer.code == 2
    assert "test_32x32.mat: damaged, or not the published file (MD5 415290769594460e2e485922904f345d" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify",), "name published sets"),
        (("verify", "svhm"), "unknown data set 'svhm'; did you mean 'svhn'"),
        (("verify", "svhn"), "svhn: there is no "),
        (("verify", "svhn", "--data-dir", "."), "--data-dir goes with --track"),
        (("list", "--data-dir", "."), "--data-dir goes with --track"),
        (("list", "--track", "digits"), "track digits carries its images"),
        (("list", "--track", "cifar10", "--data-dir", "nowhere"), "--data-dir nowhere: no such folder"),
        (("fetch", "svhn", "nothing"), "unknown data set 'nothing'"),
        (("fetch",), "Missing argument"),
    ],
)
def test_bad_input_is_one_line(call, shelf, arguments, words):
    answer = call("data", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_a_fetch_without_a_network_is_one_line(call, shelf, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(archives.Archive, "download", refuse)
    answer = call("data", "fetch", "svhn")
    assert answer.code == 2
    assert answer.out == ""
    terms, line = answer.err.splitlines()
    assert "non-commercial use only; 246 MB from http://ufldl" in terms
    assert line.startswith("jembench: svhn: cannot be downloaded; run `jembench data fetch svhn` again where there is")


def test_slow_work_is_told_on_stderr_unless_quiet(call, shelf, monkeypatch):
    from jembench.data import external

    monkeypatch.setattr(external, "PATIENCE", 0.0)
    load = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: __import__("time").sleep(0.05) or load(*a, **k))
    folder = shelf("cifar10_test", 20)
    loud = call("data", "list", "--track", "cifar10", "--data-dir", folder)
    assert loud.err == f"preparing cifar10_test, once, in {cache.root()}\n"
    shelf("cifar10_test", 21)
    assert call("data", "list", "-q", "--track", "cifar10", "--data-dir", folder).err == ""


def test_a_folder_with_nothing_in_it_does_not_verify(call, tmp_path):
    answer = call("data", "verify", "--track", "cifar10", "--data-dir", tmp_path)
    assert answer.code == 2
    assert answer.err == (
        f"jembench: {tmp_path}: no image set of track cifar10 is there (see `jembench data fetch`, --data-dir)\n"
    )


@pytest.mark.parametrize("words", [("--track", "nope"), ("--data-dir", "nowhere"), ("--track", "digits")])
@pytest.mark.parametrize("command", ["list", "verify"])
def test_what_cannot_be_listed_prints_nothing(call, command, words):
    answer = call("data", command, *words)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)


def test_published_recipes_are_listed_by_their_paths(call):
    answer = call("list", "recipes", "--track", "svhn")
    assert answer.code == 0
    assert "papers/svhn/jem.toml  JEM as published: WRN-28-10, 20 SGLD steps" in answer.out
    assert len(call("list", "recipes").out.splitlines()) == 7
    answer = call("list", "recipes", "--track", "digits")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
