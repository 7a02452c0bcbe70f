"""The third-party packages as they are released, repaired where they are imported.

Importing them takes seconds and is not undone, so three processes each report what they find as JSON: ``absent`` has
no ``pkg_resources`` (setuptools 82 on), ``present`` has one, ``light`` imports jembench alone, then meets a stale
robustbench.
"""

import inspect
import json
import os
import subprocess
import sys

import pytest

ABSENT = """
import inspect, json, sys
sys.modules["pkg_resources"] = None  # what an import of a missing module looks like
from jembench.ground import compat
package = compat.robustbench()
facts = {"robustbench": package.__name__, "again": compat.robustbench() is package}
facts["left"] = sys.modules.get("pkg_resources") is not None

import torch
from torch import nn
from autoattack import AutoAttack
from autoattack.state import EvaluationState
import pyautoattack
import robustbench.eval, robustbench.loaders
facts["used"] = robustbench.eval.AutoAttack is AutoAttack
facts["file"] = robustbench.loaders.pkg_resources.resource_filename("robustbench.loaders", "a.txt")
facts["folder"] = robustbench.loaders.__file__
facts["names"] = {
    name: [[p.name, p.default if isinstance(p.default, (str, int, float, bool, tuple, type(None))) else "?"]
           for p in inspect.signature(getattr(AutoAttack, name)).parameters.values() if p.default is not p.empty]
    for name in ("run_standard_evaluation", "run_standard_evaluation_individual")
}
import autoattack
facts["defaults"] = list(autoattack.DEFAULTS.items())

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)).eval()
x = torch.rand(6, 1, 8, 8)
y = net(x).argmax(1)
attacks = ["apgd-ce", "square"]
ours = AutoAttack(net, eps=0.1, seed=3, verbose=False, attacks_to_run=attacks, version="custom", device="cpu")
theirs = pyautoattack.AutoAttack(net, attacks=attacks, eps=0.1, seed=3, version="custom", device="cpu")
for made in (ours, theirs):
    made.square.n_queries = 50
    made.verbose = False
images, labels = ours.run_standard_evaluation(x, y, bs=4, return_labels=True)
expected = theirs.run_standard_evaluation(x, y, batch_size=4)
facts["equal"] = torch.equal(images, expected[0]) and torch.equal(labels, expected[1])
facts["fooled"] = int((net(images).argmax(1) != y).sum())
facts["farthest"] = (images - x).abs().max().item()
facts["only_images"] = torch.equal(ours.run_standard_evaluation(x, y, bs=4), images)
each = ours.run_standard_evaluation_individual(x, y, bs=4)
facts["individual"] = sorted(each)
facts["individual_apgd"] = (each["apgd-ce"] - x).abs().max().item()
facts["still_all"] = ours.attacks_to_run == attacks
places = AutoAttack(net, "L2", 0.5, 7, False, ["square"], "custom", False, "cpu", "log.txt")
named = ("norm", "epsilon", "seed", "verbose", "attacks_to_run", "log_path")
facts["places"] = [getattr(places, name) for name in named]
facts["standard"] = AutoAttack(net, device="cpu", verbose=False).attacks_to_run
for name, bad in (("clash", {"attacks_to_run": attacks}), ("tensorflow", {"is_tf_model": True})):
    try:
        AutoAttack(net, device="cpu", **bad)
    except ValueError as error:
        facts[name] = str(error)

torchattacks = compat.torchattacks()
adversarial = torchattacks.PGD(net, eps=0.1, alpha=0.03, steps=5)(x, y)
facts["pgd_farthest"] = (adversarial - x).abs().max().item()
facts["pgd_raises_loss"] = bool(
    nn.functional.cross_entropy(net(adversarial), y) > nn.functional.cross_entropy(net(x), y)
)

import jembench
from robustbench.model_zoo.architectures.resnet import BasicBlock, ResNet
from jembench.types import capabilities
network = ResNet(BasicBlock, [1, 1, 1, 1]).eval()
model = jembench.wrap(network, mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616))
cifar = torch.rand(2, 3, 32, 32)
with torch.no_grad():
    facts["logits"] = list(model.logits(cifar).shape)
    facts["density"] = list(model.log_density(cifar).shape)
    by_hand = network((cifar - torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None])
                      / torch.tensor([0.2471, 0.2435, 0.2616])[:, None, None])
    facts["normalised"] = torch.allclose(model.logits(cifar), by_hand, atol=1e-5)
facts["capabilities"] = sorted(capabilities(model))
print(json.dumps(facts))
"""

