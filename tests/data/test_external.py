"""Images of the user: one canonical order, disjoint splits, copies told from subsets, one line for what is wrong."""

import json
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from jembench import data
from jembench.choices import sampling
from jembench.choices.evaluators import evaluators
from jembench.choices.request import Request
from jembench.choices.suites import SUITES
from jembench.data import archives, cache, external, folders
from jembench.data.photographs import SPANS as DIVISION
from jembench.data.sets import CHAINS, Part, pairs
from jembench.engine.bench import Bench
from jembench.engine.plan import plan
from jembench.evaluators.generation import Looker
from jembench.ground.identity import array_sha256, sha256
from jembench.store.records import Store
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import parse

EXTERNAL = [name for name in data.TRACKS if data.track(name).external]
SPANS = tuple(reversed(DIVISION.values()))


def photographs(n, seed=0, classes=10):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % classes


def cifar10(folder):
    return data.track("cifar10", folder=folder)


def content(track, name):
    """What a source is: its images and labels in memory."""
    made = data.images(track, name)
    return np.array(made.images), np.array(made.labels)


# -- the canonical order and what is cut from it --


@settings(max_examples=30)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.just(3), st.just(2), st.just(2)), elements=st.integers(0, 2)
    ),
    st.randoms(use_true_random=False),
)
def test_the_canonical_order_is_that_of_the_set_not_of_its_rows(images, random):
    """With copies and equal images of different labels among them."""
    labels = np.arange(len(images)) % 3
    rows = list(range(len(images)))
    random.shuffle(rows)

    def ordered(x, y):
        order = external.canonical_order(external.fingerprints(x, y))
        assert sorted(order) == list(range(len(x)))
        return x[order], y[order]

    for one, two in zip(ordered(images, labels), ordered(images[rows], labels[rows]), strict=True):
        assert np.array_equal(one, two)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_the_splits_are_disjoint_and_exhaust_every_class(labels):
    y = np.array(labels)
    parts = [external.cut(y, Part("a", "train", span))[0] for span in SPANS]
    together = np.concatenate(parts)
    assert len(together) == len(y)
    assert set(together) == set(range(len(y)))
    for k in range(5):
        count = int((y == k).sum())
        for part, (first, last) in zip(parts, SPANS, strict=True):
            assert abs((y[part] == k).sum() - count * (last - first) / 1000) < 1
    for part in parts:
        assert (np.diff(part) > 0).all()  # in canonical order


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=120))
def test_pairs_are_of_different_classes_and_use_each_image_once(labels):
    y = np.array(labels, dtype=int)
    one, two = pairs(y)
    assert (y[one] != y[two]).all()
    used = [*one, *two]
    assert len(used) == len(set(used))
    left = y[[i for i in range(len(y)) if i not in set(used)]]
    assert len(set(left)) <= 1  # whoever is left alone has nobody of another class


