"""The team: the processes that train one model together, started by ``torchrun``.

A batch of B positions is shared out: process r of R holds the positions r B / R to (r + 1) B / R. Random draws are
made for the whole batch from a generator that all processes have in the same state, and each keeps its rows; so what is
drawn for a position depends on (seed, iteration, position) and not on R.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from jembench.ground.shares import Share
from jembench.types import UserError


@dataclass(frozen=True)
class Team:
    """``size`` processes, of which this is number ``rank``."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """Our part of a batch.

        Raises:
            UserError: if it cannot be shared out evenly.
        """
        if total % self.size:
            raise UserError(f"training.batch = {total} cannot be shared out to {self.size} processes evenly")
        each = total // self.size
        return Share(self.rank * each, (self.rank + 1) * each, total)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the team of a tensor of the same shape in every process."""
        if self.size == 1:
            return values
        values = values.clone()
        distributed.all_reduce(values)
        return values / self.size

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all processes, one after the other."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def broadcast(self, content: bytes | None) -> bytes:
        """The leader's bytes, in every process."""
        if self.size == 1:
            assert content is not None
            return content
        if not self.leads:
            content = None  # what another process has to say is not heard
        length = torch.tensor(0 if content is None else len(content))
        distributed.broadcast(length, 0)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if content is not None:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        distributed.broadcast(data, 0)
        return data.numpy().tobytes()

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module as torch's DDP, which averages gradients over the team."""
        if self.size == 1:
            return module
        # Other buffers are functions of the weights, or chains, of which every process has its own.
        buffers = any(isinstance(part, _BatchNorm) for part in module.modules())
        parallel = DistributedDataParallel(module)
        parallel.broadcast_buffers = buffers  # as an argument it is deprecated from torch 2.15 on
        return parallel


def local(device: str) -> str:
    """The device of this process: ``cuda`` is the one of its place on the machine."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


def called() -> bool:
    """Whether ``torchrun`` has started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The team that ``torchrun`` has started this process in, or a team of one."""
    if not called():
        yield Team()
        return
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"WORLD_SIZE is set, but the processes do not find each other: {reason}") from error
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