PRESENT = """
import importlib.machinery, json, sys, types
own = types.ModuleType("pkg_resources")
own.__spec__ = importlib.machinery.ModuleSpec("pkg_resources", None)
sys.modules["pkg_resources"] = own
from jembench.ground import compat
package = compat.robustbench()
import robustbench.loaders
facts = {"used": robustbench.loaders.pkg_resources is own, "kept": sys.modules["pkg_resources"] is own}
print(json.dumps(facts))
"""

LIGHT = """
import json, sys
import jembench, jembench.cli
heavy = ("torch", "torchvision", "robustbench", "torchattacks", "autoattack", "pyautoattack", "sklearn", "pandas")
facts = {"heavy": [name for name in heavy if name in sys.modules]}
sys.path.insert(0, sys.argv[1])
from jembench.ground import compat
try:
    compat.robustbench()
except Exception as error:
    facts["error"], facts["message"] = type(error).__name__, str(error)
facts["stale"] = sys.modules["robustbench"].__file__
print(json.dumps(facts))
"""


def facts(code, *arguments):
    """What a fresh process reports in its last line."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def absent():
    return facts(ABSENT)


@pytest.fixture(scope="module")
def stale(tmp_path_factory):
    """The package of the torchattacks wheel: it loads models and has no ``benchmark``."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "robustbench").mkdir()
    (folder / "robustbench" / "__init__.py").write_text("def load_model():\n    pass\n")
    return folder


@pytest.fixture(scope="module")
def light(stale):
    return facts(LIGHT, str(stale))


def test_robustbench_imports_without_pkg_resources(absent):
    assert absent["robustbench"] == "robustbench"
    assert absent["again"]


def test_the_stand_in_does_what_robustbench_asks_of_it_and_is_gone_afterwards(absent):
    """Nobody else may take it for the real one."""
    assert absent["file"] == os.path.join(os.path.dirname(absent["folder"]), "a.txt")
    assert not absent["left"]


def test_robustbench_uses_pkg_resources_where_there_is_one():
    assert facts(PRESENT) == {"used": True, "kept": True}


def test_autoattack_has_the_original_signature(absent):
    """Of fra31/auto-attack 1b76134, plus ``state_path``, which robustbench passes."""
    assert absent["used"]
    assert absent["defaults"] == [
        ["norm", "Linf"],
        ["eps", 0.3],
        ["seed", None],
        ["verbose", True],
        ["attacks_to_run", []],
        ["version", "standard"],
        ["is_tf_model", False],
        ["device", "cuda"],
        ["log_path", None],
    ]
    evaluation = [["bs", 250], ["return_labels", False]]
    assert absent["names"]["run_standard_evaluation"] == [*evaluation, ["state_path", None]]
    assert absent["names"]["run_standard_evaluation_individual"] == evaluation
    assert absent["places"] == ["L2", 0.5, 7, False, ["square"], "log.txt"]
    assert absent["standard"] == ["apgd-ce", "apgd-t", "fab-t", "square"]


def test_autoattack_attacks_as_pyautoattack_does(absent):
    assert absent["equal"]
    assert absent["only_images"]
    assert absent["fooled"] > 0
    assert absent["farthest"] == pytest.approx(0.1, abs=1e-6)


def test_autoattack_attacks_one_by_one(absent):
    """With pyautoattack's own method this is a TypeError: it calls the adapter by its own argument names."""
    assert absent["individual"] == ["apgd-ce", "square"]
    assert 0 < absent["individual_apgd"] <= 0.1 + 1e-6
    assert absent["still_all"]


def test_autoattack_refuses_what_it_would_ignore(absent):
    assert "unless you use version='custom'" in absent["clash"]
    assert "TensorFlow" in absent["tensorflow"]


def test_torchattacks_attacks(absent):
    assert 0.05 < absent["pgd_farthest"] <= 0.1 + 1e-6
    assert absent["pgd_raises_loss"]


def test_an_architecture_of_robustbench_behind_the_contract(absent):
    assert absent["logits"] == [2, 10]
    assert absent["density"] == [2]
    assert absent["normalised"]
    assert absent["capabilities"] == ["classifier", "density"]


def test_jembench_and_its_cli_load_nothing_heavy(light):
    assert light["heavy"] == []


def test_the_stale_robustbench_is_recognised_with_its_repair(light, stale):
    assert light["stale"].startswith(str(stale))
    assert light["error"] == "UserError"
    assert "pip install --force-reinstall --no-deps robustbench==1.1.1" in light["message"]
    assert "\n" not in light["message"]


def test_the_stand_in_finds_files_beside_a_module():
    from jembench.ground import compat

    beside = compat._resource_filename("json", "decoder.py")
    assert os.path.samefile(beside, inspect.getfile(json.decoder))
