"""The README, word for word: every block is run, and what it shows is what comes out."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
ELSEWHERE = "python3 -m venv"  # installation: .ci/run does that, and tests/test_wheel.py


def blocks() -> list[tuple[str, str]]:
    """Language and content of every block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (README.parent / target).exists(), target


@pytest.mark.timeout(900)
def test_every_block_runs_in_order(tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(README.parent))
    (shown,) = [block for kind, block in blocks() if not kind]
    command, *expected = shown.splitlines()
    answer = call(*shlex.split(command.removeprefix("$ jembench ")))
    assert answer.code == 0
    assert answer.out.splitlines()[1:] == expected[1:]
    assert answer.out.split("   ")[0] == expected[0].split("   ")[0]
    for kind, block in blocks():
        if kind == "python":
            name = block.partition("\n")[0].removeprefix("# ")
            if name == "net.py":
                Path(name).write_text(block)
            else:
                subprocess.run([sys.executable, "-c", block], check=True)
        for line in block.splitlines() if kind == "sh" else ():
            words = shlex.split(line, comments=True)
            if line.startswith(ELSEWHERE):
                continue
            if words[0] == "python":
                subprocess.run([sys.executable, *words[1:]], check=True)
                continue
            assert words[0] == "jembench"
            answer = call(*words[1:])
            assert answer.code == 0, (line, answer.out, answer.err)
    assert (tmp_path / "boards" / "digits.md").exists()
