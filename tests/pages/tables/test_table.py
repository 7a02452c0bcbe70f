"""Tables: a number over a part of a published set says of how many images."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jembench import data
from jembench.choices.protocols import PROTOCOLS
from jembench.metrics.metric import Metric
from jembench.pages.tables.table import fewer, subset

TRACK = data.track("cifar10")
SAMPLE = " (or of another split)"  # of CelebA in a folder, which may be a sample of any


def of(track: str = "cifar10-v1", protocol: str = "v1") -> Any:
    """What of a result a note needs."""
    return SimpleNamespace(track=track, protocol=SimpleNamespace(name=protocol))


@given(st.dictionaries(st.sampled_from([source.name for source in TRACK.sources]), st.integers(1, 30000)))
def test_a_set_is_named_if_and_only_if_not_all_of_its_images_were_used(n: dict[str, int]) -> None:
    """What is no published set, such as sampling chains, has no such number."""
    words = fewer({name: (size,) for name, size in n.items()}, TRACK.id, protocol="v1")
    smaller = [
        f"{source.name} {n[source.name]:,} of {source.n:,}{SAMPLE if source.name == 'celeba' else ''}"
        for source in TRACK.sources
        if source.part is not None and n.get(source.name, source.n) < source.n
    ]
    assert words == ", ".join(smaller)


def test_metrics_over_several_numbers_of_images_say_both_ends() -> None:
    found = [Metric("auroc", "svhn", n={"test": 2000, "svhn": 26032}), Metric("auroc", "svhn", n={"test": 300})]
    assert subset(found, of()) == ["subset: test 300 to 2,000 of 10,000"]
    assert subset(found[:1], of()) == ["subset: test 2,000 of 10,000"]
    assert subset([Metric("accuracy", "test", n={"test": 10000})], of()) == []


def test_tracks_that_carry_their_images_and_unknown_ones_have_no_subsets() -> None:
    """The sets of digits are its own; a version that is gone had other sizes."""
    found = [Metric("accuracy", "test", n={"test": 5})]
    for track in ("digits-v1", "gauss-v1", "cifar10-v0", "cifar10", "else-v1", ""):
        assert subset(found, of(track)) == []
    assert subset(found, of(protocol="gone")) == []
    assert subset([], of()) == []


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_sets_have_the_sizes_that_the_protocol_shows(name: str) -> None:
    """A complete set is no part, whatever its size elsewhere; one image less is."""
    shown = {source.name: source for source in PROTOCOLS[name].on(TRACK, ()).sources if source.part is not None}
    assert (shown["interp"].n, shown["celeba"].n) == {
        "v1": (995, 19_962),
        "jem2020": (9_900, 202_599),
        "jempp": (9_900, 202_599),
        "sadajem": (9_900, 19_962),
    }[name]
    assert fewer({source.name: (source.n,) for source in shown.values()}, TRACK.id, protocol=name) == ""
    for source in shown.values():
        sample = SAMPLE if (name, source.name) == ("v1", "celeba") else ""  # whole photographs are downloads
        words = fewer({source.name: (source.n - 1,)}, TRACK.id, protocol=name)
        assert words == f"{source.name} {source.n - 1:,} of {source.n:,}{sample}"


def test_a_reference_of_several_sources_is_held_against_all_of_them() -> None:
    """The 60,000 real images of JEM++; samples and means over other things have no such size."""
    joint = "train + validation + ood-base + test"
    parts = [Metric("fd", "buffer", n={"buffer": 10, joint: size}) for size in (480, 59_999)]
    assert subset(parts, of(protocol="jempp")) == [f"subset: {joint} 480 to 59,999 of 60,000"]
    assert subset([Metric("fd", "buffer", n={joint: 60_000})], of(protocol="jempp")) == []
    assert subset([Metric("fd", "buffer", n={"train + mine": 1})], of(protocol="jempp")) == []
