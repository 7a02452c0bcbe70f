"""Build hook: fix jembench's own git commit in the wheel; null where the sources are no checkout of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    """Writes ``jembench/_build.json`` into the wheel, not into the sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        target = Path(self.directory) / "_build.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"commit": self._commit()}) + "\n", encoding="utf-8")
        build_data["force_include"][str(target)] = "jembench/_build.json"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        (Path(self.directory) / "_build.json").unlink(missing_ok=True)

    def _commit(self) -> str | None:
        root = Path(self.root).resolve()
        if not (root / ".git").exists():  # a folder above may be somebody else's repository
            return None
        try:
            head, changes = (self._git(root, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain")))
        except (OSError, subprocess.CalledProcessError):
            return None
        return f"{head}-dirty" if changes else head

    @staticmethod
    def _git(root: Path, *words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
