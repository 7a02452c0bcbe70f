"""Shifts: what each one is, by arithmetic of our own; range, identity at 0, and that severity is severe."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from jembench import data
from jembench.data.shifts import SHIFTS, shift
from jembench.types import UserError


def images(n: int = 20) -> Tensor:
    return torch.from_numpy(data.load("digits", "validation").pixels(0, n))


def shifted(kind: str, x: Tensor, amount: float, seed: int = 0) -> Tensor:
    return shift(kind, x, amount, generator=torch.Generator().manual_seed(seed))


def test_the_tables_kinds_and_those_held_out_are_all_and_disjoint() -> None:
    tracks = [data.track(name) for name in ("digits", "gauss", "cifar10")]
    shown = {grid.kind for track in tracks for grid in track.shifts}
    held = {grid.kind for track in tracks for grid in track.held_out}
    assert shown | held == set(SHIFTS)
    assert not shown & held


@pytest.mark.parametrize("kind", SHIFTS)
def test_amount_0_changes_nothing(kind: str) -> None:
    x = images()
    torch.testing.assert_close(shifted(kind, x, 0.0), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", SHIFTS)
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 32, 32), (0, 1, 8, 8)])
def test_shape_and_range_stay(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for amount in (0.3, 0.9):
        y = shifted(kind, x, amount)
        assert y.shape == x.shape
        assert y.numel() == 0 or (y.min() >= 0 and y.max() <= 1)


@pytest.mark.parametrize("kind", SHIFTS)
def test_an_image_does_not_depend_on_the_others(kind: str) -> None:
    """What is random is drawn for the batch; what is not belongs to the image alone."""
    x = images()
    y = shifted(kind, x, 0.4)
    other = x.clone()
    other[1:] = 0.5
    torch.testing.assert_close(shifted(kind, other, 0.4)[0], y[0])


@pytest.mark.parametrize("kind", [each.kind for each in data.track("digits").shifts + data.track("digits").held_out])
def test_severe_is_farther_than_mild(kind: str) -> None:
    x, track = images(), data.track("digits")
    (grid,) = (each for each in track.shifts + track.held_out if each.kind == kind)
    moved = [float((shifted(kind, x, a) - x).square().mean()) for a in grid.amounts]
    assert moved == sorted(moved)


def test_noise_has_the_given_deviation() -> None:
    x = torch.full((200, 1, 8, 8), 0.5)
    assert float(shifted("noise", x, 0.1).std()) == pytest.approx(0.1, rel=0.02)


def test_blur_is_scipys() -> None:
    x = images(3)
    ours = shifted("blur", x, 1.1).numpy()
    theirs = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.1, 1.1), mode="nearest", radius=math.ceil(3.3))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_rotation_by_a_right_angle_and_by_any_is_the_plane_s() -> None:
    x = images(3)
    torch.testing.assert_close(shifted("rotation", x, 90.0), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    turned = shifted("rotation", x, 30.0).numpy()
    theirs = ndimage.rotate(x.numpy(), 30.0, axes=(3, 2), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(turned, theirs, atol=1e-4)


def test_brightness_contrast_and_gamma_are_their_formulas() -> None:
    x = images(3)
    torch.testing.assert_close(shifted("brightness", x, 0.2), (x + 0.2).clamp(0, 1))
    flat = shifted("contrast", x, 0.6)
    torch.testing.assert_close(flat.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(flat.std((1, 2, 3)), 0.4 * x.std((1, 2, 3)))
    torch.testing.assert_close(shifted("gamma", x, 1.0), x * x)


def test_translation_moves_by_the_given_distance() -> None:
    x = torch.zeros(50, 1, 32, 32)
    x[:, :, 16, 16] = 1
    y = shifted("translation", x, 0.25)
    at = torch.arange(32.0)
    centre = torch.stack([(y.sum((1, 2)) * at).sum(1), (y.sum((1, 3)) * at).sum(1)], 1) / y.sum((1, 2, 3))[:, None]
    torch.testing.assert_close((centre - 16).norm(dim=1), torch.full((50,), 8.0), atol=0.05, rtol=0)
    assert len({tuple(row) for row in centre.round().int().tolist()}) > 10  # in many directions


def test_occlusion_and_impulse_touch_as_much_as_they_say() -> None:
    x = torch.full((400, 1, 8, 8), 0.3)
    hidden = shifted("occlusion", x, 0.5) != x
    assert (hidden.sum((1, 2, 3)) == 16).all()
    struck = shifted("impulse", x, 0.25)
    assert float((struck != x).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert set(struck[struck != x].tolist()) == {0.0, 1.0}


def test_pixelate_has_fewer_values() -> None:
    y = shifted("pixelate", images(1), 0.5)
    assert torch.equal(y[..., ::2, ::2], y[..., 1::2, 1::2])


def test_bad_input() -> None:
    with pytest.raises(UserError, match="unknown shift 'blurr'; did you mean 'blur'"):
        shifted("blurr", images(), 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        shifted("blur", images(), -0.1)
