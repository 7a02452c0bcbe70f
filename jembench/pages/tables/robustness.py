"""The tables of robustness: worst cases, attacks with their cost, defences, and what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jembench.metrics.metric import Metric
from jembench.pages.tables.table import Cell, Table, get

if TYPE_CHECKING:
    from jembench.store.results import ResultDocument

NORMS = {"linf": "L∞", "l2": "L2"}
ROBUST = "robust_accuracy"
TITLES = {"square": "Square", "spsa": "SPSA", "autoattack": "AutoAttack", "autoattack-rand": "AutoAttack (rand)"}
NO_GAIN = "no gain"
GREY = 255  # eps of photographs are in its parts


def robustness(documents: Sequence[ResultDocument]) -> list[Table]:
    """A table of worst cases for each threat model, the attacks behind them, defences, and the rest."""
    tables = []
    if not _norms(documents):
        rows: list[list[Cell]] = [
            [document.model.name, get(document, f"test/clean/{ROBUST}")] for document in documents
        ]
        return [Table(f"robustness · {documents[0].track}", ["model", "clean"], rows, [])]
    for norm in _norms(documents):
        tables.append(_worst(documents, norm))
        tables.append(_attacks(documents, norm))
    tables += [table for table in (_defences(documents), _beside(documents)) if table.rows]
    return tables


def distance(documents: Sequence[ResultDocument]) -> list[Table]:
    """Accuracy against the distance of the nearest adversarial, and the median of that distance."""
    tables = []
    for norm in dict.fromkeys(_norm(metric) for document in documents for metric in document.metrics):
        own = [m for d in documents for m in d.metrics if _norm(m) == norm and m.name == "accuracy_beyond"]
        balls = list(dict.fromkeys(metric.variant for metric in own))
        if not balls:
            continue
        rows: list[list[Cell]] = [
            [
                document.model.name,
                get(document, f"test/{norm}/median_distance"),
                *(get(document, f"test/{ball}/accuracy_beyond") for ball in balls),
            ]
            for document in documents
        ]
        n = max((metric.n.get("test", 0) for metric in own), default=0)
        header = ["model", "median", *(_eps(ball) for ball in balls)]
        notes = [
            f"n = {n}; accuracy: share of images without an adversarial nearer than the distance; 95 % intervals",
            "the best of all restarts (JEM's code saves the last); median over all images, 0 where misclassified",
        ]
        title = f"minimal distance {NORMS[norm]} · {documents[0].track}"
        tables.append(Table(title, header, rows, notes, wide=len(header) > 6))
    return tables


def _worst(documents: Sequence[ResultDocument], norm: str) -> Table:
    balls = _balls(documents, norm)
    rows: list[list[Cell]] = [
        [
            document.model.name,
            _status(document, norm),
            get(document, f"test/clean/{ROBUST}"),
            *(get(document, f"test/{ball}/worst/{ROBUST}") for ball in balls),
        ]
        for document in documents
    ]
    notes = [
        "robust accuracy: the worst case over all attacks on each image; 95 % intervals by Wilson",
        *_budget(documents, norm),
    ]
    for document in documents:
        reliable = document.metric(f"test/{norm}/reliable")
        if reliable is not None and reliable.value == 0:
            notes.append(f"{document.model.name} unreliable: {reliable.reason}")
    header = ["model", "", "clean", *(_eps(ball) for ball in balls)]
    return Table(f"robustness {NORMS[norm]} · {documents[0].track}", header, rows, notes, wide=len(header) > 6)


def _status(document: ResultDocument, norm: str) -> str:
    """What a row is not to be read without."""
    reliable = document.metric(f"test/{norm}/reliable")
    if reliable is None:
        return ""
    words = [] if reliable.value == 1 else ["unreliable"]
    gains = [m for m in document.metrics if m.name == "gain" and _norm(m) == norm]
    if any(metric.reason == NO_GAIN for metric in gains):
        words.append(NO_GAIN)
    return ", ".join(words)


def _attacks(documents: Sequence[ResultDocument], norm: str) -> Table:
    """Every attack of every model at every eps, with what it cost over all of them."""
    balls = _balls(documents, norm)
    rows: list[list[Cell]] = []
    for document in documents:
        for attack in _names(document, norm):
            ids = [f"test/{ball}/{attack}" for ball in balls]
            accuracies = [get(document, f"{name}/{ROBUST}") for name in ids]
            n = max(metric.n.get("test", 0) for metric in accuracies)
            costs = [_total(document, ids, name) for name in ("forwards", "gradients")]
            rows.append([document.model.name, attack, *accuracies, str(n), *costs])
    header = ["model", "attack", *(_eps(ball) for ball in balls), "n", "forwards", "gradients"]
    notes = ["forwards, gradients: passes of one image through the network at all eps together, verification included"]
    return Table(f"attacks {NORMS[norm]} · {documents[0].track}", header, rows, notes, wide=True)


def _defences(documents: Sequence[ResultDocument]) -> Table:
    """Vote and one shot, with the null attack, and what the defence gains."""
    rows: list[list[Cell]] = []
    for document in documents:
        for metric in document.metrics:
            if metric.name != "one_shot_accuracy" or not metric.variant.endswith("/worst"):
                continue
            ball = metric.variant.removesuffix("/worst")
            gain = get(document, f"test/{ball}/gain")
            rows.append(
                [
                    document.model.name,
                    _ball(ball),
                    get(document, f"test/clean/{ROBUST}"),
                    get(document, "test/clean/one_shot_accuracy"),
                    get(document, f"test/{ball}/worst/{ROBUST}"),
                    metric,
                    gain,
                    NO_GAIN if gain.reason == NO_GAIN else "",
                ]
            )
    header = ["model", "ball", "null, vote", "one shot", "worst, vote", "one shot", "gain", ""]
    notes = [
        "null: clean images, as many draws; gain: over the model without its refinement, by the same PGD",
        "no gain: an exact sign test over the same images does not see one (p >= .05)",
    ]
    return Table(f"defences · {documents[0].track}", header, rows, notes, wide=True)


def _beside(documents: Sequence[ResultDocument]) -> Table:
    """Abstention, certificates and distal adversarials."""
    names = list(
        dict.fromkeys(
            metric.id
            for document in documents
            for metric in document.metrics
            if (metric.variant.endswith("/reject") and metric.name == ROBUST)
            or metric.name in ("certified_accuracy", "reached")
        )
    )
    rows: list[list[Cell]] = []
    for document in documents:
        cells: list[Cell] = [get(document, name) for name in names]
        if any(isinstance(cell, Metric) and cell.value is not None for cell in cells):
            rows.append([document.model.name, *cells])
    notes = [
        "may abstain: below the 5 % quantile of log p(x) on clean images; right, kept, no accepted adversarial found",
        "certified: of the classifier smoothed by Gaussian noise (99.9 %), a lower bound of its own robust accuracy",
        "distal: noise that climbed to p(y|x) >= .9",
    ]
    return Table(f"beside · {documents[0].track}", ["model", *map(_beside_name, names)], rows, notes, wide=True)


def _beside_name(name: str) -> str:
    _, variant, *tail = name.split("/")
    if tail == ["reject", ROBUST]:
        return f"may abstain {_ball(variant)}"
    return "distal" if variant == "distal" else f"certified {_ball(variant)}"


def _budget(documents: Sequence[ResultDocument], norm: str) -> list[str]:
    """What the attacks were allowed, from the protocol, and what others a threat model met."""
    lines = []
    for document in documents:
        names = [name for name in _names(document, norm) if name != "pgd" and not name.startswith("pgd-")]
        words = budget(battery(document))
        lines.append(words + (f"; {', '.join(names)} at the headline eps" if names else ""))
    return list(dict.fromkeys(lines))


def threats(document: ResultDocument) -> dict[str, float]:
    """Norm -> headline eps of a result with attacks; empty of one without."""
    settings = document.settings("robustness") or document.settings("distance")
    grids = settings.get("battery", settings).get("grids", [])
    return {grid["norm"]: grid["headline"] for grid in grids}


def unreliable(document: ResultDocument) -> dict[str, str]:
    """Norm -> why its figures are called unreliable, of those that are."""
    checks = [metric for metric in document.metrics if metric.name == "reliable" and metric.value == 0]
    return {metric.variant: metric.reason or "" for metric in checks}


def battery(document: ResultDocument) -> dict[str, Any]:
    """The settings of the attacks behind a result of suite ``robustness``, from its protocol."""
    settings: dict[str, Any] = document.settings("robustness")["battery"]
    return settings


def budget(settings: dict[str, Any]) -> str:
    """The budget of a battery's PGD in a line."""
    words = f"PGD-{settings['steps']} × {settings['restarts']}"
    if settings["goal"] != "untargeted":
        words = f"{settings['goal']}, {words}"
    if settings["copies"]:
        words += f", EOT {settings['copies']}, {settings['draws']} draws behind a verdict"
    if settings["precision"] != "fp32":
        words += f", crafted in {settings['precision']}"
    return f"budget: {words}"