def test_batches_are_the_mean_of_an_image_and_the_one_a_batch_later():
    made = external.cut(np.zeros(203, int), Part("a", "test", mix="batches"))
    assert made.tolist() == [list(range(103)), list(range(100, 203))]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cifar10", [5000] * 10),
        ("cifar100", [500] * 100),
        ("svhn", [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]),  # of the digits 0 to 9
    ],
)
def test_the_sizes_of_a_track_are_those_of_the_published_counts_of_its_classes(name, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert len(labels) == archives.ARCHIVES[name].images["train"]
    track = data.track(name)
    for source in track.sources:
        if source.part is not None and source.part.split == "train" and not source.part.mix:
            assert external.cut(labels, source.part).shape == (1, source.n), source.name
        elif source.part is not None and not source.part.mix:
            assert source.n == archives.ARCHIVES[source.part.set].images[source.part.split]


# -- sources of a folder --


def test_the_rows_and_files_of_a_set_may_lie_in_any_order(shelf, tmp_path):
    """One file, or two of which the second has its rows mixed: bit-equal sources with the same hashes."""
    x, y = photographs(300)
    one = shelf("cifar10_train", images=x, labels=y)
    other = tmp_path / "other"
    other.mkdir()
    rows = np.random.default_rng(1).permutation(300)
    for name, part in (("cifar10_train_b", rows[:100]), ("cifar10_train", rows[100:])):
        np.savez(other / f"{name}.npz", images=x[part], labels=y[part])
    for name in ("train", "validation", "ood-base", "interp"):
        first, second = (data.found(cifar10(folder), name) for folder in (one, other))
        assert first.origin != second.origin
        assert (first.n, first.sha256) == (second.n, second.sha256)
        for a, b in zip(content(cifar10(one), name), content(cifar10(other), name), strict=True):
            assert np.array_equal(a, b)


def test_the_splits_of_a_track_are_the_set(shelf):
    """Every photograph with its label, each once; validation and base have some of every class."""
    x, y = photographs(500)
    track = cifar10(shelf("cifar10_train", images=x, labels=y))
    expected = {(image.tobytes(), int(label)) for image, label in zip(x.transpose(0, 3, 1, 2), y, strict=True)}
    found = []
    for name, share in (("train", 45), ("validation", 3), ("ood-base", 2)):
        images, labels = content(track, name)
        found += [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]
        assert np.bincount(labels, minlength=10).tolist() == [share] * 10
    assert len(found) == 500
    assert set(found) == expected


def test_interp_is_made_of_the_base_alone_and_of_two_classes_each(shelf):
    x, y = photographs(1000)
    track = cifar10(shelf("cifar10_train", images=x, labels=y))
    base, labels = content(track, "ood-base")
    made, none = content(track, "interp")
    assert none.tolist() == [-1] * len(made)
    means = (base[:, None].astype(int) + base[None]) // 2
    used = []
    for image in made:
        (one,), (two,) = ((means == image).all((2, 3, 4)) & np.triu(np.ones((len(base),) * 2, bool), 1)).nonzero()
        assert labels[one] != labels[two]
        used += [one, two]
    assert len(used) == len(set(used))
    assert len(made) >= len(base) // 2 - 5


def test_the_first_n_are_a_random_sample_whatever_the_order_of_the_files(shelf):
    """A file sorted by brightness and class: ranks and classes of the first 200 of 2,000 are uniform."""
    rng = np.random.default_rng(5)
    x = np.sort(rng.integers(0, 256, 2000))[:, None, None, None] // 2 + rng.integers(0, 128, (2000, 32, 32, 3))
    track = cifar10(shelf("cifar10_test", images=x.astype(np.uint8), labels=np.arange(2000) // 200))
    images, labels = content(track, "test")
    rank = {image.tobytes(): i for i, image in enumerate(x.astype(np.uint8).transpose(0, 3, 1, 2))}
    first = [rank[image.tobytes()] for image in images[:200]]
    assert stats.chisquare(np.histogram(first, bins=10, range=(0, 2000))[0]).pvalue > 0.001
    assert stats.chisquare(np.bincount(labels[:200], minlength=10)).pvalue > 0.001


def test_outliers_are_the_same_with_and_without_labels(shelf, tmp_path):
    """Nobody reads the labels of an OOD set, so they have no part in its hash."""
    x, y = photographs(50)
    with_labels = shelf("svhn_test", images=x, labels=y)
    without = tmp_path / "without"
    without.mkdir()
    np.savez(without / "svhn_test.npz", images=x)
    one, two = (data.found(cifar10(folder), "svhn") for folder in (with_labels, without))
    assert one.sha256 == two.sha256
    assert content(cifar10(without), "svhn")[1].tolist() == [-1] * 50


def test_the_test_images_of_one_track_are_outliers_of_another(shelf):
    x, y = photographs(40)
    folder = shelf("cifar10_test", images=x, labels=y)
    inside, outside = (
        content(data.track(name, folder=folder), source) for name, source in (("cifar10", "test"), ("svhn", "cifar10"))
    )
    assert {image.tobytes() for image in inside[0]} == {image.tobytes() for image in outside[0]}
    assert sorted(inside[1]) == sorted(y)
    assert set(outside[1]) == {-1}


# -- complete copies and subsets --


@pytest.fixture
def tiny(monkeypatch):
    """A track whose published test set has 60 images, of which the hash is pinned."""
    x, y = photographs(60, seed=9)
    known = archives.ARCHIVES["cifar10"]
    monkeypatch.setitem(archives.ARCHIVES, "cifar10", replace(known, images={"train": 50000, "test": 60}))
    ordered = external.canonical_order(external.fingerprints(x.transpose(0, 3, 1, 2), y))
    digest = array_sha256(np.ascontiguousarray(x.transpose(0, 3, 1, 2)[ordered]), y[ordered].astype(np.int64))
    track = data.track("cifar10")
    sources = [replace(s, n=60, sha256=digest) if s.name == "test" else s for s in track.sources]
    return replace(track, sources=tuple(sources)), x, y


def test_a_complete_copy_is_told_by_its_hash(tiny, shelf):
    track, x, y = tiny
    track = replace(track, folder=str(shelf("cifar10_test", images=x[::-1], labels=y[::-1])))
    assert data.found(track, "test").sha256 == track.source("test").sha256


@pytest.mark.parametrize("change", ["pixel", "label", "copy"])
def test_as_many_images_but_not_those_are_refused(tiny, shelf, change):
    track, x, y = tiny
    x, y = x.copy(), y.copy()
    if change == "pixel":
        x[7, 3, 3, 1] ^= 1
    elif change == "label":
        y[7] = (y[7] + 1) % 10
    else:
        x[1], y[1] = x[0], y[0]
    track = replace(track, folder=str(shelf("cifar10_test", images=x, labels=y)))
    words = (
        "1 of 60 images in .* are there twice" if change == "copy" else "as many images as the complete set, but not"
    )
    with pytest.raises(UserError, match=words):
        data.found(track, "test")


def test_more_images_than_there_are_is_refused(tiny, shelf):
    track, x, y = tiny
    shelf("cifar10_test", images=x, labels=y)
    folder = shelf("cifar10_test_copy", images=x[:3], labels=y[:3])
    with pytest.raises(UserError, match="63 images, the complete set has 60: files of another set, or copies"):
        data.found(replace(track, folder=str(folder)), "test")


def test_two_files_of_the_same_images_are_refused(shelf):
    x, y = photographs(40)
    shelf("cifar10_test", images=x, labels=y)
    folder = shelf("cifar10_test_again", images=x, labels=y)
    message = "40 of 80 images in cifar10_test.npz, cifar10_test_again.npz in .* are there twice: leave out"
    with pytest.raises(UserError, match=message):
        data.found(cifar10(folder), "test")


def test_a_subset_has_another_hash_and_another_protocol(tiny, shelf, tmp_path):
    """So that it never shares a ranking with the complete set, nor a record, even where a limit makes n equal."""
    track, x, y = tiny
    spec = catalogue.resolve(parse("uniform"), track="cifar10")
    able = replace(spec, capabilities=frozenset({"classifier"}))
    protocols, keys = [], []
    for n in (60, 50):
        folder = tmp_path / str(n)
        folder.mkdir()
        np.savez(folder / "cifar10_test.npz", images=x[:n], labels=y[:n])
        made = plan(able, "accuracy", track=replace(track, folder=str(folder)), request=Request(limit=20))
        assert made.protocol["sources"]["test"]["n"] == 20
        protocols.append(made.protocol_hash)
        keys.append({job.key for job in made.jobs})
    assert len(set(protocols)) == 2
    assert not keys[0] & keys[1]


def test_planning_for_accuracy_looks_at_the_test_images_alone(shelf, monkeypatch):
    """Nothing else is there, and nothing else is asked for."""
    track = cifar10(shelf("cifar10_test", 20))
    asked = []
    found = external.found
    monkeypatch.setattr(external, "found", lambda track, source: asked.append(source.name) or found(track, source))
    spec = replace(catalogue.resolve(parse("uniform"), track="cifar10"), capabilities=frozenset({"classifier"}))
    made = plan(spec, "accuracy", track=track)
    assert list(made.protocol["sources"]) == ["test"]
    assert set(asked) == {"test"}
    assert len(list((cache.root() / "prepared").iterdir())) == 1


def test_the_docs_say_what_every_suite_needs(monkeypatch):
    """The table in docs/data.md, against the needs of the evaluators, those that they build on among them."""
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    track = data.track("cifar10")
    outside = {source.name for source in track.ood}
    told = {}
    for line in text.partition("| suite | needs |\n")[2].split("\n\n")[0].splitlines()[1:]:
        _, names, needs, _ = line.split("|")
        sources = set(re.findall("`(.+?)`", needs)) | (outside if "every OOD set" in needs else set())
        told |= dict.fromkeys(re.findall("`(.+?)`", names), sources)
    monkeypatch.setattr(sampling, "looker", lambda *_: Looker("cifar10-ref", "0" * 64, "fd", "kd"))
    able = frozenset({"classifier", "density", "sampler", "chain"})
    spec = replace(catalogue.resolve(parse("uniform"), track="cifar10"), capabilities=able)

    def sources(need):
        made_of = {"train"} if need.model == "class-gaussians" else set()
        return {need.source} | made_of | {name for other in (*need.given, *need.whole) for name in sources(other)}

    needed = {}
    for suite in SUITES:
        wanted = (need for item in evaluators(suite, spec, track) for need in item.needs(track))
        needed[suite] = {name for need in wanted for name in sources(need)} - {CHAINS}
    assert told == needed


# -- the cache --


def test_a_set_is_read_once_for_all_of_its_sources(shelf, monkeypatch):
    track = cifar10(shelf("cifar10_train", 500))
    data.found(track, "validation")
    monkeypatch.setattr(folders, "read", lambda _: pytest.fail("read again"))
    for name in ("train", "validation", "ood-base", "interp"):
        assert data.found(track, name).n > 0


@pytest.mark.parametrize("lost", [external.IMAGES, external.LABELS, external.FACTS, "facts", "half", "all"])
def test_what_is_lost_of_the_cache_is_made_anew(shelf, lost):
    track = cifar10(shelf("cifar10_test", 20))
    before, place = content(track, "test"), Path(data.found(track, "test").origin)
    if lost == "all":
        shutil.rmtree(place)
    elif lost == "facts":
        (place / external.FACTS).write_text("[1]")
    elif lost == "half":
        (place / external.IMAGES).write_bytes((place / external.IMAGES).read_bytes()[:1000])
    else:
        (place / lost).unlink()
    for a, b in zip(before, content(track, "test"), strict=True):
        assert np.array_equal(a, b)


def test_images_that_vanish_between_planning_and_running_are_one_line(shelf):
    track = cifar10(shelf("cifar10_test", 20))
    source = data.found(track, "test")
    shutil.rmtree(source.origin)
    with pytest.raises(
        UserError, match=r"the prepared images in .* are gone or damaged .*: remove that folder and run"
    ):
        data.load("cifar10", "test", origin=source.origin)


def test_a_changed_file_is_prepared_anew(shelf):
    folder = shelf("cifar10_test", 20, seed=1)
    first = data.found(cifar10(folder), "test")
    shelf("cifar10_test", 20, seed=2)
    os.utime(folder / "cifar10_test.npz", ns=(1, 1))
    second = data.found(cifar10(folder), "test")
    assert first.sha256 != second.sha256
    assert first.n == second.n


def test_another_file_of_the_same_size_and_time_is_another_set(shelf):
    """Uncompressed arrays of one shape have one size, and a copy keeps its time."""
    folder = shelf("cifar10_test", 20, seed=1)
    path = folder / "cifar10_test.npz"
    os.utime(path, ns=(10**18, 10**18))
    first, size = data.found(cifar10(folder), "test"), path.stat().st_size
    shelf("cifar10_test", 20, seed=2)
    os.utime(path, ns=(10**18, 10**18))
    assert path.stat().st_size == size
    assert data.found(cifar10(folder), "test").sha256 != first.sha256


def test_a_touched_or_moved_file_is_not_prepared_again(shelf, monkeypatch, tmp_path):
    folder = shelf("cifar10_test", 20, seed=1)
    first = data.found(cifar10(folder), "test")
    monkeypatch.setattr(folders, "read", None)
    os.utime(folder / "cifar10_test.npz", ns=(1, 1))
    folder.rename(tmp_path / "elsewhere")
    assert data.found(cifar10(tmp_path / "elsewhere"), "test") == first


def test_a_memo_that_is_damaged_or_a_file_that_is_being_written_is_hashed_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "own-cache"))
    path = tmp_path / "f"
    path.write_bytes(b"a")
    assert cache.content(path) == sha256(b"a")
    assert not (cache.root() / "hashes").exists()  # too fresh for its time to be trusted
    monkeypatch.setattr(cache, "FRESH", -1)
    assert cache.content(path) == sha256(b"a")
    (memo,) = (cache.root() / "hashes").iterdir()
    memo.write_text("damaged")
    assert cache.content(path) == sha256(b"a")
    path.write_bytes(b"b")
    assert cache.content(path) == sha256(b"b")


def test_a_file_that_changes_while_it_is_read_is_refused(shelf, monkeypatch):
    folder = shelf("cifar10_test", 20)
    read = folders.read

    def changing(paths):
        images = read(paths)
        np.savez(paths[0], images=images[0][::-1], labels=images[1])
        return images

    monkeypatch.setattr(folders, "read", changing)
    with pytest.raises(UserError, match="changed while being read: run the command again"):
        data.found(cifar10(folder), "test")
    assert not list((cache.root() / "prepared").glob("*")) if (cache.root() / "prepared").exists() else True


def test_a_cache_that_cannot_be_written_is_one_line(shelf, tmp_path, monkeypatch):
    folder = shelf("cifar10_test", 20)
    (tmp_path / "file").touch()
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set JEMBENCH_CACHE to a folder that can") as error:
        data.found(cifar10(folder), "test")
    assert "\n" not in str(error.value)


def test_a_cache_that_may_only_be_read_serves_what_it_has(shelf, monkeypatch):
    track = cifar10(shelf("cifar10_test", 20))
    data.found(track, "test")
    monkeypatch.setattr(cache, "locked", lambda _: pytest.fail("wants to write"))
    assert data.found(track, "test").n == 20


def test_a_full_disk_leaves_nothing_that_counts_as_complete(shelf, monkeypatch):
    track = cifar10(shelf("cifar10_test", 20))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"images.npy: cannot be written \(No space left on device\)"):
        data.found(track, "test")
    monkeypatch.undo()
    monkeypatch.setenv("JEMBENCH_CACHE", str(Path(track.folder).parent / "cache"))
    assert not [path for path in (cache.root() / "prepared").rglob("*") if path.is_file()]
    assert data.found(track, "test").n == 20


