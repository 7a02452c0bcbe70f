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

A picture is drawn if the result has its evaluator and the model what it shows; those of a result are drawn once. No
number depends on any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jembench import data
from jembench.engine import adversarials, bench
from jembench.evaluators.battery import SOURCE, WORST, BatteryPart
from jembench.evaluators.chains import TRAJECTORIES
from jembench.ground import files
from jembench.measurements.contract import by_need
from jembench.pages.pictures import calibration, generation, ood, plots, samples, shifts
from jembench.store import records as store
from jembench.store.results import EXAMPLES

if TYPE_CHECKING:
    from jembench.engine.bench import Outcome
    from jembench.engine.plan import Plan
    from jembench.measurements.contract import Need
    from jembench.store.records import Store
    from jembench.store.results import ResultDocument

    Made = Sequence[tuple[Plan, Outcome]]

PAIRS = 4  # rows of pairs in a picture of adversarials


@dataclass(frozen=True)
class Shown:
    """A result as its pictures see it.

    Attributes:
        plan: what it was made by.
        outcome: the result.
        records: the store that its records are in.
    """

    plan: Plan
    outcome: Outcome
    records: Store

    @property
    def document(self) -> ResultDocument:
        """The content of its ``result.json``."""
        return self.outcome.document

    def evaluator(self, name: str) -> Any:
        """Its evaluator of that name; None if it has none."""
        return next((item for item in self.plan.evaluators if item.name == name), None)

    def examples(self) -> dict[str, NDArray[Any]]:
        """The columns of its ``examples.parquet``."""
        return store.decode((self.outcome.folder / EXAMPLES).read_bytes())

    def found(self, *needs: Need) -> dict[Need, dict[str, NDArray[Any]]]:
        """The records behind these needs, those that the model gives."""
        return by_need(bench.batches(self.plan, self.records, needs))


def pictures(made: Made, records: Store, output: Path) -> list[Path]:
    """Draw everything that is not there yet, and what is of the whole run; the paths, of the latter first."""
    shown = [Shown(plan, outcome, records) for plan, outcome in made]
    paths = []
    for name, evaluators, figure in FIGURES:
        chosen = [each for each in shown if any(each.evaluator(item) is not None for item in evaluators)]
        for kind, content in (figure(chosen) if chosen else {}).items():
            paths.append(output / f"{name}-{chosen[0].plan.track.name}.{kind}")
            files.write(paths[-1], content)
    for each in shown:
        for name, evaluator, draw in PICTURES:
            if each.evaluator(evaluator) is None:
                continue
            path = each.outcome.folder / f"{name}.png"
            if not path.exists():
                picture = draw(each)
                if picture is None:
                    continue
                files.write(path, picture)
            paths.append(path)
    return paths


def save(made: Made, records: Store, folder: Path) -> list[Path]:
    """The worst adversarials of every model, a file for each."""
    paths = []
    for plan, outcome in made:
        shown = Shown(plan, outcome, records)
        evaluator = shown.evaluator("robustness")
        if evaluator is None:
            continue
        tensors: dict[str, NDArray[Any]] = {}
        balls = []
        for part, columns in _parts(shown, WORST):
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


def _parts(shown: Shown, name: str) -> list[tuple[BatteryPart, dict[str, NDArray[Any]]]]:
    """The parts of a battery by name, with all their columns."""
    parts = [part for part in shown.evaluator("robustness").battery.parts(shown.plan.track) if part.name == name]
    found = [(part, shown.found(part.need).get(part.need)) for part in parts]
    return [(part, columns) for part, columns in found if columns is not None]


def _pairs(shown: Shown) -> bytes | None:
    """Rows of clean images, each above its smallest adversarial, of every norm at its headline eps."""
    headlines = {(grid.norm, grid.headline) for grid in shown.evaluator("robustness").battery.grids}
    track = shown.plan.track
    clean = data.images(track, SOURCE)
    rows = []
    for part, columns in _parts(shown, WORST):
        if (part.norm, part.eps) not in headlines:
            continue
        broken = np.flatnonzero((columns["vote"] == 0) & (columns["distance"] > 0))
        order = broken[np.argsort(columns["distance"][broken], kind="stable")]
        for start in range(0, min(len(order), PAIRS * plots.SIDE) - plots.SIDE + 1, plots.SIDE):
            chosen = order[start : start + plots.SIDE]
            rows += [clean.at(columns["index"][chosen]), columns["adversarial"][chosen].reshape(-1, *track.shape)]
    return plots.grid(np.concatenate(rows)) if rows else None


