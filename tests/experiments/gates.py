"""How well a gate sees, and how often it cries wolf, on the digits: the figures of docs/gate.md.

    python tests/experiments/gates.py [seeds]                  # power and false alarms of planted differences
    python tests/experiments/gates.py --retrained RESULT…       # results of other trainings against the shipped jem

A regression is planted in the examples of a golden result, and the metrics are computed from them anew. ``churn`` is
the number of images that change sides both ways beside it, as they do from one training to the next.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from jembench.metrics.auroc import auroc_estimate
from jembench.metrics.calibration import ece
from jembench.metrics.intervals import wilson
from jembench.metrics.scores import PAPER
from jembench.pages.gates.rule import PLAIN, Rule
from jembench.pages.gates.verdict import judge
from jembench.pages.pairs.side import Side
from jembench.pages.summary import headlines
from jembench.store.results import read_result
from jembench.zoo import baselines

AUROCS = tuple(f"mean/{score.name}/auroc" for score in PAPER)
CLEAN = ("test/accuracy", "test/raw/ece15", "test/raw/nll", *AUROCS)
ROBUST = "test/linf-0.1/worst/robust_accuracy"
LOSS = {"test/accuracy": 0.03, "mean/mass/auroc": 0.05, ROBUST: 0.03}  # that is planted


def side(place, metrics, **columns):
    """A golden result with some of its metrics alone, and the columns of its examples."""
    folder = baselines.folder("digits") / place
    document = read_result(folder)
    document = document.model_copy(update={"metrics": [document.metric(name) for name in metrics]})
    found = Side(document.model.name, document, folder)
    found.sources.update(columns)
    return found


def other(golden, changes, values):
    """A result of other weights: the golden one with other columns, source -> name -> values, and other metrics."""
    model = golden.document.model.model_copy(update={"name": "other", "fingerprint": "0" * 64})
    metrics = [values.get(metric.id, metric) for metric in golden.document.metrics]
    fresh = Side("other", golden.document.model_copy(update={"model": model, "metrics": metrics}), golden.folder)
    names = golden.sources.keys()
    fresh.__dict__["sources"] = {name: {**golden.sources[name], **changes.get(name, {})} for name in names}
    return fresh


def wrong(golden, rng, loss, churn):
    """Another prediction for as many right images as accuracy is to fall by, and ``churn`` images both ways."""
    test = golden.sources["test"]
    prediction, label = test["prediction"].copy(), test["label"]
    right, errors = np.flatnonzero(prediction == label), np.flatnonzero(prediction != label)
    mended = rng.permutation(errors)[:churn]
    lost = rng.permutation(right)[: int(np.ceil(loss * label.size)) + mended.size]
    prediction[mended] = label[mended]
    prediction[lost] = (label[lost] + 1) % 10
    metric = golden.metrics["test/accuracy"]
    share = float((prediction == label).mean())
    low, high = wilson(int((prediction == label).sum()), label.size)
    return {"test": {"prediction": prediction}}, {metric.id: replace(metric, value=share, low=low, high=high)}


def broken(golden, rng, loss, churn):
    """An image that was robust is none, as often as robust accuracy is to fall by, and ``churn`` images both ways."""
    metric = golden.metrics[ROBUST]
    flags = golden.sources["test"][metric.variant].copy()
    robust, weak = np.flatnonzero(flags == 1), np.flatnonzero(flags == 0)
    mended = rng.permutation(weak)[:churn]
    lost = rng.permutation(robust)[: int(np.ceil(loss * flags.size)) + mended.size]
    flags[mended], flags[lost] = 1, 0
    return {"test": {metric.variant: flags}}, {metric.id: replace(metric, value=float(flags.mean()))}


def blurred(golden, rng, loss, churn):
    """Scores of random outliers become those of random test images until the mean AUROC has fallen enough.

    ``churn`` is a share of the test images' standard deviation here, by which every score is moved besides.
    """
    metric = golden.metrics["mean/mass/auroc"]
    sets = [name for name in metric.n if name != "test"]
    test = golden.sources["test"]["mass"]
    noise = churn * test.std()
    moved = {name: golden.sources[name]["mass"] + noise * rng.normal(size=metric.n[name]) for name in sets}
    inside = test + noise * rng.normal(size=test.size)
    value = metric.value
    places = rng.permutation([(name, place) for name in sets for place in range(metric.n[name])]).tolist()
    while value > metric.value - loss:
        for name, place in (places.pop() for _ in range(5)):
            moved[name][int(place)] = rng.choice(inside)
        value = float(np.mean([auroc_estimate(inside, moved[name]).value for name in sets]))
    changes = {name: {"mass": scores} for name, scores in {"test": inside, **moved}.items()}
    return changes, {metric.id: replace(metric, value=value)}


PLANTS = {"test/accuracy": wrong, "mean/mass/auroc": blurred, ROBUST: broken}


def golden_of(metric):
    """The golden result of jem that a plant is made in, with all headlines."""
    place = "jem/robustness/plain" if metric == ROBUST else "jem/golden"
    return side(place, [each.id for _, each in headlines(read_result(baselines.folder("digits") / place))])


def power(metric, seeds, churn=0, rule=PLAIN):
    """Share of seeds in which a planted regression is caught, by default as one of all headlines."""
    golden, caught = golden_of(metric), 0
    for seed in range(seeds):
        fresh = other(golden, *PLANTS[metric](golden, np.random.default_rng(seed), LOSS[metric], churn))
        caught += any(row.id == metric for row in judge(fresh, golden, rule).worse)
    return caught / seeds


def equal(seed):
    """Two equal models: right, sure and outlying alike, each by chance of its own around what they share."""
    golden, rng = side("jem/golden", CLEAN), np.random.default_rng(seed)
    test = golden.sources["test"]
    n, label = test["label"].size, test["label"]
    shared = rng.normal(size=n)
    sides = []
    for _ in range(2):
        confidence = 1 / (1 + np.exp(-(2.5 + shared + 0.7 * rng.normal(size=n))))
        right = rng.random(n) < confidence
        prediction = np.where(right, label, (label + 1) % 10)
        nll = -np.log(np.where(right, confidence, (1 - confidence) / 9))
        changes = {"test": {"prediction": prediction, "confidence": confidence, "nll": nll}}
        values = {
            "test/accuracy": float(right.mean()),
            "test/raw/ece15": ece(confidence, right),
            "test/raw/nll": float(nll.mean()),
        }
        for name in AUROCS:
            metric = golden.metrics[name]
            for source, count in metric.n.items():
                scores = golden.sources[source][metric.variant][:count]
                noisy = scores + 0.5 * golden.sources["test"][metric.variant].std() * rng.normal(size=count)
                changes.setdefault(source, {})[metric.variant] = noisy
            inside = changes["test"][metric.variant]
            sets = [changes[source][metric.variant] for source in metric.n if source != "test"]
            values[name] = float(np.mean([auroc_estimate(inside, scores).value for scores in sets]))
        metrics = {name: replace(golden.metrics[name], value=value) for name, value in values.items()}
        sides.append(other(golden, changes, metrics))
    first, second = sides
    model = second.document.model.model_copy(update={"fingerprint": "1" * 64})
    return first, Side("equal", second.document.model_copy(update={"model": model}), second.folder), second.sources


def alarms(seeds, rule):
    """Shares of seeds in which two equal models differ in a metric, and in which the second is worse."""
    either = worse = 0
    for seed in range(seeds):
        golden, fresh, sources = equal(seed)
        fresh.__dict__["sources"] = sources
        verdict = judge(fresh, golden, rule)
        worse += not verdict
        either += any(row.outcome in ("worse", "better") for row in verdict.rows)
    return either / seeds, worse / seeds


def retrained(words):
    """What a gate says of results of other trainings."""
    from jembench import api
    from jembench.pages.gates.text import text

    for word in words:
        for rule in (Rule(), Rule(retrained=True)):
            verdict = api.gate(Path(word), baselines.folder("digits") / "jem" / "golden", rule=rule)
            print(text(verdict), end="\n\n")


def main():
    if sys.argv[1:2] == ["--retrained"]:
        retrained(sys.argv[2:])
        return
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for metric, loss in LOSS.items():
        for churn in (0, 0.1, 0.2, 0.4) if metric.endswith("auroc") else (0, 2, 4, 8):
            all, alone = power(metric, seeds, churn), power(metric, seeds, churn, Rule(metrics=(metric,)))
            print(f"{metric:35} falls by {loss}, churn {churn:<3}: caught in {all:.2f}, alone in {alone:.2f}")
    for tolerance, rule in (("0", Rule(tolerances={"*": 0.0})), ("golden", Rule())):
        either, worse = alarms(seeds, rule)
        print(f"equal models, tolerance {tolerance:6}: other in {either:.3f}, worse in {worse:.3f} of {seeds}")


if __name__ == "__main__":
    main()