def met(documents: Sequence[ResultDocument]) -> str:
    """Which attacks models met, and on how many images: ``PGD-20, transfer on 200 images; Square on 30``.

    Args:
        documents: results of suite ``robustness`` under one protocol.
    """
    sizes: dict[str, int] = {}
    for document in documents:
        for norm in _norms([document]):
            for name in _names(document, norm):
                title = f"PGD-{battery(document)['steps']}" if name.partition("-")[0] == "pgd" else name
                accuracies = [get(document, f"test/{ball}/{name}/{ROBUST}") for ball in _balls([document], norm)]
                sizes[title] = max([sizes.get(title, 0), *(metric.n.get("test", 0) for metric in accuracies)])
    names: dict[int, list[str]] = {}
    for title, size in sizes.items():
        names.setdefault(size, []).append(TITLES.get(title, title))
    return "; ".join(f"{', '.join(each)} on {size:,} images" for size, each in names.items())


def _norms(documents: Sequence[ResultDocument]) -> list[str]:
    norms = [metric.variant for document in documents for metric in document.metrics if metric.name == "reliable"]
    return list(dict.fromkeys(norms))


def _norm(metric: Metric) -> str:
    """The threat model of a metric; empty if it has none."""
    norm = metric.variant.partition("-")[0]
    return norm if norm in NORMS else ""


