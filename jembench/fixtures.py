"""Fixtures of pytest: ``jembench_gate``, by which the tests of a model's repository hold it against a golden result.

pytest imports this module in every run of an environment that jembench is installed in, whatever is tested: nothing of
jembench is imported before a test asks for a gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jembench.api import GateVerdict, Rule

#: Options ``--jembench-gate-NAME``, in a configuration file ``jembench_gate_NAME``.
OPTIONS = {
    "model": "The model that jembench_gate judges: net.py:build, recipe/, MODEL@WEIGHTS.",
    "baseline": "The golden result: a folder or ZIP file, a folder with one for each suite, or a name.",
    "track": "The track, if it is one of your own.",
    "output": "Folder of results and their records; jembench-runs by default.",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of :data:`OPTIONS`."""
    group = parser.getgroup("jembench")
    for name, words in OPTIONS.items():
        group.addoption(f"--jembench-gate-{name}", help=words)
        parser.addini(f"jembench_gate_{name}", words, default="")


@pytest.fixture
def jembench_gate(request: pytest.FixtureRequest) -> Gate:
    """The gate of a test, called with a suite: its verdict is true if nothing is worse."""
    return Gate(request)


@dataclass(frozen=True)
class Gate:
    """A gate within a test.

    Attributes:
        request: pytest's facts of the test.
    """

    request: pytest.FixtureRequest

    def __call__(
        self, suite: str = "", *, model: str = "", baseline: str | Path = "", rule: Rule | None = None
    ) -> GateVerdict:
        """Hold a model against a golden result; what it says is a section of the report of a test that fails.

        Args:
            suite: of which it is judged; that of the golden result by default.
            model: reference to the model; that of the options by default.
            baseline: the golden result; that of the options by default, or of a shipped baseline its own.
            rule: which metrics are judged, by which bars.

        Returns:
            The verdict, which is true if nothing is worse. The test fails with one line if there is no comparing.
        """
        from jembench import UserError, api
        from jembench.choices.request import STORE
        from jembench.pages.gates.text import text
        from jembench.zoo.references import parse

        word = model or self._option("model")
        if not word:
            pytest.fail("name a model: --jembench-gate-model, or jembench_gate_model in pytest's configuration", False)
        golden, track, output = str(baseline) or self._option("baseline"), self._option("track"), self._option("output")
        own: dict[str, Any] = {"suites": (suite,)} if suite else {}
        own |= {"track": self._rooted(track)} if track else {}
        place = Path(output) if output else self.request.config.rootpath / STORE
        try:
            verdict = api.gate(
                api.Request(models=(parse(self._rooted(word)),), output=place, **own),
                self._rooted(golden) if golden else None,
                rule=rule or api.Rule(),
                inherited=[name for name in api.INHERITED if name not in own],
                progress=False,
            )
        except UserError as error:
            pytest.fail(f"jembench gate: could not compare: {error}", pytrace=False)
        if not verdict:
            self.request.node.add_report_section("call", "jembench gate", text(verdict))
        return verdict

    def _option(self, name: str) -> str:
        """What the command line says, else the configuration file."""
        config = self.request.config
        return str(config.getoption(f"jembench_gate_{name}") or config.getini(f"jembench_gate_{name}"))

    def _rooted(self, word: str) -> str:
        """A word that begins with a path, from pytest's root if it is not there from the working directory."""
        head = word.partition(":")[0].partition("@")[0]
        root = self.request.config.rootpath
        return str(root / word) if head and not Path(head).exists() and (root / head).exists() else word
