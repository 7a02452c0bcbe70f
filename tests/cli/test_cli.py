"""The command line: results on stdout, all else on stderr; bad input is one line, exit code 2, and harms nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import jembench
from jembench import data, rebuild
from jembench.api import Result
from jembench.choices.request import Request
from jembench.engine import bench
from jembench.engine.measure import measure
from jembench.engine.plan import plan
from jembench.store.results import ResultDocument
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import parse

Call = Callable[..., Any]

MODELS = """
import torch
from torch import nn


class Broken(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * float("nan")


class Hidden(nn.Module):
    @torch.no_grad()
    def forward(self, x):
        return x.flatten(1)[:, :10]


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt().flatten(1)[:, :10]


class InPlace:
    normalized = True

    def log_density(self, x):
        x -= 0.5
        return -x.square().flatten(1).sum(dim=1)


class Late(nn.Module):
    def forward(self, x):
        if len(x) == 20:
            raise RuntimeError("one\\ntwo")
        return x.flatten(1)[:, :10]


def nan():
    return Broken()


def root():
    return Root()


def in_place():
    return InPlace()


def late():
    return Late()


def hidden():
    return Hidden()


def nine():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))


def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))


def three_lines():
    raise RuntimeError("one\\ntwo\\nthree")


def number():
    return 7
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a user's files, good and bad, and a store with a result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # no __pycache__ beside the files
    good = (baselines.folder("digits") / "jem" / "weights.safetensors").read_bytes()
    state = load_file(baselines.folder("digits") / "jem" / "weights.safetensors")
    Path("models.py").write_text(MODELS)
    Path("truncated.safetensors").write_bytes(good[: len(good) // 2])
    Path("corrupted.safetensors").write_bytes(good[:20] + bytes(50) + good[70:])
    Path("empty.safetensors").write_bytes(b"")
    torch.save({"weight": torch.zeros(1)}, "pickle.safetensors")
    torch.save({"weight": torch.zeros(1)}, "old-pickle.safetensors", _use_new_zipfile_serialization=False)
    save_file({**state, "network.head.bias": torch.zeros(9)}, "shape.safetensors")
    save_file({name: tensor for name, tensor in state.items() if name != "network.head.bias"}, "missing.safetensors")
    save_file({**state, "extra": torch.zeros(1)}, "extra.safetensors")
    torch.save(torch.nn.Linear(2, 2), "whole.pt")
    Path("page.pt").write_text("<!DOCTYPE html><html></html>")
    Path("pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    Path("file").write_text("precious")
    Path("other-schema/.store/v2/chunks").mkdir(parents=True)
    Path("other-schema/.store/v2/chunks/x.parquet").write_text("precious")
    jembench.evaluate("oracle", "accuracy", track="gauss", limit=10)
    return tmp_path


BAD = {
    "model": (["--model", "jme"], "unknown model of track digits 'jme'; did you mean 'jem'?"),
    "model of another track": (["--model", "jem", "--track", "gauss"], "unknown model of track gauss 'jem'"),
    "no model": (["--model", ""], "unknown model of track digits ''"),
    "suite": (["--model", "jem", "--suite", "odd"], "unknown suite 'odd'; did you mean 'ood'?"),
    "one suite of two": (["--model", "jem", "--suite", "ood,accuracies"], "did you mean 'accuracy'?"),
    "track": (["--model", "jem", "--track", "digit"], "unknown track 'digit'; did you mean 'digits'?"),
    "no file": (["--model", "absent.py:build"], "absent.py: no such file"),
    "no module": (["--model", "absent_module:build"], "ModuleNotFoundError"),
    "no function": (["--model", "models.py:absent"], "models.py:absent: no function 'absent' in it: it has Broken"),
    "failing function": (["--model", "models.py:three_lines"], "RuntimeError: one"),
    "no network": (["--model", "models.py:number"], "is a int, neither a torch.nn.Module nor a model"),
    "class count": (["--model", "models.py:nine"], "logits of 2 images of track digits gives (2, 9), not (2, 10)"),
    "image shape": (["--model", "models.py:large"], "fails on images of shape (2, 1, 8, 8)"),
    "NaN logits": (["--model", "models.py:nan"], "NaN or infinite on example 0 of"),
    "late failure": (
        ["--model", "models.py:late", "--limit", "20"],
        "fails on examples 0-19 of 'test': RuntimeError: one two",
    ),
    "truncated weights": (["--model", "jem", "--weights", "truncated.safetensors"], "damaged or incomplete"),
    "corrupted weights": (["--model", "jem", "--weights", "corrupted.safetensors"], "damaged or incomplete"),
    "empty weights": (["--model", "jem", "--weights", "empty.safetensors"], "is an empty file"),
    "pickle": (["--model", "jem", "--weights", "pickle.safetensors"], "the weights are of another network"),
    "old pickle": (["--model", "jem", "--weights", "old-pickle.safetensors"], "the weights are of another network"),
    "whole network": (["--model", "models.py:nine", "--weights", "whole.pt"], "is a whole network (torch.save(model))"),
    "page as weights": (["--model", "models.py:nine", "--weights", "page.pt"], "is an HTML page"),
    "pointer as weights": (["--model", "jem", "--weights", "pointer.safetensors"], "is a git-LFS pointer"),
    "a key without weights": (["--model", "jem", "--weights-key", "ema"], "--weights-key goes with --weights"),
    "an unknown key": (
        ["--model", "jem", "--weights", "missing.safetensors", "--weights-key", "ema"],
        "has no tensors below key 'ema', but below",
    ),
    "weights' shape": (["--model", "jem", "--weights", "shape.safetensors"], "network.head.bias (9,), not (10,)"),
    "missing weights": (["--model", "jem", "--weights", "missing.safetensors"], "are missing ('network.head.bias')"),
    "extra weights": (["--model", "jem", "--weights", "extra.safetensors"], "1 is not of the network ('extra')"),
    "absent weights": (["--model", "jem", "--weights", "absent.safetensors"], "absent.safetensors: no such file"),
    "folder as weights": (["--model", "jem", "--weights", "."], ".: is a folder that holds"),
    "weights of two": (
        ["--model", "jem", "--model", "softmax", "--weights", "file"],
        "--weights goes with one --model",
    ),
    "weights of the oracle": (["--model", "oracle", "--track", "gauss", "--weights", "file"], "no weights"),
    "limit": (["--model", "jem", "--limit", "0"], "limit must be a whole number of at least 1, not 0"),
    "workers": (["--model", "jem", "--workers", "0"], "workers must be a whole number of at least 1, not 0"),
    "device": (["--model", "jem", "--device", "foo"], "device 'foo' cannot be used"),
    "device without values": (["--model", "jem", "--device", "meta"], "device 'meta' cannot be used"),
    "output is a file": (["--model", "jem", "--output", "file"], "file: is a file, not a folder"),
    "output below a file": (["--model", "jem", "--suite", "accuracy", "--output", "file/store"], "cannot be written"),
    "output in /proc": (["--model", "jem", "--suite", "accuracy", "--output", "/proc/store"], "cannot be written"),
    "output's schema": (["--model", "jem", "--output", "other-schema"], "other-schema: holds a store of schema 2"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_harms_nothing(
    options: list[str], words: str, call: Call, place: Path, tree: Callable[[Path], dict[str, str]]
) -> None:
    if "/proc/store" in options and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    before = tree(place)
    answer = call("run", *options)
    assert answer.code == 2
    assert answer.out == ""
    (line,) = (line for line in answer.err.splitlines() if line.startswith("jembench: "))
    assert "Traceback" not in answer.err
    assert words in line
    after = {
        name: digest for name, digest in tree(place).items() if "/checks/" not in name
    }  # kept, whatever comes next
    assert after == before


def test_a_density_without_a_gradient_is_an_empty_cell(call: Call, place: Path) -> None:
    """A missing capability is a cell with its reason, not a crash; what needs the logits alone is measured."""
    answer = call("run", "--model", "models.py:hidden", "--suite", "ood", "--limit", 20, "--format", "json")
    assert answer.code == 0
    (document,) = [ResultDocument.model_validate(item) for item in json.loads(answer.out)]
    assert document.metric("noise/mass/auroc").reason == "the model gives no differentiable log density"
    assert document.metric("noise/max_py/auroc").value is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_one_line(call: Call, place: Path) -> None:
    answer = call("run", "--model", "jem", "--suite", "accuracy", "--device", "cuda")
    assert answer.code == 2
    assert answer.err.startswith("jembench: device 'cuda' cannot be used: ")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["golden", "--model", "jem"], "--output"),
        (["run", "--model", "jem", "--format", "yaml"], "--format"),
        (["run", "--model", "jem", "--limit", "ten"], "--limit"),
        (["run", "--modle", "jem"], "--modle"),
        (["ran"], "ran"),
        (["list", "moduls"], "moduls"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str, call: Call, place: Path) -> None:
    answer = call(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("jembench: ")
    assert answer.err.endswith("See `jembench --help`.\n")
    assert answer.err.count("\n") == 1
    assert words in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "jme"],
        ["train", "absent.toml"],
        ["train", "jem", "--device", "foo"],
        ["train"],
        ["maintain", "train", "--track", "gauss"],
        ["train", "jem", "--seed", "-1"],
        ["train", "jem", "--samples-every", "0"],
        ["gate", "--model", "jme"],
        ["leaderboard", "--track", "digit"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_bad_input_of_other_commands(
    arguments: list[str], call: Call, place: Path, tree: Callable[[Path], dict[str, str]]
) -> None:
    before = tree(place)
    answer = call(*arguments, *(["--output", "out"] if "train" in arguments else []))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("jembench: ")
    assert answer.err.count("\n") == 1
    assert tree(place) == before


def test_a_damaged_result_in_the_store_is_one_line_and_stays(
    call: Call, place: Path, tree: Callable[[Path], dict[str, str]]
) -> None:
    (path,) = place.rglob("result.json")
    path.write_text(path.read_text()[:-50])
    before = tree(place)
    answer = call("run", "--model", "oracle", "--track", "gauss", "--suite", "accuracy", "--limit", 10)
    assert answer.code == 2
    assert answer.err.startswith("jembench: ")
    assert "not a valid result" in answer.err
    assert answer.err.count("\n") == 1
    assert tree(place) == before


def options(oracle: Result, suite: str = "all") -> list[str]:
    """A run that is in the store of the session's oracle."""
    output = str(oracle.folder.parent)
    return ["run", "--model", "oracle", "--track", "gauss", "--suite", suite, "--output", output]


def test_the_table_is_on_stdout_with_the_file_and_the_seconds(call: Call, oracle: Result) -> None:
    answer = call(*options(oracle))
    assert (answer.code, answer.err.replace("reading models and images\n", "")) == (0, "")  # on a busy machine
    assert "AUROC" in answer.out
    assert "FPR95" not in answer.out
    assert f"jembench show {oracle.folder} --full" in answer.out
    assert f"all {len(oracle.evaluation.outcome.chunks)} chunks reused" in answer.out
    assert len(answer.out.splitlines()) <= 20
    assert max(map(len, answer.out.splitlines())) <= 100
    full = call(*options(oracle), "--full")
    assert "FPR95" in full.out
    assert f"{oracle.metrics['scaled/mass/auroc'].value:.3f}" in full.out
    assert str(oracle.folder) in full.err
    assert call("show", oracle.folder, "--full").out == full.out


def test_json_is_all_there_is_on_stdout_and_validates(call: Call, oracle: Result) -> None:
    answer = call(*options(oracle), "--format", "json")
    (content,) = json.loads(answer.out)
    assert ResultDocument.model_validate(content) == oracle.document
    assert str(oracle.folder) in answer.err


def test_markdown_is_all_there_is_on_stdout(call: Call, oracle: Result) -> None:
    answer = call(*options(oracle), "--format", "markdown")
    assert answer.out.strip() == oracle.to_markdown().strip()
    assert str(oracle.folder) in answer.err


@pytest.mark.parametrize("format", ["json", "markdown", "table"])
def test_quiet_leaves_stderr_empty(call: Call, oracle: Result, format: str) -> None:
    answer = call(*options(oracle), "--quiet", "--format", format)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out


def test_several_models_and_suites_in_one_run(call: Call, digits: dict[str, Result]) -> None:
    """One document per model and suite; one table per evaluator, with the models as rows."""
    output = str(digits["jem"].folder.parent)
    chosen = ["run", "--model", "jem", "--model", "softmax", "--suite", "accuracy, ood,calibration", "--output", output]
    documents = [ResultDocument.model_validate(item) for item in json.loads(call(*chosen, "-f", "json", "-q").out)]
    assert [(document.suite, document.model.name) for document in documents] == [
        (suite, model) for suite in ("accuracy", "ood", "calibration") for model in ("jem", "softmax")
    ]
    for document in documents:
        whole = digits[document.model.name].metrics
        assert {metric.id: metric for metric in document.metrics}.items() <= whole.items()
    text = call(*chosen, "-f", "markdown", "-q").out
    assert text.count("### accuracy ·") == text.count("### OOD detection ·") == text.count("### calibration ·") == 1


def test_a_limit_reuses_what_is_there(call: Call, place: Path) -> None:
    first = call("run", "-m", "oracle", "-t", "gauss", "-s", "accuracy", "--limit", 180)
    assert "nothing reused" in first.out
    more = call("run", "-m", "oracle", "-t", "gauss", "-s", "accuracy", "--limit", 200)
    assert "1 of 2 chunks reused" in more.out


def test_a_users_own_file_with_weights(call: Call, place: Path) -> None:
    Path("mine.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    save_file({"1.weight": torch.zeros(10, 64), "1.bias": torch.eye(10)[3].contiguous()}, "mine.safetensors")
    answer = call(
        "run", "-m", "mine.py:build", "-w", "mine.safetensors", "-s", "accuracy", "-f", "json", "-q", "--limit", 100
    )
    (content,) = json.loads(answer.out)
    assert content["model"]["name"] == "mine.build"
    accuracy = content["metrics"][0]["value"]
    assert 0.02 < accuracy < 0.25  # it always says 3


def test_the_version(call: Call) -> None:
    assert call("--version").out == f"jembench {jembench.__version__}\n"


def test_without_arguments_there_is_help(call: Call) -> None:
    answer = call()
    assert (answer.code, answer.err) == (0, "")
    assert "Usage" in answer.out


def test_help_and_lists_load_no_torch() -> None:
    """They answer before torch would have loaded; and ``import jembench`` loads nothing heavy."""
    code = """
import sys
import jembench
assert "numpy" not in sys.modules
from jembench.cli import main
for arguments in ("--help", "run --help", "--version", "list models", "list tracks", "list suites", "list scores"):
    sys.argv = ["jembench", *arguments.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    heavy = {"torch", "sklearn", "pandas", "scipy"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "jembench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"jembench {jembench.__version__}\n"


def test_a_gradient_that_is_no_number_is_an_empty_cell(call: Call, place: Path) -> None:
    """sqrt has no gradient at 0, and digits have many pixels of 0; what needs the logits alone is measured."""
    answer = call("run", "--model", "models.py:root", "--suite", "ood", "--limit", 20, "--format", "json")
    assert answer.code == 0
    (document,) = [ResultDocument.model_validate(item) for item in json.loads(answer.out)]
    for name in ("textures/mass/auroc", "noise/mass/fpr95", "mean/mass/auroc"):
        assert document.metric(name).value is None
        assert "NaN on" in document.metric(name).reason
    assert document.metric("noise/max_py/auroc").value is not None
    assert document.metric("noise/log_px/auroc").value is not None
    text = call("run", "--model", "models.py:root", "--suite", "ood", "--limit", 20)
    assert text.code == 0
    assert "NaN on" in text.out


def test_models_of_the_same_name_are_told_apart(call: Call, place: Path) -> None:
    """By the start of their fingerprints; one that is named in two ways is one row."""
    for folder, seed in (("a", 1), ("b", 2)):
        Path(folder).mkdir()
        Path(folder, "net.py").write_text(
            f"import torch\ndef build():\n    torch.manual_seed({seed})\n"
            "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        )
    chosen = ["-m", "a/net.py:build", "-m", "b/net.py:build", "-m", "./a/net.py:build"]
    answer = call("run", *chosen, "-s", "accuracy", "--limit", 10, "-f", "json", "-q")
    models = [item["model"] for item in json.loads(answer.out)]
    assert [model["name"] for model in models] == [f"net.build-{model['fingerprint'][:6]}" for model in models]
    assert len(models) == len({model["name"] for model in models}) == 2
    alone = call("run", "-m", "a/net.py:build", "-s", "accuracy", "--limit", 10, "-f", "json", "-q")
    assert json.loads(alone.out)[0]["model"]["name"] == "net.build"


def test_a_chunk_that_suites_share_is_counted_once(call: Call, place: Path) -> None:
    options = ["run", "-m", "oracle", "-t", "gauss", "-s", "accuracy,hybrid", "--limit", 20]
    spec, track = catalogue.resolve(parse("oracle"), track="gauss"), data.track("gauss")
    n = len(plan(spec, "hybrid", track=track, request=Request(limit=20)).jobs)  # that of suite accuracy among them
    assert "nothing reused" in call(*options).out
    assert f"all {n} chunks reused" in call(*options).out


def test_an_interrupt_is_one_line_and_130(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    answer = call("run", "-m", "oracle", "-t", "gauss", "-s", "accuracy", "--limit", 20)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err == "jembench: interrupted; what was computed is kept\n"


@pytest.mark.parametrize("format", ["table", "markdown", "json"])
def test_a_terminal_that_knows_ascii_only_gets_no_traceback(oracle: Result, format: str) -> None:
    """Question marks in a table; markdown is for files and stays UTF-8, JSON is ASCII by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "jembench", *options(oracle), "--format", format],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout.decode()
    assert done.stdout.isascii() or format == "markdown"


TINY = """
track = "digits"
about = "a test"
[model]
kind = "jem"
width = 2
[objective]
log_px = 1.0
[sampling]
steps = 2
buffer = 16
[training]
iterations = 4
batch = 8
[selection]
every = 2
"""


def test_training_leaves_a_folder_that_can_be_evaluated(call: Call, place: Path) -> None:
    Path("own.toml").write_text(
        'track = "digits"\nabout = "a test"\n[model]\nkind = "softmax"\nwidth = 2\n[training]\niterations = 2\n'
    )
    assert call("train", "own.toml", "--output", "own", "--quiet").code == 0
    assert Path("own/recipe.toml").read_bytes() == Path("own.toml").read_bytes()
    answer = call("run", "-m", "own/recipe.toml", "-s", "accuracy", "--limit", 10, "-f", "json", "-q")
    assert json.loads(answer.out)[0]["model"]["name"] == "own"
    again = call("train", "own.toml", "--output", "own", "--quiet")
    assert (again.code, again.out) == (2, "")
    assert "already holds a finished training run" in again.err


def test_training_says_what_it_took(call: Call, place: Path) -> None:
    """The path on stdout, all else on stderr; the seed is in the record, the recipe keeps its text."""
    Path("own.toml").write_text(TINY)
    options = ("train", "own.toml", "--output", "own", "--seed", 5, "--samples-every", 2, "--tensorboard")
    answer = call(*options)
    assert (answer.code, answer.out) == (0, f"{Path('own/weights.safetensors')}\n")
    assert re.fullmatch(
        r"\d+ s, \d+% of it in SGLD, 64 input gradients, 0 rollbacks; checkpoint of iteration 4 by last\n", answer.err
    )
    assert json.loads(Path("own/training.json").read_bytes())["seed"] == 5
    assert Path("own/recipe.toml").read_text() == TINY
    written = {path.relative_to("own").as_posix() for path in Path("own").rglob("*.png")}
    assert written == {"curve.png", "samples.png", "samples/000002.png", "samples/000004.png"}
    assert len(list(Path("own/tensorboard").iterdir())) == 1


def test_training_has_a_place_of_its_own(call: Call, place: Path) -> None:
    Path("mine").mkdir()
    Path("mine/recipe.toml").write_text(TINY)
    answer = call("train", "mine/recipe.toml", "--quiet")
    weights = Path("jembench-runs/training/digits/mine/weights.safetensors")
    assert (answer.code, answer.out, answer.err) == (0, f"{weights}\n", "")
    assert weights.exists()


def test_only_one_process_of_a_team_speaks(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.toml").write_text(TINY)
    monkeypatch.setenv("RANK", "1")  # and no WORLD_SIZE, so that it trains alone
    answer = call("train", "own.toml", "--output", "own")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_training_all_of_a_track(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        Path("shelf", name).mkdir(parents=True)
        Path("shelf", name, "recipe.toml").write_text(TINY)
    shelves = baselines.folder
    monkeypatch.setattr(baselines, "folder", lambda name: Path("shelf") if name == "digits" else shelves(name))
    monkeypatch.setattr(rebuild, "measure", lambda request: measure(replace(request, limit=10)))
    answer = call("maintain", "train", "--output", "out")
    assert (answer.code, answer.out) == (0, "out\n")
    said = [line.partition(":")[0] for line in answer.err.splitlines()]
    assert [word for word in said if word != "warning"] == ["out/a", "out/b"]  # two iterations are chance
    assert sorted(path.as_posix() for path in Path("out").glob("*/*/result.json")) == [
        "out/a/golden/result.json",
        "out/b/golden/result.json",
    ]
    again = call("maintain", "train", "--output", "out")
    assert (again.code, again.out) == (2, "")
    assert "out/a already holds a training run" in again.err
    assert call("maintain", "train", "--output", "out", "--resume", "--quiet") == (0, "out\n", "")
