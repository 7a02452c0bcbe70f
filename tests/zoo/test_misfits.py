"""What differs between two sets of tensors is listed, three of each kind; what does not, is not."""

import pytest
import torch

from jembench.zoo.misfits import broken, misfit


def tensors(*names, shape=(2, 2)):
    return {name: torch.ones(shape) for name in names}


BLOCKS = [f"blocks.{n}.weight" for n in range(6)]
OWN = tensors("stem.weight", "stem.bias", *BLOCKS, "head.weight")


def test_the_same_tensors_are_no_misfit():
    assert misfit(OWN, OWN) is None
    assert misfit(OWN, {name: tensor.half() for name, tensor in OWN.items()}) is None


def test_three_of_each_kind_are_listed():
    given = {name: tensor for name, tensor in OWN.items() if "blocks" not in name}
    line = misfit(OWN, given, tensors("a.x", "b.x", "c.x", "d.x")) or ""
    assert "6 of 9 tensors are missing ('blocks.0.weight', 'blocks.1.weight', 'blocks.2.weight', ...)" in line
    assert "4 are not of the network ('a.x', 'b.x', 'c.x', ...)" in line
    shapes = misfit(OWN, {name: torch.ones(3, 3) for name in OWN}) or ""
    assert "9 of 9 are of another shape (stem.weight (3, 3), not (2, 2); stem.bias (3, 3)" in shapes
    assert shapes.count("not (2, 2)") == 3


@pytest.mark.parametrize(
    ("given", "rest", "cause"),
    [
        ({n: t for n, t in OWN.items() if n not in BLOCKS[3:]}, {}, "the network is deeper than the file's"),
        (OWN, tensors("blocks.6.weight", "blocks.7.weight"), "the file's network is deeper"),
        ({n: t for n, t in OWN.items() if n != "head.weight"}, {}, "the file lacks 'head'"),
        ({n: t for n, t in OWN.items() if n != "head.weight"}, tensors("fc.weight"), "'head' was replaced by 'fc'"),
        ({n: t for n, t in OWN.items() if n != "stem.bias"}, {}, "the file is incomplete"),
        ({}, tensors("lstm.weight"), "the file is of another architecture"),
        ({n: torch.ones(3, 3) for n in OWN}, {}, "another width"),
        (OWN | {"head.weight": torch.ones(5, 2)}, {}, "the file is of 5 classes, the network of 2"),
        (OWN | {"stem.weight": torch.ones(5, 2)}, {}, "another width"),
        (OWN | {"stem.weight": torch.ones(2, 2, 3, 3)}, {}, "layers of another kind"),
    ],
)
def test_the_likeliest_cause_is_named(given, rest, cause):
    assert (misfit(OWN, given, rest) or "").endswith(cause)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_integers_are_no_weights(kind):
    line = misfit(OWN, OWN | {"head.weight": torch.ones(2, 2).to(kind)})
    assert line == f"head.weight has type {kind}, the network needs torch.float32"


def test_names_of_a_file_stay_on_one_line():
    assert "\n" not in (misfit(OWN, OWN, tensors("a\nb")) or "\n")
    assert "\n" not in (broken({"a\nb": torch.full((1,), torch.nan)}) or "\n")


def test_numbers_that_are_none_are_broken():
    assert broken(OWN) is None
    assert broken({"mask": torch.tensor([-torch.inf, 0.0])}) is None
    assert "'a' holds NaN" in (broken({"a": torch.tensor([0.0, torch.nan])}) or "")
    assert "'a' is not a plain tensor" in (broken({"a": torch.empty(2, device="meta")}) or "")
