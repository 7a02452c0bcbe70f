"""The cache: where it lies, and a lock that makes others wait, is let go, and says so where it cannot be."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jembench.data import cache
from jembench.types import UserError


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JEMBENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.root() == tmp_path / "home" / ".cache" / "jembench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "jembench"
    monkeypatch.setenv("JEMBENCH_CACHE", "~/mine")
    assert cache.root() == tmp_path / "home" / "mine"
    monkeypatch.setenv("JEMBENCH_CACHE", "mine")
    assert cache.root() == Path.cwd() / "mine"  # workers may have another folder
    assert cache.downloads().parent == cache.root()
    assert not cache.root().exists()


def test_a_lock_is_held_by_one_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path))
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        with cache.locked("one"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with cache.locked("one"), cache.locked("two"):
        pass


def test_who_dies_lets_go(monkeypatch, tmp_path):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path))
    code = "import os\nfrom jembench.data import cache\nwith cache.locked('one'):\n    os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    with cache.locked("one"):
        pass


def test_a_file_system_without_locks_does_not_stop_the_work(monkeypatch, tmp_path):
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path))

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    with cache.locked("one"):
        pass


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "file"))
    message = "the cache .*/file cannot be written .*: set JEMBENCH_CACHE to a folder that can"
    with pytest.raises(UserError, match=message), cache.locked("one"):
        pass
