"""``gate`` and ``golden`` by hand: one file that is a golden result, every way to name one, files for builds."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import jembench
from jembench import api
from jembench.store import archives
from jembench.store.results import read_result
from jembench.zoo import baselines

Call = Callable[..., Any]
NET = "from jembench import load\n\n\ndef build():\n    return load('softmax')\n"
SMALL = ("-s", "accuracy", "--limit", 60, "-q")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def network(seed: int) -> None:
    """The classifier of net.py, and weights close to its own in SEED.pt."""
    import torch

    Path("net.py").write_text(NET)
    generator = torch.Generator().manual_seed(seed)
    state = jembench.load("softmax").state_dict()
    moved = {
        name: value * (1 + 0.01 * torch.randn(value.shape, generator=generator)) if value.is_floating_point() else value
        for name, value in state.items()
    }
    torch.save(moved, f"{seed}.pt")


def gold(call: Call, *words: object) -> None:
    answer = call("golden", "-m", "softmax", "-s", "accuracy", "-q", "-o", "gold.zip", *words)
    assert (answer.code, answer.out) == (0, "gold.zip\n"), answer.err


def test_one_command_makes_a_file_and_one_judges(place: Path, call: Call) -> None:
    """Suite, seed, limit and protocol are the golden result's; a result that is there is not measured again."""
    gold(call, "--seed", 3, "--limit", 60)
    with archives.opened(Path("gold.zip")) as folder:
        document = read_result(folder)
    assert (document.suite, document.seed, document.limit, document.request) == ("accuracy", 3, 60, {})
    answer = call("gate", "-m", "softmax", "-b", "gold.zip", "-q")
    assert answer.code == 0, answer.err
    assert "softmax on digits-v1, suite accuracy · same weights and seed" in answer.out
    assert [path.name for path in Path("jembench-runs").iterdir() if path.name != ".store"] == [
        "softmax-digits-accuracy"
    ]
    assert call("gate", "-m", "softmax", "-b", "gold.zip", "-q", "--seed", 4).out.count("other seed") == 1
    answer = call("gate", "-m", "softmax", "-b", "gold.zip", "-q", "--limit", 50)
    assert (answer.code, answer.out) == (2, "")
    assert "not comparable with the golden result: n of 'test' is 50, not 60" in answer.err


def test_a_golden_result_is_not_replaced(place: Path, call: Call) -> None:
    gold(call, "--limit", 20)
    before = Path("gold.zip").read_bytes()
    answer = call("golden", "-m", "jem", "-s", "accuracy", "-q", "-o", "gold.zip")
    assert answer.code == 2
    assert "gold.zip holds a result" in answer.err
    assert Path("gold.zip").read_bytes() == before


def test_every_way_to_name_a_golden_result(place: Path, call: Call) -> None:
    """A file, a folder, a folder of suites, a name on the shelf, a shipped baseline."""
    gold(call)
    assert call("golden", "-m", "softmax", "-s", "accuracy", "-q", "-o", "suites/accuracy").code == 0
    assert call("golden", "-m", "softmax", "-s", "accuracy", "-q", "-o", "packed/accuracy.zip").code == 0
    own = baselines.folder("digits") / "softmax"
    for name in (
        "gold.zip",
        "suites/accuracy",
        "suites",
        "packed",
        "softmax-digits-accuracy",
        "softmax",
        own / "golden",
    ):
        answer = call("gate", "-m", "softmax", "-s", "accuracy", "-b", name, "-q")
        assert answer.code == 0, (name, answer.err)
        assert "same weights and seed" in answer.out
        answer = call("gate", "--result", "softmax-digits-accuracy", "-b", name, "-q")
        assert answer.code == 0, (name, answer.err)
    assert call("gate", "--result", "softmax-digits-accuracy", "-q").code == 0
    for name, words in (
        ("absent.zip", "no such file; make it by `jembench golden"),
        ("nobody", "no golden result: name a golden result by --baseline"),
        (".", "neither a result nor a folder with accuracy.zip"),
    ):
        answer = call("gate", "-m", "softmax", "-s", "accuracy", "-b", name, "-q")
        assert (answer.code, answer.out) == (2, ""), name
        assert words in answer.err
        assert answer.err.count("\n") == 1


