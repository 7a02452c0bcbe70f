r"""Training: one loop for every recipe.

An iteration draws a batch of each stream, continues SGLD chains from the replay buffer if the objective is
contrastive, and takes one step of the optimiser on :mod:`jembench.training.objective`. Around it: the supervisor looks
at its signals and may send the run back to a snapshot (:mod:`jembench.training.supervisor`), validation runs once an
epoch and may choose the checkpoint (:mod:`jembench.training.validation`), and the state is kept every so often
(:mod:`jembench.training.snapshots`).

Every random draw of iteration i comes from ``generators.generator(seed, "train", rollbacks, i)``, and a snapshot holds
everything else: on a CPU, a run that was killed and resumed ends in the same weights, to the last bit. Under
``torchrun`` the processes share each batch (:mod:`jembench.training.team`); what is drawn does not depend on their
number.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save
from torch import Tensor

from jembench import data
from jembench.data.sets import Track
from jembench.ground import files
from jembench.ground.numerics import check_device
from jembench.models.recipes import Recipe
from jembench.store.history import Epoch, Rollback, read_history, write_history
from jembench.training import snapshots
from jembench.training.run import IMAGES, INITIAL, Progress, Run, check_dependencies, dependencies
from jembench.training.team import local, team
from jembench.types import UserError
from jembench.zoo import baselines
from jembench.zoo.references import RECIPE


class Observer(Protocol):
    """Who wants to know how a run goes."""

    def iterated(self, progress: Progress) -> None:
        """After every iteration."""
        ...

    def validated(self, epoch: Epoch, samples: Tensor | None) -> None:
        """After every validation, with some of the persistent chains ``(n, C, H, W)`` if there are any."""
        ...

    def rolled_back(self, event: Rollback) -> None:
        """After every rollback."""
        ...


def train(
    recipe: Recipe,
    output: Path,
    *,
    track: Track | None = None,
    source: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    observers: Sequence[Observer] = (),
) -> Path:
    """Train ``recipe`` and write ``weights.safetensors`` and ``training.json`` into the folder ``output``.

    Args:
        recipe: the recipe: model, data, objective, optimiser and sampler.
        output: folder for the weights and, while the run lasts, the snapshots.
        track: the track of the recipe, with the place of its images; by default, where they are looked for first.
        source: file of the recipe, kept beside the weights so that the folder can be evaluated; None for no copy.
        device: torch device that the model is trained on.
        resume: whether to go on from the snapshots in ``output``; a finished run of the same recipe is left as it is.
        observers: objects that the leading process tells of every iteration, validation and rollback.

    Returns:
        The path of the weights.

    Raises:
        UserError: if ``output`` holds other work, also on other images or from another start, or cannot be written,
            if there is nothing to resume, or if training diverged and the supervisor's policy is exhausted.
    """
    weights = output / baselines.WEIGHTS
    ring = output / snapshots.FOLDER
    track = track or data.track(recipe.track)
    if weights.exists() and resume and (history := read_history(output)).recipe == recipe.identity:
        before = {name: sha256 for name, sha256 in ((IMAGES, history.images), (INITIAL, history.initial)) if sha256}
        check_dependencies(output, before, dependencies(recipe, track))
        return weights
    if weights.exists():
        raise UserError(f"{output} already holds a finished training run: choose another --output")
    if snapshots.exist(ring) and not resume:
        raise UserError(f"{output} already holds a training run: choose another --output, or go on with --resume")
    mine = output / RECIPE
    if source is not None and mine.exists() and mine.read_bytes() != source.read_bytes():
        raise UserError(f"{mine} is another recipe: choose another --output")
    device = local(device)
    check_device(device)
    with team(device) as members:
        run = Run(recipe, track, torch.device(device), members, ring)
        run.begin(resume=resume)
        if source is not None and members.leads:
            files.write(output / RECIPE, source.read_bytes())
        while run.iteration < recipe.training.iterations:
            _advance(run, observers if members.leads else ())
        final = run.final_state()
        if members.leads:
            write_history(output, run.history())
            files.write(weights, save(final))
            shutil.rmtree(ring, ignore_errors=True)
    return weights


def _advance(run: Run, observers: Sequence[Observer]) -> None:
    """One iteration and what follows from it."""
    progress = run.iterate()
    reason = run.supervisor.watch(progress.signals)
    if reason is None and run.iteration % run.epoch == 0:
        reason = run.validate()
        if reason is None:
            for observer in observers:
                observer.validated(run.epochs[-1], run.shown())
    if reason is not None:
        run.roll_back(reason, progress.signals)
        for observer in observers:
            observer.rolled_back(run.events[-1])
        return
    if run.iteration % run.recipe.supervisor.snapshot_every == 0 and run.iteration < run.recipe.training.iterations:
        run.keep()
    for observer in observers:
        observer.iterated(progress)
