r"""Named protocols: the choices of evaluation that published numbers of JEMs were made by, beside our own.

``v1`` is ours, and the default of every field of :class:`Protocol`; ``jem2020``, ``jempp`` and ``sadajem`` are what the
code of three papers does (:mod:`jembench.choices.papers`). A protocol is data: it maps a track to the track as it shows
it (:meth:`Protocol.on`), and the settings of attacks and samples follow it (:mod:`jembench.choices.batteries`,
:mod:`jembench.choices.sampling`). Its name and all that it changes of a measurement are in the hash of a result, so
that numbers of different protocols never share a ranking. An evaluator of something that the published code does not
look at is left out of a suite; one that stays shows all of its figures, those that the paper lacks among them.

**Units.** The papers' pixels are in [-1, 1] and ours in [0, 1]: their noise of .03 is .015 here, their SGLD step of 1
with noise .01 is .25 with .005 (:mod:`jembench.langevin.sgld`).

**Noise.** With s the noise of the test images, the published ``interp`` mixes two images that have it already and adds
it once more:

.. math::
    \frac{(x + s \xi_1) + (x' + s \xi_2)}{2} + s \xi_3 = \frac{x + x'}{2} + s \sqrt{3/2}\, \xi.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jembench.choices.flags import departures
from jembench.choices.suites import SUITES
from jembench.data.sets import BATCH
from jembench.evaluators import EVALUATORS
from jembench.ground.families import Family
from jembench.types import UserError

if TYPE_CHECKING:
    from jembench.choices.request import Options, Sampling
    from jembench.data.sets import Source, Track
    from jembench.langevin.sgld import Gradient

LEVELS = 255  # eps and steps of published attacks are in grey levels of photographs
WIDTHS = (17, 16, 21, 40)  # of the columns of :func:`explain`
FACES = {"test": 19_962, "all": 202_599}  # images of CelebA
INTERP = "interp"
UNCROPPED = (
    "protocol {!r} shows uncropped photographs, which a folder of .npz files does not hold: leave --data-dir out, and "
    "run `jembench data fetch celeba`"
)


def _says(about: str, empty: str = "") -> dict[str, str]:
    """A line about a choice, and the word for its empty value."""
    return {"about": about, "empty": empty}


class Refinement(NamedTuple):
    """A :class:`~jembench.attacks.defences.Defence` by its settings, but for the SGLD steps, which are the user's."""

    votes: int
    sigma: float
    size: float
    noise: float


