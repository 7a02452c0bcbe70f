"""Attacks against their peers and against bare passes: python tests/speed/attacks.py

Peers: the same model, images, steps, restarts and step size, one thread, in one run, rounds in turn, medians.
torchattacks' PGD and foolbox's LinfPGD take 40 steps; restarts are 5 runs of theirs, an example counts as broken if
any broke it. Bars: worst-case accuracy not above theirs by more than 1 example in 360; time at most 0.35 of
torchattacks' where about half of the examples break, at most 1.0 where almost none does.

Overhead: our PGD against the bare gradient passes of the same batches, replayed from what the attack asked for. Bar: 5
%.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from jembench import compat, data, seeding, zoo
from jembench.attacks.contract import Crafted, Task
from jembench.attacks.ladder import Rung
from jembench.attacks.threat import Threat
from jembench.attacks.verify import verify
from jembench.attacks.victim import Victim

ROUNDS = 5
STEPS, RESTARTS = 40, 5


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ours(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> Tensor:
    attack = Rung(steps=STEPS, restarts=RESTARTS, losses=("ce",), size=size / eps, decay=False)
    found: Crafted = attack.perturb(Victim(model, generator=seeding.generator("victim")), task(x, y, eps))
    return found.images


def task(x: Tensor, y: Tensor, eps: float) -> Task:
    return Task(x, y, None, Threat("linf", eps), (), seeding.generator("attack"), ("attack",))


def torchattacks_pgd(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> list[Tensor]:
    attack = compat.torchattacks().PGD(model, eps=eps, alpha=size, steps=STEPS, random_start=True)
    with seeding.forked("theirs"):
        return [attack(x, y) for _ in range(RESTARTS)]


def foolbox_pgd(model: object, x: Tensor, y: Tensor, eps: float, size: float) -> list[Tensor]:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=size, steps=STEPS, random_start=True)
    with seeding.forked("theirs"):
        return [attack.run(wrapped, x, foolbox.criteria.Misclassification(y), epsilon=eps) for _ in range(RESTARTS)]


def accuracy(model: object, x: Tensor, y: Tensor, images: list[Tensor], eps: float) -> float:
    left = torch.ones(len(x), dtype=torch.bool)
    for item in images:
        verdict = verify(
            model, x, y, item, threat=Threat("linf", eps), target=None, draws=1, generator=seeding.generator("verify")
        )
        left &= verdict.vote
    return float(left.float().mean())


def peers() -> None:
    images = data.load("digits", "test")
    x, y = torch.from_numpy(images.pixels()), torch.from_numpy(images.labels)
    for name, eps in (("jem", 0.1), ("softmax-adv", 0.05), ("softmax", 0.05)):
        model, size = zoo.load(zoo.resolve(name, track="digits")), eps / 5
        times: dict[str, list[float]] = {"jembench": [], "torchattacks": [], "foolbox": []}
        found: dict[str, list[Tensor]] = {}
        for _ in range(ROUNDS):
            times["jembench"].append(seconds(lambda: found.update(jembench=[ours(model, x, y, eps, size)])))  # noqa: B023
            times["torchattacks"].append(
                seconds(lambda: found.update(torchattacks=torchattacks_pgd(model, x, y, eps, size)))  # noqa: B023
            )
            times["foolbox"].append(seconds(lambda: found.update(foolbox=foolbox_pgd(model, x, y, eps, size))))  # noqa: B023
        left = {who: accuracy(model, x, y, made, eps) for who, made in found.items()}
        ratios = {
            who: median(a / b for a, b in zip(times["jembench"], times[who], strict=True))
            for who in ("torchattacks", "foolbox")
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
    images = data.load("digits", "test")
    for name, norm, eps in (("softmax-adv", "linf", 0.1), ("jem", "l2", 0.5), ("softmax", "linf", 0.1)):
        model = zoo.load(zoo.resolve(name, track="digits"))
        x, y = torch.from_numpy(images.pixels(0, 180)), torch.from_numpy(images.labels[:180])
        attack = Rung(steps=STEPS, restarts=RESTARTS)

        def run(victim: Victim, rung: Rung = attack, kind: str = norm, radius: float = eps) -> None:
            rung.perturb(victim, Task(x, y, None, Threat(kind, radius), (), seeding.generator("a"), ("a",)))  # noqa: B023

        recorded = Recorded(model, generator=seeding.generator("v"))
        recorded.batches = []
        run(recorded)

        def bare(batches: list[tuple[int, bool]] = recorded.batches, net: object = model) -> None:
            for rows, gradient in batches:
                z = x[:rows].clone()  # noqa: B023
                if gradient:
                    z.requires_grad_()
                    loss = torch.nn.functional.cross_entropy(net.logits(z), y[:rows], reduction="sum")  # noqa: B023
                    torch.autograd.grad(loss, z)
                else:
                    with torch.no_grad():
                        net.logits(z)

        ratios = []
        for _ in range(ROUNDS):
            reference = seconds(bare)
            ratios.append(seconds(lambda net=model: run(Victim(net, generator=seeding.generator("v")))) / reference)
        print(f"{name}, {norm} {eps}: PGD {median(ratios):.3f} of its bare passes ({len(recorded.batches)} batches)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    overhead()
    peers()
