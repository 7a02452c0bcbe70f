"""A recipe is read whole or refused in one line that names the file and the key."""

import ast
import copy
import inspect
import json

import pytest
import torch
from pydantic import ValidationError

from jembench import data
from jembench.ground.identity import canonical
from jembench.models import KINDS, NETWORKS, able, recipes
from jembench.models.recipes import ModelPart, Recipe, read_recipe
from jembench.models.wrn import WideResNet
from jembench.types import UserError, capabilities
from jembench.zoo import baselines, catalogue

SOFTMAX = """
track = "digits"
about = "a test"
[model]
kind = "softmax"
width = 4
[training]
iterations = 10
"""
JEM = SOFTMAX.replace("softmax", "jem") + "[objective]\nlog_px = 1.0\n[sampling]\nsteps = 3\n"
EVERYTHING = """
track = "digits"
about = "every part and every key"
[model]
kind = "jem"
network = "wrn"
width = 1
depth = 10
norm = "act"
mean = 0.5
std = 0.25
[data]
labels_per_class = 10
labels_seed = 3
shift = 1
shift_density = 0
padding = "reflect"
flip = true
flip_density = false
noise = 0.03
noise_density = 0.02
[objective]
log_py_x = 1.0
log_px_y = 0.25
energy_l2 = 0.1
gradient_penalty = 0.01
entropy = 0.2
soft_ece = 0.3
[optimiser]
name = "sgd"
learning_rate = 0.1
momentum = 0.8
weight_decay = 1e-4
warmup = 10
decay = 0.3
decay_at = [0.5, 0.75]
clip = 1.0
sam = 0.05
adaptive = true
ema = 0.99
[sampling]
steps = 5
inner = 3
size = 0.2
noise = 0.01
clip = 0.5
clamp = true
precision = "bf16"
buffer = 64
restart = 0.1
relabel = true
start = "gaussian"
[adversary]
norm = "l2"
eps = 0.5
steps = 5
size = 0.1
[training]
iterations = 10
batch = 32
precision = "bf16"
seed = 4
initial = "softmax"
store = "fp16"
[supervisor]
snapshot_every = 5
keep = 2
max_gap = 10.0
max_gradient = 100.0
min_spread = 0.01
min_variance = 0.1
max_saturation = 0.5
[selection]
criterion = "ece-accuracy"
every = 5
max_ece = 0.05
"""
SHIPPED = sorted(baselines.folder("digits").glob("*/recipe.toml"))


@pytest.fixture
def refused(tmp_path):
    def refuse(text):
        path = tmp_path / "recipe.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(UserError) as error:
            read_recipe(path)
        line = str(error.value)
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
        return line.removeprefix(f"{path}: ")

    return refuse


@pytest.fixture
def read(tmp_path):
    def reader(text):
        (tmp_path / "recipe.toml").write_text(text)
        return read_recipe(tmp_path / "recipe.toml")

    return reader


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_shipped_recipes_parse_and_build(path):
    recipe = read_recipe(path)
    track = data.track(recipe.track)
    assert track.name == path.parent.parent.name
    assert capabilities(catalogue.build(recipe, track)) == able(recipe.model.kind, recipe.model.network)
    assert recipe.contrastive == KINDS[recipe.model.kind].chains


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_a_new_option_leaves_the_identity_of_old_recipes_as_it_was(path):
    """What a training record knows its recipe by, made before padding, flips, starts and precisions of storage."""
    assert read_recipe(path).identity == json.loads((path.parent / "training.json").read_text())["recipe"]


def test_there_are_shipped_recipes():
    assert {path.parent.name for path in SHIPPED} >= {"jem", "softmax"}


@pytest.mark.parametrize("text", [SOFTMAX, JEM, EVERYTHING])
def test_a_recipe_is_its_json(read, text):
    """What a checkpoint knows its recipe by."""
    recipe = read(text)
    assert Recipe.model_validate(json.loads(canonical(recipe.model_dump(mode="json")))) == recipe


