"""Whoever reads less than all, or nothing, gets exit code 0 and no traceback."""

import subprocess
import sys

import pytest

PROGRAM = f"{sys.executable} -m jembench"

LINES = {
    "| head -1": 0,
    "| true": 0,
    ">&-": 0,
    "2>&-": 0,
    ">&- 2>&-": 0,
    "<&-": 0,
    ">&- 2>&- <&-": 0,
}


@pytest.mark.parametrize(("tail", "code"), LINES.items())
@pytest.mark.parametrize("command", ["list models", "list scores", "--version", "--help"])
def test_a_list_that_nobody_reads_to_the_end(tail, code, command):
    line = f"set -o pipefail; {PROGRAM} {command} {tail}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("tail", ["2>&-", ">&-", ">&- 2>&-"])
def test_bad_input_is_exit_code_2_whoever_listens(tail, tmp_path):
    line = f"{PROGRAM} run --model nothing {tail}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    """What is echoed would be written into the first file that is opened."""
    line = f"{PROGRAM} leaderboard --help >&- 2>&-; {PROGRAM} run -m jem -s accuracy --limit 5 >&- 2>&-"
    subprocess.run(["bash", "-c", line], check=True, cwd=tmp_path)
    (result,) = tmp_path.rglob("result.json")
    assert result.read_text().startswith("{")
    assert result.read_text().endswith("}\n")
