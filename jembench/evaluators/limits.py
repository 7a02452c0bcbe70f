"""Limits: what the numbers of each evaluator do not say, in the words of the reference pages."""

from __future__ import annotations

#: Evaluator -> what its numbers do not say.
LIMITS: dict[str, str] = {
    "accuracy": (
        "It is of the images of this split. Models that are closer than the difference under a leaderboard's table "
        "may differ, and these images cannot tell."
    ),
    "calibration": (
        "ECE depends on its bins and is biased upwards: beside it stands the band in which perfectly calibrated "
        "models fall, no interval; the debiased square and NLL compare models better. A calibrated model need not be "
        "a good one: class frequencies for every image are calibrated. `mce15` is of one bin, and the noisier the "
        "fewer images it has. The maps are fitted on the validation split; where a model makes no error there, the "
        "temperature is set by one example's worth of doubt. AURC falls with the error rate too; `eaurc` is of the "
        "order alone."
    ),
    "shifts": (
        "Kinds and severities are those of the track: another list has other numbers. Means over kinds have no "
        "interval, since the kinds share their images. An attack finds what it finds: accuracy under it is an upper "
        "bound."
    ),
    "corruptions": (
        "A folder is taken as it is: whether it is the published set, its owner knows. Test images are not held "
        "against it. Limits of ECE are as under calibration."
    ),
    "unlabelled": (
        "An estimate is fitted under shifts of other kinds, and no bound: under a shift unlike all of them it can be "
        "far off. The best method here need not be the best of another model."
    ),
    "ood": (
        "AUROC is of pairs of a test image and an outlier, whatever the share of outliers where the model is used: a "
        "threshold has `fpr95`. It is of these sets: far ones are easy, so read the sets before their mean. Intervals "
        "are of the images, not of the choice of sets. Below .5 a score prefers outliers. AUPR moves with the sizes "
        "of the sets, and its intervals cover about 90 % where outliers' scores are much wider spread than those of "
        "test images."
    ),
    "scores": (
        "As under ood. What a plug-in computes, its author answers for; its package is in `plugins` of the result."
    ),
    "detectors": (
        "As under ood. Detectors are fitted on the training split, and none was tuned: another setting of one may do "
        "better."
    ),
    "stress": (
        "An attack proves that a score breaks, never that it holds: figures of attacked images are upper bounds. They "
        "are of the first images of every set. `shift_auroc` has no interval: it holds images against themselves."
    ),
    "generation": (
        "All but the inception score is a matter of the extractor's features: numbers of two extractors share no "
        "table, and FD is an FID only with the network of 2015. FD is biased upwards by about 1/n: compare at the "
        "same n, or by `infinity` or the kernel distance. The inception score looks at no training image: sharp "
        "pictures of the wrong things score high. Precision, recall, density and coverage depend on both numbers of "
        "images, their intervals hold one set fixed, and an outlier's wide ball flatters the first two. `nearer` is "
        "also above .5 for a sampler of a narrower law, without copies: look at the neighbours."
    ),
    "chains": (
        "Chains that stay on the data need not mix: read `effective_share` and `class_changes` beside `runaway`. "
        "Nothing is said of what is beyond twenty times the training's length."
    ),
    "likelihood": (
        "A flow's density is exact; that of an energy model rests on log Z, of which the forward estimate is a bound "
        "and the reverse one is not quite: its chains start from resampled ends of the forward ones. It is the "
        "density at temperature 1, not that of the colder chains that show images. More likely is not better: "
        "outliers can be more likely than test images."
    ),
    "robustness": (
        "An attack proves that a model breaks, never that it holds: worst-case accuracy is an upper bound, by the "
        "attacks that ran, and the tables print which; certified accuracy is a lower bound, of another model, the "
        "smoothed one. Numbers of different budgets share no table. `reliable` says that no check failed, not that no "
        "stronger attack exists."
    ),
    "distance": (
        "The nearest adversarial that was found is an upper bound of the distance: a stronger search finds nearer "
        "ones. Images that are wrong without an attack are at 0."
    ),
}