CONCURRENT = """
import sys
from pathlib import Path
from jembench import data
source = data.found(data.track("cifar10", folder=Path(sys.argv[1])), "train")
images = data.load("cifar10", "train", origin=source.origin)
from jembench.ground.identity import array_sha256
assert array_sha256(images.images, images.labels) == source.sha256
print(source.sha256)
"""


def test_two_processes_that_need_a_set_at_once(shelf):
    """Both get it whole; no temporary file is left."""
    folder = shelf("cifar10_train", 2000)
    command = [sys.executable, "-c", CONCURRENT, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    hashes = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(hashes[0]) == 64
    assert hashes[0] == hashes[1]
    assert not [path for path in cache.root().rglob(".*") if path.is_file()]


def test_a_killed_preparation_is_done_again(shelf, monkeypatch):
    track = cifar10(shelf("cifar10_train", 500))

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(external.json, "dumps", killed)  # images and labels are there, the facts are not
    with pytest.raises(KeyboardInterrupt):
        data.found(track, "train")
    monkeypatch.undo()
    monkeypatch.setenv("JEMBENCH_CACHE", str(Path(track.folder).parent / "cache"))
    assert data.found(track, "train").n == 450


def test_what_takes_long_says_so_once(shelf, monkeypatch, caplog):
    track = cifar10(shelf("cifar10_test", 20))
    monkeypatch.setattr(external, "PATIENCE", 0.05)
    read = folders.read

    def slow(paths):
        time.sleep(0.2)
        return read(paths)

    monkeypatch.setattr(folders, "read", slow)
    with caplog.at_level(logging.INFO, logger="jembench"):
        data.found(track, "test")
        data.found(track, "test")
    assert [record.getMessage() for record in caplog.records] == [f"preparing cifar10_test, once, in {cache.root()}"]


# -- what is wrong --


@pytest.mark.parametrize("name", EXTERNAL)
def test_without_images_a_line_names_the_two_ways(name, tmp_path, monkeypatch):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "nothing"))
    track = data.track(name)
    for source in track.sources:
        if source.part is None:
            assert data.found(track, source.name) == source
            continue
        with pytest.raises(UserError) as error:
            data.found(track, source.name)
        line = str(error.value)
        assert line.startswith(f"{name}/{source.name}: its images are not on this machine: ")
        assert f"`jembench data fetch {source.part.set}`" in line
        assert f"--data-dir, a folder with {source.part.set}_{source.part.split}.npz" in line
        assert "\n" not in line
        with pytest.raises(UserError, match="images are not on this machine"):
            data.load(name, source.name)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_without_the_set_says_which_file_is_missing(shelf):
    folder = shelf("cifar10_test", 20)
    with pytest.raises(UserError, match=f"no images in {folder}: add celeba_test.npz or celeba_sample.npz there, or"):
        data.found(cifar10(folder), "celeba")


