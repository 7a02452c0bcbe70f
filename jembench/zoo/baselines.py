"""Baselines: where the named models of a track are. Each is a folder with recipe, weights, golden result and card."""

from __future__ import annotations

from pathlib import Path

from jembench import data
from jembench.data import cache
from jembench.ground.files import require_file
from jembench.models import KINDS
from jembench.models.recipes import read_recipe
from jembench.types import UserError, unknown
from jembench.zoo.references import RECIPE, ModelRef

WEIGHTS = "weights.safetensors"
TWIN = "twin.safetensors"  # weights of the same recipe and another training seed
PUBLISHED = "papers"  # recipes beside this file
GOLDEN = "golden"  # of suite all
ROBUSTNESS = "robustness"

APART = ("cifar10",)  # tracks whose baselines a wheel is too small for

ORACLE = "oracle"
REFERENCES = ("uniform", "class-gaussians")


def shipped() -> Path:
    """What comes trained: inside the package in a wheel, beside it in a clone or an editable install."""
    package = Path(__file__).resolve().parents[1]
    wheel = package / "_baselines"
    return wheel if wheel.is_dir() else package.parent / "baselines"


def folder(track: str) -> Path:
    """The baselines of a track: shipped, or in the cache, where those are put that no wheel carries."""
    place = shipped() / track
    return cache.baselines() / track if track in APART and not place.is_dir() else place


def absent(track: str) -> str:
    """Why there are no baselines of a track, and where to put them; empty if they are there, or there are none."""
    if track not in APART or folder(track).is_dir():
        return ""
    return (
        f"the baselines of track {track} are not in a wheel of jembench: put the folder baselines/{track} of its "
        f"repository, or of its source archive, at {folder(track)}"
    )


def exact(track: str) -> tuple[str, ...]:
    """The models of a track that are code and need no file: kinds of models by name.

    Raises:
        UserError: for an unknown track.
    """
    return ((ORACLE,) if data.track(track).exact else ()) + REFERENCES


def names(track: str) -> dict[str, str]:
    """The models of a track: name -> one line about it."""
    models = {name: read_recipe(path).about for name, path in recipes(track).items()}
    return {**{name: KINDS.about(name) for name in exact(track)}, **models}


def recipes(track: str) -> dict[str, Path]:
    """The recipe of every trained model of a track, by name."""
    return {path.parent.name: path for path in sorted(folder(track).glob(f"*/{RECIPE}"))}


def published(track: str) -> dict[str, Path]:
    """Recipes by the values of papers, of which no trained model is shipped: name -> file."""
    return {path.stem: path for path in sorted((Path(__file__).resolve().parent / PUBLISHED / track).glob("*.toml"))}


def recipe_path(name: str, *, track: str) -> Path:
    """The recipe of a baseline.

    Raises:
        UserError: for an unknown name, or a model that is not trained.
    """
    models = names(track)
    if name not in models and (words := absent(track)):
        raise UserError(f"model {name!r}: {words}")
    if name not in models:
        raise unknown(f"model of track {track}", name, models)
    if name in exact(track):
        raise UserError(f"model {name!r} of track {track} is exact: it has no recipe and no weights")
    return folder(track) / name / RECIPE


def recipe_of(ref: ModelRef, *, track: str) -> Path:
    """The recipe that a reference names, or the one of the baseline that it names.

    Raises:
        UserError: for a missing file, an unknown name, or a model that is not trained.
    """
    if ref.form != "recipe":
        return recipe_path(str(ref), track=track)
    require_file(Path(ref.place))
    return Path(ref.place)


def twin(name: str, *, track: str) -> Path | None:
    """The weights of a baseline's other training seed, if they are shipped."""
    path = folder(track) / name / TWIN
    return path if name in recipes(track) and path.is_file() else None


def all_golden(track: str, place: str = GOLDEN) -> list[Path]:
    """The golden results of a track's baselines, by name; those at a place such as :func:`attacked` of ``*``."""
    return sorted(path for path in folder(track).glob(f"*/{place}") if path.is_dir())


def golden(ref: ModelRef, *, track: str, place: str = GOLDEN) -> Path:
    """The golden result of a baseline, or of a recipe.

    Args:
        ref: reference to the baseline or the recipe.
        track: name of the track.
        place: folder of the result beside the recipe: see :func:`attacked`.

    Raises:
        UserError: if the model has none.
    """
    advice = "name a result to compare with by --baseline FILE"
    if ref.form not in ("baseline", "recipe") or ref.place in exact(track):
        raise UserError(f"model {str(ref)!r} has no golden result: {advice}")
    path = recipe_of(ref, track=track).parent / place
    if not path.is_dir():
        raise UserError(f"{path}: no golden result of model {str(ref)!r}: {advice}")
    return path


def attacked(defence: str = "") -> str:
    """Where the golden result of suite ``robustness`` lies: ``robustness/plain``, or ``robustness/refine-10``."""
    return f"{ROBUSTNESS}/{defence or 'plain'}"