def test_defaults_are_the_papers_sampler_in_our_units(read):
    sampling = read(JEM).sampling
    assert (sampling.size, sampling.noise, sampling.restart, sampling.clamp) == (0.25, 0.005, 0.05, False)
    assert (sampling.inner, sampling.precision, sampling.start, sampling.clip) == (1, "fp32", "uniform", None)
    assert read(JEM).data.noise == 0.015


def test_every_key_is_read_and_none_is_a_default(read):
    """So that a key that is renamed, or read into another, shows."""
    recipe = read(EVERYTHING)
    for part, values in recipe.model_dump().items():
        if isinstance(values, dict):
            given = getattr(recipe, part)
            other = {"model": {"name", "scales"}, "objective": {"log_px"}}.get(part, set())  # cannot be had together
            assert not set(given.model_fields_set) ^ (set(values) - other)
            known = type(given).model_fields
            assert [k for k in given.model_fields_set if values[k] == known[k].default] in ([], ["log_py_x"])
    assert recipe.optimiser.decay_at == (0.5, 0.75)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("lerning_rate = 1e-3", "training.lerning_rate: Extra inputs"),
        ("learning_rate = 1e-3", "training.learning_rate: Extra inputs"),  # where it was once
        ("batch = 0", "training.batch: "),
        ("batch = 1.5", "training.batch: "),
        ('batch = "many"', "training.batch: "),
        ("seed = -1", "training.seed: "),
        ('precision = "fp16"', "training.precision: "),
        ("[optimiser]\nlearning_rate = -1.0", "optimiser.learning_rate: "),
        ("[optimiser]\nlearning_rate = nan", "optimiser.learning_rate: "),
        ("[optimiser]\nlearning_rate = inf", "optimiser.learning_rate: "),
        ("[optimiser]\nweight_decay = nan", "optimiser.weight_decay: "),
        ("[optimiser]\ndecay_at = [0.5, 1.5]", "optimiser.decay_at.1: "),
        ("[optimiser]\ndecay_at = 0.5", "optimiser.decay_at: "),
        ('[optimiser]\nname = "lion"', "optimiser.name: "),
        ("[optimiser]\nema = 1.0", "optimiser.ema: "),
        ("[optimiser]\nsam = -0.1", "optimiser.sam: "),
        ("[optimiser]\nclip = 0.0", "optimiser.clip: "),
        ("[data]\nshift = -1", "data.shift: "),
        ('[data]\npadding = "mirror"', "data.padding: "),
        ("[data]\nflip = 0.5", "data.flip: "),
        ('store = "bf16"', "training.store: "),
        ("[data]\nlabels_per_class = 0", "data.labels_per_class: "),
        ("[data]\nnoise = -0.1", "data.noise: "),
        ("[objective]\nlog_py_x = -1.0", "objective.log_py_x: "),
        ("[objective]\nlog_pxy = 1.0", "objective.log_pxy: Extra inputs"),
        ('[adversary]\nnorm = "l1"\neps = 0.1\nsize = 0.1', "adversary.norm: "),
        ("[adversary]\nsize = 0.1", "adversary.eps: Field required"),
        ("[adversary]\neps = 0.0\nsize = 0.1", "adversary.eps: "),
        ("[sampling]\nrestart = 2.0", "sampling.restart: "),
        ("[sampling]\nclamp = 7", "sampling.clamp: "),
        ("[sampling]\ninner = 0", "sampling.inner: "),
        ('[sampling]\nstart = "blank"', "sampling.start: "),
        ("[supervisor]\nmax_saturation = 2.0", "supervisor.max_saturation: "),
        ('[selection]\ncriterion = "best"', "selection.criterion: "),
        ("[sampler]", "unknown key of a recipe 'sampler'; did you mean 'sampling'?"),
    ],
)
def test_unknown_keys_and_impossible_values_are_named(refused, line, key):
    assert key in refused(SOFTMAX + line + "\n")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('kind = "softmax"', 'kind = "glov"', "model: Value error, unknown kind 'glov'; did you mean 'glow'? (known: "),
        ('kind = "softmax"', 'kind = "softmaxx"', "unknown kind 'softmaxx'; did you mean 'softmax'?"),
        ("width = 4", 'width = 4\nnetwork = "smal"', "unknown network 'smal'; did you mean 'small'?"),
        ("width = 4", "", "network 'small' needs 'width'"),
        ("width = 4", 'network = "wrn"\nwidth = 4', "network 'wrn' needs 'depth'"),
        ("width = 4", 'network = "timm"', "network 'timm' needs 'name'"),
        ("width = 4", 'network = "timm"\nname = "resnet18"\nwidth = 4', "network 'timm' has no option 'width'"),
        ("width = 4", "width = 4\ndepth = 10", "network 'small' has no option 'depth'"),
        ("width = 4", 'width = 4\nnorm = "act"', "network 'small' has no option 'norm'"),
        ("width = 4", 'network = "wrn"\nwidth = 4\ndepth = 10\nnorm = "group"', "model.norm: "),
        ("width = 4", "width = 0", "model.width: "),
        ("width = 4", "width = 4\nstd = 0.0", "model.std: "),
        ("width = 4", "width = 4\nmean = nan", "model.mean: "),
        ('track = "digits"', "", "track: Field required"),
        ("iterations = 10", "", "training.iterations: Field required"),
    ],
)
def test_missing_keys_and_unknown_options_are_named(refused, old, new, key):
    assert old in SOFTMAX
    assert key in refused(SOFTMAX.replace(old, new))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_kind_is_made_of_the_networks_of_its_family_alone(kind, network):
    options = {"name": "resnet18", "width": 4, "depth": 10, "scales": 1}
    part = {"kind": kind, "network": network, **{name: options[name] for name in NETWORKS[network].options}}
    fitting = [name for name, item in NETWORKS.items() if item.family == KINDS[kind].family]
    if network in fitting:
        made = ModelPart.model_validate(part)
        assert set(made.options()) == set(NETWORKS[network].options)
        return
    with pytest.raises(ValidationError) as error:
        ModelPart.model_validate(part)
    expected = f"kind {kind!r} cannot be made of network {network!r} (of: {', '.join(fitting) or 'none'})"
    assert expected in str(error.value)