def test_a_folder_is_for_tracks_that_need_one(tmp_path):
    for name in ("digits", "gauss"):
        with pytest.raises(UserError, match=f"track {name} carries its images: leave out --data-dir"):
            data.track(name, folder=tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(UserError, match=f"--data-dir {path}: no such folder"):
            data.track("cifar10", folder=path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": None}, "has no labels, or some of -1: 'test' needs the class of every image"),
        ({"labels": np.full(20, 10)}, "labels 10..10, the track has 0..9"),
        ({"labels": np.arange(20) - 2}, "labels -2..17, the track has 0..9|has no labels, or some of -1"),
        (
            {"images": np.zeros((20, 28, 28, 3), np.uint8)},
            "images of shape \\(28, 28, 3\\) .*, the track has \\(32, 32, 3\\)",
        ),
        (
            {"images": np.zeros((0, 32, 32, 3), np.uint8), "labels": np.zeros(0, int)},
            "0 images, the complete set has 10000",
        ),
    ],
)
def test_images_that_cannot_be_those_of_the_track(shelf, arrays, words):
    folder = shelf("cifar10_test", 20, **arrays)
    with pytest.raises(UserError, match=f"cifar10/test: cifar10_test.npz in .*: {words}") as error:
        data.found(cifar10(folder), "test")
    assert "\n" not in str(error.value)


