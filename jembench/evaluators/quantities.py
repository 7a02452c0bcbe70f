"""Quantities: every number that an evaluator publishes, by its id, and the few of them that are read first.

An id is ``source/variant/name``; what varies stands in angle brackets: ``fresh/<extractor>/<fd>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jembench.metrics.metric import Direction

VARIES = {"<fd>": "fi?d", "<kd>": "ki?d", "<n>": r"\d+"}  # FID and KID with the Inception network of 2015
ANY = "[^/]+"  # what any other word in brackets stands for


def matches(kind: str, metric: str, known: Mapping[str, str] | None = None) -> bool:
    """Whether the id of a metric is of a kind.

    Args:
        kind: the kind of ids, with ``<words>`` for what varies.
        metric: the id.
        known: what some of the words stand for here.
    """
    return _pattern(kind, tuple((known or {}).items())).fullmatch(metric) is not None


@lru_cache(maxsize=1024)
def _pattern(kind: str, words: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    known = dict(words)
    parts = [
        re.escape(known.get(part, part)) if part in known or not part.startswith("<") else VARIES.get(part, ANY)
        for part in re.split("(<[^>]+>)", kind)
    ]
    return re.compile("".join(parts))


@dataclass(frozen=True)
class Headline:
    """One of the two to five numbers of an evaluator that are read first.

    Attributes:
        id: kind of ids, of which the first that a result has is shown; ``<linf>`` and ``<l2>`` are the threat models
            at their headline eps.
        title: what a column is called.
        about: one plain sentence that says what it is; direction and unit are those of its quantity.
    """

    id: str
    title: str
    about: str


@dataclass(frozen=True)
class Quantity:
    """What all metrics of one kind of id are.

    Attributes:
        id: kind of ids.
        better: direction in which the value is better.
        unit: of the value; empty for a pure number.
        about: one sentence that says what it is.
    """

    id: str
    better: Direction
    unit: str
    about: str

    def matches(self, metric: str) -> bool:
        """Whether the id of a metric is of this kind."""
        return matches(self.id, metric)

    def holds(self, headline: Headline) -> bool:
        """Whether a headline is one of these."""
        return matches(self.id, re.sub("<([^>]+)>", r"\1", headline.id))


_CALIBRATION = (
    Quantity("test/<map>/nll", "lower", "nats", "mean negative log-likelihood of the true class"),
    Quantity("test/<map>/brier", "lower", "", "mean squared distance of p(y|x) to the true class, 0 to 2"),
    Quantity("test/<map>/ece15", "lower", "", "gap between confidence and accuracy, 15 bins; biased upwards"),
    Quantity("test/<map>/ece20", "lower", "", "the same in 20 bins, as in the JEM paper"),
    Quantity("test/<map>/adaptive_ece15", "lower", "", "the same in 15 bins of equally many images"),
    Quantity("test/<map>/classwise_ece15", "lower", "", "mean over classes of the gap of p(y|x) to their frequency"),
    Quantity("test/<map>/squared_ece15", "lower", "", "squared gap without the bias of bins; may be below 0"),
    Quantity("test/<map>/mce15", "lower", "", "largest gap of a bin"),
    Quantity("test/<map>/kde_ece", "lower", "", "gap by a kernel estimate in place of bins"),
    Quantity("test/<map>/brier_reliability15", "lower", "", "part of Brier that calibration would remove"),
    Quantity("test/<map>/brier_resolution15", "higher", "", "part of Brier that knowing the image removes"),
    Quantity("test/<map>/brier_uncertainty", "neither", "", "Brier of the class frequencies, the same for all models"),
    Quantity("test/<map>/brier_within15", "neither", "", "part of Brier that lies within the bins"),
    Quantity("test/<map>/aurc", "lower", "", "mean error over all coverages, the least confident left out first"),
    Quantity("test/<map>/eaurc", "lower", "", "the same less that of a perfect order"),
    Quantity("test/vector/accuracy", "higher", "", "accuracy after vector scaling, which may move the class"),
    Quantity("validation/temperature", "neither", "", "temperature fitted on validation data; above 1: over-confident"),
    Quantity("validation/vector/fitted_nll", "neither", "nats", "NLL that the fit of vector scaling reached"),
)

_SHIFTS = (
    Quantity("<view>/accuracy", "higher", "", "accuracy on test images behind a view, such as noise-3"),
    Quantity("<view>/<map>/nll", "lower", "nats", "NLL behind a view"),
    Quantity("<view>/<map>/brier", "lower", "", "Brier score behind a view"),
    Quantity("<view>/<map>/ece15", "lower", "", "gap between confidence and accuracy behind a view, 15 bins"),
    Quantity("<view>/<map>/squared_ece15", "lower", "", "squared gap without the bias of bins, behind a view"),
    Quantity("<view>/<map>/overconfidence", "neither", "", "mean confidence less accuracy, behind a view"),
)

_UNLABELLED = (
    Quantity("<view>/true/accuracy", "neither", "", "accuracy by the labels, which no estimate sees"),
    Quantity("<view>/<method>/estimated_accuracy", "neither", "", "accuracy as estimated without labels"),
    Quantity("<view>/<method>/estimation_error", "lower", "", "distance of the estimate to the accuracy"),
    Quantity("<views>/<method>/mean_error", "lower", "", "mean distance over the views"),
    Quantity("<views>/<method>/mean_error_gain", "lower", "", "that less the best simple baseline's, paired"),
    Quantity("shifts/<map>/ece15", "lower", "", "mean ECE over shifts, with a temperature found without labels"),
    Quantity("shifts/<map>/nll", "lower", "nats", "mean NLL over shifts, with a temperature found without labels"),
)

_OOD = (
    Quantity("<set>/<score>/auroc", "higher", "", "how well a score tells test images from a set: .5 is chance"),
    Quantity("<set>/<score>/fpr95", "lower", "", "share of the set accepted where 95 % of test images are"),
    Quantity("<set>/<score>/aupr_in", "higher", "", "average precision with test images as positives"),
    Quantity("<set>/<score>/aupr_out", "higher", "", "average precision with the set as positives"),
    Quantity("<set>/<score>/auroc_gain", "neither", "", "AUROC less that of max p(y|x), on the same images"),
)

_STRESS = (
    Quantity("<set>/<score>/clean_auroc", "higher", "", "AUROC of the images that are attacked, before it"),
    Quantity("<set>/<score>/ood_pushed_auroc", "higher", "", "AUROC against OOD images optimised to score high"),
    Quantity("<set>/<score>/test_pushed_auroc", "higher", "", "AUROC of test images optimised to score low"),
    Quantity("<set>/<score>/both_pushed_auroc", "higher", "", "AUROC with both kinds of images attacked"),
    Quantity("<set>/<score>/refined_auroc", "higher", "", "AUROC after ten SGLD steps on all images"),
    Quantity("<view>/<score>/shift_auroc", "higher", "", "AUROC of test images against themselves behind a view"),
    Quantity("<shift>/<score>/severity_trend", "lower", "", "Kendall's tau of the score with severity"),
)

_GENERATION = (
    Quantity("<samples>/<extractor>/inception_score", "higher", "", "exp of the mean KL of p(y|x) to p(y)"),
    Quantity("<samples>/<extractor>/<fd>", "lower", "", "Frechet distance of features to training images"),
    Quantity("<samples>/<extractor>/<fd>_at_test_n", "lower", "", "the same at the number of test images"),
    Quantity("<samples>/<extractor>/<fd>_infinity", "lower", "", "the same extrapolated to infinite n"),
    Quantity("<samples>/<extractor>/<fd>_n<n>", "lower", "", "the same of the first n samples"),
    Quantity("<samples>/<extractor>/<kd>", "lower", "", "kernel distance of features, unbiased"),
    Quantity("<samples>/<extractor>/precision", "higher", "", "share of samples within the training images' manifold"),
    Quantity("<samples>/<extractor>/recall", "higher", "", "share of training images within the samples' manifold"),
    Quantity("<samples>/<extractor>/density", "higher", "", "training neighbourhoods around a sample, relative"),
    Quantity("<samples>/<extractor>/coverage", "higher", "", "share of training neighbourhoods with a sample"),
    Quantity("<samples>/<extractor>/class_imbalance", "lower", "", "distance of the classes to the training shares"),
    Quantity("<samples>/<extractor>/nearer", "neither", "", "share nearer to training images than test images are"),
    Quantity("<samples>/<extractor>/copies", "neither", "", "share that copies a training image"),
    Quantity("<samples>/<extractor>/conditional_accuracy", "higher", "", "share seen as the class asked for"),
    Quantity("<samples>/<extractor>/chain_steps", "neither", "steps", "length of the chains"),
    Quantity("<samples>/<extractor>/chain_temperature", "neither", "", "temperature of the chains, s^2 / (2 a)"),
)

_CHAINS = (
    Quantity("<length>/<extractor>/<fd>", "lower", "", "Frechet distance after that many steps"),
    Quantity("<length>/<extractor>/recall", "higher", "", "recall after that many steps"),
    Quantity("<length>/<extractor>/coverage", "higher", "", "coverage after that many steps"),
    Quantity("<length>/<extractor>/inception_score", "higher", "", "inception score after that many steps"),
    Quantity("<length>/<extractor>/log_density", "neither", "nats", "mean log p(x) + log Z after that many steps"),
    Quantity("chain/runaway", "lower", "", "distance at 20 K over that at K: above 1 chains leave the data"),
    Quantity("chain/effective_share", "higher", "", "independent draws per chain and K steps"),
    Quantity("chain/class_changes", "neither", "", "share of chains that change their class"),
)

_LIKELIHOOD = (
    Quantity("test/bits_per_dim", "lower", "bits/dim", "code length of a test pixel; log Z by annealing if unknown"),
    Quantity("chains/log_z_forward", "neither", "nats", "log Z from below, by forward annealing"),
    Quantity("chains/log_z_reverse", "neither", "nats", "log Z from above, by reverse annealing"),
    Quantity("chains/log_z", "neither", "nats", "middle of the two"),
    Quantity("chains/<direction>/effective_size", "higher", "chains", "equal weights that would be as good"),
)

_ROBUSTNESS = (
    Quantity("test/clean/robust_accuracy", "higher", "", "accuracy without an attack, as defended"),
    Quantity("test/clean/one_shot_accuracy", "higher", "", "the same of a single noisy copy"),
    Quantity("test/<ball>/<attack>/robust_accuracy", "higher", "", "accuracy left by an attack; worst: by all"),
    Quantity("test/<ball>/<attack>/one_shot_accuracy", "higher", "", "the same of a single noisy copy"),
    Quantity("test/<ball>/<attack>/queries", "neither", "queries", "calls of the defended model per image"),
    Quantity("test/<ball>/<attack>/forwards", "neither", "passes", "forward passes of the network per image"),
    Quantity("test/<ball>/<attack>/gradients", "neither", "passes", "backward passes of the network per image"),
    Quantity("test/<ball>/<attack>/claims_held", "neither", "", "share of successes that hold on fresh draws"),
    Quantity("test/distal/forwards", "neither", "passes", "forward passes per image of noise"),
    Quantity("test/distal/gradients", "neither", "passes", "backward passes per image of noise"),
    Quantity("test/distal/reached", "neither", "", "share of noise that became a confident example"),
    Quantity("test/<ball>/gain", "neither", "", "worst-case accuracy less that of the bare model"),
    Quantity("test/<norm>/reliable", "higher", "", "1 if every check of the attacks passed"),
    Quantity("test/<ball>/certified_accuracy", "higher", "", "accuracy of the smoothed model that is certain"),
)

#: Evaluator -> all of its quantities; an evaluator of a plug-in has none here.
QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    "accuracy": (Quantity("test/accuracy", "higher", "", "share of test images classified right"),),
    "calibration": _CALIBRATION,
    "shifts": _SHIFTS,
    "corruptions": _SHIFTS,
    "unlabelled": _UNLABELLED,
    "ood": _OOD,
    "scores": _OOD,
    "detectors": _OOD,
    "stress": _STRESS,
    "generation": _GENERATION,
    "chains": _CHAINS,
    "likelihood": _LIKELIHOOD,
    "robustness": _ROBUSTNESS,
    "distance": (
        Quantity("test/<ball>/accuracy_beyond", "higher", "", "share of images that no attack moves within that ball"),
        Quantity("test/<norm>/median_distance", "higher", "pixels", "median distance of the nearest adversarial"),
    ),
}
