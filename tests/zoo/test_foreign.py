"""A user's model: built from where they say, refused in one line, and identified by all that its numbers depend on."""

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

import jembench
from jembench import data
from jembench.models.softmax import Softmax
from jembench.types import UserError, capabilities
from jembench.zoo import catalogue, foreign
from jembench.zoo.references import ModelRef, parse

TRACK = data.track("digits")
HEAD = "import torch\nfrom torch import nn\n"
LINEAR = """
def build():
    torch.manual_seed({seed})
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10){tail})
"""
CONTRACT = """
class Model:
    normalized = True
    def logits(self, x):
        return x.flatten(1)[:, :10]
    def log_density(self, x):
        return x.flatten(1).sum(1)
def build():
    return Model()
"""


@pytest.fixture
def write(tmp_path):
    """Write a module, each under a name of its own, and return its path."""
    number = count()

    def written(body, folder=tmp_path):
        path = folder / f"user_{number.__next__()}.py"
        path.write_text(HEAD + body)
        return path

    return written


def linear(seed=0, tail=""):
    return LINEAR.format(seed=seed, tail=tail)


def refusal(reference, weights=None):
    """The one line that a reference is refused with."""
    with pytest.raises(UserError) as error:
        foreign.build(reference, weights)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_bare_module_is_read_as_a_softmax_classifier(write):
    model = foreign.build(f"{write(linear())}:build", None)
    assert isinstance(model, Softmax)
    x = torch.rand((3, 1, 8, 8))
    torch.manual_seed(0)
    assert torch.equal(model.logits(x), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))(x))


def test_a_model_of_the_contract_is_kept_as_it_is(write):
    model = foreign.build(f"{write(CONTRACT)}:build", None)
    assert type(model).__name__ == "Model"
    assert foreign.behind_contract(model, "m") is model


def test_a_module_of_a_package_is_found_from_the_working_folder(tmp_path, write, monkeypatch):
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    path = write(linear(), package)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert isinstance(foreign.build(f"users_package.{path.stem}:build", None), Softmax)
    assert sys.path == before


def test_a_file_may_import_its_neighbours_and_leaves_the_path_alone(write):
    neighbour = write("TAIL = 3\n")
    path = write(f"from {neighbour.stem} import TAIL\n" + linear(tail=", nn.Hardtanh(0, TAIL)"))
    before = list(sys.path)
    assert foreign.build(f"{path}:build", None).logits(torch.ones((1, 1, 8, 8))).min() >= 0
    assert sys.path == before


def test_classes_of_a_file_can_be_looked_up(write):
    """What dataclasses and pickle do with ``__module__``."""
    model = foreign.build(f"{write(CONTRACT)}:build", None)
    assert getattr(sys.modules[type(model).__module__], "Model") is type(model)  # noqa: B009


def test_weights_are_loaded_into_a_users_module(write, tmp_path):
    path, weights = write(linear(seed=0)), tmp_path / "w.safetensors"
    torch.manual_seed(7)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    weights.write_bytes(save(trained.state_dict()))
    model = foreign.build(f"{path}:build", weights)
    x = torch.rand((3, 1, 8, 8))
    assert torch.equal(model.logits(x), trained(x))
    assert "--weights cannot be loaded" in refusal(f"{write(CONTRACT)}:build", weights)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def build():\n    return 3\n", "is a int, neither a torch.nn.Module nor"),
        ("def build():\n    raise RuntimeError('no\\n\\tdata')\n", "cannot be built: RuntimeError: no data"),
        ("def build(path):\n    pass\n", "cannot be built: TypeError: build() missing 1 required"),
        ("make = 1\n", "no function 'build' in it: it has none"),
        ("build = 1\n", "cannot be built: TypeError: 'int' object is not callable"),
        ("def build(:\n", "cannot be built: SyntaxError: "),
        ("import no_such_module\n", "cannot be built: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_is_no_model_is_refused_by_name(write, body, message):
    path = write(body)
    line = refusal(f"{path}:build")
    assert f"{path}:build" in line
    assert message in line


def test_what_is_not_there_is_refused(tmp_path):
    assert "no such file" in refusal(f"{tmp_path}/nothing.py:build")
    assert "No module named 'no_such_package'" in refusal("no_such_package.models:build")
    assert "cannot be built" in refusal(":build")


def test_a_model_of_another_track_is_refused_when_it_is_loaded(write):
    path = write(linear(tail=", nn.Linear(10, 7)"))
    with pytest.raises(UserError, match=r"gives \(2, 7\), not \(2, 10\)") as error:
        catalogue.resolve(parse(f"{path}:build"), track="digits")
    assert "\n" not in str(error.value)


def module(seed=0, *tail):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), *tail)