@dataclass(frozen=True)
class Protocol:
    """The choices behind numbers; the defaults are ours.

    Attributes:
        name: of the protocol.
        code: the published code that it is read from.
        notes: what an evaluation cannot repeat, or does better.
        whence: choice -> where it is made, if it is not ours: a file of the published code, or the paper.

    The metadata of the other fields say what they are; :func:`explain` prints them.
    """

    name: str = "v1"
    code: str = ""
    notes: tuple[str, ...] = ()
    whence: Mapping[str, str] = field(default_factory=dict, compare=False)

    evaluators: tuple[str, ...] = field(
        default=(), metadata=_says("evaluators, each with all of its figures", "all of the suite")
    )
    test_noise: float = field(
        default=0.0, metadata=_says("Gaussian noise on the images that accuracy and calibration are of")
    )
    ood_noise: float = field(
        default=0.0, metadata=_says("the same of OOD detection, on test images and outliers alike")
    )
    interp: Literal["base", "test"] = field(
        default="base",
        metadata=_says(
            "base: means of two images of different classes, of a split apart from test; test: of test images a batch "
            "of 100 apart, so not independent of test, and without an interval"
        ),
    )
    celeba: Literal["crop", "resize"] = field(
        default="crop", metadata=_says("crop: the centre of 140 pixels at 32x32; resize: the whole photograph at 32x39")
    )
    celeba_split: Literal["test", "all"] = field(default="test", metadata=_says("the faces: 19,962, or all 202,599"))
    ece: Literal["squared_ece15", "ece20"] = field(
        default="squared_ece15",
        metadata=_says("the calibration error beside NLL and Brier: the debiased square, or the plain one of 20 bins"),
    )

    attack: Literal["battery", "distance", "pgd", "none"] = field(
        default="battery",
        metadata=_says(
            "battery: the worst case over all attacks (photographs: PGD, Square with 500 queries, transfer; AutoAttack "
            "only if asked for); distance: the nearest adversarial; pgd: that alone"
        ),
    )
    attack_images: int | None = field(
        default=None,
        metadata=_says(
            "test images that are attacked", "all (200 if noisy, 100 from 5 SGLD steps on; photographs: 200)"
        ),
    )
    attack_gradient: Gradient | Literal[""] = field(
        default="",
        metadata=_says(
            "what the attack's gradient sees of a refinement (straight-through: the identity)", "every rung"
        ),
    )
    attack_copies: int | None = field(
        default=None,
        metadata=_says("noisy copies whose logits are averaged behind a gradient", "4 if noisy (photographs: 2)"),
    )
    attack_steps: int | None = field(
        default=None, metadata=_says("gradient steps of an attack", "40 (20 if noisy; photographs: 20, 10 if noisy)")
    )
    attack_restarts: int | None = field(
        default=None, metadata=_says("random starts of an attack", "5 (2 if noisy; photographs: 2)")
    )
    attack_step: float = field(default=0.0, metadata=_says("length of an L-infinity step, in 1/255", "eps, shrinking"))
    attack_eps: tuple[int, ...] = field(
        default=(), metadata=_says("L-infinity radii, in 1/255; no other norm", "the track's (one if noisy)")
    )
    attack_defence: Refinement | None = field(
        default=None, metadata=_says("what must stand before the model; its steps n are the user's", "free")
    )

    samples: tuple[str, ...] = field(
        default=("fresh", "buffer", "conditional"), metadata=_says("where generated images come from")
    )
    reference: Literal["train", "train+test"] = field(
        default="train",
        metadata=_says(
            "real images of the distance; train+test: all 60,000 of CIFAR-10 (of CIFAR-100 and SVHN the train split)"
        ),
    )
    keep_fd: float = field(
        default=1.0, metadata=_says("share of the samples kept for all figures but IS, by confidence")
    )
    keep_is: float = field(default=1.0, metadata=_says("share of them kept for the inception score"))
    keep_within: Literal["all", "class"] = field(
        default="all", metadata=_says("the top of all samples, or of each class the model sees")
    )
    rounded: bool = field(
        default=True,
        metadata=_says("whether samples are rounded to grey levels, as real images are, before they are compared"),
    )

    def evaluated(self, suite: str) -> tuple[str, ...]:
        """The evaluators of a suite that the protocol has.

        Raises:
            UserError: for an unknown suite, or one of which it has none.
        """
        names = (suite,) if suite not in SUITES and EVALUATORS.plugin(suite) is not None else SUITES[suite]
        evaluators = tuple(name for name in names if not self.evaluators or name in self.evaluators)
        if not evaluators:
            raise UserError(
                f"protocol {self.name!r} has nothing of suite {suite!r}: its code measures {', '.join(self.evaluators)}"
            )
        return evaluators

    def on(self, track: Track, evaluators: Sequence[str]) -> Track:
        """The track as these evaluators see it.

        Raises:
            UserError: if they see different noise on the same images.
        """
        noise = self._noise(evaluators)
        return replace(track, sources=tuple(self._shown(source, track, noise) for source in track.sources))

    def _noise(self, evaluators: Sequence[str]) -> float:
        """What is added to every image that the model sees; attacks add their own, and none to generate."""
        kinds = {"accuracy": self.test_noise, "calibration": self.test_noise, "ood": self.ood_noise}
        amounts = {kinds[name] for name in evaluators if name in kinds}
        if len(amounts) > 1:
            raise UserError(
                f"protocol {self.name!r} adds other noise for OOD detection than for accuracy: "
                "run suites accuracy, calibration, hybrid and ood apart"
            )
        return amounts.pop() if amounts else 0.0

    def _shown(self, source: Source, track: Track, noise: float) -> Source:
        if source.role == "chains":
            return source
        part, own = source.part, replace(source, noise=noise)
        if source.name == INTERP and self.interp == "test":
            if part is None:
                reason = f"protocol {self.name!r} mixes {INTERP} of test images, and track {track.name} has no such set"
                return replace(own, absent=reason)
            return replace(
                own,
                n=max(0, track.source("test").n - BATCH),
                sha256="",
                base="test",
                about="mean of two test images, a batch apart",
                part=replace(part, split="test", span=(0, 1000), mix="batches"),
                noise=noise * math.sqrt(1.5),
            )
        if part is not None and part.set == "celeba" and self.celeba == "resize":
            return replace(
                own,
                n=FACES[self.celeba_split],
                sha256="",
                part=replace(part, split=self.celeba_split, view="resize"),
                absent=UNCROPPED.format(self.name) if track.folder else "",
            )
        return own


