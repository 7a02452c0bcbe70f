"""The verdict of a gate for machines and pull requests: markdown, JUnit, JSON, annotations of GitHub.

Names of models and metrics may come from strangers: each format escapes what it would take for more than text.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from jembench.metrics.metric import Metric
from jembench.pages.gates.text import bar, change, comparison, facts, sureness, values
from jembench.pages.gates.verdict import FAILURES, GateVerdict, Judgement

ANNOTATIONS = 10  # that GitHub shows of a step
HEADER = ("", "metric", "golden → fresh", "difference (95 %)", "p (Holm)", "bar")
MARKUP = re.compile(r"[^\w ,.+-]|_|\.(?!\d)")
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML cannot hold


def markdown(verdict: GateVerdict) -> str:
    """A comment of a pull request: what changed is a table, all else is folded away."""
    shown = [row for row in verdict.rows if row.outcome in (*FAILURES, "better")]
    rest = [row for row in verdict.rows if row not in shown]
    blocks = [
        f"### {'✅' if verdict else '❌'} {verdict.counts}",
        f"{plain(facts(verdict))}: {plain(comparison(verdict))}",
    ]
    if shown:
        blocks.append(_grid(shown))
    if rest:
        blocks.append(f"<details><summary>{len(rest)} more</summary>\n\n{_grid(rest)}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def plain(words: str) -> str:
    """Words that markdown and HTML take for words: what could be markup or a link is an entity."""
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(words.split()))


def _grid(rows: list[Judgement]) -> str:
    lines = [f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}"]
    for row in rows:
        cells = [row.outcome, f"<code>{plain(row.id)}</code>"]
        cells += [plain(words) for words in (values(row), change(row), sureness(row), bar(row))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def junit(verdict: GateVerdict) -> bytes:
    """JUnit XML: a test case for each metric, skipped where there is no test."""
    number, failures, skips = len(verdict.rows), len(verdict.worse), verdict.count("not tested")
    sums = {"tests": str(number), "failures": str(failures), "errors": "0", "skipped": str(skips)}
    root = ElementTree.Element("testsuites", {"name": "jembench gate", **sums})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _legal(comparison(verdict)), **sums})
    group = f"{verdict.fresh.model.name}.{verdict.fresh.track}.{verdict.fresh.suite}"
    for row in verdict.rows:
        case = ElementTree.SubElement(suite, "testcase", {"classname": _legal(group), "name": _legal(row.id)})
        words = _legal(line(row))
        if row.outcome in FAILURES:
            ElementTree.SubElement(case, "failure", {"message": words, "type": row.outcome}).text = words
        elif row.outcome == "not tested":
            ElementTree.SubElement(case, "skipped", {"message": words})
        else:
            ElementTree.SubElement(case, "system-out").text = words
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _legal(words: str) -> str:
    return ILLEGAL.sub("\ufffd", words)


def line(row: Judgement) -> str:
    """One metric in words: ``worse: .998 → .941, -.057 [-.081, -.033], p<.001, tolerance .01``."""
    return f"{row.outcome}: {', '.join(filter(None, (values(row), change(row), sureness(row), bar(row))))}"


def document(verdict: GateVerdict) -> bytes:
    """JSON with everything that the verdict is made of; `docs/gate.md` says what the keys are."""
    rule, fresh, golden = verdict.rule, verdict.fresh, verdict.golden
    content = {
        "schema_version": 1,
        "passed": bool(verdict),
        "comparison": verdict.kind,
        "paired": verdict.paired,
        "alpha": rule.alpha,
        "trainings": verdict.trainings,
        "track": fresh.track,
        "suite": fresh.suite,
        "protocol": {"name": fresh.protocol.name, "hash": fresh.protocol_hash},
        "fresh": _side(verdict.fresh),
        "golden": _side(golden),
        "counts": {
            name.replace(" ", "_"): verdict.count(name)
            for name in ("missing", "worse", "better", "not tested", "unchanged")
        },
        "metrics": [_row(row) for row in verdict.rows],
    }
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _side(result: Any) -> dict[str, Any]:
    model = result.model
    return {"model": model.name, "fingerprint": model.fingerprint, "seed": result.seed, "key": result.key}


def _row(row: Judgement) -> dict[str, Any]:
    difference = row.difference
    estimate = None if difference is None else difference.estimate
    return {
        "id": row.id,
        "outcome": row.outcome,
        "better": row.before.better,
        "golden": _value(row.before),
        "fresh": _value(row.after),
        "difference": estimate and estimate.value,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "method": estimate and estimate.method,
        "p": difference and difference.p,
        "p_holm": row.p,
        "tolerance": row.tolerance,
        "spread": row.spread,
        "reason": row.reason,
    }


def _value(metric: Metric | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    return {"value": metric.value, "low": metric.low, "high": metric.high, "method": metric.method}


def github(verdict: GateVerdict) -> str:
    """Commands of GitHub Actions: an error for each regression, the worst first, and a notice of improvements."""
    worse = verdict.worse
    lines = [command("error", row.id, line(row)) for row in worse[:ANNOTATIONS]]
    if len(worse) > ANNOTATIONS:
        lines[-1] = command("error", "more", f"{len(worse) - ANNOTATIONS + 1} more metrics are worse")
    if better := [row.id for row in verdict.rows if row.outcome == "better"]:
        lines.append(command("notice", "better", ", ".join(better)))
    return "".join(f"{line}\n" for line in lines)


def command(kind: str, title: str, words: str) -> str:
    """One annotation, such as ``::error title=jembench gate%3A x::words``."""
    title = _percent(f"jembench gate: {title}").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_percent(words)}"


def _percent(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
