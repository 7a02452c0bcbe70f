"""Attacks against their peers and against bare passes: python tests/speed/attacks.py

Peers: the same model, images, steps, restarts and step size, one thread, in one run, rounds in turn, medians of
processor time. torchattacks' PGD and foolbox's LinfPGD take 40 steps; restarts are 5 runs of theirs, an example counts
as broken if any broke it. Bars: worst-case accuracy not above theirs by more than 1 example in 360; time at most 0.35
of torchattacks' where about half of the examples break, at most 1.0 where almost none does. An example that survives
costs as much here as there, so the share of time cannot be far below the share of survivors.

Overhead: our PGD over the eps of the suite against the bare gradient passes of the same batches, replayed from what
the attack asked for. Bar: 5 % over all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from jembench import data
from jembench.attacks.contract import Crafted, Task
from jembench.attacks.ladder import Rung
from jembench.attacks.threat import Threat
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim
from jembench.ground import compat, generators
from jembench.zoo import catalogue
from jembench.zoo.references import parse

ROUNDS = 3
STEPS, RESTARTS = 40, 5


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ours(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> list[Tensor]:
    attack = Rung(steps=STEPS, restarts=RESTARTS, losses=("ce",), size=size / eps, decay=False)
    found: Crafted = attack.perturb(Victim(model, generator=generators.generator("victim")), task(x, y, eps))
    return [found.images]


def task(x: Tensor, y: Tensor, eps: float) -> Task:
    return Task(x, y, None, Threat("linf", eps), (), generators.generator("attack"), ("attack",))


def torchattacks_pgd(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> list[Tensor]:
    attack = compat.torchattacks().PGD(model, eps=eps, alpha=size, steps=STEPS, random_start=True)
    with generators.forked("theirs"):
        return [attack(x, y) for _ in range(RESTARTS)]


def foolbox_pgd(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> list[Tensor]:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=size, steps=STEPS, random_start=True)
    with generators.forked("theirs"):
        return [attack.run(wrapped, x, foolbox.criteria.Misclassification(y), epsilon=eps) for _ in range(RESTARTS)]


def accuracy(model: object, x: Tensor, y: Tensor, images: list[Tensor], eps: float) -> float:
    left = torch.ones(len(x), dtype=torch.bool)
    for item in images:
        verdict = verify(
            model,
            x,
            y,
            item,
            threat=Threat("linf", eps),
            target=None,
            draws=1,
            generator=generators.generator("verify"),
        )
        left &= verdict.vote
    return float(left.float().mean())


def peers() -> None:
    images = data.load("digits", "test")
    x, y = torch.from_numpy(images.pixels()), torch.from_numpy(images.labels)
    for name, eps in (("jem", 0.12), ("softmax-adv", 0.05), ("softmax", 0.05)):
        model, size = catalogue.load(catalogue.resolve(parse(name), track="digits")), eps / 5
        runs: dict[str, Callable[[], list[Tensor]]] = {
            "jembench": partial(ours, model, x, y, eps, size),
            "torchattacks": partial(torchattacks_pgd, model, x, y, eps, size),
            "foolbox": partial(foolbox_pgd, model, x, y, eps, size),
        }
        times: dict[str, list[float]] = {who: [] for who in runs}
        found: dict[str, list[Tensor]] = {}
        for _ in range(ROUNDS):
            for who, work in runs.items():
                times[who].append(seconds(lambda: found.update({who: work()})))  # noqa: B023
        left = {who: accuracy(model, x, y, made, eps) for who, made in found.items()}
        ratios = {
            who: median(a / b for a, b in zip(times["jembench"], times[who], strict=True))
            for who in runs
            if who != "jembench"
        }
        words = ", ".join(f"{who} {value:.4f} in {median(times[who]):.2f} s" for who, value in left.items())
        print(f"{name}, L-infinity {eps}, PGD-{STEPS} x {RESTARTS}: accuracy left {words}")
        print("  time as a share of: " + ", ".join(f"{who} {ratio:.2f}" for who, ratio in ratios.items()))


class Recorded(Victim):
    """A victim that notes the size of every batch, and whether a gradient was taken."""

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append((len(x), torch.is_grad_enabled() and x.requires_grad))
        return super().forward(x)


def overhead() -> None:
    """Every eps of the digits grids, each started from what the one before found, as the suite runs them."""
    images = data.load("digits", "test")
    x, y = torch.from_numpy(images.pixels(0, 180)), torch.from_numpy(images.labels[:180])
    total = [0.0, 0.0]
    for name in ("softmax-adv", "softmax"):
        model = catalogue.load(catalogue.resolve(parse(name), track="digits"))
        for grid in data.track("digits").threats:

            def crafted(victim: Victim, kind: str = grid.norm, radii: tuple[float, ...] = grid.eps) -> None:
                starts: tuple[Tensor, ...] = ()
                for eps in radii:
                    generator = generators.generator("a", str(eps))
                    made = Rung().perturb(victim, Task(x, y, None, Threat(kind, eps), starts, generator, ("a",)))
                    starts = (made.images,)

            recorded = Recorded(model, generator=generators.generator("v"))
            recorded.batches = []
            crafted(recorded)

            def bare(batches: list[tuple[int, bool]] = recorded.batches, net: object = model) -> None:
                for rows, gradient in batches:
                    z = x[:rows].clone()
                    if gradient:
                        z.requires_grad_()
                        loss = torch.nn.functional.cross_entropy(net.logits(z), y[:rows], reduction="sum")
                        torch.autograd.grad(loss, z)
                    else:
                        with torch.no_grad():
                            net.logits(z)

            times = [
                (seconds(lambda net=model: crafted(Victim(net, generator=generators.generator("v")))), seconds(bare))
                for _ in range(ROUNDS)
            ]
            mine, least = (median(column) for column in zip(*times, strict=True))
            total = [total[0] + mine, total[1] + least]
            rows = sum(size for size, _ in recorded.batches) / len(recorded.batches)
            print(f"{name}, {grid.norm}: PGD {mine / least:.3f} of its bare passes ({rows:.0f} images in a batch)")
    print(f"all: {total[0] / total[1]:.3f} of the bare passes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    overhead()
    peers()