def test_a_set_too_small_for_a_split_serves_the_others(shelf):
    """24 of a class have no twenty-fifth part; their first tenth is two images."""
    track = cifar10(shelf("cifar10_train", 240))
    assert data.found(track, "train").n == 220
    assert data.found(track, "validation").n == 20
    for name in ("ood-base", "interp"):
        with pytest.raises(UserError, match=f"{name}: the 240 images of cifar10_train are too few, none of them falls"):
            data.found(track, name)


def test_what_a_file_of_crops_cannot_give_is_refused(shelf):
    track = cifar10(shelf("celeba_test", 20))
    whole = replace(track.source("celeba"), name="whole", part=Part("celeba", "test", view="resize"))
    track = replace(track, sources=(*track.sources, whole))
    with pytest.raises(
        UserError, match=r"needs the uncropped photographs of celeba, which a folder of .npz files does"
    ):
        data.found(track, "whole")
    assert data.found(track, "celeba").n == 20


# -- evaluation --


def test_prepared_images_are_mapped_and_cannot_be_changed(shelf):
    images = data.images(cifar10(shelf("cifar10_test", 20)), "test")
    assert isinstance(images.images, np.memmap)
    assert images.images.flags["C_CONTIGUOUS"]
    with pytest.raises(ValueError, match="read-only"):
        images.images[0] = 0


