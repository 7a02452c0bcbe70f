"""AutoAttack as pyautoattack runs it, example by example; for the model that it is made for; and inside RobustBench."""

import logging
import sys

import pyautoattack
import pytest
import torch
from torch import nn

from jembench.attacks import attack, thirdparty
from jembench.attacks.defences import Defence, Defended
from jembench.ground import compat
from jembench.models.softmax import Softmax
from jembench.types import UserError


class Bare(nn.Module):
    """The logits of a model, and nothing of ours."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.logits(x)


def bare(model, x, y, norm, eps, seed, classes=10):
    """What pyautoattack itself finds."""
    theirs = pyautoattack.AutoAttack(Bare(model), norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=seed)
    if classes < 10:
        theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = classes - 1
    trace = sys.gettrace()
    with torch.random.fork_rng():
        images, labels = theirs.run_standard_evaluation(x, y, batch_size=len(x))
    sys.settrace(trace)
    return images, labels


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.0)])
def test_through_us_it_is_pyautoattack_on_digits(run, digits, softmax, norm, eps):
    x, y = digits(36)
    found = run(attack("autoattack"), softmax, x, y, norm, eps)
    images, labels = bare(softmax, x, y, norm, eps, thirdparty.seed(found.task))
    assert torch.equal(found.images, images)
    assert torch.equal(found.claimed, labels != y)
    assert torch.equal(found.broken, found.claimed)
    assert found.broken.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_through_all_its_parts_it_is_pyautoattack(run, linear, norm, monkeypatch):
    """Some images cannot be broken, so every part runs; what can be is, and no more. Four classes: three targets."""
    original = pyautoattack.AutoAttack._set_version

    def shorter(self, version):
        original(self, version)
        self.square.n_queries, self.fab.n_iter = 200, 10

    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", shorter)
    nearest = linear.nearest(norm)
    eps = float(nearest.sort().values[5:7].mean())
    found = run(attack("autoattack"), linear.model, linear.x, linear.y, norm, eps)
    images, _ = bare(linear.model, linear.x, linear.y, norm, eps, thirdparty.seed(found.task), classes=4)
    assert torch.equal(found.images, images)
    assert torch.equal(found.broken, nearest < eps)


def test_gradients_stay_off_the_parameters(run, linear):
    """FAB calls ``backward`` on the logits."""
    linear.model.requires_grad_(True)
    try:
        run(attack("FAB", steps=3), linear.model, linear.x, linear.y, "linf", 0.1)
        assert all(parameter.grad is None for parameter in linear.model.parameters())
    finally:
        linear.model.requires_grad_(False)


def test_each_version_is_for_one_kind_of_model(run, linear):
    noisy = Defended(linear.model, Defence(0))
    with pytest.raises(UserError, match=r"'autoattack' is not for a stochastic model: use 'autoattack-rand'"):
        run(attack("autoattack"), noisy, linear.x, linear.y, "linf", 0.1)
    with pytest.raises(UserError, match=r"'autoattack-rand' is not for a deterministic model: use 'autoattack'"):
        run(attack("autoattack-rand"), linear.model, linear.x, linear.y, "linf", 0.1)
    bare_of_it = attack("autoattack", gradient="none")  # attacks the model without its defence
    assert run(bare_of_it, noisy, linear.x, linear.y, "linf", 1.0).broken.any()


@pytest.mark.parametrize("classes", [2, 3])
def test_with_few_classes_what_needs_more_is_left_out(run, linear, classes):
    layer = nn.Linear(25, classes)
    layer.weight.data, layer.bias.data = (
        linear.model.network[1].weight[:classes],
        linear.model.network[1].bias[:classes],
    )
    model = Softmax(nn.Sequential(nn.Flatten(), layer)).eval().requires_grad_(False)
    found = run(attack("autoattack"), model, linear.x, linear.y, "linf", 1.2 * float(linear.nearest("linf").max()))
    assert found.broken.all()
    noisy = Defended(model, Defence(0, sigma=0.001))
    found = run(attack("autoattack-rand"), noisy, linear.x, linear.y, "linf", 1.5 * float(linear.nearest("linf").max()))
    assert found.broken.float().mean() > 0.8


def misbehave(task):
    with thirdparty.borrowed(attack("null"), task):
        sys.settrace(None)
        logging.info("a library that configures logging")
        torch.manual_seed(0)
        raise ValueError("two\nlines")


@pytest.mark.usefixtures("untouched")
def test_what_third_party_code_does_to_its_process_ends_with_it(linear, run):
    """Logging, printing, warnings, tracing; and a failure is one line."""
    log, trace, events = logging.getLogger(), sys.gettrace(), []
    task = run(attack("null"), linear.model, linear.x, linear.y, "linf", 0.1).task
    handlers, level = list(log.handlers), log.manager.disable

    def tracer(*arguments):
        events.append(arguments)

    sys.settrace(tracer)
    try:
        with pytest.raises(UserError, match=r"^attack 'null' failed: ValueError: two lines$"):
            misbehave(task)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(trace)
    assert (list(log.handlers), log.manager.disable) == (handlers, level)


def test_the_shielded_gradient_is_the_victims(run, linear):
    """Also where it is asked for twice, and where logits are written to."""
    victim = run(attack("null"), linear.model, linear.x, linear.y, "linf", 0.1).victim
    x = linear.x.clone().requires_grad_()
    f = thirdparty.Shielded(victim)(x)
    (first,) = torch.autograd.grad(f[:, 0].sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(f[:, 0].sum(), x)
    assert torch.equal(first, second)
    assert torch.allclose(first.flatten(1), linear.w.expand(len(x), -1))
    with torch.no_grad():
        assert not thirdparty.Shielded(victim)(x).requires_grad


def test_robustbench_agrees(run, digits, softmax, monkeypatch, capsys):
    """Its benchmark on our images finds our clean accuracy, and the robust one of AutoAttack through us."""
    package = compat.robustbench()
    x, y = digits(20)
    monkeypatch.setattr(package.eval, "load_clean_dataset", lambda dataset, n, folder, preparation: (x[:n], y[:n]))
    trace = sys.gettrace()
    with torch.random.fork_rng():
        clean, robust = package.benchmark(
            Bare(softmax).eval(), n_examples=20, dataset="cifar10", threat_model="Linf", eps=0.15, batch_size=20
        )
    sys.settrace(trace)
    capsys.readouterr()
    found = run(attack("autoattack"), softmax, x, y, "linf", 0.15)
    assert clean == pytest.approx(run(attack("null"), softmax, x, y, "linf", 0.15).verdict.vote.float().mean())
    assert robust == pytest.approx(found.verdict.vote.float().mean())
    assert robust < clean
