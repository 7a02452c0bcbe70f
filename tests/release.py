"""The check of a release, `tox -e release`: the wheel is small, and does the main job where nothing else is.

It makes an environment of its own, installs the wheel into it as a user would, and runs the README's first command
from an empty folder. What it installs are about 6 GB, with the CUDA build of torch.
"""

import json
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

LARGEST = 20 * 10**6  # bytes
NEEDED = ("CITATION.cff", "LICENSE", "baselines/cifar10/jem/weights.safetensors", "docs/tutorial.md", "mkdocs.yml")


def check(place: Path) -> None:
    """Check what was built into a folder ``dist`` of a place, which gets an environment and a folder of results.

    Raises:
        SystemExit: with what is wrong.
    """
    (wheel,) = (place / "dist").glob("*.whl")
    (archive,) = (place / "dist").glob("*.tar.gz")
    if (size := wheel.stat().st_size) > LARGEST:
        raise SystemExit(f"{wheel.name} has {size:,} bytes, more than {LARGEST:,}")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    if absent := set(NEEDED) - names:
        raise SystemExit(f"{archive.name} lacks {', '.join(sorted(absent))}")
    clean, empty = place / "clean", place / "empty"
    venv.create(clean, clear=True, with_pip=True)
    empty.mkdir(exist_ok=True)
    python = clean / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    main = [clean / "bin" / "jembench", "run", "--model", "jem", "--suite", "ood"]
    subprocess.run(main, cwd=empty, check=True)
    result = json.loads((empty / "jembench-runs" / "jem-digits-ood" / "result.json").read_bytes())
    (environment,) = result["provenance"]["environments"]
    if environment["jembench"] not in wheel.name:
        raise SystemExit(f"jembench {environment['jembench']} ran, not that of {wheel.name}")
    sys.stdout.write(f"{wheel.name}: {size:,} bytes, commit {environment['commit']}, does the main job\n")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