def fingerprint(model, parts=()):
    return foreign.fingerprint(model, TRACK, list(parts))


class Twice(nn.Module):
    """Code without weights."""

    def forward(self, x):
        return 2 * x


def test_a_fingerprint_sees_everything_that_a_number_depends_on():
    changed = Softmax(module())
    changed.network[1].weight.data[0, 0] += 1e-4
    silent = Softmax(module())  # a buffer that no output on four images shows
    silent.register_buffer("table", torch.zeros(3))
    models = {
        "plain": Softmax(module()),
        "another weight": changed,
        "another seed": Softmax(module(1)),
        "normalisation": Softmax(module(), mean=0.5),
        "scale": Softmax(module(), std=0.5),
        "code": Softmax(module(0, Twice())),
        "buffer": silent,
    }
    found = {name: fingerprint(model) for name, model in models.items()}
    found["parts"] = fingerprint(models["plain"], ["other"])
    assert len(set(found.values())) == len(found), found


def test_a_fingerprint_sees_the_density_where_the_logits_agree():
    class Other(Softmax):
        def log_density(self, x):
            return super().log_density(x) - x.flatten(1).square().sum(1)

    one, other = Softmax(module()), Other(module())
    assert torch.equal(one.logits(torch.ones(1, 1, 8, 8)), other.logits(torch.ones(1, 1, 8, 8)))
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_is_the_same_for_every_instance_and_whatever_was_drawn_before():
    one = fingerprint(Softmax(module()))
    torch.rand(5)
    assert fingerprint(Softmax(module())) == one
    model = Softmax(module()).requires_grad_(False)
    assert fingerprint(model) == fingerprint(model) == one


def test_a_fingerprint_sees_a_users_source_and_is_the_same_in_every_process(write):
    """A record made by a worker on another day must be found again."""
    path = write(linear())
    spec = catalogue.resolve(parse(f"{path}:build"), track="digits")
    code = (
        "import sys; from jembench.zoo import catalogue, references; "
        "print(catalogue.resolve(references.parse(sys.argv[1]), track='digits').fingerprint)"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, f"{path}:build"], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.strip() == spec.fingerprint
    same_outputs = write(linear() + "# a comment\n")
    assert catalogue.resolve(parse(f"{same_outputs}:build"), track="digits").fingerprint != spec.fingerprint
    assert spec.capabilities == {"classifier", "density", "features"}  # it ends in a linear layer


RANDOM = """
import random
import numpy as np
class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("shift", torch.tensor([random.random(), np.random.rand()], dtype=torch.float64))
    def forward(self, x):
        return self.linear(x.flatten(1)) + self.shift.sum().float()
def build():
    return Affine()
"""


def test_a_build_with_random_weights_is_the_same_every_time(write):
    """Whatever was drawn before, by torch, numpy or Python; the caller's generators stay where they were."""
    reference = f"{write(RANDOM)}:build"
    spec = catalogue.resolve(parse(reference), track="digits")
    torch.rand(3)
    before = torch.random.get_rng_state()
    one, two = catalogue.load(spec), catalogue.load(spec)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, tensor), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name


@pytest.mark.parametrize(
    "seed", ["int.from_bytes(os.urandom(4), 'little')", "time.time_ns() % 2**32"], ids=["urandom", "clock"]
)
def test_a_build_that_varies_is_refused(write, seed):
    """The fingerprint would be of one model, and the records of another."""
    spec = catalogue.resolve(parse(f"{write('import os, time' + linear(seed))}:build"), track="digits")
    with pytest.raises(UserError, match="another one each time it is built"):
        catalogue.load(spec)


def test_a_neighbour_may_be_imported_inside_build(write):
    neighbour = write("TAIL = 3\n")
    path = write(f"def build():\n    from {neighbour.stem} import TAIL\n    return nn.Linear(TAIL, 2)\n")
    before = list(sys.path)
    assert isinstance(foreign.build(f"{path}:build", None), Softmax)
    assert sys.path == before


