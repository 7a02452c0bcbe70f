"""Sanity of the models of a run: checked before anything is computed, once for a model, a track and its test images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jembench import data
from jembench.data import overlap
from jembench.ground.identity import identity
from jembench.sanity import IMAGES, VERSION, findings
from jembench.store.findings import keep, kept
from jembench.types import UserError
from jembench.zoo import catalogue

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.store.records import Store
    from jembench.zoo.catalogue import ModelSpec


def inspected(spec: ModelSpec, track: Track, store: Store, *, device: str = "cpu") -> tuple[str, ...]:
    """What is wrong with a model, a sentence each, for the results of a run.

    A baseline with its own weights is not asked: our tests do that. Behind a defence it is the bare model that is.

    Raises:
        UserError: if the model fails, or its test images are not there.
    """
    if not spec.capabilities & {"classifier", "sampler"} or (spec.ref.form == "baseline" and spec.ref.weights is None):
        return ()
    base = spec if spec.defence is None else replace(spec, name=spec.base, defence=None, stochastic=False)
    key = identity([spec.fingerprint, track.id, data.found(track, "test").sha256, VERSION])
    slips = kept(store, key)
    if slips is None:
        slips = checked(base, track, device=device)
        if "finite" not in slips:  # such a run ends in an error, which leaves nothing behind
            keep(store, key, slips)
    return tuple(f"{base.name}: {words}" for words in slips.values())


def shared(track: Track, store: Store) -> str:
    """What must be known of a track of the user's whose test images are training images too; empty if nothing.

    Nothing of one whose test images are those of a complete published set.
    """
    sources = [source for source in track.sources if source.role in ("test", *overlap.TRAINING)]
    if not any(source.part for source in sources):
        return ""
    try:
        local = [data.found(track, source.name) for source in sources]
    except UserError:  # training images are not at hand
        return ""
    if all(here.sha256 == source.sha256 for here, source in zip(local, sources, strict=True)):
        return ""
    key = identity(["shared", VERSION, [source.sha256 for source in local]])
    findings = kept(store, key)
    if findings is None:
        counts = overlap.of_track(track, near=False)
        words = "" if counts is None else overlap.words(counts, track.name)
        findings = {"shared": words} if words else {}
        keep(store, key, findings)
    return findings.get("shared", "")


def checked(spec: ModelSpec, track: Track, *, device: str = "cpu") -> dict[str, str]:
    """What is wrong with a model, asked now: check -> one sentence.

    Raises:
        UserError: if the model cannot be loaded or fails, or its test images are not there.
    """
    import torch

    from jembench.sanity.subject import Subject

    images = data.images(track, "test")
    pixels = images.pixels(0, IMAGES)
    axes = (0, 2, 3)
    subject = Subject(
        spec.name,
        catalogue.load(replace(spec, fingerprint=""), device=device),
        torch.from_numpy(pixels).to(device),
        torch.from_numpy(images.labels[:IMAGES]).to(device),
        track.classes,
        tuple(map(float, pixels.mean(axes))),
        tuple(map(float, pixels.std(axes))),
        spec.ref.form not in ("baseline", "recipe"),
    )
    return findings(subject)