def _distal(shown: Shown) -> bytes | None:
    """The ends of the chains that reached the confidence, by class."""
    images = []
    for _, columns in _parts(shown, "distal"):
        reached = np.flatnonzero(columns["reached"] == 1)
        order = reached[np.argsort(columns["label"][reached], kind="stable")]
        if len(order):
            picked = order[np.linspace(0, len(order) - 1, min(len(order), 6 * plots.SIDE)).astype(int)]
            images.append(columns["adversarial"][picked].reshape(-1, *shown.plan.track.shape))
    return plots.grid(np.concatenate(images)) if images else None


def _scores(shown: Shown) -> bytes | None:
    return ood.scores(shown.examples(), shown.plan.track, shown.document)


def _reliability(shown: Shown) -> bytes | None:
    """A panel for the raw confidences and for those of either map."""
    found = calibration.of_examples(shown.examples())
    name = shown.plan.model.name
    return calibration.reliability_diagram({key: {name: each} for key, each in found.items()}) if found else None


def _unlabelled(shown: Shown) -> bytes | None:
    return shifts.unlabelled(shown.document)


def _samples(shown: Shown, name: str) -> bytes | None:
    evaluator = shown.evaluator("generation")
    if name not in evaluator.rows:
        return None
    return samples.samples(evaluator, shown.found(evaluator.draws()[name]), name, shown.plan.track)


def _neighbours(shown: Shown) -> bytes | None:
    evaluator, track = shown.evaluator("generation"), shown.plan.track
    if "fresh" not in evaluator.rows:
        return None
    looked = evaluator.looks()
    found = shown.found(evaluator.draws()["fresh"], looked["fresh"], looked["train"])
    return samples.neighbours(evaluator, found, data.images(track, "train"), track)


def _chains(shown: Shown) -> bytes | None:
    return samples.chains(shown.found(TRAJECTORIES), shown.plan.track)


def _energy(shown: Shown) -> bytes | None:
    return samples.energy(shown.evaluator("chains"), shown.found(TRAJECTORIES), shown.document)


#: Name of a picture of a result, the evaluator that it is of, and what draws it; None where there is nothing to draw.
PICTURES: tuple[tuple[str, str, Callable[[Shown], bytes | None]], ...] = (
    ("adversarials", "robustness", _pairs),
    ("distal", "robustness", _distal),
    ("scores", "ood", _scores),
    ("reliability", "calibration", _reliability),
    ("unlabelled", "unlabelled", _unlabelled),
    *((f"samples-{name}", "generation", partial(_samples, name=name)) for name in ("fresh", "buffer", "conditional")),
    ("neighbours", "generation", _neighbours),
    ("chains", "chains", _chains),
    ("energy", "chains", _energy),
)


def _documents(shown: Sequence[Shown]) -> list[ResultDocument]:
    return [each.document for each in shown]


def _png(picture: bytes | None) -> dict[str, bytes]:
    return {} if picture is None else {"png": picture}


def _robustness(shown: Sequence[Shown]) -> dict[str, bytes]:
    return plots.robustness(_documents(shown))


def _shifts(shown: Sequence[Shown]) -> dict[str, bytes]:
    clean = {}
    for each in shown:
        if each.evaluator("calibration") is not None and (found := calibration.of_examples(each.examples())):
            clean[each.plan.model.name] = float(np.asarray(found["raw"].correct).mean())
    return _png(shifts.shifts(_documents(shown), clean))


def _generation(shown: Sequence[Shown]) -> dict[str, bytes]:
    return _png(generation.distances(_documents(shown)))


def _hybrid(shown: Sequence[Shown]) -> dict[str, bytes]:
    return _png(generation.tradeoff(_documents(shown)))


#: Name of a figure of all models of a run, the evaluators of its results, and what draws it: pictures by kind of file.
FIGURES: tuple[tuple[str, tuple[str, ...], Callable[[Sequence[Shown]], dict[str, bytes]]], ...] = (
    ("robustness", ("robustness",), _robustness),
    ("shifts", ("shifts", "stress"), _shifts),
    ("generation", ("generation",), _generation),
    ("hybrid", ("accuracy", "generation"), _hybrid),
)