class Around(nn.Module):
    """A network around another."""

    def __init__(self):
        super().__init__()
        self.network = module()

    def forward(self, x):
        return self.network(x)


class Sampling(Around):
    """A network that can also draw images, and says nothing about logits."""

    def sample(self, n):
        return torch.zeros(n)


class Head(nn.Module):
    """A network whose last layer is called ``logits``: not the method of the contract."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Linear(64, 10)

    def forward(self, x):
        return self.logits(x.flatten(1))


class HeadAndDensity(Head):
    normalized = False

    def log_density(self, x):
        return -x.flatten(1).square().sum(1)


@pytest.mark.parametrize("kind", [Sampling, Head])
def test_a_module_without_logits_of_its_own_is_wrapped(kind):
    made = kind()
    model = foreign.behind_contract(made, "m")
    assert isinstance(model, Softmax)
    x = torch.rand((3, 1, 8, 8))
    assert torch.equal(model.logits(x), made(x))
    assert catalogue.resolve(ModelRef("object", "m", module=made), track="digits").capabilities == {
        "classifier",
        "density",
        "features",
    }


class Doubled(Around):
    """Its last linear layer does not give the logits."""

    def forward(self, x):
        return 2 * super().forward(x)


class Tokens(nn.Module):
    """Its last linear layer sees tokens, whose mean is the logits."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        return self.last(x[:, 0]).mean(1)


class Unused(Around):
    """Its last linear layer is for training only."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(3, 10)


class Convolution(nn.Module):
    """It has no linear layer."""

    def __init__(self):
        super().__init__()
        self.network = nn.Conv2d(1, 10, 8)

    def forward(self, x):
        return self.network(x).flatten(1)


@pytest.mark.parametrize("kind", [Doubled, Tokens, Unused, Convolution])
def test_features_are_claimed_only_where_their_readout_is_the_logits(kind):
    """Otherwise a detector would score another network than the one that is evaluated."""
    assert catalogue.resolve(ModelRef("object", "m", module=kind()), track="digits").capabilities == {
        "classifier",
        "density",
    }


def test_a_submodule_called_logits_is_no_capability():
    """And nobody calls it with images."""
    assert capabilities(HeadAndDensity()) == {"density"}
    assert catalogue.resolve(ModelRef("object", "m", module=HeadAndDensity()), track="digits").capabilities == {
        "density"
    }


IN_PLACE = """
class Model:
    normalized = True
    def log_density(self, x):
        x -= 0.5
        return -x.flatten(1).square().sum(1)
def build():
    return Model()
"""
PROBED = """
class Model(nn.Module):
    def forward(self, x):
        if len(x) != 2:
            raise ValueError("two\\nlines")
        return x.flatten(1)[:, :10]
def build():
    return Model()
"""


def test_a_model_that_fails_after_its_probe_is_one_line(write):
    """On the four images of its fingerprint."""
    with pytest.raises(UserError, match="cannot be used: ValueError: two lines") as error:
        catalogue.resolve(parse(f"{write(PROBED)}:build"), track="digits")
    assert "\n" not in str(error.value)


def test_what_a_model_does_to_its_images_in_place_stays_with_it(write):
    """Copies are what it gets, with their gradient."""
    model = catalogue.load(catalogue.resolve(parse(f"{write(IN_PLACE)}:build"), track="digits"))
    x = torch.rand((3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    before = x.clone()
    expected = -(x - 0.5).flatten(1).square().sum(1)
    assert torch.equal(model.log_density(x), expected)
    assert torch.equal(x, before)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_density(x).sum(), x)
    assert torch.allclose(gradient, -2 * (x - 0.5))


IN_PLACE_METHODS = """
class Model:
    normalized = False
    def __init__(self):
        self.readout = nn.Linear(64, 10)
    def logits(self, x):
        return self.readout(self.penultimate(x))
    def log_density(self, x):
        with torch.no_grad():
            x.sub_(0.1).relu_()
        return self.logits(x).logsumexp(1)
    def penultimate(self, x):
        with torch.no_grad():
            x.mul_(2).clamp_(0, 1)
        return x.flatten(1)
