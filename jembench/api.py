"""The Python interface: load a baseline, wrap a module, evaluate a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.attacks.defences import Defence
from jembench.choices.batteries import Options
from jembench.choices.protocols import V1
from jembench.choices.sampling import Sampling
from jembench.data import user
from jembench.engine import bench
from jembench.engine.bench import Outcome
from jembench.engine.plan import Plan, plan
from jembench.metrics.metric import Metric
from jembench.pages.tables import report
from jembench.store.records import Store
from jembench.store.results import EXAMPLES
from jembench.types import UserError, unknown
from jembench.zoo import catalogue

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from jembench.models.softmax import Softmax

__all__ = ["Defence", "Options", "Result", "Sampling", "evaluate", "load", "wrap"]

OUTPUT = Path("jembench-runs")


@dataclass(frozen=True)
class Result:
    """A measured result.

    Attributes:
        outcome: the result document, the folder it is kept in, and what was computed for it.
        plan: what it was made by.
    """

    outcome: Outcome
    plan: Plan

    @property
    def metrics(self) -> dict[str, Metric]:
        """All numbers by id ``source/variant/name``, such as ``textures/mass/auroc``."""
        return {metric.id: metric for metric in self.outcome.document.metrics}

    @property
    def folder(self) -> Path:
        """Where ``result.json`` and ``examples.parquet`` are."""
        return self.outcome.folder

    def to_markdown(self) -> str:
        """The tables of the result, one per evaluator, as GitHub markdown."""
        return report.markdown([self.outcome.document])

    def records(self, evaluator: str) -> pd.DataFrame:
        """One row per example: source, index and the scalars that the evaluator's metrics use.

        Raises:
            UserError: if the result's suite has no such evaluator.
        """
        import pandas as pd

        made = next((item for item in self.plan.evaluators if item.name == evaluator), None)
        if made is None:
            raise unknown("evaluator of this result", evaluator, [item.name for item in self.plan.evaluators])
        sources = {need.source for need in made.needs(self.plan.track)}
        frame = pd.read_parquet(self.folder / EXAMPLES)
        columns = [name for name in ("source", "index", *made.columns) if name in frame]
        return frame.loc[frame["source"].isin(sources), columns].reset_index(drop=True)


def load(name: str, *, track: str = "digits") -> Any:
    """A trained baseline of a track, in evaluation mode on the CPU.

    Args:
        name: of the baseline, such as ``jem``.
        track: name of the track.

    Raises:
        UserError: for an unknown name.
    """
    data.track(track)
    return catalogue.load(catalogue.resolve(name, track=track))


def wrap(module: nn.Module, *, mean: float | tuple[float, ...] = 0.0, std: float | tuple[float, ...] = 1.0) -> Softmax:
    """Make a module that returns logits ``(B, K)`` a model of the contract.

    Args:
        module: called with ``(x - mean) / std`` for images x in [0, 1]; every classifier is also a density,
            log p(x) = logsumexp f(x).
        mean: a number, or one per channel.
        std: likewise, positive.
    """
    from jembench.models.softmax import Softmax

    return Softmax(module, mean=mean, std=std)


def evaluate(
    model: Any,
    suite: str = "all",
    *,
    track: str = "digits",
    data_dir: str | Path | None = None,
    name: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    device: str = "cpu",
    output: str | Path = OUTPUT,
    workers: int = 1,
    defence: Defence | None = None,
    options: Options | None = None,
    ood: Mapping[str, str] | None = None,
    sampling: Sampling | None = None,
    detectors: Sequence[str] = (),
    protocol: str = V1.name,
) -> Result:
    """Measure a model; what was measured before is not measured again.

    Args:
        model: a baseline's name, ``"file.py:build"``, or a model object (a bare module is taken to map [0, 1] images to
            logits).
        suite: name of the suite.
        track: name of the track.
        data_dir: folder of ``.npz`` files with the images of a track that does not carry its own.
        name: what tables call a model object; its class by default.
        seed: of all randomness.
        limit: use the first ``limit`` examples of every source.
        device: a torch device.
        output: the store.
        workers: processes that compute chunks; a model object needs 1.
        defence: what stands before the model, such as ``jembench.Defence(steps=10)``.
        options: of the attacks of suites ``robustness`` and ``distance``.
        sampling: of the images that suites ``generation`` and ``hybrid`` look at.
        detectors: post-hoc detectors of suite ``ood``, by name (:mod:`jembench.measurements.detector`).
        protocol: name of the choices behind the numbers (:mod:`jembench.choices.protocols`).
        ood: further OOD sets, name -> folder of pictures, ``.npz`` file or another origin (:mod:`jembench.data.user`).

    Raises:
        UserError: for bad input of any kind.
    """
    published = data.track(track, folder=None if data_dir is None else Path(data_dir))
    description = user.extended(published, ood or {})
    store = Store.open(Path(output))
    if isinstance(model, str):
        if name is not None:
            raise UserError("name is for model objects: a named model has its own")
        spec = catalogue.resolve(model, track=track, folder=published.folder)
    else:
        spec = catalogue.in_memory(model, track=track, name=name or type(model).__name__)
    if defence is not None:
        spec = catalogue.defended(spec, defence)
    made = plan(
        spec,
        suite,
        track=description,
        options=options,
        sampling=sampling,
        detectors=detectors,
        protocol=protocol,
        seed=seed,
        limit=limit,
        device=device,
    )
    (outcome,) = bench.run([made], store, workers=workers)
    return Result(outcome, made)
