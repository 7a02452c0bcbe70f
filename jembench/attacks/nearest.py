"""The search of a decision attack: what foolbox may ask, and the nearest adversarials that were seen."""

from __future__ import annotations

import hashlib
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jembench.attacks.contract import Crafted, Task
from jembench.attacks.pgd import project
from jembench.attacks.thirdparty import borrowed, inside
from jembench.attacks.threat import distance
from jembench.types import Norm, UserError

if TYPE_CHECKING:
    from types import ModuleType

    from jembench.attacks.contract import Attack
    from jembench.attacks.victim import Victim

RESTARTS = {"pointwise": 10}  # it ends soon, and the order of its pixels is a draw
DRAWS = 20  # noise images that are tried as a starting point


def nearest(attack: Attack, victim: Victim, task: Task, *, queries: int) -> Crafted:
    """The nearest adversarials that were seen in so many queries, where they are within eps; else the clean images."""
    foolbox = _foolbox(attack.name)
    with borrowed(attack, task):
        judge = _Judge(victim, task, queries)
        starts, has_start, broken = _starts(judge, task)
        rows = has_start.nonzero().squeeze(1)
        if len(rows):
            judge.follow(rows, starts[rows])
            _run(foolbox, attack.name, judge, starts[rows], queries)
        candidates = judge.nearest()
        if victim.stochastic:
            candidates = _to_radius(judge, candidates)
        claims = broken | (has_start & inside(task.x, candidates, task))
        images = torch.where(claims.reshape(-1, 1, 1, 1), candidates, task.x)
        return Crafted(images, claims)


def _run(foolbox: ModuleType, name: str, judge: _Judge, starts: Tensor, queries: int) -> None:
    """Let foolbox search; what it finds is what the judge has seen."""
    x, goals = judge.task.x[judge.rows], judge.goals[judge.rows]
    model = foolbox.PyTorchModel(judge, bounds=(0, 1), device=x.device)
    rules = foolbox.criteria
    rule = rules.Misclassification if judge.task.target is None else rules.TargetedMisclassification
    attack = _attack(foolbox, name, judge.task.threat.norm, queries)
    try:
        for _ in range(RESTARTS.get(name, 1)):
            attack.run(model, x, rule(goals), starting_points=starts)
    except _SearchEnd:
        return


class _SearchEnd(Exception):  # noqa: N818
    """The search can end."""


class _Judge(nn.Module):
    """What foolbox asks: the victim's decisions, one for every image, with the nearest adversarials kept."""

    def __init__(self, victim: Victim, task: Task, queries: int) -> None:
        super().__init__()
        self.task = task
        self.goals = task.y if task.target is None else task.target
        self.rows = torch.arange(0)
        self._victim = victim
        self._budget = queries
        self._decisions: dict[bytes, int] = {}
        self._classes = 0
        self._nearest, self._length = task.x.clone(), torch.zeros(len(task.x), dtype=torch.float64)
        self.eval()

    def follow(self, rows: Tensor, starts: Tensor) -> None:
        """From now on queries are about these rows of the task."""
        self.rows = rows
        self._nearest[rows] = starts
        self._length = distance((self._nearest - self.task.x).double(), self.task.threat.norm)

    def nearest(self) -> Tensor:
        """The nearest adversarials so far; the clean image where there is none."""
        return self._nearest.clone()

    def fools(self, classes: Tensor, rows: Tensor) -> Tensor:
        """Whether predictions reach the goal of the rows."""
        goals = self.goals[rows]
        return classes != goals if self.task.target is None else classes == goals

    def decide(self, images: Tensor, *, anew: bool = False) -> Tensor:
        """The class of each image; of one that was seen before, as before."""
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in images.detach().cpu().numpy()]
        new = {key: i for i, key in enumerate(keys) if anew or key not in self._decisions}
        if new:
            with torch.no_grad():
                logits = self._victim(images[list(new.values())])
            self._classes = logits.shape[1]
            self._decisions.update(zip(new, logits.argmax(1).tolist(), strict=True))
        return torch.tensor([self._decisions[key] for key in keys], dtype=torch.int64, device=images.device)

    def forward(self, images: Tensor) -> Tensor:
        """Decisions as logits of 0 and 1, with what they teach; ends the search where no more is to be learned."""
        if self._budget == 0:
            raise _SearchEnd
        self._budget -= 1
        rows, eps = self.rows, self.task.threat.eps
        classes = self.goals[rows] if self.task.target is not None else (self.goals[rows] + 1) % self._classes
        far = (self._length[rows] > eps).nonzero().squeeze(1)  # the others are told that all is well
        classes[far] = self.decide(images[far])
        length = distance((images - self.task.x[rows]).double(), self.task.threat.norm)
        closer = far[(self.fools(classes, rows) & (length < self._length[rows]))[far]]
        self._nearest[rows[closer]], self._length[rows[closer]] = images[closer], length[closer]
        if bool((self._length[rows] <= eps).all()):
            raise _SearchEnd
        return nn.functional.one_hot(classes, self._classes).float()