def _balls(documents: Sequence[ResultDocument], norm: str) -> list[str]:
    balls = [
        metric.variant.removesuffix("/worst")
        for document in documents
        for metric in document.metrics
        if metric.name == ROBUST and metric.variant.endswith("/worst") and _norm(metric) == norm
    ]
    return sorted(dict.fromkeys(balls), key=lambda ball: float(ball.partition("-")[2]))


def _names(document: ResultDocument, norm: str) -> list[str]:
    names = [
        metric.variant.partition("/")[2]
        for metric in document.metrics
        if metric.name == ROBUST and _norm(metric) == norm and not metric.variant.endswith(("/worst", "/reject"))
    ]
    return list(dict.fromkeys(names))


def _ball(ball: str) -> str:
    norm, _, eps = ball.partition("-")
    return f"{NORMS[norm]} {_eps_text(eps)}"


def _eps(ball: str) -> str:
    return _eps_text(ball.partition("-")[2])


def _eps_text(eps: str) -> str:
    """As people write it: in grey levels where its decimals do not end."""
    grey = float(eps) * GREY
    if len(eps) > len("0.0000") and abs(grey - round(grey)) < 1e-3:
        return f"{round(grey)}/{GREY}"
    return eps.removeprefix("0") if eps.startswith("0.") else eps


def _total(document: ResultDocument, ids: Sequence[str], cost: str) -> str:
    """What an attack cost per image, over all eps."""
    costs = [metric.value for name in ids if (metric := get(document, f"{name}/{cost}")).value is not None]
    return f"{sum(costs):,.0f}" if costs else "—"
