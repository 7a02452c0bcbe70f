"""What a reference says of pixels, weights and names: the same by every way to say it, and one line if it is wrong."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import jembench
from jembench.choices.request import Request
from jembench.cli.options import _value
from jembench.ground import generators
from jembench.types import UserError
from jembench.zoo import catalogue
from jembench.zoo.references import ModelRef, Normalisation, parse

CODE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

class Own(nn.Module):
    normalized = False
    def logits(self, x):
        return x.flatten(1)[:, :10]
    def log_density(self, x):
        return self.logits(x).logsumexp(1)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(CODE)
    torch.manual_seed(5)
    save_file(dict(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict()), "w.safetensors")
    return tmp_path


X = torch.rand((3, 1, 8, 8), generator=generators.generator("settings"))


def typed(*names, **options):
    """The references of a command line."""
    from dataclasses import fields

    field = next(each for each in fields(Request) if each.name == "models")
    flags = dict.fromkeys(("weights", "weights_key", "mean", "std", "range", "name"))
    return _value(field, {**flags, "model": list(names), **options})


def spec_and_logits(ref):
    spec = catalogue.resolve(ref, track="digits")
    return spec, catalogue.load(spec).logits(X)


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))


SCALES = [
    ({"mean": "0.3", "std": "0.4"}, lambda x: (x - 0.3) / 0.4),
    ({"range": "0..255"}, lambda x: 255 * x),
    ({"range": "-1..1"}, lambda x: 2 * x - 1),
    ({"range": "0..255", "mean": "127.5", "std": "51"}, lambda x: (255 * x - 127.5) / 51),
    ({"std": "2"}, lambda x: x / 2),
]


@pytest.mark.parametrize(("options", "change"), SCALES)
def test_pixels_reach_the_network_as_it_is_said(place, options, change):
    (ref,) = typed("net.py:build", **options)
    _, logits = spec_and_logits(ref)
    assert torch.allclose(logits, net()(change(X)), atol=1e-5)


def test_settings_are_part_of_the_identity(place):
    refs = [typed("net.py:build", **options)[0] for options, _ in [({}, None), *SCALES]]
    assert len({spec_and_logits(ref)[0].fingerprint for ref in refs}) == len(refs)


def test_without_settings_the_identity_is_as_it_was(place):
    """An empty scale leaves no trace."""
    plain = catalogue.resolve(parse("net.py:build"), track="digits")
    assert catalogue.resolve(typed("net.py:build", name="other")[0], track="digits").fingerprint == plain.fingerprint


def test_a_folder_with_a_model_file_is_one_word(place):
    folder = Path("mine")
    folder.mkdir()
    (folder / "net.py").write_text(CODE)
    Path("w.safetensors").rename(folder / "w.safetensors")
    text = 'factory = "net.py:build"\nweights = "w.safetensors"\nmean = [127.5]\nstd = 51\nrange = [0, 255]\n'
    (folder / "model.toml").write_text("\ufeff" + text, encoding="utf-8")
    (flags,) = typed(
        "mine/net.py:build", weights=folder / "w.safetensors", range="0..255", mean="127.5", std="51", name="mine"
    )
    by_flags, expected = spec_and_logits(flags)
    for word in ("mine/", "./mine", "mine/model.toml"):
        spec, logits = spec_and_logits(parse(word))
        assert (spec.name, spec.fingerprint) == ("mine", by_flags.fingerprint)
        assert torch.equal(logits, expected)


def test_what_is_typed_is_put_in_place_of_what_the_file_says(place):
    Path("mine").mkdir()
    Path("mine/model.toml").write_text('factory = "net.py:build"\nmean = 0.1\nname = "a"\n')
    (ref,) = typed("mine/", mean="0.2", name="b")
    assert ref.scale == Normalisation(mean=(0.2,))
    assert ref.name == "b"


BAD_FILES = {
    'factory = "net.py:build"\nweigths = "w"\n': "unknown key of a model 'weigths'; did you mean 'weights'?",
    'weights = "w"\n': "factory: Field required",
    'factory = "jem"\n': "factory is file.py:build, package.module:build or timm:NAME, not 'jem'",
    "factory =": "not a readable model",
    'factory = "net.py:build"\nmean = "x"\n': "mean",
}


@pytest.mark.parametrize(("text", "words"), BAD_FILES.items())
def test_a_wrong_model_file_is_one_line(place, text, words):
    Path("mine").mkdir()
    Path("mine/model.toml").write_text(text)
    with pytest.raises(UserError, match=r"mine/model\.toml") as error:
        parse("mine/")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_stand_behind_the_model(place):
    (alone,) = typed("net.py:build", weights=Path("w.safetensors"))
    one, other = typed("net.py:build@w.safetensors", "net.py:build")
    assert one == alone
    assert other.weights is None
    assert torch.equal(spec_and_logits(one)[1], spec_and_logits(alone)[1])
    assert not torch.equal(spec_and_logits(one)[1], spec_and_logits(other)[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jem@twin", ModelRef("baseline", "jem", twin=True)),
        ("a@b/net.py:build", ModelRef("code", "a@b/net.py", "build")),
        ("net.py:build@absent.pt", ModelRef("code", "net.py", "build", Path("absent.pt"))),
        ("timm:resnet18.a1_in1k@w.safetensors", ModelRef("library", "timm", "resnet18.a1_in1k", Path("w.safetensors"))),
        ("jem@w.safetensors", ModelRef("baseline", "jem", "", Path("w.safetensors"))),
    ],
)
def test_an_at_sign_is_read_as_what_stands_behind_it(place, text, expected):
    assert parse(text) == expected
    Path("twin").touch()  # a file of that name is not what is meant
    assert parse(text) == expected


BAD = {
    "two models": ((("jem", "softmax"), {"weights": Path("w")}), "--weights goes with one --model: .*MODEL@WEIGHTS"),
    "two names": ((("jem", "softmax"), {"name": "a"}), "--name goes with one --model"),
    "no number": ((("net.py:build",), {"mean": "a"}), "--mean takes a number, or one per channel"),
    "no range": ((("net.py:build",), {"range": "255"}), "--range takes two numbers, such as 0..255"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_flags_are_one_line(name):
    (names, options), words = BAD[name]
    with pytest.raises(UserError, match=words):
        typed(*names, **options)


UNFIT = {
    "baseline": (("jem",), {"mean": "0.5"}, "brings its own normalisation"),
    "contract": (("net.py:Own",), {"range": "0..255"}, "takes pixels in .0, 1. by its own logits"),
    "channels": (("net.py:build",), {"mean": "0.1,0.2,0.3"}, "--mean has 3 numbers, images of track digits have 1"),
    "mean of bytes": (("net.py:build",), {"mean": "127.5"}, "not in the range of the pixels, 0..1"),
    "backwards": (("net.py:build",), {"range": "1..0"}, "from the darkest to the brightest"),
    "deviation": (("net.py:build",), {"std": "0"}, "std must be positive"),
    "key alone": (("net.py:build",), {"weights_key": "ema"}, "--weights-key goes with --weights"),
    "name": (("net.py:build",), {"name": "a/b"}, "is part of a path"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_settings_that_do_not_fit_are_one_line(place, name):
    names, options, words = UNFIT[name]
    with pytest.raises(UserError, match=words):
        catalogue.resolve(typed(*names, **options)[0], track="digits")


@pytest.mark.parametrize("options", [{"mean": 127.5, "std": 127.5}, {"mean": (0.5, 2.0, 0.5)}, {"mean": -0.5}])
def test_wrapping_with_numbers_of_another_scale_is_one_line(options):
    with pytest.raises(UserError, match=r"images are in \[0, 1\]"):
        jembench.wrap(torch.nn.Flatten(), **options)


def test_wrapping_with_a_range():
    model = jembench.wrap(net(), mean=127.5, std=127.5, range=(0, 255))
    assert torch.allclose(model.logits(X), net()(2 * X - 1), atol=1e-5)


OUTPUTS = {
    "tuple": (lambda f: (f, f), "tuple"),
    "list": (lambda f: [f], "list"),
    "dict": (lambda f: {"logits": f}, "dict"),
    "nothing": (lambda f: None, "NoneType"),
    "more axes": (lambda f: f[:, :, None, None], r"\(2, 10, 1, 1\)"),
    "one axis": (lambda f: f[:, 0], r"\(2,\)"),
    "classes": (lambda f: f.argmax(1), r"\(2,\)"),
    "integers": (lambda f: f.long(), "torch.int64, not floating-point"),
    "numpy": (lambda f: f.detach().numpy(), "ndarray"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_no_logits_is_named(name):
    change, words = OUTPUTS[name]

    class Net(torch.nn.Module):
        def forward(self, x):
            return change(x.flatten(1)[:, :10])

    with pytest.raises(UserError, match=words) as error:
        catalogue.resolve(ModelRef("object", "net", module=Net()), track="digits")
    assert "\n" not in str(error.value)