def test_a_model_or_a_result(place: Path, call: Call) -> None:
    for words in (("gate",), ("gate", "-m", "softmax", "--result", "softmax")):
        answer = call(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "by --model, or a result by --result" in answer.err


def test_files_for_a_build(place: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A regression is in each of them, and annotated where GitHub runs the gate."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place / "summary.md"))
    files = ("--junit", "out/gate.xml", "--markdown", "out/gate.md", "--json", "out/gate.json")
    answer = call("gate", "-m", "softmax", "-b", "jem", "-s", "ood", "-q", *files)
    assert answer.code == 1, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("jembench gate: 3 regressions, 0 unchanged")
    assert [line for line in lines if line.startswith("::")] == [line for line in lines if line.startswith("::error")]
    assert len(lines) == 2 + 3 + 3
    content = json.loads(Path("out/gate.json").read_bytes())
    assert (content["passed"], content["comparison"], content["counts"]["worse"]) == (False, "other weights", 3)
    assert len(ElementTree.parse("out/gate.xml").findall(".//failure")) == 3
    assert Path("out/gate.md").read_text() + "\n" == Path("summary.md").read_text()
    answer = call("gate", "-m", "softmax", "-b", "nobody", "-s", "ood", "-q")
    assert answer.code == 2
    assert answer.out.startswith("::error title=jembench gate%3A could not compare::nobody: ")


def test_retrained(place: Path, call: Call) -> None:
    """jem with its other training seed against jem passes; a plain classifier does not."""
    common = ("-b", baselines.folder("digits") / "jem" / "golden", "-s", "ood", "-q", "--retrained")
    answer = call("gate", "-m", "jem@twin", *common)
    assert answer.code == 0, answer.out + answer.err
    assert "retrained: beyond tolerance + 5 trainings, p<.05" in answer.out
    assert call("gate", "-m", "softmax", *common).code == 1


def test_trainings_are_kept_with_a_golden_result(place: Path, call: Call) -> None:
    for seed in range(3):
        network(seed)
        assert call("run", "-m", "net.py:build", "-w", f"{seed}.pt", "--label", seed, *SMALL).code == 0
    names = [f"net.build-digits-accuracy-{seed}" for seed in range(3)]
    answer = call("golden", "-m", "net.py:build", "-w", "0.pt", "-o", "bare.zip", *SMALL)
    assert answer.code == 0, answer.err
    for words in (("--result", names[1]), ("-m", "net.py:build", "-w", "1.pt", "-o", "new")):
        answer = call("gate", *words, "-b", "bare.zip", "--retrained", "-q")
        assert (answer.code, answer.out) == (2, "")
        assert "needs the spread of training seeds" in answer.err
    assert not Path("new").exists()  # before anything is measured
    answer = call("gate", "--result", names[1], "-b", "bare.zip", "--retrained", "--seeds", "a/seeds.json", "-q")
    assert (answer.code, answer.err) == (2, "jembench: a/seeds.json: no such file\n")
    seeds = ("--seeds", names[1], "--seeds", names[2])
    answer = call("golden", "-m", "net.py:build", "-w", "0.pt", "-o", "gold.zip", *seeds, *SMALL)
    assert answer.code == 0, answer.err
    for words in (("-b", "gold.zip"), ("-b", "bare.zip", *seeds)):
        answer = call("gate", "--result", names[1], *words, "--retrained", "-q")
        assert answer.code == 0, answer.out + answer.err
        assert "+ 3 trainings" in answer.out


def test_from_python(place: Path) -> None:
    result = api.evaluate("softmax", "accuracy", limit=40, output=place / "runs", progress=False)
    golden = api.golden(
        api.Request(models=(api.parse("softmax"),), suites=("accuracy",), limit=40, output=place / "runs"),
        Path("gold.zip"),
        progress=False,
    )
    assert golden.document.key == result.document.key
    verdict = api.gate(result, "gold.zip", rule=api.Rule(metrics=("test/*",)))
    assert verdict
    assert repr(verdict) == "jembench gate: 0 regressions, 1 unchanged"


def test_a_result_is_judged_without_torch(place: Path) -> None:
    """It is read, not measured."""
    own = baselines.folder("digits")
    words = ["gate", "--result", str(own / "softmax" / "golden"), "-b", str(own / "jem" / "golden"), "-q"]
    code = f"import sys; from jembench import api; from jembench.cli import main; sys.argv[1:] = {words}\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n"
    code += "    print(end.code, *{'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "1"
