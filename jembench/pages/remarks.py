"""Remarks: what a reader of results should look at, a sentence each, the weightiest first.

That one score is better than another is said only where its p-value says so, for all OOD sets together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jembench.pages.tables import ood as sets
from jembench.pages.tables.figures import brief, interval, sure
from jembench.pages.tables.robustness import unreliable
from jembench.pages.tables.samples import STAYS
from jembench.store.results import ResultDocument

CHANCE = 0.5
NAME = 24  # letters of a model's name
SURE = 0.05  # p-value below which a difference is called one


def short_name(name: str) -> str:
    """A model's name as summaries show it."""
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def remarks(documents: Sequence[ResultDocument]) -> list[str]:
    """What to look at in results of one track, those of each with the name of its model if there are several."""
    several = len({document.model.name for document in documents}) > 1
    found = [
        (place, f"{short_name(document.model.name)}: {words}" if several else words)
        for document in documents
        for place, words in enumerate(words for remark in REMARKS for words in remark(document))
    ]
    return [words for _, words in sorted(found, key=lambda each: each[0])]


def robustness(document: ResultDocument) -> Iterator[str]:
    """Figures that failed a check."""
    for norm, reason in unreliable(document).items():
        yield f"robust accuracy in {norm} is unreliable: {reason}"


def density(document: ResultDocument) -> Iterator[str]:
    """The OOD set that log p(x) sees worst, and whether plain confidence sees it better."""
    aurocs = {name: document.metric(f"{name}/log_px/auroc") for name in sets.names(document)}
    known = {name: metric for name, metric in aurocs.items() if metric is not None and metric.value is not None}
    if not known:
        return
    name, worst = min(known.items(), key=lambda item: item[1].value or 0.0)
    gain, rival = document.metric(f"{name}/log_px/auroc_gain"), document.metric(f"{name}/max_py/auroc")
    words = f"{name}: lowest AUROC of log p(x) ({brief(worst)} {interval(worst)})"
    if worst.high is not None and worst.high < CHANCE:
        words = f"{name}: log p(x) prefers it to the test images ({brief(worst)} {interval(worst)})"
    p = 1.0 if gain is None or gain.p is None else len(known) * gain.p
    if p < SURE and gain is not None and (gain.value or 0.0) < 0 and rival is not None:
        words += f"; max p(y|x) sees it better ({brief(rival)}, {sure(p)})"
    yield words


def confidence(document: ResultDocument) -> Iterator[str]:
    """An ECE that a calibrated model would not have, and the temperature that fits."""
    ece, gap = document.metric("test/raw/ece15"), document.metric("validation/temperature")
    if ece is None or gap is None or None in (ece.value, ece.high, gap.value):
        return
    if (ece.value or 0.0) > (ece.high or 0.0):
        band = f"above the band of calibrated models ({interval(ece)})"
        yield f"ECE {brief(ece)} is {band}; temperature {brief(gap)} fits"


def chains(document: ResultDocument) -> Iterator[str]:
    """Long chains that leave the data."""
    runaway = document.metric("chain/runaway")
    if runaway is not None and runaway.value is not None and runaway.value > STAYS:
        yield f"long chains run away: FD at 20 K steps is {brief(runaway)} of that at K"


def samples(document: ResultDocument) -> Iterator[str]:
    """Fresh chains that are far worse than the buffer."""
    pairs = [
        (fresh, buffer)
        for fresh in document.metrics
        if fresh.source == "fresh"
        and fresh.name in ("fd", "fid")
        and (buffer := document.metric(fresh.id.replace("fresh", "buffer", 1))) is not None
    ]
    for fresh, buffer in pairs:
        if fresh.low is not None and buffer.high is not None and fresh.low > buffer.high:
            yield f"fresh chains (FD {brief(fresh)}) are short of the buffer ({brief(buffer)}): --chain-steps N"


REMARKS: tuple[Callable[[ResultDocument], Iterator[str]], ...] = (robustness, density, confidence, chains, samples)
