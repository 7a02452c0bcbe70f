"""The gallery: what people look at after a robustness run, and the adversarials that are kept.

========================================  ============================================================================
``<output>/robustness-<track>.png, .svg``  accuracy against eps of all models of the run, one panel for each norm
``<result>/adversarials.png``             images with the smallest adversarials: a row of clean ones above their
                                          adversarials, at the headline eps of each norm
``<result>/distal.png``                   noise that became a confident example
========================================  ============================================================================

No number depends on any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench import adversarials, data, engine, plots, store
from jembench.evaluators.battery import SOURCE, WORST, Part
from jembench.evaluators.robustness import Robustness

if TYPE_CHECKING:
    from jembench.engine import Outcome
    from jembench.plan import Plan
    from jembench.store import Store

    Made = Sequence[tuple[Plan, Outcome]]

PAIRS = 4  # rows of pairs in a picture of adversarials


def pictures(made: Made, records: Store, output: Path) -> list[Path]:
    """Draw everything that is not there yet; the paths, of the curves first."""
    runs = [(plan, outcome) for plan, outcome in made if _evaluator(plan) is not None]
    if not runs:
        return []
    paths = []
    content = plots.robustness([outcome.document for _, outcome in runs])
    for kind, picture in content.items():
        path = output / f"robustness-{runs[0][0].track.name}.{kind}"
        store.write(path, picture)
        paths.append(path)
    for plan, outcome in runs:
        for name, draw in (("adversarials", _pairs), ("distal", _distal)):
            path = outcome.folder / f"{name}.png"
            if not path.exists():
                images = draw(plan, records)
                if not len(images):
                    continue
                store.write(path, plots.grid(images))
            paths.append(path)
    return paths


def save(made: Made, records: Store, folder: Path) -> list[Path]:
    """The worst adversarials of every model, a file for each."""
    paths = []
    for plan, _ in made:
        evaluator = _evaluator(plan)
        if evaluator is None:
            continue
        tensors: dict[str, NDArray[Any]] = {}
        balls = []
        for part, columns in _parts(plan, records, WORST):
            goal = evaluator.battery.goal
            ball = adversarials.Ball(norm=part.norm, eps=part.eps, goal=goal)  # type: ignore[arg-type]
            balls.append(ball)
            tensors[f"{ball.name}/images"] = columns["adversarial"].reshape(-1, *plan.track.shape).astype(np.float32)
            tensors[f"{ball.name}/index"] = columns["index"].astype(np.int64)
            tensors[f"{ball.name}/target"] = columns["target"].astype(np.int64)
        if not balls:
            continue
        header = adversarials.Header(
            model=plan.model.name,
            fingerprint=plan.model.fingerprint,
            track=plan.track.id,
            source=SOURCE,
            sha256=plan.track.source(SOURCE).sha256,
            balls=balls,
        )
        path = folder / f"{plan.model.name}.safetensors"
        adversarials.write(path, header, tensors)
        paths.append(path)
    return paths


def _evaluator(plan: Plan) -> Robustness | None:
    return next((item for item in plan.evaluators if isinstance(item, Robustness)), None)


def _parts(plan: Plan, records: Store, name: str) -> list[tuple[Part, dict[str, NDArray[Any]]]]:
    """The parts of a name with all their columns."""
    evaluator = _evaluator(plan)
    assert evaluator is not None
    found = []
    for part in evaluator.battery.parts(plan.track):
        if part.name == name:
            chunks = [dict(batch.columns) for batch in engine.batches(plan, records, (part.need,))]
            if chunks:
                found.append((part, {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}))
    return found


def _pairs(plan: Plan, records: Store) -> NDArray[np.float32]:
    """Rows of clean images, each above its smallest adversarial, of every norm at its headline eps."""
    evaluator = _evaluator(plan)
    assert evaluator is not None
    headlines = {(grid.norm, grid.headline) for grid in evaluator.battery.grids}
    clean = data.load(plan.track.name, SOURCE).pixels()
    rows = []
    for part, columns in _parts(plan, records, WORST):
        if (part.norm, part.eps) not in headlines:
            continue
        broken = np.flatnonzero((columns["vote"] == 0) & (columns["distance"] > 0))
        order = broken[np.argsort(columns["distance"][broken], kind="stable")]
        for start in range(0, min(len(order), PAIRS * plots.SIDE) - plots.SIDE + 1, plots.SIDE):
            chosen = order[start : start + plots.SIDE]
            rows += [clean[columns["index"][chosen]], columns["adversarial"][chosen].reshape(-1, *plan.track.shape)]
    return np.concatenate(rows) if rows else np.zeros((0, *plan.track.shape), np.float32)


def _distal(plan: Plan, records: Store) -> NDArray[np.float32]:
    """The ends of the chains that reached the confidence, by class."""
    images = []
    for _, columns in _parts(plan, records, "distal"):
        reached = np.flatnonzero(columns["reached"] == 1)
        order = reached[np.argsort(columns["label"][reached], kind="stable")]
        picked = (
            order[np.linspace(0, len(order) - 1, min(len(order), 6 * plots.SIDE)).astype(int)] if len(order) else order
        )
        images.append(columns["adversarial"][picked].reshape(-1, *plan.track.shape))
    return np.concatenate(images) if images else np.zeros((0, *plan.track.shape), np.float32)
