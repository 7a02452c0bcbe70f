"""Saved adversarials: a safetensors file with the worst adversarial of every image in every ball, to be verified later.

A file holds, for every ball ``<norm>-<eps>``, the tensors ``<ball>/images (N, C, H, W)`` float32, ``<ball>/index
(N,)`` (positions in the source) and ``<ball>/target (N,)`` (-1 where any wrong class will do), and one JSON text of
metadata. It is untrusted: its shapes, its source and its hash are checked, and every image is judged anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jembench import data
from jembench.attacks.threat import Goal, Threat, check_eps
from jembench.ground import files, generators, guard
from jembench.ground.entry import Entry, reason
from jembench.ground.files import require_file
from jembench.ground.numerics import reproducible
from jembench.metrics import classification
from jembench.metrics.estimate import Estimate
from jembench.types import Norm, UserError
from jembench.zoo import catalogue

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.zoo.catalogue import ModelSpec

KEY = "jembench"


class Ball(Entry):
    """One threat model of a file."""

    norm: Norm
    eps: float = Field(gt=0)
    goal: Goal

    @property
    def name(self) -> str:
        """``linf-0.1``: part of the names of its tensors."""
        return f"{self.norm}-{self.eps:g}"


class Header(Entry):
    """The metadata of a file: what the images are adversarials of."""

    schema_version: Literal[1] = 1
    model: str
    fingerprint: str
    track: str
    source: str
    sha256: str
    balls: list[Ball]


@dataclass(frozen=True)
class Verdict:
    """What the adversarials of one ball do to a model.

    Attributes:
        ball: which.
        n: images in the file.
        valid: how many of them are finite, in range and in the ball.
        robust: share that the model gets right by its vote, with Wilson's interval.
        one_shot: share of draws that are right; None for a deterministic model.
    """

    ball: Ball
    n: int
    valid: int
    robust: Estimate
    one_shot: float | None


def write(path: Path, header: Header, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a file.

    Raises:
        UserError: if the place cannot be written.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    files.write(path, save(whole, metadata={KEY: header.model_dump_json()}))


def read(path: Path, track: Track) -> tuple[Header, dict[str, NDArray[Any]]]:
    """The header and the tensors of a file, checked.

    Raises:
        UserError: if it is missing, damaged, of another track, or not what this module writes.
    """
    require_file(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise UserError(f"{path}: holds no adversarials of jembench")
            header = Header.model_validate_json(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except ValidationError as error:
        raise UserError(f"{path}: not a valid file of adversarials ({reason(error)})") from error
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    _check(path, header, tensors, track)
    return header, tensors


def _check(path: Path, header: Header, tensors: dict[str, NDArray[Any]], track: Track) -> None:
    if header.track != track.id:
        raise UserError(f"{path}: adversarials of track {header.track}, not {track.id}: use --track")
    names = {source.name for source in track.sources}
    source = data.found(track, header.source) if header.source in names else None
    if source is None or source.sha256 != header.sha256:
        raise UserError(f"{path}: adversarials of other images than {track.id} has in {header.source!r}")
    for ball in header.balls:
        check_eps(ball.eps, ball.norm, track.shape)
        parts = {what: tensors.get(f"{ball.name}/{what}") for what in ("images", "index", "target")}
        images, index, target = parts["images"], parts["index"], parts["target"]
        if images is None or index is None or target is None:
            raise UserError(f"{path}: lacks tensors of {ball.name}")
        n = len(images)
        if images.shape != (n, *track.shape) or images.dtype != np.float32 or n == 0:
            raise UserError(
                f"{path}: images of {ball.name} are {images.dtype} {images.shape}, not float32 of {track.shape}"
            )
        for what, column, low, high in (("index", index, 0, source.n), ("target", target, -1, track.classes)):
            if column.shape != (n,) or column.dtype != np.int64 or column.min() < low or column.max() >= high:
                raise UserError(f"{path}: {what} of {ball.name} must be {n} whole numbers in {low}..{high - 1}")


def verify(path: Path, spec: ModelSpec, *, track: Track, draws: int, seed: int, device: str = "cpu") -> list[Verdict]:
    """Judge the adversarials of a file on a model, its own or another, on fresh draws.

    Raises:
        UserError: if the file or the model is not fit for it.
    """
    import torch

    from jembench.attacks.verify import verify as judge

    header, tensors = read(path, track)
    images = data.images(track, header.source)
    model = catalogue.load(spec, device=device)
    if "classifier" not in spec.capabilities:
        raise UserError(f"model {spec.name!r} gives no logits")
    verdicts = []
    for ball in header.balls:
        index = tensors[f"{ball.name}/index"]
        x = torch.from_numpy(images.at(index)).to(device)
        y = torch.from_numpy(images.labels[index]).to(device)
        target = torch.from_numpy(tensors[f"{ball.name}/target"]).to(device)
        generator = generators.generator(seed, "verify-adversarials", ball.name)
        with reproducible(), guard.guarded(f"model {spec.name!r} fails on the adversarials of {ball.name}"):
            verdict = judge(
                model,
                x,
                y,
                torch.from_numpy(tensors[f"{ball.name}/images"]).to(device),
                threat=Threat(ball.norm, ball.eps, ball.goal),
                target=None if ball.goal == "untargeted" else target,
                draws=draws,
                generator=generator,
            )
        robust = classification.accuracy(verdict.vote.cpu().numpy())
        one_shot = float(verdict.one_shot.mean()) if spec.stochastic else None
        verdicts.append(Verdict(ball, len(index), int(verdict.valid.sum()), robust, one_shot))
    return verdicts
