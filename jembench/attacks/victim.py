"""The victim: a model as an attack sees it, with what its gradient passes through, and with a meter.

An attack asks for logits, of a deterministic model or of one query of a stochastic one, and may differentiate them.
Every row of every pass through the network is counted, forwards and backwards, also inside a refinement and by
third-party code, so that costs can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from jembench.attacks.defences import Defended

if TYPE_CHECKING:
    from jembench.langevin.sgld import Gradient
    from jembench.types import Precision


@dataclass
class Meter:
    """Rows that went through the network.

    Attributes:
        forwards: number of rows of forward passes.
        gradients: number of rows of backward passes.
        queries: number of rows that the attack itself asked for.
    """

    forwards: int = 0
    gradients: int = 0
    queries: int = 0


class Victim(nn.Module):
    """The logits of a model; an ``nn.Module``, since third-party attacks want one.

    Args:
        model: classifier of the contract, in evaluation mode already.
        generator: source of the noise of a stochastic model.
        copies: number of noisy copies behind one query of a stochastic model; a defence's own votes by default.
        gradient: what the attack's gradient sees of a refinement; ``none`` shows the model without its defence.
        precision: precision of the network.
    """

    def __init__(
        self,
        model: Any,
        *,
        generator: Generator,
        copies: int | None = None,
        gradient: Gradient = "full",
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.meter = Meter()
        self._generator = generator
        self._copies = copies
        self._gradient = gradient
        self.precision: Precision = precision
        self._classes = 0
        defence = model.defence if isinstance(model, Defended) else None
        base = _Metered(model if defence is None else model.base, self.meter)
        bare = defence is not None and gradient == "none"
        self._model = base if defence is None or bare else Defended(base, defence)
        self.stochastic = not bare and bool(getattr(model, "stochastic", False))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` in float32 of images ``(B, C, H, W)``; one query."""
        self.meter.queries += len(x)
        if not len(x) and self._classes:  # attacks ask about nothing where nothing is left: not every network answers
            return x.new_zeros((0, self._classes))
        if self.precision == "fp32":
            logits = self._query(x).float()
        else:
            with torch.autocast(x.device.type, torch.bfloat16):
                logits = self._query(x).float()
        self._classes = logits.shape[1]
        return logits

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Within it, queries are in float32."""
        crafting, self.precision = self.precision, "fp32"
        try:
            yield
        finally:
            self.precision = crafting

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) ``(B,)`` of the model, at the image itself: what a defence that abstains looks at."""
        base = self._model.base if isinstance(self._model, Defended) else self._model
        density: Tensor = base.log_density(x).float()
        return density

    def _query(self, x: Tensor) -> Tensor:
        if isinstance(self._model, Defended):
            return self._model.logits(x, generator=self._generator, gradient=self._gradient, copies=self._copies)
        if not self.stochastic:
            return self._model.logits(x)
        n = self._copies or 1
        total: Tensor = torch.stack([self._model.logits(x, generator=self._generator) for _ in range(n)])
        return total.mean(0)

    def answers(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)`` of one query, without a gradient."""
        with torch.no_grad():
            logits: Tensor = self(x)
        return logits

    def predictions(self, x: Tensor) -> Tensor:
        """Classes ``(B,)`` of one query, without a gradient."""
        return self.answers(x).argmax(1)


class _Metered:
    """A model of the contract that counts its rows."""

    def __init__(self, model: Any, meter: Meter) -> None:
        self._model = model
        self._meter = meter

    @property
    def normalized(self) -> bool:
        return bool(self._model.normalized)

    def log_density(self, x: Tensor) -> Tensor:
        return self._counted(x, self._model.log_density(x))

    def logits(self, x: Tensor, **options: Any) -> Tensor:
        return self._counted(x, self._model.logits(x, **options))

    def _counted(self, x: Tensor, output: Tensor) -> Tensor:
        rows = len(x)
        self._meter.forwards += rows

        def count(_: Tensor) -> None:
            self._meter.gradients += rows

        if output.requires_grad:
            output.register_hook(count)  # type: ignore[no-untyped-call]
        return output