PARTS = {
    "softmax": {"kind": "softmax", "network": "small", "width": 4},
    "jem": {"kind": "jem", "network": "small", "width": 4},
    "timm": {"kind": "jem", "network": "timm", "name": "resnet18"},
    "igebm": {"kind": "igebm", "network": "residual", "width": 4},
    "glow": {"kind": "glow", "network": "flow", "width": 4, "depth": 2, "scales": 1},
    "glow-cond": {"kind": "glow-cond", "network": "flow", "width": 4, "depth": 2, "scales": 1},
}
FREE = {"log_py_x": 0.0, "log_px": 1.0}
PAIRS = {"log_py_x": 0.0, "log_px_y": 1.0}
PGD = {"eps": 0.1, "size": 0.1}

#: What a rule says, the model, the parts that break the rule, and the parts that do not.
RULES = [
    ("a jem needs a [sampling] part", "jem", {}, {"sampling": {}}),
    ("a softmax has no chains: leave out [sampling]", "softmax", {"sampling": {}}, {}),
    ("a glow has no chains: leave out [sampling]", "glow", {"objective": FREE, "sampling": {}}, {"objective": FREE}),
    (
        "objective.log_px > 0 needs a kind that is trained as a density, not 'softmax'",
        "softmax",
        {"objective": {"log_px": 1.0}},
        {},
    ),
    (
        "objective.log_px_y > 0 needs a class-conditional density, not 'softmax'",
        "softmax",
        {"objective": {"log_px_y": 1.0}},
        {},
    ),
    (
        "objective.log_px_y > 0 needs a class-conditional density, not 'glow'",
        "glow",
        {"objective": PAIRS},
        {"objective": FREE},
    ),
    *(
        (
            "an igebm is trained by objective.log_px_y alone (and energy_l2, gradient_penalty): its p(y|x) is fitted",
            "igebm",
            {"objective": PAIRS | more, "sampling": {}},
            {"objective": PAIRS | {"energy_l2": 0.1, "gradient_penalty": 0.1}, "sampling": {}},
        )
        for more in ({"log_py_x": 1.0}, {"log_px": 1.0}, {"entropy": 0.1}, {"soft_ece": 0.1})
    ),
    (
        "objective.log_py_x > 0 needs a classifier, not 'glow'",
        "glow",
        {"objective": {"log_px": 1.0}},
        {"objective": FREE},
    ),
    *(
        (
            "objective: entropy and soft_ece need log_py_x > 0",
            "jem",
            {"objective": FREE | {term: 0.1}, "sampling": {}},
            {"objective": {"log_px": 1.0, term: 0.1}, "sampling": {}},
        )
        for term in ("entropy", "soft_ece")
    ),
    (
        "objective.log_px and log_px_y: one of the two, their samples are of different densities",
        "glow-cond",
        {"objective": FREE | PAIRS},
        {"objective": PAIRS},
    ),
    (
        "training.initial needs a kind that is made of one network, not 'glow-cond'",
        "glow-cond",
        {"training": {"iterations": 10, "initial": "softmax"}},
        {"training": {"iterations": 10}},
    ),
    (
        "selection.every must not exceed training.iterations",
        "softmax",
        {"selection": {"every": 10**6}},
        {"selection": {"every": 1}},
    ),
    ("objective: every weight is 0", "softmax", {"objective": {"log_py_x": 0.0}}, {"objective": {"log_py_x": 0.1}}),
    *(
        (
            "objective.energy_l2 > 0 needs SGLD samples: a kind with chains, and log_px or log_px_y > 0",
            model,
            {"objective": {**objective, "energy_l2": 0.1}, **parts},
            {"objective": objective, **parts},
        )
        for model, objective, parts in (("glow", FREE, {}), ("jem", {}, {"sampling": {}}), ("softmax", {}, {}))
    ),
    (
        "objective.gradient_penalty > 0 needs log_px or log_px_y > 0",
        "softmax",
        {"objective": {"gradient_penalty": 0.1}},
        {},
    ),
    (
        "optimiser.adaptive needs optimiser.sam > 0",
        "softmax",
        {"optimiser": {"adaptive": True}},
        {"optimiser": {"adaptive": True, "sam": 0.1}},
    ),
    (
        "[adversary] needs objective.log_py_x > 0",
        "glow-cond",
        {"objective": FREE, "adversary": PGD},
        {"objective": {"log_px": 1.0}, "adversary": PGD},
    ),
    (
        "sampling.inner > 1 needs a network that shows its first layer, not 'timm'",
        "timm",
        {"sampling": {"inner": 2}},
        {"sampling": {"inner": 1}},
    ),
    (
        "sampling.inner > 1 needs a network that shows its first layer, not 'residual'",
        "igebm",
        {"objective": PAIRS, "sampling": {"inner": 2}},
        {"objective": PAIRS, "sampling": {}},
    ),
    (
        "sampling.buffer must be a multiple of training.batch",
        "jem",
        {"sampling": {"buffer": 96}},
        {"sampling": {"buffer": 128}},
    ),
    (
        "sampling.buffer must be a multiple of training.batch",
        "jem",
        {"sampling": {"buffer": 32}},
        {"sampling": {"buffer": 64}},
    ),
    *(
        (
            f"selection.criterion = {criterion!r} needs a classifier, not 'glow'",
            "glow",
            {"objective": FREE, "selection": {"criterion": criterion}},
            {"objective": FREE, "selection": {"criterion": "likelihood"}},
        )
        for criterion in ("accuracy", "nll", "ece-accuracy")
    ),
    (
        "selection.criterion = 'likelihood' needs a normalised density, not 'jem'",
        "jem",
        {"sampling": {}, "selection": {"criterion": "likelihood"}},
        {"sampling": {}, "selection": {"criterion": "nll"}},
    ),
]


