"""Threat models: balls in units of [0, 1], and the classes that are aimed at."""

import math

import pytest
import torch

from jembench.attacks.threat import Threat, check_eps, distance, targets
from jembench.ground import generators
from jembench.types import UserError

SHAPE = (1, 8, 8)


@pytest.mark.parametrize(
    ("eps", "norm"), [(0, "linf"), (-0.1, "linf"), (1.01, "linf"), (0, "l2"), (8.01, "l2"), (math.nan, "l2")]
)
def test_an_eps_that_no_ball_has_is_refused(eps: float, norm: str) -> None:
    with pytest.raises(UserError, match="outside of the"):
        check_eps(eps, norm, SHAPE)


@pytest.mark.parametrize(("eps", "norm"), [(1e-6, "linf"), (1, "linf"), (8, "l2"), (2.0, "l2")])
def test_one_within_is_not(eps: float, norm: str) -> None:
    check_eps(eps, norm, SHAPE)


def test_eps_in_255ths_gets_the_advice() -> None:
    with pytest.raises(UserError, match="8/255"):
        check_eps(8, "linf", SHAPE)


def test_an_unknown_norm_or_goal_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no such threat"):
        Threat("l1", 0.1)
    with pytest.raises(ValueError, match="no such threat"):
        Threat("linf", 0.1, "all")


def test_distances_are_norms() -> None:
    delta = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.5]]]])
    assert distance(delta, "linf").tolist() == [4.0, 0.5]
    assert distance(delta, "l2").tolist() == [5.0, 0.5]


def test_targets_are_wrong_classes() -> None:
    """The least likely of the wrong ones, or all of them in turn, the same for every attack on an example."""
    logits = torch.randn((200, 5), generator=generators.generator("targets"))
    y = logits.argmin(1)  # the label itself is the least likely class: it must not be aimed at
    index = torch.arange(200)
    least = targets("least-likely", logits, y, index)
    assert (least != y).all()
    masked = logits.scatter(1, y[:, None], math.inf)
    assert torch.equal(masked.gather(1, least[:, None]).squeeze(1), masked.amin(1))
    taken = targets("targeted", logits, y, index)
    assert (taken != y).all()
    assert torch.bincount((taken - y) % 5).tolist() == [0, 50, 50, 50, 50]
    assert torch.equal(taken[3:9], targets("targeted", logits[3:9], y[3:9], index[3:9]))
    assert targets("untargeted", logits, y, index) is None
