"""Rebuild: train recipes and make everything that lies beside a baseline's weights.

:func:`fit` trains one recipe with its journal. :func:`rebuild` does so for every baseline of a track and measures each:
the folder that it fills is laid out as ``baselines/<track>/`` and can be copied over it. Further training seeds that a
recipe asks for are trained and measured in a folder beside it; only their numbers (``seeds.json``) get into the first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jembench.attacks.defences import Defence
from jembench.choices.request import Request
from jembench.data import trackfile
from jembench.engine.measure import measure
from jembench.ground import files
from jembench.ground.progress import Show, silent
from jembench.models.recipes import Recipe, read_recipe
from jembench.pages.card import CARD, NOTES, card
from jembench.pages.journal import Journal, draw_curve
from jembench.pages.seeds import collect, write_seeds
from jembench.store.history import read_history
from jembench.store.results import RESULT, copy_result, read_result
from jembench.training import loop, snapshots
from jembench.training.events import Events
from jembench.training.team import called
from jembench.types import UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import RECIPE, ModelRef

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.training.loop import Observer

SUITE = "all"  # of golden results


@dataclass(frozen=True)
class Setup:
    """How recipes are trained, whatever they are.

    Attributes:
        device: a torch device.
        seed: first training seed, in place of the recipes' own.
        samples_every: iterations from one grid of samples to the next; None keeps the last alone.
        tensorboard: whether event files are written for TensorBoard.
    """

    device: str = "cpu"
    seed: int | None = None
    samples_every: int | None = None
    tensorboard: bool = False

    def read(self, source: Path, *, track: str) -> Recipe:
        """The recipe in a file, with the seed.

        Raises:
            UserError: if it is not a recipe of the track, or the seed is negative.
        """
        recipe = read_recipe(source, track=track)
        if "training" not in recipe.model_fields_set:
            raise UserError(f"{source}: has no [training], so it cannot be trained")
        if self.seed is None:
            return recipe
        if self.seed < 0:
            raise UserError(f"seed must be a whole number of at least 0, not {self.seed}")
        return recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": self.seed})})


def fit(source: Path, folder: Path, *, track: Track, setup: Setup, resume: bool, observer: Observer) -> Path:
    """Train the recipe in the file ``source`` into ``folder``, with its journal.

    Returns:
        The path of the weights.

    Raises:
        UserError: see :func:`jembench.training.loop.train`.
    """
    recipe = setup.read(source, track=track.name)
    journal = Journal(folder, samples_every=setup.samples_every)
    with Events(folder) if setup.tensorboard else nullcontext() as events:
        return loop.train(
            recipe,
            folder,
            track=track,
            source=source,
            device=setup.device,
            resume=resume,
            observers=[each for each in (observer, journal, events) if each is not None],
        )


#: The network of an own track's extractor: of images up to 16 pixels a side, and of larger ones.
SMALL_NETWORK = 'network = "small"\nwidth = 8\n'
LARGE_NETWORK = 'network = "wrn"\ndepth = 10\nwidth = 2\nnorm = "batch"\nmean = 0.5\nstd = 0.5\n'


def extractor(track: Track, *, iterations: int, setup: Setup, resume: bool, observer: Observer) -> Path:
    """Train the feature extractor of an own track, beside the file of the track.

    Args:
        track: an own track.
        iterations: number of updates of the weights.
        setup: how.
        resume: go on from the snapshots of a run that was killed.
        observer: of the run.

    Returns:
        The folder of the extractor, whose name the track takes for its extractor from now on.

    Raises:
        UserError: if there is one, or it cannot be trained.
    """
    name = f"{track.name}{trackfile.TRAINED}"
    folder = Path(track.file).parent / name
    if (folder / baselines.WEIGHTS).exists():
        raise UserError(f"{folder} holds an extractor: remove it to train another")
    network = SMALL_NETWORK if max(track.shape[1:]) <= trackfile.SMALL else LARGE_NETWORK
    text = (
        f'track = "{track.name}"\nabout = "feature extractor of sample quality, evaluated nowhere"\n\n'
        f'[model]\nkind = "softmax"\n{network}\n[data]\nshift = 1\nnoise = 0.015\n\n'
        "[optimiser]\nlearning_rate = 2e-3\nwarmup = 100\ndecay = 0.3\ndecay_at = [0.6, 0.85]\nweight_decay = 1e-4\n\n"
        f"[training]\niterations = {iterations}\nseed = 100\n"
    )
    source = folder.with_name(f"{name}.toml")
    files.write(source, text.encode())
    fit(source, folder, track=track, setup=setup, resume=resume, observer=observer)
    source.unlink()
    return folder


def rebuild(
    track: Track,
    output: Path,
    *,
    setup: Setup,
    resume: bool,
    watch: Callable[[str], AbstractContextManager[Observer]],
    say: Callable[[str], None],
) -> None:
    """Train and measure every baseline of a track, in the order of names.

    Args:
        track: with the place of its images.
        output: gets a folder for each, with recipe, weights, golden result and card.
        setup: how.
        resume: leave out what is finished, and go on with what was killed.
        watch: from a model's name to the observer of its run.
        say: told in a line what was done.

    Raises:
        UserError: under ``torchrun``, if the track has no recipes, if ``output`` holds other work, or if a run diverged
            for good.
    """
    if called():
        raise UserError("all models of a track are trained in one process: under torchrun, name one recipe")
    sources = baselines.recipes(track.name)
    if not sources:
        raise UserError(f"track {track.name} has no recipes to train")
    for name, source in sources.items():
        for seed, folder in _folders(setup.read(source, track=track.name), name, output).items():
            _check(folder, replace(setup, seed=seed).read(source, track=track.name), resume=resume)
    for name, source in sources.items():
        folders = _folders(setup.read(source, track=track.name), name, output)
        for seed, folder in folders.items():
            if not (folder / baselines.WEIGHTS).exists():
                label = name if folder == output / name else f"{name}, seed {seed}"
                _train(label, source, folder, track=track, setup=replace(setup, seed=seed), watch=watch)
            _golden(folder, track=track, device=setup.device)
            say(f"{folder}: {summary(folder)}")
        if len(folders) > 1:
            gather(folders, output / name)
        _finish(output / name, source)


def _folders(recipe: Recipe, name: str, output: Path) -> dict[int, Path]:
    """Where the training seeds of a recipe go, the shipped one first."""
    first = recipe.training.seed
    seeds = range(first + 1, first + recipe.seeds)
    return {first: output / name, **{seed: _aside(output) / name / str(seed) for seed in seeds}}


def golden(request: Request, output: Path, *, refinements: Sequence[int] = (), progress: Show = silent) -> list[Path]:
    """Measure golden results of the baselines of a track: of suite ``all``, or of suite ``robustness``.

    Args:
        request: what is measured: of its models only, or of all baselines of its track if it names none. Of suite
            ``robustness`` every classifier has a row, and one behind each refinement if it is a density.
        output: gets a folder for each baseline, laid out as ``baselines/<track>``.
        refinements: numbers of SGLD steps of the refinements.
        progress: see :func:`jembench.engine.measure.measure`.

    Returns:
        The folders of the results.

    Raises:
        UserError: for an unknown baseline, or a suite that has no golden results.
    """
    suite = ",".join(request.suites)
    if suite not in (SUITE, baselines.ROBUSTNESS):
        raise UserError(f"golden results are of suite {SUITE} or of suite {baselines.ROBUSTNESS}, not {suite!r}")
    places = []
    for ref in request.models or [ModelRef("baseline", name) for name in baselines.recipes(request.track)]:
        spec = catalogue.resolve(ref, track=request.track, folder=str(request.data_dir or ""))
        defences: list[Defence | None] = [None]
        if suite == baselines.ROBUSTNESS:
            if "classifier" not in spec.capabilities:
                continue
            defences += (
                [Defence(steps) for steps in dict.fromkeys(refinements)] if "density" in spec.capabilities else []
            )
        rows = measure(replace(request, models=(ref,), defences=tuple(defences)), progress=progress)
        for defence, row in zip(defences, rows, strict=True):
            title = "" if defence is None else defence.title
            folder = baselines.GOLDEN if suite == SUITE else baselines.attacked(title)
            places.append(output / ref.place / folder)
            copy_result(row.outcome.folder, places[-1])
    return places


def gather(runs: Mapping[int, Path], folder: Path) -> None:
    """Write ``seeds.json`` into ``folder`` from the golden results of finished runs, by their training seeds."""
    write_seeds(folder, collect([(seed, read_result(path / baselines.GOLDEN)) for seed, path in runs.items()]))


def _aside(output: Path) -> Path:
    """The folder of the training seeds whose weights are not shipped."""
    whole = output.resolve()
    return whole.with_name(f"{whole.name}.seeds")


def summary(folder: Path) -> str:
    """One line about the finished run in a folder."""
    history = read_history(folder)
    cost, chosen = history.cost, history.chosen
    parts = [f"{cost.seconds:,.0f} s"]
    if cost.gradients:
        share = cost.sampling_seconds / max(cost.seconds, 1e-9)
        parts += [f"{share:.0%} of it in SGLD", f"{cost.gradients:,} input gradients"]
    parts.append(f"{len(history.rollbacks)} rollback{'' if len(history.rollbacks) == 1 else 's'}")
    value = "" if chosen.value is None else f" ({chosen.value:.4g})"
    return f"{', '.join(parts)}; checkpoint of iteration {chosen.iteration} by {chosen.criterion}{value}"


def _check(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Refuse a folder that holds other work, before hours are spent on others."""
    trained = (folder / baselines.WEIGHTS).exists()
    if not resume and (trained or snapshots.exist(folder / snapshots.FOLDER)):
        raise UserError(f"{folder} already holds a training run: choose another --output, or go on with --resume")
    if trained and read_history(folder).recipe != recipe.identity:
        raise UserError(f"{folder} holds a finished run of another recipe or seed: choose another --output")


def _train(
    name: str,
    source: Path,
    folder: Path,
    *,
    track: Track,
    setup: Setup,
    watch: Callable[[str], AbstractContextManager[Observer]],
) -> None:
    resume = snapshots.exist(folder / snapshots.FOLDER)
    try:
        with watch(name) as observer:
            fit(source, folder, track=track, setup=setup, resume=resume, observer=observer)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _golden(folder: Path, *, track: Track, device: str) -> None:
    """The golden result."""
    place = folder / baselines.GOLDEN
    if (place / RESULT).exists():
        return
    with tempfile.TemporaryDirectory() as records:
        request = Request(
            models=(ModelRef("recipe", str(folder / RECIPE)),),
            suites=(SUITE,),
            track=track.name,
            data_dir=Path(track.folder) if track.folder else None,
            device=device,
            output=Path(records),
        )
        (row,) = measure(request)
        copy_result(row.outcome.folder, place)


def _finish(folder: Path, source: Path) -> None:
    """Curve, notes and card."""
    draw_curve(folder)
    notes = source.with_name(NOTES)
    if notes.exists():
        files.write(folder / NOTES, notes.read_bytes())
    files.write(folder / CARD, card(folder).encode())