def test_a_worker_sees_the_same_bytes(shelf):
    track = cifar10(shelf("cifar10_test", 20))
    origin = data.found(track, "test").origin
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs = pool.apply(data.load, ("cifar10", "test"), {"origin": origin})
    mine = data.load("cifar10", "test", origin=origin)
    assert array_sha256(theirs.images, theirs.labels) == array_sha256(mine.images, mine.labels)
    assert np.array_equal(theirs.pixels(3, 17), mine.pixels(3, 17))


def flipped(path):
    """A damage that leaves the size of a file as it is."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_images_that_change_after_planning_are_refused(shelf, tmp_path):
    """A flipped bit of the cache: the engine reads it anew, refuses it and says what helps."""
    track = cifar10(shelf("cifar10_train", 500))
    shelf("cifar10_test", 20)
    spec = catalogue.resolve(parse("class-gaussians"), track="cifar10", folder=track.folder)
    made = plan(replace(spec, capabilities=frozenset({"classifier"})), "accuracy", track=track)
    place = Path(made.jobs[0].origin)
    flipped(place / external.IMAGES)
    with pytest.raises(UserError, match=f"cifar10/test: the prepared images in {place} are .* remove that folder and"):
        Bench(Store.open(tmp_path / "runs"))(made.jobs[0])
    shutil.rmtree(place)
    (again,) = plan(made.model, "accuracy", track=track).jobs
    assert again == made.jobs[0]
    assert len(data.load("cifar10", "test", origin=again.origin, sha256=again.data)) == 20


@pytest.mark.parametrize("file", [external.IMAGES, external.LABELS])
def test_damaged_images_are_no_images(shelf, file):
    """For training, for Gaussians fitted to them and for a worker: the size of the file is right, its bytes are not."""
    track = cifar10(shelf("cifar10_train", 500))
    spec = catalogue.resolve(parse("class-gaussians"), track="cifar10", folder=track.folder)
    place = Path(spec.images)
    flipped(place / file)
    assert data.found(track, "train").origin == str(place)  # looking at sizes alone
    readers = (
        lambda: data.images(track, "train"),
        lambda: catalogue.load(spec),
        lambda: data.load("cifar10", "train", origin=spec.images),
    )
    for read in readers:
        with pytest.raises(UserError, match=f"cifar10/train: the prepared images in {place} are .* remove that folder"):
            read()
    shutil.rmtree(place)
    assert len(data.images(track, "train")) == 450


def test_class_gaussians_of_a_user_are_those_of_his_images(shelf):
    """Mean and spread of every class; another folder is another model."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 10
    x = (20 * y[:, None, None, None] + rng.integers(0, 30, (600, 32, 32, 3))).astype(np.uint8)
    folder = str(shelf("cifar10_train", images=x, labels=y))
    spec = catalogue.resolve(parse("class-gaussians"), track="cifar10", folder=folder)
    model = catalogue.load(spec)
    train = data.images(cifar10(Path(folder)), "train")
    for k in range(10):
        mine = train.of_class(k)
        assert model.origin.mean[k].mean() == pytest.approx(mine.mean(), abs=1e-5)
        assert np.allclose(model.origin.mean[k].numpy(), mine.reshape(len(mine), -1).mean(0), atol=1e-5)
    shelf("cifar10_train", 500)
    assert catalogue.resolve(parse("class-gaussians"), track="cifar10", folder=folder).fingerprint != spec.fingerprint


