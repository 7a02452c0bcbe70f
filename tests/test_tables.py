"""Tables: a number over a part of a published set says of how many images."""

from hypothesis import given
from hypothesis import strategies as st

from jembench import data
from jembench.evaluators.contract import Metric
from jembench.tables import fewer, subset

TRACK = data.track("cifar10")


@given(st.dictionaries(st.sampled_from([source.name for source in TRACK.sources]), st.integers(1, 30000)))
def test_a_set_is_named_if_and_only_if_not_all_of_its_images_were_used(n: dict[str, int]) -> None:
    """What is no published set, such as sampling chains, has no such number."""
    words = fewer({name: (size,) for name, size in n.items()}, TRACK.id)
    smaller = [
        f"{source.name} {n[source.name]:,} of {source.n:,}"
        for source in TRACK.sources
        if source.part is not None and n.get(source.name, source.n) < source.n
    ]
    assert words == ", ".join(smaller)


def test_metrics_over_several_numbers_of_images_say_both_ends() -> None:
    found = [Metric("auroc", "svhn", n={"test": 2000, "svhn": 26032}), Metric("auroc", "svhn", n={"test": 300})]
    assert subset(found, "cifar10-v1") == ["subset: test 300 to 2,000 of 10,000"]
    assert subset(found[:1], "cifar10-v1") == ["subset: test 2,000 of 10,000"]
    assert subset([Metric("accuracy", "test", n={"test": 10000})], "cifar10-v1") == []


def test_tracks_that_carry_their_images_and_unknown_ones_have_no_subsets() -> None:
    """The sets of digits are its own; a version that is gone had other sizes."""
    found = [Metric("accuracy", "test", n={"test": 5})]
    for track in ("digits-v1", "gauss-v1", "cifar10-v0", "cifar10", "else-v1", ""):
        assert subset(found, track) == []
    assert subset([], "cifar10-v1") == []
