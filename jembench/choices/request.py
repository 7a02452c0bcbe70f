"""Requests: everything that a user may ask of a measurement, each option declared once.

The command line, the Python interface, the gate and the makers of golden results all build a :class:`Request`, and
:func:`jembench.engine.measure.measure` alone measures one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices.flags import Flag, composed, ends, flagged, numbers, places, radii, whole, words
from jembench.types import Precision, UserError
from jembench.zoo.references import ModelRef, Normalisation, parse

STORE = Path("jembench-runs")


@dataclass(frozen=True)
class Options:
    """What a user may ask of attacks; None leaves a choice to the track.

    Attributes:
        norms: threat models.
        eps: radii in units of the [0, 1] pixel range, for one norm; every attack runs at the track's headline eps if it
            is among them, else at the first.
        attacks: further attacks at the headline eps, by name.
        goal: goal of the adversary: ``untargeted``, ``targeted`` or ``least-likely``.
        steps: gradient steps of PGD.
        restarts: random starts of PGD.
        losses: losses of PGD's restarts, in turn.
        precision: precision of the passes while adversarials are crafted.
    """

    norms: tuple[str, ...] | None = flagged(
        str | None, "--norm", help="Threat models: linf, l2 or both, comma-separated.", parse=words
    )
    eps: tuple[float, ...] | None = flagged(
        str | None, "--eps", help="Radii in units of [0, 1] pixels, comma-separated: 0.1, 8/255.", parse=radii
    )
    attacks: tuple[str, ...] = flagged(
        list[str] | None,
        "--attack",
        help="A further attack: see `jembench list attacks`, or file.py:function; repeat.",
        default=(),
        parse=tuple,
    )
    goal: str = flagged(str, "--goal", help="untargeted, targeted or least-likely.", default="untargeted")
    steps: int | None = flagged(int | None, "--steps", help="Of PGD.")
    restarts: int | None = flagged(int | None, "--restarts", help="Of PGD.")
    losses: tuple[str, ...] | None = flagged(
        str | None, "--loss", help="Of PGD's restarts in turn: ce, margin, dlr, comma-separated.", parse=words
    )
    precision: Precision = flagged(
        Precision, "--precision", help="While crafting adversarials; they are verified in fp32.", default="fp32"
    )


@dataclass(frozen=True)
class Sampling:
    """What a user may ask of generated images; None leaves a choice to the model or the track.

    Attributes:
        extractor: name of the feature extractor that looks at them.
        weights: file of the extractor's weights, of ``inception-v3`` only.
        steps: SGLD steps of a fresh chain.
        temperature: temperature of a fresh chain, T = s^2 / (2 a).
        keep_top: share of the samples that is kept, by the model's confidence; 1 is no filter.
    """

    extractor: str | None = flagged(
        str | None, "--extractor", help="Who looks at generated images: see `jembench list extractors`."
    )
    weights: Path | None = flagged(Path | None, "--inception-weights", help="The weights of inception-v3, if offline.")
    steps: int | None = flagged(int | None, "--chain-steps", help="Of fresh chains, not the training's.")
    temperature: float | None = flagged(
        float | None, "--temperature", help="Of fresh chains, not the training's: s^2 / (2 a)."
    )
    keep_top: float = flagged(
        float, "--keep-top", help="Share of the samples kept, by confidence; shown with every figure.", default=1.0
    )

    def __post_init__(self) -> None:
        if self.steps is not None and (type(self.steps) is not int or self.steps < 0):
            raise UserError(f"a chain has a whole number of steps of at least 0, not {self.steps!r}")
        if self.temperature is not None and not (_number(self.temperature) and 0 <= self.temperature < float("inf")):
            raise UserError(f"a temperature is a number of at least 0, not {self.temperature!r}")
        if not (_number(self.keep_top) and 0 < self.keep_top <= 1):
            raise UserError(f"keep-top is a share of the samples, above 0 and at most 1, not {self.keep_top!r}")


def _number(value: object) -> bool:
    return type(value) in (int, float)


def _references(
    model: list[str] | None,
    weights: Path | None,
    weights_key: str | None,
    mean: str | None,
    std: str | None,
    range: str | None,
    name: str | None,
) -> tuple[ModelRef, ...]:
    """The models that were named, one of them with weights and settings of its own."""
    words = dict.fromkeys(model or ())
    settings = {"weights": weights, "weights-key": weights_key, "mean": mean, "std": std, "range": range, "name": name}
    if len(words) > 1 and (typed := [f"--{option}" for option, value in settings.items() if value is not None]):
        more = ": name weights as MODEL@WEIGHTS" if weights is not None else ", or a folder with model.toml"
        raise UserError(f"{', '.join(typed)} goes with one --model{more}")
    scale = Normalisation(
        None if mean is None else numbers(mean, "--mean"),
        None if std is None else numbers(std, "--std"),
        None if range is None else ends(range),
    )
    refs = (parse(word, weights=weights) for word in words)
    return tuple(ref.adjusted(key=weights_key or "", scale=scale, name=name or "") for ref in refs)


def _defences(refine: str | None, smooth: float | None, votes: int | None) -> tuple[Defence | None, ...]:
    """What is to stand before every model, a row each; nothing if nothing was asked for."""
    if refine is None and smooth is None:
        if votes is not None:
            raise UserError("--votes goes with --refine or --smooth")
        return (None,)
    copies = {} if votes is None else {"votes": votes}
    refinements = [Defence(whole(word, "--refine"), **copies) for word in words(refine or "") if refine is not None]
    if smooth is None:
        return tuple(refinements)
    return (*refinements, Defence.smoothing(smooth) if votes is None else Defence(steps=0, sigma=smooth, votes=votes))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured, and how.

    Attributes:
        models: references to the models.
        suites: names of the suites.
        track: name of the track.
        data_dir: folder with the images of a track that does not carry its own; None for its downloads.
        ood: further OOD sets, name -> folder of pictures, ``.npz`` file or another origin (:mod:`jembench.data.user`).
        corruptions: folder of corrupted copies of the test images (:mod:`jembench.data.corruptions`).
        protocol: name of the choices behind the numbers: ``v1``, or a published one.
        defences: what stands before each model, a row for each; None is the bare model.
        options: of the attacks of suites ``robustness`` and ``distance``.
        sampling: of the images that suites ``generation`` and ``hybrid`` look at.
        trained_on: images that the models were trained on (:mod:`jembench.data.origins`), which are looked for among
            the test and OOD images: what is found is a warning of the results.
        detectors: post-hoc detectors of suite ``ood``, by name (:mod:`jembench.measurements.detector`).
        scores: OOD scores of plug-ins that suite ``ood`` judges beside ours.
        seed: seed of every generator of the run.
        limit: number of examples of every image set, the first in its fixed shuffled order; None for all.
        device: a torch device.
        label: words behind the names of the results' folders.
        output: the store: folder of results, with their records.
        workers: number of processes that compute chunks; no number depends on it.

    Raises:
        UserError: for a seed, a limit or a number of workers that is none.
    """

    models: tuple[ModelRef, ...] = composed(
        (),
        _references,
        model=Flag(
            list[str],
            ("--model", "-m"),
            "A baseline, path/to/recipe.toml or its folder, robustbench:NAME, timm:NAME, torchvision:NAME, "
            "file.py:build or package.module:build; repeat for several.",
            ...,
        ),
        weights=Flag(
            Path | None,
            ("--weights", "-w"),
            "A file to load into the model: safetensors, torch.save, Lightning, a Hugging Face folder or hf:ORG/NAME, "
            "an official checkpoint; for one of several models, MODEL@WEIGHTS.",
        ),
        weights_key=Flag(str | None, ("--weights-key",), "Which of the networks in that file, such as ema."),
        mean=Flag(str | None, ("--mean",), "Of the pixels, for a network that is code alone: 0.5, or one a channel."),
        std=Flag(str | None, ("--std",), "What these pixels are divided by."),
        range=Flag(str | None, ("--range",), "Of the pixels that it takes, if not 0..1: 0..255, -1..1."),
        name=Flag(str | None, ("--name",), "What tables call the model."),
    )
    suites: tuple[str, ...] = composed(
        ("all",),
        lambda suite: words(suite),
        suite=Flag(str, ("--suite", "-s"), "One or several, comma-separated; see `jembench list suites`.", "all"),
    )
    track: str = flagged(
        str, "--track", "-t", help="In-distribution data set; see `jembench list tracks`.", default=data.DEFAULT
    )
    data_dir: Path | None = flagged(
        Path | None, "--data-dir", help="Folder of .npz files with the images of a track that does not carry its own."
    )
    ood: Mapping[str, str] | tuple[tuple[str, str], ...] = flagged(
        list[str] | None,
        "--ood",
        help="A further OOD set, name=PATH: a folder of pictures, .npz, .npy; repeat.",
        default=(),
        parse=places,
    )
    corruptions: Path | None = flagged(
        Path | None,
        "--corruptions",
        help="Folder of CIFAR-10-C, CIFAR-100-C or alike: accuracy and calibration on its images too.",
    )
    protocol: str = flagged(
        str, "--protocol", "-p", help="The choices behind the numbers; see `jembench list protocols`.", default="v1"
    )
    defences: tuple[Defence | None, ...] = composed(
        (None,),
        _defences,
        refine=Flag(
            str | None, ("--refine",), "SGLD steps of a refinement before the model; comma-separated for several rows."
        ),
        smooth=Flag(float | None, ("--smooth",), "Standard deviation of Gaussian noise before the model: the control."),
        votes=Flag(int | None, ("--votes",), "Noisy copies whose logits a defence averages."),
    )
    options: Options = Options()
    sampling: Sampling = Sampling()
    trained_on: str | None = flagged(
        str | None,
        "--trained-on",
        help="What the model was trained on, .npz or a folder of pictures: looked for among test and OOD images.",
    )
    detectors: tuple[str, ...] = flagged(
        list[str] | None,
        "--detector",
        help="A post-hoc OOD detector: see `jembench list detectors`; repeat.",
        default=(),
        parse=tuple,
    )
    scores: tuple[str, ...] = flagged(
        list[str] | None,
        "--score",
        help="An OOD score of a plug-in, beside ours: see `jembench list scores`; repeat.",
        default=(),
        parse=tuple,
    )
    seed: int = flagged(int, "--seed", help="Of every generator of the run.", default=0)
    limit: int | None = flagged(
        int | None, "--limit", help="Only the first N of every image set, in its fixed shuffled order."
    )
    device: str = flagged(str, "--device", help="A torch device: cpu, cuda, cuda:1, mps.", default="cpu")
    label: str = flagged(str, "--label", help="Words behind the names of the results' folders.", default="")
    output: Path = flagged(Path, "--output", "-o", help="Folder of results and their records.", default=STORE)
    workers: int = flagged(int, "--workers", "-j", help="Processes; the numbers do not depend on it.", default=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", Path(self.data_dir))
        if type(self.seed) is not int:
            raise UserError(f"seed must be a whole number, not {self.seed!r}")
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise UserError(f"limit must be a whole number of at least 1, not {self.limit!r}")
        if type(self.workers) is not int or self.workers < 1:
            raise UserError(f"workers must be a whole number of at least 1, not {self.workers!r}")


PLAIN = Request()  # nothing is asked for but what the defaults say
