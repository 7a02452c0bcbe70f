"""The interface of the original ``autoattack`` package on top of pyautoattack: what robustbench imports by that name.

Only :mod:`jembench.ground.compat` imports this module, and registers it under the original name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyautoattack
import pyautoattack.state
from torch import Tensor, nn

#: The arguments after the model, in the original order, with the original values.
DEFAULTS: dict[str, Any] = {
    "norm": "Linf",
    "eps": 0.3,
    "seed": None,
    "verbose": True,
    "attacks_to_run": (),
    "version": "standard",
    "is_tf_model": False,
    "device": "cuda",
    "log_path": None,
}


class AutoAttackAdapter(pyautoattack.AutoAttack):  # type: ignore[misc]
    """AutoAttack, constructed and called as the original."""

    attacks_to_run: list[str]

    def __init__(self, model: nn.Module, *places: Any, **options: Any) -> None:
        options = DEFAULTS | dict(zip(DEFAULTS, places, strict=False)) | options
        if options.pop("is_tf_model"):
            raise ValueError("pyautoattack has no TensorFlow models")
        attacks, verbose, log_path = (options.pop(name) for name in ("attacks_to_run", "verbose", "log_path"))
        names = list(attacks) if attacks or options["version"] == "custom" else None
        super().__init__(model, attacks=names, **options)
        self.verbose, self.log_path = verbose, log_path

    def run_standard_evaluation(
        self, x_orig: Tensor, y_orig: Tensor, bs: int = 250, return_labels: bool = False, state_path: Path | None = None
    ) -> Any:
        """Adversarials ``(B, C, H, W)``, and their predicted classes if asked for."""
        images, labels = super().run_standard_evaluation(x_orig, y_orig, batch_size=bs, state_path=state_path)
        return (images, labels) if return_labels else images

    def run_standard_evaluation_individual(
        self, x_orig: Tensor, y_orig: Tensor, bs: int = 250, return_labels: bool = False
    ) -> dict[str, Any]:
        """The same of every attack alone, by its name."""
        attacks, results = self.attacks_to_run, {}
        for attack in attacks:
            self.attacks_to_run = [attack]
            results[attack] = self.run_standard_evaluation(x_orig, y_orig, bs, return_labels)
        self.attacks_to_run = attacks
        return results


AutoAttack, state = AutoAttackAdapter, pyautoattack.state
