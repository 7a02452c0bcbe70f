"""What does a cheaper chain cost in quality? python tests/experiments/budget.py --work DIR --docs docs

Trains the `jem` recipe of digits with other samplers, and plots validation numbers of the chosen checkpoint against the
time in SGLD, relative to the shipped 20 steps in fp32 (measured here, one chain at a time, in alternation).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from variants import Changes, at_choice, trained, variant

from jembench import data
from jembench.ground import generators
from jembench.models import chains
from jembench.zoo import catalogue

REFERENCE = "20 steps"
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "20 steps, bf16": {"precision": "bf16"},
    "10 steps": {"steps": 10},
    "10 steps, bf16": {"steps": 10, "precision": "bf16"},
    "5 steps": {"steps": 5},
    "2 steps": {"steps": 2},
    "5 steps, clamped": {"steps": 5, "clamp": True},
    "proximal 5 x 5": {"steps": 5, "inner": 5, "size": 0.05, "noise": 0.005},
}
ROUNDS = 15


def changes(name: str) -> Changes:
    return {"sampling": VARIANTS[name]}


def seconds(names: list[str]) -> dict[str, float]:
    """Least time of one batch of chains, in alternation, with the memory format of the training."""
    torch.set_num_threads(1)
    track, found = data.track("digits"), {name: [] for name in names}  # type: dict
    models = {
        name: catalogue.build(variant("jem", changes(name)), track).eval().requires_grad_(False) for name in names
    }
    for model in models.values():
        model.to(memory_format=torch.channels_last)
    x = torch.rand((64, *track.shape), generator=generators.generator("budget"))
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.perf_counter()
            settings = chains.settings(variant("jem", changes(name)))
            chains.climb(model, x, None, settings=settings, generator=generators.generator("chain"))
            found[name].append(time.perf_counter() - started)
    return {name: min(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--docs", type=Path, required=True)
    chosen = parser.parse_args()
    rows = {}
    for number, name in enumerate(VARIANTS):
        history = trained(variant("jem", changes(name)), chosen.work / f"budget-{number}")
        rows[name] = {**at_choice(history), "rollbacks": len(history.rollbacks)}
    cost = seconds(list(VARIANTS))
    lines = ["| chain | time | accuracy | NLL | AUROC log p | max p | mass | rollbacks |", "| --- |" + " ---: |" * 7]
    for name, values in rows.items():
        rows[name]["cost"] = cost[name] / cost[REFERENCE]
        picked = [values[key] for key in ("cost", "accuracy", "nll", "auroc_log_px", "auroc_max_py", "auroc_mass")]
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in picked) + f" | {values['rollbacks']} |")
    print("\n".join(lines))
    chosen.docs.mkdir(exist_ok=True)
    (chosen.docs / "budget.png").write_bytes(picture(rows))


def picture(rows: dict[str, dict[str, Any]]) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = {"nll": "validation NLL", "auroc_log_px": "AUROC of log p(x), validation outliers"}
    handles = []
    for axes, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        handles = [
            axes.plot(values["cost"], values[key], marker, markersize=8, label=name)[0]
            for marker, (name, values) in zip("os^vDP*X", rows.items(), strict=True)
        ]
        axes.set(title=title, xlabel="time of a chain, 20 steps in fp32 = 1", xlim=(0, None))
        axes.grid(alpha=0.3)
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


if __name__ == "__main__":
    main()