V1 = Protocol()

PROTOCOLS: Family[Protocol] = Family(
    "protocol",
    {
        "v1": (
            ".protocols:V1",
            "our own: nothing is added to images, nothing is left out of samples, every attack counts",
        ),
        "jem2020": (".papers:JEM2020", "Grathwohl et al., ICLR 2020 (arXiv 1912.03263)"),
        "jempp": (".papers:JEMPP", "JEM++: Yang & Ji, ICCV 2021 (arXiv 2109.09032)"),
        "sadajem": (".papers:SADAJEM", "SADA-JEM: Yang, Su & Ji, CVPR 2023 (arXiv 2209.07959)"),
    },
    __package__,
    group="jembench.protocols",
    fits=lambda thing: isinstance(thing, Protocol),
)


def check_fixed(protocol: Protocol, choice: Options | Sampling, *, free: tuple[str, ...]) -> None:
    """Refuse options that a published protocol has fixed.

    Args:
        protocol: the protocol.
        choice: what the user asks for.
        free: names of the fields of ``choice`` that are the user's.

    Raises:
        UserError: naming the options that are not free.
    """
    options = departures(choice, free=free)
    if options:
        raise UserError(
            f"protocol {protocol.name!r} fixes {', '.join(options)}: leave it out, or take protocol {V1.name!r}"
        )


def choices() -> tuple[str, ...]:
    """The names of all choices."""
    return tuple(each.name for each in fields(Protocol) if "about" in each.metadata)


def explain(name: str) -> str:
    """What a protocol does, choice by choice, beside ``v1``, in 100 columns.

    Raises:
        UserError: for an unknown name.
    """
    from tabulate import tabulate

    chosen = PROTOCOLS[name]
    rows = []
    for each in fields(Protocol):
        if each.name not in choices():
            continue
        ours, theirs = (_words(getattr(protocol, each.name), each.metadata["empty"]) for protocol in (V1, chosen))
        idle = each.name.startswith("attack_") and chosen.attack != V1.attack
        theirs = theirs if theirs != ours else "—" if idle else "as v1"
        where = chosen.whence.get(each.name, "")
        meaning = f"{each.metadata['about']} ({where})" if where else each.metadata["about"]
        rows.append([each.name, ours, *([] if chosen is V1 else [theirs]), meaning])
    header = ["choice", "v1", *([] if chosen is V1 else [name]), "what it is (where it is made)"]
    widths = [*WIDTHS] if chosen is not V1 else [WIDTHS[0], WIDTHS[1], WIDTHS[2] + WIDTHS[3]]
    table = tabulate(rows, headers=header, maxcolwidths=widths, disable_numparse=True)
    head = f"{name}: {PROTOCOLS.about(name)}" + (f"\ncode: {chosen.code}" if chosen.code else "")
    notes = "".join(f"\n{line}" for note in chosen.notes for line in _bullet(note))
    return f"{head}\n\n{table}" + (f"\n\nnotes{notes}" if notes else "")


def _bullet(note: str) -> list[str]:
    return textwrap.wrap(note, 100, initial_indent="- ", subsequent_indent="  ")


def _words(value: Any, empty: str) -> str:
    """A choice as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Refinement):
        return f"{value.votes} votes, noise {value.sigma:g}, steps of {value.size:g} with {value.noise:g}"
    if not value and empty:
        return empty
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
