"""Captured chains on a CPU, where a recording of torch's operations stands in for a CUDA graph.

It has what makes a graph dangerous: a replay runs the recorded operations on the recorded tensors, and no line of
Python again. Whatever is not in a buffer stays what it was when it was recorded.
"""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from jembench import data
from jembench.ground import generators
from jembench.ground.shares import Share
from jembench.langevin import sgld
from jembench.langevin.captured import Captured
from jembench.langevin.sgld import SGLD
from jembench.models.chains import density
from jembench.models.recipes import Recipe
from jembench.models.wrn import WideResNet
from jembench.training import draws
from jembench.training import run as runs
from jembench.training.team import Team

SHAPE = (1, 8, 8)
LABELS = torch.tensor([2, 0, 1, 1])


class Tape(TorchDispatchMode):
    """Notes every operation with its tensors."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        self.operations.append((function, arguments, options or {}, result))
        return result


def taped(work, device):
    """A replay of what ``work`` does now, and a count of how often ``work`` itself ran: once."""
    with Tape() as tape:
        work()

    def replay():
        with torch.no_grad():
            for function, arguments, options, result in tape.operations:
                again = function(*arguments, **options)
                pairs = zip(result, again, strict=True) if isinstance(result, tuple | list) else [(result, again)]
                for old, new in pairs:
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    return replay


def network(norm="none"):
    with generators.forked("captured"):
        made = WideResNet(shape=SHAPE, classes=3, depth=10, width=1, norm=norm)
    for parameter in made.parameters():
        parameter.data.mul_(1.5)  # gradients of a size that matters
    return made.eval()


def of(net):
    """log p(x), or log p(x|y), of a network of logits."""

    def log_density(x, labels):
        f = net(x).float()
        return f.logsumexp(1) if labels is None else f.gather(1, labels[:, None]).squeeze(1)

    return log_density


def images(key="x", n=4):
    return torch.rand((n, *SHAPE), generator=generators.generator(key))


def plain(net, x, labels, settings, generator):
    return sgld.chain(lambda z: of(net)(z, labels), x, settings=settings, generator=generator)


@pytest.mark.parametrize("capture", [None, taped])
@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize(
    "settings",
    [
        SGLD(steps=3, size=0.5, noise=0.02),
        SGLD(steps=3, size=0.5, noise=0.0),
        SGLD(steps=3, size=0.5, noise=0.02, clip=0.01, bounds=(0.0, 1.0)),
        SGLD(steps=3, size=0.5, noise=0.02, precision="bf16"),
        SGLD(steps=0),
    ],
    ids=str,
)
def test_a_captured_chain_is_the_chain_to_the_last_bit(capture, labels, settings):
    """Chain after chain from other images, with other classes, of weights that were changed in place in between."""
    net = network("batch")
    captured = Captured(of(net), net, capture=capture)
    one, other = generators.generator("noise"), generators.generator("noise")
    ends = []
    for turn in range(3):
        x, y = images(turn), None if labels is None else (labels + turn) % 3
        expected = plain(net, x, y, settings, one)
        found = captured.chain(x, y, settings=settings, generator=other)
        assert torch.equal(found, expected)
        assert torch.equal(one.get_state(), other.get_state())
        assert not found.requires_grad
        assert torch.equal(x, images(turn))
        ends.append(found - x)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.2)
    assert settings.steps == 0 or not torch.allclose(ends[0], ends[1], atol=1e-4)


def test_an_end_is_not_the_buffer_of_the_next_chain():
    net = network()
    captured = Captured(of(net), net, capture=taped)
    first = captured.chain(images(), None, settings=SGLD(steps=2), generator=generators.generator("n"))
    kept = first.clone()
    captured.chain(images("other"), None, settings=SGLD(steps=2), generator=generators.generator("n"))
    assert torch.equal(first, kept)


def counted(calls):
    def capture(work, device):
        calls.append(device)
        return taped(work, device)

    return capture


def test_a_step_is_captured_once_until_anything_but_values_changes():
    net, calls = network(), []
    captured = Captured(of(net), net, capture=counted(calls))
    quick = SGLD(steps=2, size=0.5)
    changes = {
        "nothing": lambda: (images(), None, quick),
        "values": lambda: (images("other"), None, quick),
        "steps": lambda: (images("other"), None, SGLD(steps=1, size=0.5)),
        "settings": lambda: (images(), None, SGLD(steps=2, size=0.4)),
        "batch": lambda: (images(n=3), None, quick),
        "classes": lambda: (images(), LABELS, quick),
    }
    seen = []
    for name, change in changes.items():
        x, y, settings = change()
        expected = plain(net, x, y, settings, generators.generator("n"))
        found = captured.chain(x, y, settings=settings, generator=generators.generator("n"))
        assert torch.equal(found, expected), name
        seen.append(len(calls))
    assert seen == [1, 1, 1, 2, 3, 4]


def test_weights_that_lie_elsewhere_are_seen():
    """A planted bug of the caller's: weights that are replaced and not changed in place."""
    net, calls = network(), []
    captured = Captured(of(net), net, capture=counted(calls))
    settings = SGLD(steps=2, size=0.5, noise=0.0)
    captured.chain(images(), None, settings=settings, generator=generators.generator("n"))
    for parameter in net.parameters():
        parameter.data = parameter.data * 1.5
    expected = plain(net, images(), None, settings, generators.generator("n"))
    found = captured.chain(images(), None, settings=settings, generator=generators.generator("n"))
    assert torch.equal(found, expected)
    assert len(calls) == 2


