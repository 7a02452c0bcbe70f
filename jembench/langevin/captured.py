r"""Captured chains: an SGLD chain whose step is one CUDA graph.

An eager step launches some hundreds of kernels, and on images of 32x32 pixels a GPU is often done with one before the
processor has launched the next. A CUDA graph records the launches of one step (network, input gradient and move) and
replays them all at once. The step is :func:`jembench.langevin.sgld.step` itself, so there is no second formula.

A graph reads and writes fixed addresses. Images, classes and noise are buffers here; the weights are read where the
optimiser changes them in place. The noise is drawn outside, step by step, by whoever draws it for
:func:`jembench.langevin.sgld.chain`, so a run's stream of noise does not depend on whether its chains are captured; and
the processor draws that of the next step while the device is at this one.

Whenever an address, a shape or a setting changes, a new graph is captured. It is used only if it does to the images at
hand what the step itself does to them; if it does not, or if the network cannot be captured, chains are run as they are
and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from jembench.langevin import sgld
from jembench.langevin.sgld import SGLD, Noise, noise_like

Density = Callable[[Tensor, Tensor | None], Tensor]
Work = Callable[[], None]

WARM_UP = 3  # runs before a capture, in which libraries choose their kernels and allocate
TOLERANCE = 0.05  # of the length of a move: what rounding in bf16 and another kernel may do, and no more


@dataclass(frozen=True)
class _Recorded:
    """A step and the buffers that it works on."""

    key: Hashable
    images: Tensor
    labels: Tensor | None
    noise: Tensor
    replay: Work | None  # None where the step cannot be captured


class Captured:
    """Chains on one density; the graph of the last kind of chain is kept.

    Args:
        log_density: maps images ``(B, C, H, W)`` and their classes ``(B,)``, or None, to ``(B,)``, row by row.
        module: whose parameters and buffers it reads.
        capture: makes a function that repeats some work on a device, on the tensors where they are.
    """

    def __init__(
        self, log_density: Density, module: nn.Module, *, capture: Callable[[Work, torch.device], Work] | None = None
    ) -> None:
        self._log_density = log_density
        self._module = module
        self._capture = capture or graph
        self._recorded: _Recorded | None = None

    def chain(
        self, x: Tensor, labels: Tensor | None, *, settings: SGLD, generator: Generator, noise: Noise = noise_like
    ) -> Tensor:
        """What :func:`jembench.langevin.sgld.chain` gives for the same arguments, detached.

        Args:
            x: images ``(B, C, H, W)``.
            labels: their classes ``(B,)``, or None.
            settings: the chain; one move per gradient.
            generator: source of its noise.
            noise: draws the noise of a step.

        Raises:
            ValueError: if there is more than one move per gradient.
        """
        if settings.inner > 1:
            raise ValueError(f"a captured step takes one move per gradient, not inner = {settings.inner}")
        with torch.inference_mode(False):
            found = self._of(x, labels, settings)
            if found.replay is None:
                return sgld.chain(
                    lambda images: self._log_density(images, labels),
                    x,
                    settings=settings,
                    generator=generator,
                    noise=noise,
                )
            found.images.copy_(x)
            if found.labels is not None:
                found.labels.copy_(labels)  # type: ignore[arg-type]  # the key knows which chains have classes
            for _ in range(settings.steps):
                if settings.noise > 0:
                    found.noise.copy_(noise(found.images, generator))
                found.replay()
            return found.images.clone()

    def _of(self, x: Tensor, labels: Tensor | None, settings: SGLD) -> _Recorded:
        """The recorded step for such images and classes, captured now if it is not that of the last chain."""
        addresses = tuple(part.data_ptr() for part in (*self._module.parameters(), *self._module.buffers()))
        key = (x.shape, x.stride(), x.dtype, x.device, labels is None, replace(settings, steps=0), addresses)
        if self._recorded is None or self._recorded.key != key:
            self._recorded = None  # its memory is free for the next one
            self._recorded = self._record(key, x, labels, settings)
        return self._recorded

    def _record(self, key: Hashable, x: Tensor, labels: Tensor | None, settings: SGLD) -> _Recorded:
        images, classes, xi = x.detach().clone(), None if labels is None else labels.clone(), torch.zeros_like(x)

        def move() -> None:
            # A cast that is cached belongs to the pass that made it: a replay must cast the weights of its own time.
            half = torch.autocast(
                x.device.type, torch.bfloat16, enabled=settings.precision == "bf16", cache_enabled=False
            )
            with torch.enable_grad(), half:
                moved = sgld.step(
                    lambda z: self._log_density(z, classes),
                    images.detach().requires_grad_(),
                    settings=settings,
                    generator=_NO_GENERATOR,
                    noise=lambda *_: xi,
                )
            images.copy_(moved)

        replay: Work | None = None
        try:
            replay = self._capture(move, x.device)
            ends = []
            for work in (move, replay):
                images.copy_(x)
                work()
                ends.append(images - x)
            if not _agree(*ends):
                raise RuntimeError("its replay moves the images elsewhere")
        except RuntimeError as error:  # what torch raises for whatever a graph cannot hold
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"an SGLD step cannot be captured, chains are run without: {reason}", stacklevel=4)
            replay = None
        return _Recorded(key, images, classes, xi, replay)


_NO_GENERATOR = Generator()  # nothing is drawn inside a step


def graph(work: Work, device: torch.device) -> Work:
    """The replay of ``work`` as a CUDA graph; on a device that has none, the work itself.

    Raises:
        RuntimeError: if it does what a graph cannot hold, such as waiting for the device.
    """
    if device.type != "cuda":
        return work
    with torch.cuda.device(device):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            work()
    return recorded.replay


def _agree(expected: Tensor, found: Tensor) -> bool:
    """Whether two moves are one, up to rounding; so are two that are not finite: a diverged model is not our matter."""
    if not bool(expected.isfinite().all()):
        return True
    rounding = torch.finfo(expected.dtype).eps * expected.numel() ** 0.5
    return bool((expected - found).norm() <= TOLERANCE * expected.norm() + rounding)
