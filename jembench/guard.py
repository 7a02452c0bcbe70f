"""Failures of code that is not ours, in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from jembench.types import UserError


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
