"""The fixture of pytest, in test runs of its own: ``assert jembench_gate("ood")``."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
ARGUMENTS = ("-p", "no:cacheprovider", "-W", "error")


@pytest.fixture
def place(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repository of a model, whose pytest has our plug-in and no other one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "jembench.fixtures")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_model='def test_ood(jembench_gate):\n    assert jembench_gate("ood")\n')
    return pytester


def test_a_model_that_is_as_good_passes(place: pytest.Pytester) -> None:
    """Against the shipped baseline's own golden result, of which suite ood is a part."""
    done = place.runpytest_subprocess(*ARGUMENTS, "--jembench-gate-model", "softmax")
    done.assert_outcomes(passed=1)
    assert (place.path / "jembench-runs" / "softmax-digits-ood" / "result.json").is_file()


def test_a_model_that_is_worse_fails_with_the_lines_of_the_gate(place: pytest.Pytester) -> None:
    place.makeini("[pytest]\njembench_gate_model = softmax\njembench_gate_baseline = jem\n")
    done = place.runpytest_subprocess(*ARGUMENTS)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "E*assert jembench gate: 3 regressions, 0 unchanged",
            "*Captured jembench gate call*",
            "jembench gate: 3 regressions, 0 unchanged*",
            "worse  mean/mass/auroc *tolerance .005",
        ]
    )


def test_paths_are_from_the_root_and_a_rule_may_be_named(place: pytest.Pytester) -> None:
    place.makeini("[pytest]\njembench_gate_model = net.py:build\njembench_gate_baseline = golden\n")
    place.makepyfile(
        net="from jembench import load\n\ndef build():\n    return load('softmax')\n",
        test_model="""
        from pathlib import Path

        import pytest

        from jembench import Request, Rule, api


        @pytest.fixture(scope="session", autouse=True)
        def golden(pytestconfig):
            golden = pytestconfig.rootpath / "golden"
            request = Request(models=(api.parse("softmax"),), suites=("accuracy",), limit=40)
            api.golden(request, golden / "accuracy.zip", progress=False)


        def test_accuracy(jembench_gate, monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            verdict = jembench_gate("accuracy", rule=Rule(metrics=("test/accuracy",)))
            assert verdict
            assert verdict.fresh.limit == 40
        """,
    )
    place.runpytest_subprocess(*ARGUMENTS).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "*name a model: --jembench-gate-model*"),
        (("--jembench-gate-model=softmax", "--jembench-gate-baseline=nobody"), "*could not compare: nobody: *"),
        (("--jembench-gate-model=sofmax",), "*could not compare: *did you mean 'softmax'*"),
    ],
)
def test_what_cannot_be_compared_is_one_line(place: pytest.Pytester, options: tuple[str, ...], words: str) -> None:
    done = place.runpytest_subprocess(*ARGUMENTS, *options)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([words])
    done.stdout.no_fnmatch_line("*Traceback*")


def test_the_entry_point_is_this_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"jembench": "jembench.fixtures"}
    assert import_module("jembench.fixtures").jembench_gate


def test_it_loads_nothing_heavy_with_pytest() -> None:
    """pytest imports it in every run of an environment that jembench is installed in."""
    code = "import sys, pytest; before = set(sys.modules); import jembench.fixtures; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    roots = {name.partition(".")[0] for name in run.stdout.split()}
    assert "jembench" in roots
    assert not roots & {"torch", "numpy", "pandas", "pydantic", "typer", "rich", "pyarrow", "matplotlib"}
    assert {name for name in run.stdout.split() if name.startswith("jembench")} == {
        "jembench",
        "jembench.fixtures",
        "jembench.types",
        "jembench.version",
    }
