"""The gallery: what people look at after a run, and the adversarials that are kept.

Every picture is written as ``.png``, and as ``.svg`` and ``.pdf`` where these are asked for. One of all results of a
run lies in a folder of theirs (``jem+softmax-digits-ood/<name>.png``), with the result if there is but one:

=================  ============================================================================================
``robustness``     accuracy against eps, one panel for each norm
``shifts``         accuracy, calibration and detection against the severity of shifts
``generation``     distance of samples to the training images against their number
``hybrid``         accuracy against sample quality
=================  ============================================================================================

Of a result, in its folder:

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

Evaluators declare them: a function ``draw_…`` here makes the figure of one result, ``plot_…`` that of all results of a
run; None where there is nothing of what it shows. What is there is not drawn again. :func:`sheet` has all pictures of a
folder on one. No number depends on any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from jembench.ground.identity import identity
from jembench.pages.pictures import calibration, generation, grids, ood, plots, samples, shifts, style
from jembench.pages.tables.robustness import NORMS
from jembench.store import shelf
from jembench.types import UserError

ROW = 10  # images of a set in the picture of a track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jembench.data.sets import Track
    from jembench.engine.measure import Evaluation
    from jembench.store.results import ResultDocument

FEW = 3  # models whose names a folder bears
PAIRS = 4  # rows of pairs in a picture of adversarials
SHEET = "sheet.png"  # of a folder
COLUMNS, UNIT = 4, style.PAGE / 2  # of a sheet, and the inches that each is wide
NAME = 9.0  # points, of the name of a picture


def draw_track(track: Track) -> Figure:
    """The first images of every set of a track, a row each, with the classes of those that have one.

    Raises:
        UserError: if a set cannot be read.
    """
    sets = {source.name: data.images(track, source.name) for source in track.sources if source.role != "chains"}
    blank = np.ones((ROW, *track.shape), dtype=np.float32)
    images = [np.concatenate([each.pixels(0, ROW), blank])[:ROW] for each in sets.values()]
    labels = [[str(y) if y >= 0 else "" for y in each.labels[:ROW]] for each in sets.values()]
    return grids.grid(
        np.concatenate(images),
        side=ROW,
        head=f"{track.id} · the first images of every set, with their class",
        rows=[f"{name}\n{len(each):,}" for name, each in sets.items()],
        labels=[words for row in labels for words in (row + [""] * ROW)[:ROW]],
    )


def pictures(evaluations: Sequence[Evaluation], kinds: Sequence[str] = ("png",)) -> list[Path]:
    """Draw everything that is not there yet: the paths, of pictures of the whole run first.

    Args:
        evaluations: the results of a run.
        kinds: kinds of files that every picture is written as (:data:`jembench.pages.pictures.style.KINDS`).
    """
    figures: dict[tuple[str, str], list[Evaluation]] = {}
    for each in evaluations:
        for figure in _declared(each, "figures").items():
            figures.setdefault(figure, []).append(each)
    paths = []
    for (name, target), rows in figures.items():
        paths += _drawn(partial(load(target), rows), _folder(rows) / name, kinds)
    for each in evaluations:
        for name, target in _declared(each, "pictures").items():
            paths += _drawn(partial(load(target), each), each.outcome.folder / name, kinds)
    return paths


def _folder(rows: Sequence[Evaluation]) -> Path:
    """Where pictures of several results lie: with a single one, or in a folder of their own."""
    if len(rows) == 1:
        return rows[0].outcome.folder
    models, suites = (
        list(dict.fromkeys(words)) for words in zip(*((r.plan.model.name, r.plan.suite) for r in rows), strict=True)
    )
    several = "+".join(models) if len(models) <= FEW else f"{len(models)}-models"
    whose = shelf.own(rows[0].plan.protocol["name"])
    name = shelf.word(several, rows[0].plan.track.name, "+".join(suites), whose)
    return shelf.claim(rows[0].store, identity([each.plan.key for each in rows]), name)


def _drawn(draw: Callable[[], Figure | None], place: Path, kinds: Sequence[str]) -> list[Path]:
    """Draw a picture in every kind that is not there yet; the paths of all kinds, none of a picture of nothing."""
    places = {kind: place.with_name(f"{place.name}.{kind}") for kind in kinds}
    absent = {kind: path for kind, path in places.items() if not path.exists()}
    if absent:
        figure = draw()
        if figure is None:
            return []
        for kind, path in absent.items():
            files.write(path, style.render(figure, kind))
    return list(places.values())


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


def draw_pairs(evaluation: Evaluation) -> Figure | None:
    """Rows of clean images, each above its smallest adversarial, of every norm at its headline eps."""
    headlines = {(grid.norm, grid.headline) for grid in evaluation.evaluator("robustness").battery.grids}
    track = evaluation.plan.track
    clean = data.images(track, SOURCE)
    rows: list[NDArray[Any]] = []
    words: list[str] = []
    labels: list[str] = []
    n = set()
    for part, columns in _parts(evaluation, WORST):
        if (part.norm, part.eps) not in headlines:
            continue
        broken = np.flatnonzero((columns["vote"] == 0) & (columns["distance"] > 0))
        order = broken[np.argsort(columns["distance"][broken], kind="stable")]
        for start in range(0, min(len(order), PAIRS * grids.SIDE) - grids.SIDE + 1, grids.SIDE):
            chosen = order[start : start + grids.SIDE]
            index = columns["index"][chosen]
            rows += [clean.at(index), columns["adversarial"][chosen].reshape(-1, *track.shape)]
            words += ["clean", f"{NORMS[part.norm]}\neps {part.eps:.3g}"]
            labels += [*map(str, clean.labels[index]), *(f"{far:.3g}" for far in columns["distance"][chosen])]
            n.add(len(columns["vote"]))
    about = "clean images with their class; nearest adversarials with their distance"
    head = f"{plots.caption([evaluation.document], {SOURCE: n})}\n{about}"
    return grids.grid(np.concatenate(rows), head=head, rows=words, labels=labels) if rows else None


def draw_distal(evaluation: Evaluation) -> Figure | None:
    """The ends of the chains that reached the confidence, by class."""
    images: list[NDArray[Any]] = []
    labels: list[str] = []
    n = set()
    for _, columns in _parts(evaluation, "distal"):
        ends = np.flatnonzero(columns["reached"] == 1)
        order = ends[np.argsort(columns["label"][ends], kind="stable")]
        if len(order):
            index = order[np.linspace(0, len(order) - 1, min(len(order), 6 * grids.SIDE)).astype(int)]
            images.append(columns["adversarial"][index].reshape(-1, *evaluation.plan.track.shape))
            labels += samples.marks(columns["label"][index], columns["confidence"][index], "", "")[0]
            n.add(len(columns["reached"]))
    about = "noise that became a confident example; below: class y, p(y|x)"
    head = f"{plots.caption([evaluation.document], {'chains': n})}\n{about}"
    return grids.grid(np.concatenate(images), head=head, labels=labels) if images else None


def draw_scores(evaluation: Evaluation) -> Figure | None:
    """Histograms of the scores."""
    return ood.scores(evaluation.examples(), evaluation.plan.track, evaluation.document)


def draw_reliability(evaluation: Evaluation) -> Figure | None:
    """A panel for the raw confidences and for those of either map."""
    panels = calibration.of_examples(evaluation.examples())
    if not panels:
        return None
    name = evaluation.plan.model.name
    head = plots.caption([evaluation.document], {"test": {len(np.asarray(panels["raw"].correct))}})
    return calibration.reliability_diagram({key: {name: each} for key, each in panels.items()}, head=head)


def draw_unlabelled(evaluation: Evaluation) -> Figure | None:
    """Estimated against true accuracy."""
    return shifts.unlabelled(evaluation.document)


def _samples(evaluation: Evaluation, name: str) -> Figure | None:
    evaluator, track = evaluation.evaluator("generation"), evaluation.plan.track
    if name not in evaluator.rows:
        return None
    columns = evaluation.columns(evaluator.draws()[name], evaluator.looks()[name])
    return samples.samples(evaluator, columns, name, track, evaluation.document)


draw_fresh, draw_buffer = partial(_samples, name="fresh"), partial(_samples, name="buffer")
draw_conditional = partial(_samples, name="conditional")


def draw_neighbours(evaluation: Evaluation) -> Figure | None:
    """Samples above their nearest training images."""
    evaluator, track = evaluation.evaluator("generation"), evaluation.plan.track
    if "fresh" not in evaluator.rows:
        return None
    looks = evaluator.looks()
    columns = evaluation.columns(evaluator.draws()["fresh"], looks["fresh"], looks["train"])
    return samples.neighbours(evaluator, columns, data.images(track, "train"), track, evaluation.document)


def draw_chains(evaluation: Evaluation) -> Figure | None:
    """The same chains after 0, K, 5 K and 20 K steps."""
    return samples.chains(evaluation.columns(TRAJECTORIES), evaluation.plan.track, evaluation.document)


def draw_energy(evaluation: Evaluation) -> Figure | None:
    """log p(x) along the chains."""
    return samples.energy(evaluation.evaluator("chains"), evaluation.columns(TRAJECTORIES), evaluation.document)


def _documents(evaluations: Sequence[Evaluation]) -> list[ResultDocument]:
    return [each.document for each in evaluations]


def plot_robustness(evaluations: Sequence[Evaluation]) -> Figure | None:
    """Accuracy against eps."""
    return plots.robustness(_documents(evaluations))


def plot_shifts(evaluations: Sequence[Evaluation]) -> Figure | None:
    """Accuracy, calibration and detection against severity."""
    return shifts.shifts(_documents(evaluations))


def plot_generation(evaluations: Sequence[Evaluation]) -> Figure | None:
    """Distances of samples against their number."""
    return generation.distances(_documents(evaluations))


def plot_hybrid(evaluations: Sequence[Evaluation]) -> Figure | None:
    """Accuracy against sample quality."""
    return generation.tradeoff(_documents(evaluations))


@style.settings()
def sheet(folder: Path) -> Figure:
    """All PNG pictures of a folder on one sheet of four columns, the tall ones first, each below its name.

    Raises:
        UserError: if there is none, or one cannot be read.
    """
    import matplotlib.image
    from matplotlib.figure import Figure

    paths = sorted(path for path in folder.glob("*.png") if path.name != SHEET)
    if not paths:
        raise UserError(f"{folder} has no pictures (.png)")
    try:
        images = {path.stem: matplotlib.image.imread(path) for path in paths}
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{folder}: not all of its pictures can be read ({error})") from error
    room = 2 * style.height("name", NAME)
    depth, places = [0.0] * COLUMNS, {}
    for name, image in sorted(images.items(), key=lambda item: -item[1].shape[0]):
        span = 1 if image.shape[1] < 1.5 * style.COLUMN * style.DPI else 2
        start = min(range(COLUMNS - span + 1), key=lambda column: max(depth[column : column + span]))
        top, tall = max(depth[start : start + span]) + room, span * UNIT * image.shape[0] / image.shape[1]
        places[name] = start, top, span, tall
        depth[start : start + span] = [top + tall] * span
    wide, high = UNIT * sum(each > 0 for each in depth), max(depth)
    figure = Figure(figsize=(wide, high))
    for name, (start, top, span, tall) in places.items():
        box = start * UNIT / wide, 1 - (top + tall) / high, span * UNIT / wide, tall / high
        axis = figure.add_axes(box, frameon=False)
        axis.set_axis_off()
        axis.imshow(images[name], cmap="gray", aspect="auto")
        axis.set_title(name, size=NAME)
    return figure
