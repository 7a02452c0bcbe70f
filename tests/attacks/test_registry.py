"""Attacks by name, and what all of them keep to."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from jembench import attacks
from jembench.attacks import ATTACKS, attack
from jembench.attacks.defences import Defence, Defended
from jembench.ground import generators
from jembench.ground.identity import identity
from jembench.types import UserError

SMALL = {
    "pgd": {"steps": 4, "restarts": 2},
    "autoattack": {},
    "square": {"queries": 30},
    "spsa": {"steps": 3, "samples": 4},
    "boundary": {"queries": 40},
    "hopskipjump": {"queries": 40},
    "pointwise": {"queries": 40},
    "transfer": {},
    "null": {},
    "PGD": {"steps": 3},
    "FAB": {"steps": 3},
    "DeepFool": {"steps": 3},
}


def made(name):
    return attack(name, **SMALL[name])


def test_every_name_is_an_attack_of_its_own():
    found = {name: attack(name) for name in ATTACKS}
    assert {name: each.name for name, each in found.items()} == {name: name for name in ATTACKS}
    assert len({identity([type(each).__name__, dataclasses.asdict(each)]) for each in found.values()}) == len(ATTACKS)


@pytest.mark.parametrize("name", [*ATTACKS, "PGD", "CW"])
def test_an_attack_describes_itself_in_json_and_by_the_contract(name):
    found = attack(name)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["name"] == found.name
    assert set(found.norms) <= {"linf", "l2"}
    assert found.norms
    assert all(isinstance(value, bool) for value in (found.targeted, found.white))
    assert found.gradient == "full"
    assert found.copies in (None, 1)
    assert found.precision == "fp32"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pdg", "unknown attack 'pdg'; did you mean 'pgd'?"),
        ("hopskip", "did you mean 'hopskipjump'?"),
        ("autoatack", "did you mean 'autoattack'?"),
        ("DeepFol", "did you mean 'DeepFool'?"),
        ("AutoAttack", "it runs 10 steps where the official one runs 100; use 'autoattack'"),
        ("jsma", "attack 'JSMA' of torchattacks is not to be had: it takes minutes"),
        ("nothing.py:attack", "nothing.py: no such file"),
        ("x" * 40, "unknown attack 'xxxx"),
    ],
)
def test_a_name_that_is_none_is_one_line_with_the_nearest(name, message):
    with pytest.raises(UserError) as error:
        attack(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pgd", {"step": 3}, "unknown setting of attack 'pgd' 'step'; did you mean 'steps'?"),
        ("autoattack", {"version": "rand"}, "unknown setting of attack 'autoattack' 'version'"),
        ("PGD", {"stps": 3}, "unknown option of attack 'PGD' 'stps'; did you mean 'steps'?"),
        ("PGD", {"eps": 0.1}, "unknown option of attack 'PGD' 'eps'"),
        ("square", {"queries": 0}, "at least 1 query"),
        ("spsa", {"samples": 0}, "above 0"),
        ("boundary", {"queries": 0}, "at least 1 query"),
    ],
)
def test_a_setting_that_is_none_is_one_line(name, settings, message):
    with pytest.raises(UserError) as error:
        attack(name, **settings)
    assert message in str(error.value)


def test_names_that_are_known_can_be_had():
    known = attacks.names()
    assert {"pgd", "null", "PGD", "EOTPGD", "FAB", "CW"} <= set(known)
    assert not {"JSMA", "AutoAttack", "LGV", "MultiAttack"} & set(known)
    assert all(attack(name).name == name for name in known)


def test_a_list_is_a_tuple_so_that_the_attack_can_be_hashed():
    assert attack("transfer", sources=["a", "b"]) == attack("transfer", sources=("a", "b"))
    hash(attack("Pixle", x_dimensions=[1, 2]))


def test_importing_the_registry_loads_no_attack():
    code = (
        "import sys, jembench.attacks; "
        "print([n for n in ('torch', 'torchattacks', 'foolbox', 'pyautoattack') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", SMALL)
def test_an_attack_depends_on_its_task_alone_and_leaves_nothing_behind(run, digits, softmax, name, capfd):
    """The same images whatever was drawn before; nothing printed; the model, the images and the trace as they were."""
    x, y = digits(8)
    kept = x.clone()
    norm = made(name).norms[-1]
    eps = 3.0 if name == "autoattack" else 0.4  # so that its first part breaks them all
    state, trace = torch.random.get_rng_state(), sys.gettrace()
    one = run(made(name), softmax, x, y, norm, eps)
    torch.random.set_rng_state(state)
    torch.rand(3)
    with torch.no_grad():
        other = run(made(name), softmax, x, y, norm, eps)
    torch.random.set_rng_state(state)
    assert torch.equal(one.images, other.images)
    assert torch.equal(x, kept)
    assert one.verdict.valid.all()
    assert sys.gettrace() is trace
    assert capfd.readouterr() == ("", "")
    assert not any(value.requires_grad or value.grad is not None for value in softmax.parameters())


@pytest.mark.parametrize("name", sorted({*SMALL} - {"autoattack", "transfer", "null"}))
def test_a_claim_on_a_deterministic_model_is_true(run, digits, softmax, name):
    x, y = digits(8)
    found = run(made(name), softmax, x, y, made(name).norms[-1], 0.6)
    if found.claimed is not None:
        assert torch.equal(found.claimed & found.broken, found.claimed)


@pytest.mark.parametrize("name", ["square", "spsa", "boundary", "hopskipjump", "pointwise", "PGD", "autoattack-rand"])
def test_attacks_run_against_noise(run, linear, name):
    """Each keeps to the ball; what it claims is for verification to judge."""
    found = attack(name, **SMALL.get(name, {}))
    norm = found.norms[-1]
    noisy = Defended(linear.model, Defence(0, sigma=0.02, votes=2))
    result = run(found, noisy, linear.x[:4], linear.y[:4], norm, float(linear.nearest(norm).median()))
    assert result.verdict.valid.all()
    assert result.victim.meter.queries > 0


@pytest.mark.parametrize("name", ["square", "spsa", "hopskipjump", "pointwise"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_black_box_attacks_break_what_can_be_broken_and_nothing_else(run, linear, name, norm):
    """With 1.5 times the distance of the farthest image all break; with 0.97 of the nearest's none does."""
    settings = {"square": {"queries": 600}, "spsa": {}, "hopskipjump": {"queries": 1500}, "pointwise": {}}[name]
    nearest = linear.nearest(norm)
    wide = run(attack(name, **settings), linear.model, linear.x, linear.y, norm, 1.5 * float(nearest.max()))
    share = {"square": 0.7, "pointwise": 0.0}.get(name, 1.0)  # of pixels or squares: not every direction is theirs
    assert wide.broken.float().mean() >= share
    assert (wide.distance[wide.broken] >= nearest[wide.broken] - 1e-6).all()
    narrow = run(attack(name, **settings), linear.model, linear.x, linear.y, norm, 0.97 * float(nearest.min()))
    assert not narrow.broken.any()
    assert narrow.claimed is None or not narrow.claimed.any()