def whole(model, parts):
    made = {"track": "digits", "about": "a test", "model": PARTS[model], "training": {"iterations": 10}}
    return copy.deepcopy(made | parts)


@pytest.mark.parametrize(("message", "model", "broken", "sound"), RULES)
def test_what_cannot_work_together_is_refused_and_what_can_is_not(message, model, broken, sound):
    """Each rule with a recipe that breaks it first, and the nearest one that breaks none."""
    with pytest.raises(ValidationError) as error:
        Recipe.model_validate(whole(model, broken))
    assert error.value.errors()[0]["msg"] == f"Value error, {message}"
    Recipe.model_validate(whole(model, sound))


def test_every_rule_is_in_the_table():
    """As many different messages, names aside, as there are rules in the source."""
    tree = ast.parse(inspect.getsource(recipes._problems))
    (rules,) = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    fixed = []
    for key in rules.keys:
        parts = key.values if isinstance(key, ast.JoinedStr) else [key]
        fixed.append([part.value for part in parts if isinstance(part, ast.Constant)])
    for words in fixed:
        assert any(all(word in message for word in words) for message, *_ in RULES), words


def test_a_rule_is_one_line_that_names_the_file(refused):
    assert "a jem needs a [sampling] part" in refused(SOFTMAX.replace("softmax", "jem"))