# -- memory --

MODEL = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 10))
"""
PEAK = """
import resource, sys
import jembench
model, output, *folders = sys.argv[1:]
for folder in folders:
    jembench.evaluate(model, "accuracy", track="cifar10", data_dir=folder, output=output)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peaks(folder, sizes, *, apart):
    """Peak memory in MB after evaluations of so many prepared images, in one process or one each."""
    places = []
    for n in sizes:
        place = folder.parent / str(n)
        place.mkdir()
        x, y = photographs(n)
        np.savez(place / "cifar10_test.npz", images=x, labels=y)
        data.found(cifar10(place), "test")
        places.append(place)
    model = folder.parent / "model.py"
    model.write_text(MODEL)
    command = [sys.executable, "-c", PEAK, f"{model}:build", str(folder.parent / "runs")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for each in [[place] for place in places] if apart else [places]:
        done = subprocess.run([*command, *map(str, each)], capture_output=True, text=True, env=environment, check=True)
        found += [float(line) for line in done.stdout.split()]
    return found


def test_memory_does_not_grow_with_the_number_of_images(shelf):
    """2,000 images more are 6 MB as integers and 25 MB as floats."""
    _, few, more = peaks(shelf("cifar10_test", 20), (400, 500, 2500), apart=False)  # the first has what comes once
    assert more - few < 3


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_many_images(shelf):
    """7,999 images more are 25 MB as integers and 98 MB as floats."""
    few, more = peaks(shelf("cifar10_test", 20), (2000, 9999), apart=True)
    assert more - few < 6


PREPARE = """
import resource, sys, time
from pathlib import Path
from jembench import data
started = time.monotonic()
data.found(data.track("cifar10", folder=Path(sys.argv[1])), "train")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - started)
"""


@pytest.mark.slow
def test_fifty_thousand_images_are_prepared_in_seconds_and_in_little_memory(shelf):
    folder = shelf("cifar10_train", 50_000)
    with pytest.raises(subprocess.CalledProcessError) as refused:  # as many as the published set, and not those
        subprocess.run([sys.executable, "-c", PREPARE, str(folder)], capture_output=True, text=True, check=True)
    assert "the copy is altered" in refused.value.stderr
    shutil.rmtree(cache.root())
    shelf("cifar10_train", 49_990)
    done = subprocess.run([sys.executable, "-c", PREPARE, str(folder)], capture_output=True, text=True, check=True)
    memory, seconds = map(float, done.stdout.split())
    assert memory < 600
    assert seconds < 30
    assert json.loads(next(cache.root().rglob(external.FACTS)).read_text())["whole"] is False