def build():
    torch.manual_seed(0)
    return Model()
"""


@pytest.mark.parametrize("decorator", ["torch.no_grad()", "functools.wraps(print)"])
def test_a_decorated_method_is_called_and_protected(write, decorator):
    """A mark of the user's decorator is not ours."""
    wrapped = "def logged(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n"
    name = "logged" if "wraps" in decorator else decorator
    text = f"import functools\n{wrapped}class Model:\n    @{name}\n    def logits(self, x):\n        x.sub_(0.5)\n"
    text += "        return x.flatten(1)[:, :10]\ndef build():\n    return Model()\n"
    model = catalogue.load(catalogue.resolve(parse(f"{write(text)}:build"), track="digits"))
    x = torch.rand((3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    before = x.clone()
    assert torch.equal(model.logits(x), (before - 0.5).flatten(1)[:, :10])
    assert torch.equal(x, before)


@pytest.mark.parametrize("method", ["logits", "log_density", "penultimate"])
def test_no_method_changes_the_images(write, method):
    model = catalogue.load(catalogue.resolve(parse(f"{write(IN_PLACE_METHODS)}:build"), track="digits"))
    x = torch.rand((3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    before = x.clone()
    first = getattr(model, method)(x)
    assert torch.equal(x, before)
    assert torch.equal(getattr(model, method)(x), first)


def test_a_scripted_module_is_a_model():
    """Its class has no method but forward; a copy of it is what is evaluated."""
    scripted = torch.jit.script(module())
    spec = catalogue.resolve(ModelRef("object", "scripted", module=scripted), track="digits")
    assert spec.capabilities == {"classifier", "density"}
    x = torch.rand((3, 1, 8, 8))
    assert torch.equal(spec.ref.module.logits(x), module()(x))


def test_what_a_build_does_to_its_process_stays_there(tmp_path, capsys):
    """Prints go to stderr; the default type, the gradient mode and the arguments are as before."""
    source = tmp_path / "mine.py"
    source.write_text(
        "import sys, torch\n"
        "def build():\n"
        "    assert len(sys.argv) == 1\n"
        "    print('hello')\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    torch.set_grad_enabled(False)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10).float())\n"
    )
    catalogue.resolve(parse(f"{source}:build"), track="digits")
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    out, err = capsys.readouterr()
    assert (out, "hello" in err) == ("", True)


def test_names_too_long_for_the_system_are_one_line():
    for reference in (f"{'a' * 300}.toml", f"{'a' * 300}.py:b"):
        with pytest.raises(UserError, match="no such file"):
            catalogue.resolve(parse(reference), track="digits")


def test_a_model_object_that_counts_its_calls_is_refused(tmp_path):
    """Its records would depend on what was measured before."""

    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x.flatten(1)[:, :10] + self.calls

    with pytest.raises(UserError, match="another one each time"):
        jembench.evaluate(Counting(), "accuracy", output=tmp_path)


class Painter:
    """A sampler of one grey, which no logits and no tensors betray."""

    normalized = False

    def __init__(self, grey: float) -> None:
        self.grey = grey

    def log_density(self, x: Tensor) -> Tensor:
        return -x.flatten(1).square().sum(1)

    def sample(self, n: int, *, generator: object, labels: object = None, start: str = "fresh") -> Tensor:
        return torch.full((n, 1, 8, 8), self.grey)


def test_what_a_sampler_draws_is_part_of_a_models_identity(tmp_path: Path) -> None:
    """Otherwise the second would be shown the samples of the first."""
    found = [jembench.evaluate(Painter(g), "generation", limit=30, name="m", output=tmp_path) for g in (0.1, 0.9)]
    values = [each.metrics["fresh/digits-ref/fd"].value for each in found]
    assert values[0] != values[1]


class Stubborn(Painter):
    def sample(self, n: int) -> Tensor:  # type: ignore[override]
        return torch.full((n, 1, 8, 8), self.grey)


def test_a_sampler_that_cannot_be_called_is_none(tmp_path: Path) -> None:
    found = jembench.evaluate(Stubborn(0.5), "generation", limit=30, name="m", output=tmp_path)
    metric = found.metrics["fresh/digits-ref/fd"]
    assert (metric.value, metric.reason) == (None, "the model does not sample")
