"""A user's attack: loaded from its file, told all it needs, repaired in nothing."""

import dataclasses
import sys
from itertools import count

import pytest
import torch

from jembench.attacks import attack
from jembench.types import UserError

HEAD = "import torch\n"
CORNER = """
def mine(model, x, y, *, norm, eps, generator):
    x = x.clone().requires_grad_()
    f = model(x)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(f, y, reduction="sum"), x)
    return (x + eps * gradient.sign()).clamp(0, 1)
"""


@pytest.fixture
def write(tmp_path):
    """Write an attack and return its reference."""
    number = count()

    def written(body):
        path = tmp_path / f"attack_{next(number)}.py"
        path.write_text(HEAD + body)
        return f"{path}:mine"

    return written


@pytest.mark.usefixtures("untouched")
def test_a_function_is_an_attack(run, linear, write):
    """One step to the corner is the optimum of a linear model."""
    made = attack(write(CORNER))
    nearest = linear.nearest("linf")
    eps = float(nearest.median()) * 1.01
    found = run(made, linear.model, linear.x, linear.y, "linf", eps)
    assert torch.equal(found.broken, nearest < eps)
    assert found.claimed is None
    assert (found.victim.meter.queries, found.victim.meter.gradients) == (12, 12)


def test_what_is_out_of_the_ball_is_not_mended(run, linear, write):
    body = "def mine(model, x, y, *, norm, eps, generator):\n    return x + 1.01 * eps, torch.ones(len(x)) > 0\n"
    found = run(attack(write(body)), linear.model, linear.x, linear.y, "linf", 0.1)
    assert torch.allclose(found.images, linear.x + 0.101)
    assert not found.verdict.valid.any()
    assert found.claimed.all()


def test_its_generator_is_not_the_one_of_the_verdict(run, linear, write):
    """Planted: an attack that winds its generator back, so that the verdict would be on draws that it has seen."""
    peek = "def mine(model, x, y, *, norm, eps, generator):\n    generator.manual_seed(0)\n    return x\n"
    plain = "def mine(model, x, y, *, norm, eps, generator):\n    return x\n"
    found = [run(attack(write(body)), linear.model, linear.x, linear.y, "linf", 0.1) for body in (peek, plain)]
    assert torch.equal(*(each.task.generator.get_state() for each in found))


def test_it_cannot_change_the_images_or_the_process(run, linear, write, capsys):
    body = (
        "import sys\n"
        "def mine(model, x, y, *, norm, eps, generator):\n"
        "    print(sys.argv[1:])\n"
        "    torch.manual_seed(1)\n"
        "    x += eps * torch.rand(x.shape, generator=generator)\n"
        "    y.zero_()\n"
        "    return x\n"
    )
    made, kept, path = attack(write(body)), linear.x.clone(), list(sys.path)
    one, other = (run(made, linear.model, linear.x, linear.y, "linf", 0.1, key=key) for key in ("a", "b"))
    assert torch.equal(linear.x, kept)
    assert not torch.equal(one.images, other.images)
    assert sys.path == path
    out, err = capsys.readouterr()
    assert (out, err) == ("", "[]\n[]\n")


def test_a_targeted_one_is_told_the_class(run, linear, write):
    body = (
        CORNER.replace("generator):", "generator, target):")
        .replace("(f, y,", "(f, target,")
        .replace("x + eps", "x - eps")
    )
    made = attack(write(body), targeted=True)
    found = run(made, linear.model, linear.x, linear.y, "linf", 0.5, target=1 - linear.y)
    assert found.broken.all()
    with pytest.raises(UserError, match="cannot aim at a class"):
        run(attack(write(CORNER)), linear.model, linear.x, linear.y, "linf", 0.5, target=1 - linear.y)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("x[:2]", r"returned torch.float32 of shape \(2, 1, 5, 5\), not images of shape \(12, 1, 5, 5\)"),
        ("None", "returned a NoneType, not images"),
        ("(x > 0)", "returned torch.bool of shape"),
        ("(x, y)", "claims torch.int64 of shape"),
        ("(x, [True])", "claims a list, not one boolean for each image"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("sys.exit(3)", "failed: NameError"),
        ("exit(3)", "failed: SystemExit: 3"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_in_one_line(run, linear, write, result, message):
    made = attack(write(f"def mine(model, x, y, *, norm, eps, generator):\n    return {result}\n"))
    with pytest.raises(UserError, match=message) as error:
        run(made, linear.model, linear.x, linear.y, "linf", 0.1)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_has_no_such_function(run, linear, write, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        attack(f"{tmp_path}/nothing.py:mine")
    with pytest.raises(UserError, match="no function 'mine' in it"):
        run(attack(write("other = 1\n")), linear.model, linear.x, linear.y, "linf", 0.1)


def test_it_is_its_file(run, linear, write):
    """Two files with the same name of a function are two attacks; a file that changes after planning is refused."""
    one, other = write(CORNER), write(CORNER + "# a comment\n")
    assert attack(one).sha256 != attack(other).sha256
    made = attack(one)
    assert dataclasses.asdict(made)["sha256"] == made.sha256
    with open(one.rpartition(":")[0], "a") as file:
        file.write("# more\n")
    with pytest.raises(UserError, match="it has changed since"):
        run(made, linear.model, linear.x, linear.y, "linf", 0.1)