def refusing(work, device):
    raise RuntimeError("operation not permitted\nwhen stream is capturing")


def empty(work, device):
    """What is captured on another stream than the one the work runs on."""
    return lambda: None


def stale(work, device):
    """A replay that ignores the images of its time."""
    with Tape() as tape:
        work()
    target = next(
        arguments[0] for function, arguments, *_ in tape.operations if function is torch.ops.aten.copy_.default
    )
    end = target.clone()
    return lambda: target.copy_(end + 0.1)


@pytest.mark.parametrize(
    ("capture", "words"), [(refusing, "not permitted when stream"), (empty, "moves the images"), (stale, "moves the")]
)
def test_what_cannot_be_captured_or_is_captured_wrongly_is_run_as_it_is(capture, words):
    """And says so once."""
    net, settings = network(), SGLD(steps=3, size=0.5, noise=0.02)
    captured = Captured(of(net), net, capture=capture)
    one, other = generators.generator("n"), generators.generator("n")
    for turn in range(2):
        expected = plain(net, images(turn), LABELS, settings, one)
        if turn == 0:
            with pytest.warns(UserWarning, match=words):
                found = captured.chain(images(turn), LABELS, settings=settings, generator=other)
        else:
            found = captured.chain(images(turn), LABELS, settings=settings, generator=other)  # a warning is an error
        assert torch.equal(found, expected)


def test_a_model_that_has_diverged_is_not_the_captures_fault():
    net = network()
    nn.init.constant_(net.class_output.weight, float("nan"))
    captured = Captured(of(net), net, capture=taped)
    found = captured.chain(images(), None, settings=SGLD(steps=1), generator=generators.generator("n"))
    assert found.isnan().all()


def test_proximal_chains_are_refused():
    net = network()
    with pytest.raises(ValueError, match="one move per gradient, not inner = 2"):
        Captured(of(net), net).chain(images(), None, settings=SGLD(inner=2), generator=generators.generator())


def test_captured_chains_work_in_inference_mode():
    net, settings = network(), SGLD(steps=2, size=0.5)
    expected = plain(net, images(), None, settings, generators.generator("n"))
    with torch.inference_mode():
        found = Captured(of(net), net).chain(images(), None, settings=settings, generator=generators.generator("n"))
    assert torch.equal(found, expected)


def recipe(**changes):
    content = {
        "track": "digits",
        "about": "a test",
        "model": {"kind": "jem", "width": 4},
        "objective": {"log_px": 1.0},
        "sampling": {"steps": 3, "buffer": 64},
        "training": {"iterations": 12, "batch": 8},
    }
    for part, values in changes.items():
        content[part] = {**content[part], **values}
    return Recipe.model_validate(content)


def alone(made, tmp_path):
    return runs.Run(made, data.track("digits"), torch.device("cpu"), Team(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": {"log_px": 0.0, "log_px_y": 1.0}},
        {"sampling": {"steps": 3, "buffer": 64, "precision": "bf16", "clamp": True}},
        {"sampling": {"steps": 2, "inner": 2, "buffer": 64}},
    ],
    ids=["jem", "conditional", "bf16", "proximal"],
)
def test_a_training_run_with_captured_chains_ends_in_the_same_weights(changes, tmp_path):
    """Optimiser, buffer, rollback's fresh objective: what a run changes between two chains, it changes in place."""
    made = recipe(**changes)
    one, other = (alone(made, tmp_path / name) for name in ("one", "other"))
    calls = []
    other.captured = Captured(lambda x, y: density(other.model, x, y), other.model, capture=counted(calls))
    for _ in range(4):
        one.iterate(), other.iterate()
    other.load(copy.deepcopy(one.state()))  # as after a rollback
    for _ in range(3):
        one.iterate(), other.iterate()
    for name, value in one.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value), name
    assert torch.equal(one.buffer.images, other.buffer.images)
    assert len(calls) == (0 if made.sampling.inner > 1 else 1)


def test_on_a_cpu_nothing_is_captured(tmp_path):
    assert alone(recipe(), tmp_path).captured is None


def test_the_noise_of_a_team_reaches_the_buffer(tmp_path):
    """A process that holds the second half of a batch draws for the whole, and keeps its rows."""
    run = alone(recipe(), tmp_path)
    share = Share(4, 8, 8)
    half = type(run.buffer)(run.buffer.images[4:].clone(), run.buffer.labels[4:].clone(), share)
    again = type(run.buffer)(run.buffer.images[4:].clone(), run.buffer.labels[4:].clone(), share)
    captured = Captured(lambda x, y: density(run.model, x, y), run.model, capture=taped)
    one = draws.continued(run.model, half, run.settings, generators.generator("s"))
    other = draws.continued(run.model, again, run.settings, generators.generator("s"), captured=captured)
    assert torch.equal(one[0], other[0])
    assert torch.equal(half.images, again.images)
