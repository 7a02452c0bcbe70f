"""What code that is not ours may do: fail, told in one line, and wait for a network, but not for ever."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from threading import get_ident
from typing import Any

from jembench.types import UserError

TIMEOUT = 60.0  # seconds without a byte after which a download has failed


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn any failure of a user's code into one line: ``what``, the kind of error and its message.

    What the code prints goes to stderr: stdout is for results.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{what}: {type(error).__name__}: {reason}") from error


@contextmanager
def impatient() -> Iterator[None]:
    """Within the block, a server that says nothing for ``TIMEOUT`` is an error: downloaders of libraries wait for ever.

    The default of ``socket`` reaches those that use urllib. Those that use requests (gdown, for torchvision and
    robustbench) override it by a None of their own, which is replaced for this thread's requests and no others.
    """
    adapter: Any = import_module("requests.adapters").HTTPAdapter
    send, thread, before = adapter.send, get_ident(), socket.getdefaulttimeout()

    def bounded(self: Any, request: Any, **how: Any) -> Any:
        if get_ident() == thread:
            how["timeout"] = how.get("timeout") or TIMEOUT
        return send(self, request, **how)

    adapter.send = bounded
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        adapter.send = send
        socket.setdefaulttimeout(before)
