"""Whether a run takes as long as it says: python tests/speed/estimates.py [--data-dir IMAGES] [--only N ...]

Each run is announced by `jembench run … --dry-run` and then done, in a store of its own, so that nothing is known of
the model before. Printed are the seconds that were announced, those of the whole command, and their ratio; of the last
run once more, with the results away and the rates of the first time there. Other programs on the machine make both
figures larger, not always alike.

Bar: a ratio within 1.5 either way in at least 7 of 8 runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BAR = 1.5
RUNS = (
    "--model jem --suite accuracy",
    "--model jem --suite ood",
    "--model sadajem --suite generation",
    "--model softmax --suite calibration",
    "--model jem --suite all --workers 2",
    "--model glow-cond --suite all --workers 2",
    "--model softmax --suite robustness --limit 100 --workers 2",
    "--model glow-cond --suite robustness --limit 100 --workers 2",
    "--model softmax --suite all --workers 2",
)
PHOTOGRAPHS = (
    "--model softmax --suite calibration --track cifar10 --limit 60 --workers 2",
    "--model jem --suite ood --track cifar10 --limit 300 --workers 2",
)


def command(*words: str) -> tuple[str, float]:
    """What `jembench` says on stdout, and the seconds until it ends."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "jembench", *words],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return run.stdout, time.perf_counter() - start


def announced(words: list[str]) -> float:
    """The seconds of ``--dry-run``, from its words."""
    line = command(*words, "--dry-run")[0].partition("\n")[0]
    parts = line.partition("about ")[2].partition(" with")[0].split()
    units = {"s": 1.0, "min": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in zip(parts[::2], parts[1::2], strict=True))


def row(words: list[str], store: Path) -> tuple[float, float]:
    """Announced and taken."""
    words = ["run", *words, "--output", str(store)]
    before = announced(words)
    return before, command(*words)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of the photographs; without them their runs are left out")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of runs, from 1")
    parser.add_argument("--json", type=Path, help="file for everything that was measured")
    given = parser.parse_args()
    runs = [each.split() for each in RUNS]
    if given.data_dir is not None:
        runs += [[*each.split(), "--data-dir", str(given.data_dir)] for each in PHOTOGRAPHS]
    chosen = [runs[number - 1] for number in given.only or range(1, len(runs) + 1)]
    every: list[dict[str, Any]] = []
    print(f"{'announced':>9} {'taken':>8} {'ratio':>6}  load  run")
    with tempfile.TemporaryDirectory() as name:
        for place, words in enumerate(chosen):
            for again in (False, True) if place == len(chosen) - 1 else (False,):
                store = Path(name) / str(place)
                if again:
                    for part in [path for path in store.rglob("*") if path.is_dir() and path.name == "rates"]:
                        shutil.move(part, Path(name) / "rates")
                        shutil.rmtree(store)
                        part.parent.mkdir(parents=True)
                        shutil.move(Path(name) / "rates", part)
                before, taken = row(words, store)
                load = os.getloadavg()[0]
                every.append({"run": words, "again": again, "announced": before, "taken": taken, "load": load})
                text = " ".join(word for word in words if word != str(given.data_dir)).replace(" --data-dir", "")
                print(
                    f"{before:8.0f}s {taken:7.1f}s {before / taken:6.2f} {load:5.1f}  {text}{', again' * again}",
                    flush=True,
                )
    ratios = [each["announced"] / each["taken"] for each in every]
    within = sum(1 / BAR <= ratio <= BAR for ratio in ratios)
    print(f"{within} of {len(ratios)} within a factor {BAR:g} (bar: 7 of 8)")
    if given.json is not None:
        given.json.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
