"""MLflow: a run in a database of its own, ``DIR/mlflow.db``, with its artifacts in ``DIR/artifacts``; no server."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from jembench.exports.content import TABLES, Content, Delivery, environment, package
from jembench.ground.guard import guarded
from jembench.types import UserError

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
BATCH = 500  # metrics of one call; MLflow takes 1,000
TAG = "jembench.key"
FORBIDDEN = re.compile(r"[^\w\-. /]")  # in a metric's name
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def push(contents: Sequence[Content], place: str, options: Delivery) -> list[str]:
    """Write a run for each result, in the experiment of its track; one that is there already is not written again.

    Args:
        contents: the results.
        place: the folder; it need not exist.
        options: none of them.

    Returns:
        A line for each run, and how to look at them.

    Raises:
        UserError: if mlflow is not installed, or the folder cannot be written.
    """
    folder = Path(place)
    with environment(**QUIET):
        mlflow = package("mlflow", "mlflow")
        with guarded(f"{folder}: MLflow cannot write there"), _quiet():
            folder.mkdir(parents=True, exist_ok=True)
            address = f"sqlite:///{(folder / DATABASE).resolve()}"
            client = mlflow.MlflowClient(tracking_uri=address)
            lines = [_run(mlflow, client, each, folder) for each in contents]
    return [*lines, f"mlflow server --backend-store-uri sqlite:///{folder / DATABASE}"]


def _run(mlflow: Any, client: Any, content: Content, folder: Path) -> str:
    """Write a run, and say which one it is."""
    entities, document = mlflow.entities, content.document
    experiment = client.get_experiment_by_name(f"jembench/{document.track}")
    if experiment is None:
        artifacts = (folder / ARTIFACTS).resolve().as_uri()
        number = client.create_experiment(f"jembench/{document.track}", artifact_location=artifacts)
    else:
        number = experiment.experiment_id
    there = client.search_runs([number], filter_string=f"tags.`{TAG}` = '{document.key}'")
    if there:
        return f"{folder / DATABASE}: {content.name} is there already, run {there[0].info.run_id}"
    names = {name: FORBIDDEN.sub("_", name) for name in content.numbers}
    if len(set(names.values())) < len(names):
        raise UserError(f"{content.folder}: two metrics have one name in letters that MLflow takes")
    when = int(datetime.fromisoformat(document.provenance.created).timestamp() * 1000)
    run = client.create_run(number, start_time=when, run_name=content.name).info.run_id
    metrics = [entities.Metric(names[name], number, when, 0) for name, number in content.numbers.items()]
    parameters = [entities.Param(name, str(value)) for name, value in content.settings.items()]
    client.log_batch(run, params=parameters)
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[start : start + BATCH])
    client.log_text(run, content.tables, TABLES)
    for path in content.files:
        client.log_artifact(run, str(path))
    client.log_batch(run, tags=[entities.RunTag(TAG, document.key)])  # last, so that a run with it is complete
    client.set_terminated(run)
    return f"{folder / DATABASE}: {content.name}, run {run}, {len(metrics):,} numbers"


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, MLflow is silent, and leaves our logging and the working folder as they are."""
    root, litter = logging.getLogger(), Path("mlruns")  # which versions before 3 leave in the working folder
    before = litter.exists()
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
        if not before:
            with suppress(OSError):  # not there, or not empty
                litter.rmdir()
