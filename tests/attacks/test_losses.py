"""Losses: their signs, their definitions, and what does not move them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from jembench.attacks.losses import loss, margin
from jembench.ground import generators


def drawn(seed: int, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = generators.generator("losses", seed)
    y = torch.randint(classes, (40,), generator=generator)
    target = (y + torch.randint(1, classes, (40,), generator=generator)) % classes
    return 3 * torch.randn((40, classes), generator=generator), y, target


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 50))
def test_the_margin_is_below_zero_just_where_the_goal_is_reached(seed: int) -> None:
    f, y, target = drawn(seed)
    assert torch.equal(margin(f, y) < 0, f.argmax(1) != y)
    assert torch.equal(margin(f, y, target) < 0, f.argmax(1) == target)


def test_cross_entropy_is_torchs() -> None:
    f, y, target = drawn(0)
    assert torch.allclose(loss("ce", f, y), cross_entropy(f, y, reduction="none"))
    assert torch.allclose(loss("ce", f, y, target), f.log_softmax(1).gather(1, target[:, None])[:, 0])


def test_dlr_by_hand_and_as_pyautoattack_has_it() -> None:
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    f, y, target = drawn(1)
    assert loss("dlr", torch.tensor([[5.0, 3.0, 1.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(-0.5)
    plain = APGDAttack(lambda x: x, norm="Linf", eps=1.0, device="cpu")
    assert torch.allclose(loss("dlr", f, y), plain.dlr_loss(f, y), atol=1e-5)
    aimed = APGDAttack_targeted(lambda x: x, norm="Linf", eps=1.0, device="cpu")
    aimed.y_target = target
    assert torch.allclose(loss("dlr", f, y, target), aimed.dlr_loss_targeted(f, y), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 20), scale=st.floats(0.1, 100), shift=st.floats(-50, 50))
def test_dlr_does_not_move_with_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    f, y, target = drawn(seed)
    for aim in (None, target):
        assert torch.allclose(loss("dlr", f * scale + shift, y, aim), loss("dlr", f, y, aim), rtol=1e-2, atol=1e-3)


def test_too_few_classes_for_dlr() -> None:
    with pytest.raises(ValueError, match="at least 3 classes"):
        loss("dlr", torch.zeros((1, 2)), torch.tensor([0]))
    with pytest.raises(ValueError, match="unknown loss"):
        loss("hinge", torch.zeros((1, 2)), torch.tensor([0]))
