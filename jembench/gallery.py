"""The gallery: what people look at after a run, and the adversarials that are kept.

Of a run, one of all its models (``<output>/<name>-<track>.png``):

=================  ============================================================================================
``robustness``     accuracy against eps, one panel for each norm; as ``.svg`` too
``shifts``         accuracy, calibration and detection against the severity of shifts
``generation``     distance of samples to the training images against their number
``hybrid``         accuracy against sample quality
=================  ============================================================================================

Of a result (``<result>/<name>.png``):

=================  ============================================================================================
``adversarials``   images with the smallest adversarials: a row of clean ones above their adversarials, at the
                   headline eps of each norm
``distal``         noise that became a confident example
``scores``         histograms of the paper's OOD scores, the test split against every OOD set
``reliability``    accuracy against confidence: raw, by a temperature, by a vector
``unlabelled``     accuracy as estimated without labels against the true one
``samples-…``      generated images: fresh, from the buffer, of given classes
``neighbours``     samples above their nearest training images
``chains``         the same chains at 0, K, 5 K and 20 K steps
``energy``         log p(x) along the chains, and their distance to the training images
=================  ============================================================================================

Evaluators declare them: a function ``draw_…`` here makes a picture of one result, or None where the model lacks what
it shows; ``plot_…`` makes one of all results of a run, as content by kind of file. Those of a result are drawn once. No
number depends on any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench import data
from jembench.engine import adversarials
from jembench.evaluators.battery import SOURCE, WORST, BatteryPart
from jembench.evaluators.chains import TRAJECTORIES
from jembench.ground import files
from jembench.ground.families import load
from jembench.pages.pictures import calibration, generation, ood, plots, samples, shifts

ROW = 10  # images of a set in the picture of a track

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.engine.measure import Evaluation
    from jembench.store.results import ResultDocument

PAIRS = 4  # rows of pairs in a picture of adversarials


def save_track(track: Track, picture: Path) -> None:
    """Write a PNG with the first images of every set of a track, a row each.

    Raises:
        UserError: if a set cannot be read, or the file cannot be written.
    """
    names = [source.name for source in track.sources if source.role != "chains"]
    sets = {name: data.images(track, name).pixels(0, ROW) for name in names}
    blank = np.ones((ROW, *track.shape), dtype=np.float32)
    rows = [np.concatenate([x, blank])[:ROW] for x in sets.values()]
    files.write(picture, plots.grid(np.concatenate(rows), side=ROW, rows=names))


def pictures(evaluations: Sequence[Evaluation], output: Path) -> list[Path]:
    """Draw everything that is not there yet, and what is of the whole run; the paths, of the latter first."""
    paths = []
    figures: dict[tuple[str, str], list[Evaluation]] = {}
    for each in evaluations:
        for figure in _declared(each, "figures").items():
            figures.setdefault(figure, []).append(each)
    for (name, target), rows in figures.items():
        for kind, content in load(target)(rows).items():
            paths.append(output / f"{name}-{rows[0].plan.track.name}.{kind}")
            files.write(paths[-1], content)
    for each in evaluations:
        for name, target in _declared(each, "pictures").items():
            path = each.outcome.folder / f"{name}.png"
            if not path.exists():
                picture = load(target)(each)
                if picture is None:
                    continue
                files.write(path, picture)
            paths.append(path)
    return paths


def _declared(evaluation: Evaluation, what: str) -> dict[str, str]:
    """The ``pictures`` or ``figures`` that the evaluators of a result declare: name -> ``module:function``."""
    return {
        name: target
        for evaluator in evaluation.plan.evaluators
        for name, target in getattr(evaluator, what, {}).items()
    }


def save(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """The worst adversarials of every model, a file for each."""
    paths = []
    for each in evaluations:
        plan, evaluator = each.plan, each.evaluator("robustness")
        if evaluator is None:
            continue
        tensors: dict[str, NDArray[Any]] = {}
        balls = []
        for part, columns in _parts(each, WORST):
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


def _parts(evaluation: Evaluation, name: str) -> list[tuple[BatteryPart, dict[str, NDArray[Any]]]]:
    """The parts of a battery by name, with all their columns."""
    parts = [
        part for part in evaluation.evaluator("robustness").battery.parts(evaluation.plan.track) if part.name == name
    ]
    records = evaluation.columns(*(part.need for part in parts))
    return [(part, records[part.need]) for part in parts if part.need in records]


def draw_pairs(evaluation: Evaluation) -> bytes | None:
    """Rows of clean images, each above its smallest adversarial, of every norm at its headline eps."""
    headlines = {(grid.norm, grid.headline) for grid in evaluation.evaluator("robustness").battery.grids}
    track = evaluation.plan.track
    clean = data.images(track, SOURCE)
    rows = []
    for part, columns in _parts(evaluation, WORST):
        if (part.norm, part.eps) not in headlines:
            continue
        broken = np.flatnonzero((columns["vote"] == 0) & (columns["distance"] > 0))
        order = broken[np.argsort(columns["distance"][broken], kind="stable")]
        for start in range(0, min(len(order), PAIRS * plots.SIDE) - plots.SIDE + 1, plots.SIDE):
            chosen = order[start : start + plots.SIDE]
            rows += [clean.at(columns["index"][chosen]), columns["adversarial"][chosen].reshape(-1, *track.shape)]
    return plots.grid(np.concatenate(rows)) if rows else None


def draw_distal(evaluation: Evaluation) -> bytes | None:
    """The ends of the chains that reached the confidence, by class."""
    images = []
    for _, columns in _parts(evaluation, "distal"):
        ends = np.flatnonzero(columns["reached"] == 1)
        order = ends[np.argsort(columns["label"][ends], kind="stable")]
        if len(order):
            index = order[np.linspace(0, len(order) - 1, min(len(order), 6 * plots.SIDE)).astype(int)]
            images.append(columns["adversarial"][index].reshape(-1, *evaluation.plan.track.shape))
    return plots.grid(np.concatenate(images)) if images else None


def draw_scores(evaluation: Evaluation) -> bytes | None:
    """Histograms of the scores."""
    return ood.scores(evaluation.examples(), evaluation.plan.track, evaluation.document)


def draw_reliability(evaluation: Evaluation) -> bytes | None:
    """A panel for the raw confidences and for those of either map."""
    panels = calibration.of_examples(evaluation.examples())
    name = evaluation.plan.model.name
    return calibration.reliability_diagram({key: {name: each} for key, each in panels.items()}) if panels else None


def draw_unlabelled(evaluation: Evaluation) -> bytes | None:
    """Estimated against true accuracy."""
    return shifts.unlabelled(evaluation.document)


def _samples(evaluation: Evaluation, name: str) -> bytes | None:
    evaluator = evaluation.evaluator("generation")
    if name not in evaluator.rows:
        return None
    return samples.samples(evaluator, evaluation.columns(evaluator.draws()[name]), name, evaluation.plan.track)


draw_fresh, draw_buffer = partial(_samples, name="fresh"), partial(_samples, name="buffer")
draw_conditional = partial(_samples, name="conditional")


def draw_neighbours(evaluation: Evaluation) -> bytes | None:
    """Samples above their nearest training images."""
    evaluator, track = evaluation.evaluator("generation"), evaluation.plan.track
    if "fresh" not in evaluator.rows:
        return None
    looks = evaluator.looks()
    columns = evaluation.columns(evaluator.draws()["fresh"], looks["fresh"], looks["train"])
    return samples.neighbours(evaluator, columns, data.images(track, "train"), track)


def draw_chains(evaluation: Evaluation) -> bytes | None:
    """The same chains after 0, K, 5 K and 20 K steps."""
    return samples.chains(evaluation.columns(TRAJECTORIES), evaluation.plan.track)


def draw_energy(evaluation: Evaluation) -> bytes | None:
    """log p(x) along the chains."""
    return samples.energy(evaluation.evaluator("chains"), evaluation.columns(TRAJECTORIES), evaluation.document)


def _documents(evaluations: Sequence[Evaluation]) -> list[ResultDocument]:
    return [each.document for each in evaluations]


def _png(picture: bytes | None) -> dict[str, bytes]:
    return {} if picture is None else {"png": picture}


def plot_robustness(evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Accuracy against eps."""
    return plots.robustness(_documents(evaluations))


def plot_shifts(evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Accuracy, calibration and detection against severity."""
    clean = {}
    for each in evaluations:
        if each.evaluator("calibration") is not None and (panels := calibration.of_examples(each.examples())):
            clean[each.plan.model.name] = float(np.asarray(panels["raw"].correct).mean())
    return _png(shifts.shifts(_documents(evaluations), clean))


def plot_generation(evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Distances of samples against their number."""
    return _png(generation.distances(_documents(evaluations)))


def plot_hybrid(evaluations: Sequence[Evaluation]) -> dict[str, bytes]:
    """Accuracy against sample quality."""
    return _png(generation.tradeoff(_documents(evaluations)))
