"""Tables of generated images: suites ``generation`` and ``hybrid``."""

from __future__ import annotations

from collections.abc import Sequence

from jembench.pages.tables.table import Cell, Table, get
from jembench.store.results import ResultDocument

SOURCES = ("fresh", "buffer", "conditional")
FLOOR = ("uniform", "class-gaussians", "test")  # the same for all models
SHORT = {"class-gaussians": "Gaussians", "conditional": "by class"}
STAYS = 1.5  # distance at 20 K over that at 1 K, above which chains leave the data
DISTANCES = {"fd": ("FD", "KD", "kd"), "fid": ("FID", "KID", "kid")}


def extractor(document: ResultDocument) -> tuple[str, str]:
    """Name of the feature extractor, and what its distance is called in files."""
    settings = document.settings("generation")["extractor"]
    return settings["name"], settings["distance"]


def sources(document: ResultDocument) -> tuple[str, ...]:
    """The rows of samples that the protocol looks at, the first one first."""
    return tuple(document.settings("generation").get("rows", SOURCES))


def generation(documents: Sequence[ResultDocument]) -> list[Table]:
    """Quality, then variety, of every model's samples, above the references that all share."""
    who, distance = extractor(documents[0])
    title, kernel_title, kernel = DISTANCES[distance]
    quality = {
        "inception_score": "IS",
        distance: title,
        f"{distance}_at_test_n": f"{title}, n of test",
        f"{distance}_infinity": f"{title}∞",
        kernel: kernel_title,
    }
    variety = {
        "precision": "prec.",
        "recall": "recall",
        "density": "dens.",
        "coverage": "cover.",
        "class_imbalance": "imbal.",
        "conditional_accuracy": "cond.",
        "nearer": "nearer",
    }
    real = " + ".join(documents[0].settings("generation").get("reference", ["the training split"]))
    notes = [_protocol(documents), f"extractor {who}; against {real}; {title}∞: extrapolated to infinite n"]
    notes += [
        "uniform, Gaussians (per class): what to beat; test: real images that nobody trained on, the floor at its n"
    ]
    more = [
        "precision, density: samples near real images; recall, coverage: real images near samples",
        "cond.: share in which the extractor sees the class that was asked for",
        "imbalance: total variation from equal classes ‹by chance›; nearer to the training images than test images: .5",
    ]
    return [
        Table(
            f"sample {word} · {documents[0].track}",
            ["model", "samples", *columns.values()],
            _rows(documents, who, columns),
            lines,
            wide=True,
        )
        for word, columns, lines in (("quality", quality, notes), ("variety", variety, more))
    ]


def chains(documents: Sequence[ResultDocument]) -> list[Table]:
    """What long chains do, a row for every mark."""
    who, distance = extractor(documents[0])
    title = DISTANCES[distance][0]
    columns = {
        distance: title,
        "inception_score": "IS",
        "recall": "recall",
        "coverage": "coverage",
        "log_density": "log p(x) + c",
    }
    rows: list[list[Cell]] = []
    notes = []
    for document in documents:
        if all(get(document, f"{mark}/{who}/{distance}").value is None for mark in ("0K", "1K")):
            continue
        for mark in ("0K", "1K", "5K", "20K"):
            rows.append([document.model.name, mark, *(get(document, f"{mark}/{who}/{name}") for name in columns)])
        if (line := behaviour(document)) is not None:
            notes.append(f"{document.model.name}: {line}")
    if not rows:
        return []
    first = "fresh chains; K: the steps of the model's training; log p(x) up to the model's constant"
    return [Table(f"long chains · {documents[0].track}", ["model", "steps", *columns.values()], rows, [first, *notes])]


def hybrid(documents: Sequence[ResultDocument]) -> list[Table]:
    """Accuracy, IS and FD in one row: table 1 of the paper."""
    who, distance = extractor(documents[0])
    title, first = DISTANCES[distance][0], sources(documents[0])[0]
    columns = {f"{first}/{who}/inception_score": "IS", f"{first}/{who}/{distance}": title}
    columns |= {f"buffer/{who}/{distance}": f"{title}, buffer"}  # where it is the first, it is the only one
    rows: list[list[Cell]] = [
        [document.model.name, get(document, "test/accuracy"), *(get(document, name) for name in columns)]
        for document in documents
    ]
    notes = [_protocol(documents), f"extractor {who}; IS and the first {title}: of {first} samples"]
    header = ["model", "accuracy", *columns.values()]
    return [Table(f"hybrid · {documents[0].track}", header, rows, notes)]


def _rows(documents: Sequence[ResultDocument], who: str, columns: dict[str, str]) -> list[list[Cell]]:
    """The sample sources that a model has, then the references once."""
    rows: list[list[Cell]] = []
    for document in documents:
        present = [source for source in sources(document) if _sampled(document, source, who)]
        for source in present or sources(document)[:1]:
            cells = [get(document, f"{source}/{who}/{name}") for name in columns]
            rows.append([document.model.name, SHORT.get(source, source), *cells])
    for source in FLOOR:  # the same of all models that sample; a result of another may lack them
        shown = next((document for document in documents if _sampled(document, source, who)), None)
        if shown is None:
            continue
        cells = [get(shown, f"{source}/{who}/{name}") for name in columns]
        rows.append(["—", SHORT.get(source, source), *(cell if cell.value is not None else "" for cell in cells)])
    return rows


def _sampled(document: ResultDocument, source: str, who: str) -> bool:
    return get(document, f"{source}/{who}/inception_score").value is not None


def _protocol(documents: Sequence[ResultDocument]) -> str:
    """Number, length, temperature and filter of the samples: never hidden."""
    settings, first = documents[0].settings("generation"), sources(documents[0])[0]
    who, distance = extractor(documents[0])
    sizes = [get(document, f"{first}/{who}/{distance}").n.items() for document in documents]
    n = max((size for items in sizes for name, size in items if name.startswith(first)), default=0)
    chains = []
    for document in documents:
        steps, heat = (get(document, f"fresh/{who}/chain_{what}").value for what in ("steps", "temperature"))
        if steps and heat is not None:
            chains.append(f"{document.model.name} {steps:.0f} (T = {heat:.2g})")
    share = settings["keep_top"]
    selection = "no filter" if share == 1 else f"ONLY THE TOP {100 * share:g} % BY CONFIDENCE"
    selection += " WITHIN EACH CLASS" if settings.get("by_class") else ""
    selection += f"; IS: OF THE TOP {100 * settings['keep_is']:g} %" if "keep_is" in settings else ""
    lengths = ", ".join(chains) or "none"
    return f"{n} samples, seed {documents[0].seed}; steps of the fresh chains: {lengths}; {selection}"


def behaviour(document: ResultDocument) -> str | None:
    """One line about a model's long chains; None if it has none."""
    runaway, share, changes = (
        get(document, f"chain/{name}") for name in ("runaway", "effective_share", "class_changes")
    )
    parts = []
    if runaway.value is not None:
        stays = "stays on the data" if runaway.value <= STAYS else "RUNS AWAY"
        parts.append(f"distance at 20K is {runaway.value:.2f} of that at 1K: {stays}")
    if share.value is not None:
        parts.append(f"{share.value:.2f} independent draws per chain and K steps")
    if changes.value is not None:
        parts.append(f"{100 * changes.value:.0f} % of the chains change class")
    return "; ".join(parts) or None
