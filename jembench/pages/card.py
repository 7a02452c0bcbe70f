"""Cards: the README.md of a trained model, from the files beside it alone.

``recipe.toml`` says what was chosen, ``training.json`` how the run went, ``golden/result.json`` what came out, and
``NOTES.md`` what only a person knows. Of these only the recipe must be there; a section without its file is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jembench.metrics.scores import PAPER
from jembench.models.recipes import Recipe, read_recipe
from jembench.pages import remarks
from jembench.pages.seeds import Seeds, combined, read_seeds
from jembench.pages.tables import report
from jembench.pages.tables.samples import FLOOR, SOURCES, behaviour, extractor
from jembench.pages.tables.table import subset
from jembench.store.history import HISTORY, History, read_history
from jembench.store.results import ResultDocument, read_result
from jembench.types import UserError
from jembench.zoo import baselines
from jembench.zoo.references import RECIPE

CARD = "README.md"
NOTES = "NOTES.md"
AUTHOR = "Written by `jembench maintain cards`"
PICTURES = {"curve.png": "the training run", "samples.png": "persistent chains at the last validation"}

#: Metrics of the golden result that a card shows.
METRICS = {
    "test/accuracy": "accuracy",
    "test/raw/ece15": "ECE, 15 bins",
    **{f"mean/{score.name}/auroc": f"mean AUROC of {score.title}" for score in PAPER},
    "test/bits_per_dim": "bits/dim",
}

#: Validation values that a card shows.
VALUES = {
    "accuracy": "accuracy",
    "nll": "NLL",
    "ece": "ECE",
    **{f"auroc_{score.name}": f"AUROC {score.title}" for score in PAPER},
    "log_px": "log p(x)",
}


def card(folder: Path) -> str:
    """The markdown of the model in ``folder``: what it is, how good, how it was trained, what its faults are.

    Raises:
        UserError: if the recipe is missing, or any of the files is not valid.
    """
    recipe = read_recipe(folder / RECIPE)
    about = recipe.about[:1].upper() + recipe.about[1:]
    blocks = [f"# {folder.resolve().name} on {recipe.track}", f"{about}. {AUTHOR}; edit {NOTES}."]
    looks: list[str] = []
    if (folder / baselines.GOLDEN).exists():
        document = read_result(folder / baselines.GOLDEN)
        blocks.append(_golden(document, read_seeds(folder)))
        if samples := _samples(document):
            blocks.append(samples)
        looks = remarks.remarks([document])
    blocks.append(_choices(recipe))
    if (folder / HISTORY).exists():
        blocks.append(_training(read_history(folder)))
    if pictures := [f"![{words}]({name})" for name, words in PICTURES.items() if (folder / name).exists()]:
        blocks.append(" ".join(pictures))
    if looks or (folder / NOTES).exists():
        notes = [_text(folder / NOTES)] if (folder / NOTES).exists() else []
        blocks.append(
            "\n\n".join(["## Faults and notes", *(["\n".join(f"- {look}" for look in looks)] if looks else []), *notes])
        )
    return "\n\n".join(blocks) + "\n"


def _choices(recipe: Recipe) -> str:
    """What the recipe sets to other than the defaults, a row per part."""
    parts = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"track", "about", "seeds"})
    rows = [
        [part, ", ".join(f"{name} {_value(value)}" for name, value in options.items()) or "defaults"]
        for part, options in parts.items()
    ]
    return f"## Recipe\n\n{report.github(rows, ['part', 'other than the defaults'])}"


def _value(value: Any) -> str:
    """A value of a recipe."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return (
        " ".join(map(_value, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _training(history: History) -> str:
    """What the run took, which checkpoint was chosen, and its rollbacks."""
    cost, checkpoint, environment = history.cost, history.chosen, history.environment
    processes = f" in {cost.processes} processes" if cost.processes > 1 else ""
    rows = [
        ["parameters", f"{history.parameters:,}"],
        ["iterations", f"{history.iterations:,}, seed {history.seed}"],
        ["time", f"{cost.seconds:,.0f} s{processes} on {environment.device} ({environment.processor})"],
    ]
    if cost.gradients:
        share = cost.sampling_seconds / max(cost.seconds, 1e-9)
        rows.append(["SGLD", f"{share:.0%} of the time, {cost.gradients:,} input gradients of single images"])
    rows.append(["rollbacks", str(len(history.rollbacks))])
    rows.append(["checkpoint", f"iteration {checkpoint.iteration:,}, by {checkpoint.criterion}"])
    epoch = next((epoch for epoch in reversed(history.epochs) if epoch.iteration <= checkpoint.iteration), None)
    if epoch is not None:
        values = [(title, epoch.values.get(name)) for name, title in VALUES.items()]
        text = ", ".join(f"{title} {value:.3f}" for title, value in values if value is not None)
        rows.append([f"validation at {epoch.iteration:,}", text])
    section = f"## Training\n\n{report.github(rows, ['', 'value'])}"
    if history.rollbacks:
        events = [[str(e.iteration), e.reason, str(e.back_to), e.change] for e in history.rollbacks]
        section += f"\n\n{report.github(events, ['rollback at', 'reason', 'back to', 'change'])}"
    return section


def _golden(document: ResultDocument, seeds: Seeds | None) -> str:
    """The main numbers of these weights, and those of all training seeds, with their intervals."""
    header = ["metric", "these weights (95 % interval)"]
    documents = [document]
    if seeds is not None:
        header.append(f"mean of {len(seeds.runs)} training seeds")
        documents.append(combined(document, seeds))
    rows, figures = [], []
    for name, title in METRICS.items():
        metrics = [
            metric for result in documents if (metric := result.metric(name)) is not None and metric.value is not None
        ]
        if metrics:
            rows.append([title, *map(report.text, metrics), _sizes(metrics[0].n)])
            figures += metrics
    section = f"## Golden result on {document.track}\n\n{report.github(rows, [*header, 'n'])}"
    return "\n\n".join([section, *(f"{note.capitalize()}." for note in subset(figures, document))])


def _samples(document: ResultDocument) -> str:
    """What these weights generate, and what their long chains do; empty for a model that does not sample."""
    if not document.settings("generation"):
        return ""
    who, distance = extractor(document)
    columns = {distance: distance.upper(), f"{distance}_infinity": f"{distance.upper()}∞", "inception_score": "IS"}
    columns |= {"recall": "recall", "coverage": "coverage"}
    rows, figures = [], []
    for source in (*SOURCES, *FLOOR):
        metrics = [document.metric(f"{source}/{who}/{name}") for name in columns]
        if all(metric is not None and metric.value is not None for metric in metrics):
            figures += [metric for metric in metrics if metric is not None]
            rows.append([source, *map(report.text, figures[-len(columns) :])])
    if len(rows) == len(FLOOR):
        return ""
    notes = [f"{note.capitalize()}." for note in subset(figures, document)]
    notes += [] if (line := behaviour(document)) is None else [f"Long chains: {line}."]
    section = f"## Samples\n\n{report.github(rows, ['samples', *columns.values()])}"
    return f"{section}\n\n{' '.join([f'Extractor `{who}`.', *notes])}"


def _sizes(n: dict[str, int]) -> str:
    """Numbers of examples: ``360``, or ``360 + 1242 OOD``."""
    test, *ood = n.values()
    return f"{test} + {sum(ood)} OOD" if ood else str(test)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error})") from error