def _foolbox(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("foolbox")
    except ImportError as error:
        raise UserError(f"attack {name!r} needs foolbox: pip install 'jembench[foolbox]'") from error


def _attack(foolbox: ModuleType, name: str, norm: Norm, queries: int) -> Any:
    """An attack of foolbox with more steps than it has queries."""
    if name == "boundary":
        # Longer first steps, looked at more often: with foolbox's own, twice the queries find less.
        return foolbox.attacks.BoundaryAttack(
            steps=queries, spherical_step=0.3, source_step=0.1, update_stats_every_k=2
        )
    if name == "pointwise":
        return foolbox.attacks.PointwiseAttack()

    class HopSkipJump(foolbox.attacks.HopSkipJumpAttack):  # type: ignore[misc,name-defined]
        """With a normal of unit length for every image: foolbox divides by the length over the whole batch."""

        def approximate_gradients(self, *arguments: Any) -> Any:
            normal = super().approximate_gradients(*arguments)
            length = normal.raw.flatten(1).norm(dim=1).reshape(-1, *[1] * (normal.ndim - 1))
            return normal / foolbox.models.base.ep.astensor(length.clamp_min(1e-30))

    return HopSkipJump(steps=queries, constraint=norm)


def _starts(judge: _Judge, task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Starting points ``(B, C, H, W)``, where there are such, and where none is needed."""
    x = task.x
    all_rows = torch.arange(len(x), device=x.device)
    clean = judge.decide(x)
    broken = judge.fools(clean, all_rows)
    starts, has_start = x.clone(), torch.zeros_like(broken)

    def offer(images: Tensor, rows: Tensor) -> None:
        if len(rows):
            good = judge.fools(judge.decide(images), rows)
            starts[rows[good]], has_start[rows[good]] = images[good], True

    for start in task.starts:
        rows = (~(broken | has_start)).nonzero().squeeze(1)
        offer(start.to(x).clamp(0, 1)[rows], rows)
    for row in (~(broken | has_start)).nonzero().squeeze(1):
        candidates = judge.fools(clean, row.expand(len(x))).nonzero().squeeze(1)
        if len(candidates):
            length = distance(x[candidates] - x[row], task.threat.norm)
            starts[row], has_start[row] = x[candidates[length.argmin()]], True
    for _ in range(DRAWS):
        rows = (~(broken | has_start)).nonzero().squeeze(1)
        offer(torch.rand(x.shape).to(x)[rows], rows)
    return starts, has_start, broken


def _to_radius(judge: _Judge, images: Tensor) -> Tensor:
    """Adversarials moved along their direction to the radius eps, where one more query sees what is wanted there."""
    x, threat = judge.task.x, judge.task.threat
    length = distance((images - x).double(), threat.norm)
    share = (threat.eps / length.clamp_min(1e-12)).to(x).reshape(-1, 1, 1, 1)
    outer = project(x + share * (images - x), x, threat.norm, threat.eps)
    rows = torch.arange(len(x), device=x.device)
    better = judge.fools(judge.decide(outer, anew=True), rows)
    return torch.where(better.reshape(-1, 1, 1, 1), outer, images)
