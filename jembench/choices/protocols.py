r"""Named protocols: the choices of evaluation that published numbers of JEMs were made by, beside our own.

``v1`` is ours, and the default of every field of :class:`Protocol`; ``jem2020``, ``jempp`` and ``sadajem`` are what the
code of three papers does, warts included. A protocol is data: it maps a track to the track as it shows it
(:meth:`Protocol.on`), and the settings of attacks and samples follow it (:mod:`jembench.choices.batteries`,
:mod:`jembench.choices.sampling`). Its name and all that it changes of a measurement are in the hash of a result, so
that numbers of different protocols never share a ranking. An evaluator of something that the published code does not
look at is left out of a suite; one that stays shows all of its figures, those that the paper lacks among them.

**Units.** The papers' pixels are in [-1, 1] and ours in [0, 1]: their noise of .03 is .015 here, their SGLD step of 1
with noise .01 is .25 with .005 (:mod:`jembench.langevin.sgld`).

**Noise.** With s the noise of the test images, the published ``interp`` mixes two images that have it already and adds
it once more:

.. math::
    \frac{(x + s \xi_1) + (x' + s \xi_2)}{2} + s \xi_3 = \frac{x + x'}{2} + s \sqrt{3/2}\, \xi.

Sources: wgrathwohl/JEM at 3d01161, sndnyang/JEMPP at fba6ba5, sndnyang/SADAJEM at 9d8f3c7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jembench.choices.suites import SUITES
from jembench.data.sets import BATCH
from jembench.types import UserError, unknown

if TYPE_CHECKING:
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
        about: one line about it.
        code: the published code that it is read from.
        notes: what an evaluation cannot repeat, or does better.

    The metadata of the other fields say what they are; :func:`explain` prints them.
    """

    name: str = "v1"
    about: str = "our own: nothing is added to images, nothing is left out of samples, every attack counts"
    code: str = ""
    notes: tuple[str, ...] = ()

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
        default=None,
        metadata=_says("gradient steps of an attack", "40 (20 if noisy; photographs: 20, 10 if noisy)"),
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
        names = SUITES[suite]
        found = tuple(name for name in names if not self.evaluators or name in self.evaluators)
        if not found:
            raise UserError(
                f"protocol {self.name!r} has nothing of suite {suite!r}: its code measures {', '.join(self.evaluators)}"
            )
        return found

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
        found = {kinds[name] for name in evaluators if name in kinds}
        if len(found) > 1:
            raise UserError(
                f"protocol {self.name!r} adds other noise for OOD detection than for accuracy: "
                "run suites accuracy, calibration, hybrid and ood apart"
            )
        return found.pop() if found else 0.0

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

_JEM_OOD: dict[str, Any] = {"interp": "test", "celeba": "resize", "celeba_split": "all", "ece": "ece20"}
_BUFFER: dict[str, Any] = {"samples": ("buffer",)}
_SIXTY: dict[str, Any] = {**_BUFFER, "reference": "train+test", "rounded": False}
_SIZES = "n: the track's 1,000 samples, theirs 10,000; a distance at another n is another number"
_EXTRACTOR = (
    "extractor: the track's own unless --extractor inception-v3 is asked for, which alone gives FID and their IS"
)

PROTOCOLS: dict[str, Protocol] = {
    "v1": V1,
    "jem2020": Protocol(
        name="jem2020",
        about="Grathwohl et al., ICLR 2020 (arXiv 1912.03263)",
        code="wgrathwohl/JEM@3d01161",
        evaluators=("accuracy", "calibration", "ood", "generation", "distance"),
        test_noise=0.015,
        ood_noise=0.015,
        **_JEM_OOD,
        attack="distance",
        attack_images=300,
        attack_gradient="straight-through",
        attack_copies=5,
        attack_steps=40,
        attack_restarts=20,
        attack_defence=Refinement(votes=5, sigma=0.03 / 2, size=1 / 4, noise=0.01 / 2),
        **_BUFFER,
        notes=(
            "300 images: a share near .5 is known to 5.7 points only",
            "`x.data +=` hides the refinement from autograd: the gradient is the straight-through one, not the one "
            "through the sampler that the paper speaks of",
            "their search (foolbox 1: binary search over eps, steps of .01 and .05) is ours here, of as many steps and "
            "restarts; the best restart counts, where they save the last",
            "an adversarial counts where fresh draws confirm it, where they take the first query that is broken",
            "their README's L2 command runs without input noise; here both norms have it",
            "accuracy after n refinement steps: --refine n, which averages 5 copies, theirs one; the noise of a "
            "defence stands in place of the test images' noise, so that it comes once",
            "no ECE, IS or FID code is public: bins and the buffer are the paper's words, the reference is ours",
            "interp is mixed in whole grey levels, a quarter of a level darker on average",
            "no scaled temperature is theirs: read test/raw/ece20",
            _SIZES,
            _EXTRACTOR,
        ),
    ),
    "jempp": Protocol(
        name="jempp",
        about="JEM++: Yang & Ji, ICCV 2021 (arXiv 2109.09032)",
        code="sndnyang/JEMPP@fba6ba5",
        evaluators=("accuracy", "calibration", "ood", "generation"),
        test_noise=0.015,
        **_JEM_OOD,
        attack="none",
        **_SIXTY,
        notes=(
            "test noise is the default of the evaluation; the OOD scripts set it to 0",
            "no attack is in the repository",
            "their README has FID 34.4 to 56.5 of one checkpoint, by 100 to 1,000 images kept per class; here all are "
            "kept, as by its command: see --keep-top under v1",
            "their IS is a mean over parts of 5,000 images, ours over all",
            _SIZES,
            _EXTRACTOR,
        ),
    ),
    "sadajem": Protocol(
        name="sadajem",
        about="SADA-JEM: Yang, Su & Ji, CVPR 2023 (arXiv 2209.07959)",
        code="sndnyang/SADAJEM@9d8f3c7",
        evaluators=("accuracy", "calibration", "ood", "generation", "robustness"),
        **{**_JEM_OOD, "celeba_split": "test"},
        attack="pgd",
        attack_images=1000,
        attack_steps=50,
        attack_restarts=1,
        attack_step=2.0,
        attack_eps=(1, 2, 4, 8, 12, 16, 22, 30),
        **_SIXTY,
        keep_fd=0.9,
        keep_is=0.1,
        keep_within="class",
        notes=(
            "their 'BPDA+EOT' attack is configured with 0 Langevin steps: PGD on the bare network",
            "their checkpoint is the best by test accuracy: choose yours on validation data",
            "IS and FID of one table are of different images: the top 10 % and the top 90 %",
            "their code prints FID -1 where it fails; ours says why",
            _SIZES,
            _EXTRACTOR,
        ),
    ),
}

