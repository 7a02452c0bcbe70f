"""Provenance: which code, packages and hardware a number comes from."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path

from jembench.ground.identity import canonical
from jembench.store.results import Environment, Provenance
from jembench.version import __version__

PACKAGES = ("numpy", "pyarrow", "safetensors", "scikit-learn", "torch")


def environment(device: str) -> Environment:
    """This environment, for records computed on ``device``."""
    return Environment(
        jembench=__version__,
        commit=commit(),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cpus=os.cpu_count() or 1,
        device=_device(device),
    )


def provenance(environments: Iterable[Environment]) -> Provenance:
    """The provenance of a result made now from records of these environments."""
    distinct = {canonical(environment.model_dump(mode="json")): environment for environment in environments}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(created=now, environments=[distinct[key] for key in sorted(distinct)])


def commit() -> str | None:
    """The git commit that jembench was built from; null where it was not built (a clone, an editable install)."""
    path = resources.files("jembench").joinpath("_build.json")
    if not path.is_file():
        return None
    revision = json.loads(path.read_text(encoding="utf-8"))["commit"]
    return None if revision is None else str(revision)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _device(device: str) -> str:
    """The device, with its name if it is a GPU."""
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"