@pytest.mark.parametrize("name", ["square", "spsa", "hopskipjump", "boundary", "pointwise", "PGD"])
def test_a_targeted_attack_reaches_the_class_that_was_named(run, digits, softmax, name):
    x, y = digits(24)
    target = (y + 1) % 10
    found = attack(name, **{"square": {"queries": 200}, "spsa": {"samples": 8}, "PGD": {}}.get(name, {"queries": 300}))
    norm, eps = ("l2", 3.0) if "l2" in found.norms else ("linf", 0.4)
    result = run(found, softmax, x, y, norm, eps, target=target)
    assert result.broken.float().mean() > 0.5
    reached = softmax.logits(result.images).argmax(1) == target
    assert torch.equal(reached, result.broken)


@pytest.mark.parametrize(
    ("name", "norm", "goal", "message"),
    [
        ("boundary", "linf", False, "attack 'boundary' serves L2, not L∞"),
        ("PGDL2", "linf", False, "attack 'PGDL2' serves L2, not L∞"),
        ("autoattack", "l2", True, "attack 'autoattack' cannot aim at a class"),
        ("FAB", "l2", True, "attack 'FAB' cannot aim at a class"),
    ],
)
def test_what_an_attack_cannot_do_is_one_line(run, linear, name, norm, goal, message):
    with pytest.raises(UserError, match=message):
        run(attack(name), linear.model, linear.x, linear.y, norm, 0.1, target=1 - linear.y if goal else None)


def test_images_outside_of_the_range_are_refused(run, linear):
    with pytest.raises(UserError, match=r"outside of \[0, 1\]"):
        run(attack("PGD"), linear.model, 2 * linear.x, linear.y, "linf", 0.1)


def test_the_null_attack_asks_nothing(run, linear):
    found = run(attack("null"), linear.model, linear.x, linear.y, "linf", 0.5)
    assert torch.equal(found.images, linear.x)
    assert found.victim.meter.queries == 0
    assert generators.generator("attack").get_state().equal(found.task.generator.get_state())
