"""Attacks of torchattacks by name: the class itself with the task's ball, seed and labels."""

import pytest
import torch
from torch import nn

from jembench.attacks import attack, thirdparty
from jembench.attacks.torchattacks import Torchattack, names, resolve
from jembench.ground import compat
from jembench.types import UserError

MINIMAL = {"CW", "DeepFool", "EADEN", "EADL1", "GN", "OnePixel", "Pixle", "SparseFool", "VANILA"}
BOTH = {"APGD", "APGDT", "FAB", "Square"}


class Bare(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.dummy = nn.Parameter(torch.zeros(()))  # says where it is

    def forward(self, x):
        return self.model.logits(x)


def test_norms_are_known_before_anything_runs():
    for name in names():
        wanted = ("linf", "l2") if name in BOTH else ("l2",) if name in {*MINIMAL, "PGDL2", "PGDRSL2"} else ("linf",)
        assert attack(name).norms == wanted, name


def test_names_are_found_whatever_their_case():
    assert (resolve("APGD"), resolve("apgd"), resolve("deepfool"), resolve("nothing")) == (
        "APGD",
        "APGD",
        "DeepFool",
        None,
    )
    assert attack("Pgd") == attack("PGD")
    assert attack("PGD") != attack("pgd")


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("PGD", {}, {"eps": 0.1, "alpha": 0.025}),
        ("PGD", {"alpha": 0.01, "steps": 5}, {"eps": 0.1, "alpha": 0.01, "steps": 5}),
        ("EOTPGD", {}, {"eps": 0.1, "alpha": 0.025}),
        ("FFGSM", {}, {"eps": 0.1, "alpha": 0.125}),
        ("APGD", {"loss": "dlr"}, {"eps": 0.1, "norm": "Linf", "loss": "dlr"}),
        ("FAB", {}, {"eps": 0.1, "norm": "Linf"}),
    ],
)
def test_it_is_the_class_with_the_balls_arguments(run, digits, softmax, name, options, theirs):
    """Same start, same images; a step keeps its share of the radius unless it is given."""
    x, y = digits(12)
    found = run(attack(name, **options), softmax, x, y, "linf", 0.1)
    kind = getattr(compat.torchattacks(), name)
    if name in {"APGD", "FAB"}:
        theirs = {**theirs, "seed": thirdparty.seed(found.task)}
    with torch.random.fork_rng(), thirdparty.borrowed(attack("null"), found.task):
        images = kind(Bare(softmax).requires_grad_(False), **theirs)(x, y)
    assert torch.allclose(found.images, images, atol=1e-7)
    assert found.verdict.valid.all()


def test_a_near_image_counts_within_eps_only(run, linear):
    """DeepFool finds the nearest image of a linear model up to its overshoot of 2 %: it fails below, succeeds above."""
    nearest = linear.nearest("l2")
    eps = float(nearest.sort().values[5:7].mean())
    found = run(attack("DeepFool"), linear.model, linear.x, linear.y, "l2", eps)
    inside = nearest * 1.03 < eps
    assert found.broken[inside].all()
    assert torch.equal(found.claimed, found.broken)
    assert not found.broken[nearest > eps].any()
    assert torch.equal(found.images[~found.broken], linear.x[~found.broken])


def test_images_that_leave_the_range_are_clipped(run, digits, softmax):
    """EADL1 returns pixels below 0; nearer, they still fool."""
    x, y = digits(10)
    found = run(attack("EADL1", max_iterations=30, binary_search_steps=3), softmax, x, y, "l2", 1.0)
    assert found.verdict.valid.all()
    assert torch.equal(found.claimed, found.broken)


def test_what_fails_inside_is_one_line_that_names_it(run, digits, softmax):
    x, y = digits(4)
    with pytest.raises(UserError, match=r"^attack 'PIFGSM' failed: RuntimeError: .*3 channels") as error:
        run(attack("PIFGSM"), softmax, x, y, "linf", 0.1)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="attack 'PGD' failed: TypeError"):
        run(attack("PGD", steps="many"), softmax, x, y, "linf", 0.1)


def test_options_are_part_of_what_it_is():
    one, other = Torchattack("PGD", (("steps", 3), ("alpha", 0.1))), Torchattack("pgd", (("alpha", 0.1), ("steps", 3)))
    assert one == other
    assert one != Torchattack("PGD")