#: Where a choice that is not ours is made: file of the published code, or the paper.
WHENCE: dict[str, dict[str, str]] = {
    "jem2020": {
        "evaluators": "eval_wrn_ebm.py, attack_model.py; paper: tables 1 and 3, figures",
        "test_noise": "eval_wrn_ebm.py: --sigma .03 in [-1, 1]",
        "ood_noise": "eval_wrn_ebm.py: --sigma .03; interp adds it again",
        "interp": "eval_wrn_ebm.py: OODAUC",
        "celeba": "eval_wrn_ebm.py: Resize(32)",
        "celeba_split": "eval_wrn_ebm.py: a folder of all splits",
        "ece": "paper: section 5.2",
        "attack": "attack_model.py",
        "attack_images": "README: --end_batch 6, of 50 images",
        "attack_gradient": "attack_model.py: refine",
        "attack_copies": "attack_model.py: --n_dup_chains",
        "attack_steps": "attack_model.py: --n_steps_pgd_attack",
        "attack_restarts": "attack_model.py: range(20)",
        "attack_defence": "attack_model.py: refined_logits",
        "samples": "paper: the replay buffer",
    },
    "jempp": {
        "evaluators": "eval_jempp.py",
        "test_noise": "eval_jempp.py: --sigma .03 in [-1, 1]",
        "interp": "eval_jempp.py: OODAUC",
        "celeba": "eval_jempp.py: Resize(32)",
        "celeba_split": "eval_jempp.py: a folder of all splits",
        "ece": "eval_jempp.py: ECELoss(20)",
        "attack": "no file has one",
        "samples": "eval_jempp.py: cond_fid",
        "reference": "Task/data.py: full=True",
        "rounded": "Task/eval_buffer.py",
    },
    "sadajem": {
        "evaluators": "eval_sadajem.py, bpda_eot_attack.py",
        "interp": "eval_sadajem.py: OODAUC",
        "celeba": "eval_sadajem.py: Resize(32)",
        "ece": "eval_sadajem.py: ECELoss(20)",
        "attack": "bpda_eot_attack_jem.json",
        "attack_images": "bpda_eot_attack_jem.json: 100 batches of 10",
        "attack_steps": "bpda_eot_attack_jem.json: adv_steps",
        "attack_restarts": "bpda_eot_attack.py",
        "attack_step": "bpda_eot_attack_jem.json: adv_eta",
        "attack_eps": "scripts/bpda_attack.sh",
        "samples": "eval_sadajem.py: --eval fid",
        "reference": "Task/data.py: full=True",
        "keep_fd": "eval_sadajem.py: ratio=0.9",
        "keep_is": "eval_sadajem.py: ratio=0.1",
        "keep_within": "Task/eval_buffer.py: cond_is_fid",
        "rounded": "Task/eval_buffer.py",
    },
}


def protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        UserError: for an unknown name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def choices() -> tuple[str, ...]:
    """The names of all choices."""
    return tuple(each.name for each in fields(Protocol) if "about" in each.metadata)


def explain(name: str) -> str:
    """What a protocol does, choice by choice, beside ``v1``, in 100 columns.

    Raises:
        UserError: for an unknown name.
    """
    from tabulate import tabulate

    chosen = protocol(name)
    rows = []
    for each in fields(Protocol):
        if each.name not in choices():
            continue
        ours, theirs = (_words(getattr(item, each.name), each.metadata["empty"]) for item in (V1, chosen))
        unasked = each.name.startswith("attack_") and chosen.attack != V1.attack
        theirs = theirs if theirs != ours else "—" if unasked else "as v1"
        where = WHENCE.get(name, {}).get(each.name, "")
        meaning = f"{each.metadata['about']} ({where})" if where else each.metadata["about"]
        rows.append([each.name, ours, *([] if chosen is V1 else [theirs]), meaning])
    header = ["choice", "v1", *([] if chosen is V1 else [name]), "what it is (where it is made)"]
    widths = [*WIDTHS] if chosen is not V1 else [WIDTHS[0], WIDTHS[1], WIDTHS[2] + WIDTHS[3]]
    table = tabulate(rows, headers=header, maxcolwidths=widths, disable_numparse=True)
    head = f"{name}: {chosen.about}" + (f"\ncode: {chosen.code}" if chosen.code else "")
    notes = "".join(f"\n{line}" for note in chosen.notes for line in _bullet(note))
    return f"{head}\n\n{table}" + (f"\n\nnotes{notes}" if notes else "")


def _bullet(note: str) -> list[str]:
    import textwrap

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
        return ", ".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