@pytest.mark.parametrize("text", ["track = ", "[model", "a = 1\na = 2\n", b"\xff\xfe\0", '{"track": "digits"}'])
def test_what_is_not_toml_is_refused(refused, text):
    assert "not a readable recipe" in refused(text)


def test_a_recipe_may_be_asked_for_by_track(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(SOFTMAX)
    assert read_recipe(path, track="digits") == read_recipe(path)
    with pytest.raises(UserError, match="is a recipe of track 'digits', not 'gauss': use --track digits"):
        read_recipe(path, track="gauss")


def test_a_missing_file_and_a_folder_are_no_recipe(tmp_path):
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(UserError, match="not a readable recipe") as error:
            read_recipe(path)
        assert "\n" not in str(error.value)


PUBLISHED = [(name, path) for name in data.TRACKS for path in baselines.published(name).values()]


@pytest.mark.parametrize(("name", "path"), PUBLISHED, ids=lambda value: getattr(value, "stem", value))
def test_a_published_recipe_is_of_its_track_and_builds_its_network(name, path):
    """WRN-28-10: 36.5 million weights; the sampler in [0, 1] is a quarter of the published step, half of the noise."""
    recipe = read_recipe(path, track=name)
    track = data.track(name)
    with torch.device("meta"):  # its shapes without its numbers
        network = WideResNet(shape=track.shape, classes=track.classes, **recipe.model.options())
    count = sum(p.numel() for p in network.parameters())
    assert NETWORKS[recipe.model.network].builder.endswith(":WideResNet")
    assert count == pytest.approx(36.5e6, rel=0.01)
    assert recipe.contrastive
    sampling, images = recipe.sampling, track.source("train").n
    epochs = recipe.training.iterations / (images // recipe.training.batch)
    published = {
        "jem": (20, 1, 1.0, 0.01, 0.03, 200),
        "jempp": (10, 5, 0.2, 0, 0.03, 150),
        "sadajem": (10, 1, 1.0, 0, 0, 200),
    }
    steps, inner, size, noise, sigma, length = published[path.stem]
    assert (sampling.steps, sampling.inner, epochs) == (steps, inner, length)
    assert (sampling.size, sampling.noise, recipe.data.noise) == (size / 4, noise / 2, sigma / 2)
    assert sampling.clip == (None if path.stem == "jem" else 2.0)
    assert abs(sampling.buffer - 10_000) < recipe.training.batch
    assert recipe.data.flip == (name != "svhn")


def test_every_external_track_has_the_papers_recipe():
    found = {name: sorted(baselines.published(name)) for name in data.TRACKS}
    both = ["jem", "jempp", "sadajem"]
    assert found == {"digits": [], "gauss": [], "cifar10": both, "cifar100": both, "svhn": ["jem"]}
