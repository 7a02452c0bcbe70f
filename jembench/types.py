"""The contract: what a model can do, and how jembench says that something is wrong.

K logits f(x) define ``log p(x, y) = f(x)[y] - log Z``, hence ``log p(x) = logsumexp_y f(x)[y] - log Z`` and
``p(y|x) = softmax f(x)`` (Grathwohl et al., ICLR 2020, section 3). Five protocols by capability decide which
measurements can run; a model that lacks one gets an empty cell with its reason, not a crash.

All images are float tensors ``(B, C, H, W)`` in [0, 1]; normalisation lives inside the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray
    from torch import Generator, Tensor

Capability = Literal["classifier", "density", "sampler", "chain", "features"]
Start = Literal["fresh", "buffer"]
Precision = Literal["fp32", "bf16"]
Norm = Literal["linf", "l2"]  # of the distance between two images


class UserError(Exception):
    """Bad input: one line that says what was wrong, where, and what to do. The CLI exits with code 2."""


class UnknownNameError(UserError, KeyError):
    """A name that nothing has; of a mapping, a key that it lacks."""

    __str__ = Exception.__str__  # that of a KeyError puts the line in quotes


def unknown(what: str, name: str, names: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among the ``names``, with the nearest that is.

    >>> print(unknown("suite", "odd", ["ood", "accuracy"]))
    unknown suite 'odd'; did you mean 'ood'? (known: accuracy, ood)
    """
    names = sorted(names)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UnknownNameError(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


def require(name: str, names: Collection[str], what: str) -> None:
    """Refuse an unknown name; not by :func:`unknown`, whose line would list a thousand others.

    Raises:
        UserError: if ``name`` is not among the ``names``.
    """
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UserError(f"unknown {what} {name!r}{hint} ({len(names)} are known)")


@runtime_checkable
class Classifier(Protocol):
    """A model with class logits.

    One that draws noise of its own says so with a class attribute ``stochastic = True``; it is then called as
    ``logits(x, generator=generator)`` and draws from that generator alone.
    """

    def logits(self, x: Tensor) -> Tensor:
        """Logits f(x), shape ``(B, K)``, of images ``(B, C, H, W)`` in [0, 1]."""
        ...


@runtime_checkable
class Density(Protocol):
    """A model with a deterministic log density in nats, up to a constant unless ``normalized``."""

    normalized: bool

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) (+ log Z unless ``normalized``), shape ``(B,)``."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A model that generates images."""

    def sample(
        self,
        n: int,
        *,
        generator: Generator,
        labels: Tensor | None = None,
        start: Start = "fresh",
        steps: int | None = None,
    ) -> Tensor:
        """``n`` images ``(n, C, H, W)`` in [0, 1], of the given classes if ``labels (n,)`` is not None."""
        ...


@runtime_checkable
class Chained(Protocol):
    """A sampler by chains, whose fresh starts are its samples after 0 steps.

    Attributes:
        conditional: whether its chains climb log p(x|y) only, so that they need labels.
    """

    conditional: bool

    @property
    def chain(self) -> Any:
        """The :class:`~jembench.langevin.sgld.SGLD` that it was trained with: its number of steps is K."""
        ...

    def advance(self, x: Tensor, *, generator: Generator, labels: Tensor | None = None, settings: Any = None) -> Tensor:
        """Where chains at ``x (n, C, H, W)`` are after ``settings``, by default :attr:`chain`; not clamped."""
        ...

    def persistent(self) -> tuple[Tensor, Tensor]:
        """The persistent chains of the training ``(N, C, H, W)``, and their classes ``(N,)`` or -1."""
        ...


@runtime_checkable
class Featured(Protocol):
    """A classifier whose logits are a linear layer on features: ``logits(x) = readout(penultimate(x))``."""

    @property
    def readout(self) -> Any:
        """The ``torch.nn.Linear`` from F features to K logits; None if this object shows none."""
        ...

    def penultimate(self, x: Tensor) -> Tensor:
        """What enters it: features ``(B, F)`` of images ``(B, C, H, W)`` in [0, 1]."""
        ...


@dataclass(frozen=True)
class Batch:
    """The examples of one chunk.

    Attributes:
        images: images, float ``(B, C, H, W)``, in [0, 1] but for noise that a protocol adds.
        labels: classes, int64 ``(B,)``; -1 where the example has no class of the track.
        index: positions of the examples in their source, int64 ``(B,)``.
        levels: number of grey levels of the source: a pixel is k / (levels - 1).
        given: columns of other measurements of the same examples, in the order that the measurement asked for them;
            None where there are none, fewer rows where they are of the first examples only.
        whole: columns of other measurements of all examples of a source, in the order that the measurement asked for
            them; None where there are none.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    levels: int
    given: tuple[Mapping[str, NDArray[Any]] | None, ...] = ()
    whole: tuple[Mapping[str, NDArray[Any]] | None, ...] = ()


def capabilities(model: object) -> frozenset[Capability]:
    """The capabilities of ``model`` by the methods of its class; a submodule that is called ``logits`` is none."""
    kind = type(model)
    abilities: set[Capability] = set()
    if callable(getattr(kind, "logits", None)):
        abilities.add("classifier")
    if callable(getattr(kind, "log_density", None)) and hasattr(model, "normalized"):
        abilities.add("density")
    if callable(getattr(kind, "sample", None)):
        abilities.add("sampler")
    steps = getattr(getattr(model, "chain", None), "steps", None)
    if all(callable(getattr(kind, method, None)) for method in ("advance", "persistent")) and isinstance(steps, int):
        abilities.add("chain")
    if callable(getattr(kind, "penultimate", None)) and getattr(model, "readout", None) is not None:
        abilities.add("features")
    return frozenset(abilities)
