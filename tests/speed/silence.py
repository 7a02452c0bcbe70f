"""How long commands are silent: python tests/speed/silence.py [--data-dir IMAGES]

Each command runs with stdout and stderr in pipes, as under a log, for at most :data:`LONGEST` seconds, and is then
ended. Printed are the seconds until its first byte on either, and the longest silence after that.

Bar: 2 s until the first byte; 10 s and a little after it.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONGEST = 25.0
COMMANDS = (
    "run --model jem --suite ood --output {out}/a",
    "run --model jem --suite all --workers 2 --output {out}/b",
    "run --model jem --suite all --dry-run --output {out}/c",
    "gate --model jem --suite accuracy --output {out}/d",
    "golden --model jem --suite accuracy --store {out}/e --output {out}/golden",
    "check jem",
    "train softmax --output {out}/train",
    "leaderboard --output {out}/board",
    "maintain golden {out}/all --model softmax --suite all --output {out}/f",
    "maintain train --output {out}/digits",
    "maintain cards --check",
)
PHOTOGRAPHS = (
    "run --model jem --suite ood --track cifar10 --data-dir {images} --output {out}/g",
    "check jem --track cifar10 --data-dir {images}",
    "train jem --track cifar10 --data-dir {images} --output {out}/wide",
    "data verify --track cifar10 --data-dir {images}",
    "data overlap {images}/cifar10_train.npz --track cifar10 --data-dir {images}",
)


def silence(words: list[str]) -> tuple[float, float, float]:
    """Seconds until the first byte, of the longest silence after it, and until the end."""
    command = [sys.executable, "-m", "jembench", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert run.stdout is not None
    assert run.stderr is not None
    start = last = time.monotonic()
    first, gap = None, 0.0
    streams = [run.stdout, run.stderr]
    while streams and time.monotonic() - start < LONGEST:
        for stream in select.select(streams, [], [], 0.1)[0]:
            if not os.read(stream.fileno(), 1 << 16):
                streams.remove(stream)
                continue
            now = time.monotonic()
            first, gap = (now - start, gap) if first is None else (first, max(gap, now - last))
            last = now
    end = time.monotonic()
    run.kill()
    run.wait()
    return first if first is not None else end - start, max(gap, end - last), end - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of the photographs; without them their runs are left out")
    given = parser.parse_args()
    print(f"{'first':>6} {'silence':>8} {'all':>6}  command")
    with tempfile.TemporaryDirectory() as out:
        for command in (*COMMANDS, *(PHOTOGRAPHS if given.data_dir is not None else ())):
            words = command.format(out=out, images=given.data_dir).split()
            first, gap, whole = silence(words)
            shown = " ".join(word for word in words if not word.startswith("/"))
            print(f"{first:5.1f}s {gap:7.1f}s {whole:5.1f}s  {shown}", flush=True)


if __name__ == "__main__":
    main()
