"""Does the supervisor save runs that die without it? python tests/experiments/supervisor.py --output runs.jsonl

The `jem` recipe of digits with 10 SGLD steps, 600 iterations and no warm-up, at learning rates of 3e-2 and 1e-1, thirty
and a hundred times the shipped one: unclamped chains explode, clamped ones leave a dead network (finite loss, gap 0,
accuracy .1) at the higher rate. The moving average of the weights (decay .99) is what is measured, since at such rates
the weights themselves are noisy; it has no part in the training. Each runs ``--seeds`` times with the supervisor as
shipped and without (all its limits lifted, stopped where the loss is not finite). A line of JSON per run; what is in
the file already is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from jembench import data
from jembench.models.recipes import Recipe, read_recipe
from jembench.store.history import Epoch, Rollback, read_history
from jembench.training import loop
from jembench.training.run import Progress
from jembench.types import UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.weights import load_weights

LIFTED = {"max_gap": 1e300, "max_gradient": 1e300, "min_spread": 0, "min_variance": 0, "max_saturation": 1.0}
#: name -> (whether chains are clamped, learning rate)
SETTINGS = {"unclamped, 3e-2": (False, 3e-2), "clamped, 3e-2": (True, 3e-2), "clamped, 1e-1": (True, 1e-1)}


def recipe(setting: str, seed: int, *, supervised: bool) -> Recipe:
    found = read_recipe(baselines.recipe_path("jem", track="digits")).model_dump()
    clamp, rate = SETTINGS[setting]
    found["sampling"] |= {"clamp": clamp, "steps": 10}
    found["optimiser"] |= {"learning_rate": rate, "warmup": 0, "ema": 0.99}
    found["training"] |= {"iterations": 600, "seed": seed}
    found["supervisor"] |= {} if supervised else LIFTED
    return Recipe.model_validate(found)


class Stop(Exception):
    """A run without supervisor has diverged."""


class Unsupervised:
    """Stops a run where a supervisor would step in: where even with lifted limits something is not finite."""

    def iterated(self, progress: Progress) -> None: ...

    def validated(self, epoch: Epoch, samples: torch.Tensor | None) -> None: ...

    def rolled_back(self, event: Rollback) -> None:
        raise Stop(f"iteration {event.iteration}: {event.reason}")


def measure(setting: str, seed: int, *, supervised: bool) -> dict[str, Any]:
    made = recipe(setting, seed, supervised=supervised)
    line: dict[str, Any] = {"setting": setting, "seed": seed, "supervised": supervised}
    with tempfile.TemporaryDirectory() as folder:
        try:
            weights = loop.train(made, Path(folder) / "run", observers=[] if supervised else [Unsupervised()])
        except (Stop, UserError) as error:
            return {**line, "accuracy": None, "error": str(error)}
        model = catalogue.build(made, data.track("digits"))
        load_weights(model, weights)
        test = data.load("digits", "test")
        with torch.no_grad():
            predicted = model.eval().logits(torch.from_numpy(test.pixels())).argmax(1)
        history = read_history(weights.parent)
    events = [[event.iteration, event.reason, event.back_to, event.change] for event in history.rollbacks]
    accuracy = int((predicted == torch.from_numpy(test.labels)).sum()) / len(test)
    return {**line, "accuracy": accuracy, "rollbacks": len(events), "events": events}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--setting", choices=[*SETTINGS, "all"], default="all")
    chosen = parser.parse_args()
    lines = [json.loads(line) for line in chosen.output.read_text().splitlines()] if chosen.output.exists() else []
    done = {(line["setting"], line["seed"], line["supervised"]) for line in lines}
    for supervised in (True, False):
        for setting in SETTINGS if chosen.setting == "all" else [chosen.setting]:
            for seed in range(chosen.seeds):
                if (setting, seed, supervised) not in done:
                    with chosen.output.open("a") as file:
                        file.write(json.dumps(measure(setting, seed, supervised=supervised)) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
