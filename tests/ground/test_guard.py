"""Borrowed code: its network is bounded while it runs, for its own requests only, and as it was afterwards."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import requests
from requests.adapters import HTTPAdapter

from jembench.ground import guard


def test_only_the_requests_of_the_block_are_bounded(monkeypatch):
    """A timeout of their own stays; another thread's requests are not touched; all is undone, also after an error."""
    monkeypatch.setattr(HTTPAdapter, "send", lambda self, request, **how: how["timeout"])
    before = HTTPAdapter.send, socket.getdefaulttimeout()
    ask = requests.PreparedRequest()
    with ThreadPoolExecutor(1) as another, suppress(KeyError), guard.impatient():
        assert HTTPAdapter().send(ask, timeout=None) == socket.getdefaulttimeout() == guard.TIMEOUT
        assert HTTPAdapter().send(ask, timeout=3) == 3
        assert another.submit(HTTPAdapter().send, ask, timeout=None).result() is None
        raise KeyError
    assert (HTTPAdapter.send, socket.getdefaulttimeout()) == before
