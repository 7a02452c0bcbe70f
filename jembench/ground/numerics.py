"""Numerics: the state of torch under which a number is computed, so that the same chunk gives the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jembench.types import UserError


@contextmanager
def reproducible() -> Iterator[None]:
    """One thread, float32, gradients on, no TF32, deterministic cuDNN; the caller's settings come back afterwards.

    Input gradients differ in bits between one thread and two, and a TF32 convolution is not the fp32 that records say.
    """
    import torch

    backends = torch.backends

    def settle(
        threads: int, dtype: torch.dtype, gradients: bool, convolutions: bool, products: bool, exact: bool, trial: bool
    ) -> None:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = convolutions, products
        backends.cudnn.deterministic, backends.cudnn.benchmark = exact, trial

    before = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        backends.cudnn.allow_tf32,
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
    )
    try:
        settle(1, torch.float32, True, False, False, True, False)
        yield
    finally:
        settle(*before)


def check_device(device: str) -> None:
    """Raise :class:`~jembench.types.UserError` unless tensors can be made on ``device`` and read back."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # RuntimeError, AssertionError, ImportError: each backend fails in its own way
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"device {device!r} cannot be used: {reason}") from error
