"""Executors: run jobs in this process, or in local worker processes; the records are the same bytes either way.

Workers are spawned, not forked, and end within a second of their parent's death, so that a killed run leaves nothing
behind that still computes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from jembench.types import UserError

Work = Callable[[Any], None]

_work: Work | None = None  # of a worker process, set once by its initialiser


def run(
    make: Callable[[], Work],
    jobs: Sequence[Any],
    *,
    workers: int,
    done: Callable[[int], None],
    after: Mapping[int, Collection[int]] | None = None,
) -> None:
    """Do ``work(job)`` for all jobs, where ``work = make()`` in every process.

    Args:
        make: a picklable factory; what it builds keeps a model loaded between jobs.
        jobs: picklable jobs.
        workers: 1 runs in this process.
        done: called in this process after every job, with its position.
        after: positions of the jobs that must be finished before the job at a position; they come before it.

    Raises:
        UserError: the first that a job raised, or if a worker died.
    """
    if workers == 1:
        work = make()
        for place, job in enumerate(jobs):
            work(job)
            done(place)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(make,)) as pool:
        try:
            waiting = {place: set(bases) for place, bases in (after or {}).items()}
            _run_ready(pool, jobs, done, waiting, ahead=2 * workers)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died (out of memory, or a script that calls jembench outside of "
                "`if __name__ == '__main__':`); finished chunks are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_ready(
    pool: ProcessPoolExecutor,
    jobs: Sequence[Any],
    done: Callable[[int], None],
    waiting: dict[int, set[int]],
    *,
    ahead: int,
) -> None:
    """Submit jobs in their order, each once those before it are finished, at most ``ahead`` at a time.

    With all that is ready in the queue at once, what builds on a job would wait for everything else.
    """
    running: dict[Future[None], int] = {}
    queue = list(range(len(jobs)))
    while queue or running:
        ready = [place for place in queue if not waiting.get(place)][: ahead - len(running)]
        queue = [place for place in queue if place not in ready]
        with _without_interrupts():
            running |= {pool.submit(_do, jobs[place]): place for place in ready}
        for future in wait_for(running, return_when=FIRST_COMPLETED).done:
            place = running.pop(future)
            future.result()
            for bases in waiting.values():
                bases.discard(place)
            done(place)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start workers that ignore Ctrl-C, which reaches the whole process group: their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by what is started here
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(make: Callable[[], Work]) -> None:
    """Prepare a worker process."""
    global _work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = make()


def _do(job: Any) -> None:
    assert _work is not None
    _work(job)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
