"""Two processes that share a batch do what one does; they resume, roll back and refuse together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jembench.models.recipes import Recipe
from jembench.store.history import read_history
from jembench.training.loop import train
from jembench.training.run import Progress
from jembench.zoo import baselines

ITERATIONS = 24

DRIVER = '''
"""One process of two: the scenarios one after the other, each in a team of its own."""
import json, math, os, sys
from pathlib import Path

recipe_json, folder, *ports = sys.argv[1:]
from jembench.training import run as runs
from jembench.training import loop as training
from jembench.models.recipes import Recipe
from jembench.types import UserError

recipe, folder, rank = Recipe.model_validate_json(recipe_json), Path(folder), os.environ["RANK"]


class Killed(BaseException):
    pass


class Tell:
    losses = []
    def iterated(self, progress): self.losses.append(progress.signals.loss)
    def validated(self, epoch, samples): pass
    def rolled_back(self, event): pass


def run(name, made=recipe, resume=False):
    os.environ["MASTER_PORT"] = ports.pop(0)  # a team of its own has a store of its own
    tell = Tell()
    tell.losses = []
    try:
        training.train(made, folder / name, resume=resume, observers=[tell])
        said = "done"
    except Killed:
        said = "killed"
    except UserError as error:
        said = str(error)
    (folder / f"{name}-{len(ports)}-{rank}.json").write_text(json.dumps([name, said, tell.losses]))


iterate = runs.Run.iterate
kill_at, faulty = [], []


def watched(run):
    """Dies in every process, and has a NaN in the half of one process only."""
    if kill_at and (run.iteration, len(run.events)) == kill_at[0]:
        kill_at.pop()
        raise Killed
    if faulty and run.iteration == 15 and not run.events and rank == "1":
        draws = run._draws
        def spoilt(*arguments):
            del run._draws
            found, seen = draws(*arguments)
            found.x.mul_(math.nan)
            return found, seen
        run._draws = spoilt
    return iterate(run)


runs.Run.iterate = watched
run("whole")
kill_at.append((9, 0))
run("killed")
run("killed", resume=True)
faulty.append(True)
run("trouble")
kill_at.append((4, 1))
run("trouble-killed")
run("trouble-killed", resume=True)
run("uneven", recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch": 9})}))
'''

RECIPE = {
    "track": "digits",
    "about": "a test",
    "model": {"kind": "jem", "width": 4},
    "data": {"shift": 1},
    "objective": {"log_px": 1.0, "energy_l2": 0.01},
    "optimiser": {"ema": 0.9},
    "sampling": {"steps": 3, "buffer": 64, "restart": 0.2, "start": "gaussian"},
    "training": {"iterations": ITERATIONS, "batch": 8},
    "supervisor": {"snapshot_every": 5},
    "selection": {"every": 8, "criterion": "last"},
}


def free_ports(count: int) -> list[str]:
    """Ports of this machine that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [str(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Losses:
    """An observer of the losses."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def iterated(self, progress: Progress) -> None:
        self.found.append(progress.signals.loss)

    def validated(self, *_: Any) -> None:
        pass

    def rolled_back(self, *_: Any) -> None:
        pass


Said = dict[tuple[str, int], list[tuple[str, list[float]]]]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """All scenarios by two processes: the folder, and what each said by (scenario, rank), in order."""
    folder = tmp_path_factory.mktemp("team")
    recipe = Recipe.model_validate(RECIPE)
    words = [sys.executable, "-W", "error::UserWarning", "-c", DRIVER, recipe.model_dump_json(), str(folder)]
    ports = free_ports(7)
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    members = [
        subprocess.Popen([*words, *ports], env={**shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [member.communicate(timeout=200)[1] for member in members]
    finally:
        for member in members:
            member.kill()
    assert [member.returncode for member in members] == [0, 0], "\n".join(errors)
    said: Said = {}
    for path in sorted(folder.glob("*.json"), reverse=True):  # the number of ports left falls
        name, word, losses = json.loads(path.read_text())
        said.setdefault((name, int(path.stem[-1])), []).append((word, losses))
    return folder, said


def test_two_processes_do_what_one_does(team: tuple[Path, Said], tmp_path: Path) -> None:
    """The same losses, weights and chains, but for the order of sums."""
    folder, said = team
    losses = Losses()
    path = train(Recipe.model_validate(RECIPE), tmp_path, observers=[losses])
    ((word, found),) = said["whole", 0]
    assert (word, len(found)) == ("done", ITERATIONS)
    assert found[:20] == pytest.approx(losses.found[:20], abs=1e-4)
    one, two = load_file(path), load_file(folder / "whole" / baselines.WEIGHTS)
    assert one.keys() == two.keys()
    for name in one:
        if one[name].is_floating_point():
            assert torch.allclose(one[name], two[name], atol=1e-3), name
        else:
            assert torch.equal(one[name], two[name]), name
    single, double = read_history(tmp_path), read_history(folder / "whole")
    assert (single.cost.processes, double.cost.processes) == (1, 2)
    assert single.cost.gradients == double.cost.gradients
    for a, b in zip(single.epochs, double.epochs, strict=True):
        assert a.iteration == b.iteration
        assert a.values.keys() == b.values.keys()
        assert a.values["nll"] == pytest.approx(b.values["nll"], abs=1e-3)


def test_only_the_leading_process_has_observers_and_writes(team: tuple[Path, Said]) -> None:
    folder, said = team
    assert said["whole", 1] == [("done", [])]
    assert sorted(path.name for path in (folder / "whole").iterdir()) == ["training.json", baselines.WEIGHTS]


@pytest.mark.parametrize(("name", "whole", "first"), [("killed", "whole", 6), ("trouble-killed", "trouble", 1)])
def test_a_killed_team_ends_in_the_same_weights(team: tuple[Path, Said], name: str, whole: str, first: int) -> None:
    """To the last bit, also after a rollback."""
    folder, said = team
    assert [word for word, _ in said[name, 0]] == [word for word, _ in said[name, 1]] == ["killed", "done"]
    (_, losses), (_, expected) = said[name, 0][1], said[whole, 0][0]
    assert losses == expected[-len(losses) :]
    assert len(losses) == ITERATIONS - first + 1
    one, other = (folder / item / baselines.WEIGHTS for item in (whole, name))
    assert one.read_bytes() == other.read_bytes()


def test_a_divergence_in_one_process_rolls_all_back(team: tuple[Path, Said]) -> None:
    folder, said = team
    assert said["trouble", 0][0][0] == said["trouble", 1][0][0] == "done"
    (event,) = read_history(folder / "trouble").rollbacks
    assert (event.iteration, event.reason, event.back_to) == (16, "the loss is nan", 0)
    assert len(said["trouble", 0][0][1]) == 15 + ITERATIONS
    weights = load_file(folder / "trouble" / baselines.WEIGHTS)
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_an_uneven_batch_is_refused_by_all(team: tuple[Path, Said]) -> None:
    folder, said = team
    words = "training.batch = 9 cannot be shared out to 2 processes evenly"
    assert said["uneven", 0] == said["uneven", 1] == [(words, [])]
    assert not (folder / "uneven").exists()
