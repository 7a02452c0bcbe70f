"""Tables of shifts and stress: cells are the documents' numbers and means of them."""

from collections.abc import Mapping

import numpy as np
import pytest

import jembench
from jembench.api import Result
from jembench.metrics.metric import Metric
from jembench.pages.tables.shifts import shifts, stress
from jembench.pages.tables.unlabelled import unlabelled


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    output = tmp_path_factory.mktemp("few")
    return {
        suite: jembench.evaluate("softmax", suite, limit=60, output=output)
        for suite in ("calibration", "stress", "unlabelled")
    }


def value(cell: object) -> float:
    assert isinstance(cell, Metric)
    assert cell.value is not None
    return cell.value


def test_shifts_are_the_documents_numbers_without_intervals(few: Mapping[str, Result]) -> None:
    (table,) = shifts([few["calibration"].document])
    assert table.header == ["model", "", "clean", "1", "2", "3", "4", "5", "attack", "refine"]
    metrics = few["calibration"].metrics
    ece = next(row for row in table.rows if row[1] == "ECE raw")
    assert value(ece[2]) == metrics["test/raw/ece15"].value
    assert value(ece[5]) == metrics["severity-3/raw/ece15"].value
    assert value(ece[8]) == metrics["attacked/raw/ece15"].value
    kinds = ("noise", "blur", "contrast", "brightness", "rotation")
    mean = np.mean([metrics[f"{kind}-3/raw/ece15"].value for kind in kinds])
    assert value(ece[5]) == pytest.approx(mean)


def test_stress_has_what_is_attacked_and_what_is_only_refined(few: Mapping[str, Result]) -> None:
    attacked, along = stress([few["stress"].document])
    metrics = few["stress"].metrics
    assert value(attacked.rows[0][3]) == metrics["mean/log_px/ood_pushed_auroc"].value
    assert attacked.rows[2][2:6] == ["", "", "", ""]  # nobody climbs the mass
    assert value(attacked.rows[2][6]) == metrics["mean/mass/refined_auroc"].value
    kinds = ("noise", "blur", "contrast", "brightness", "rotation")
    mean = np.mean([metrics[f"{kind}-2/max_py/shift_auroc"].value for kind in kinds])
    assert value(along.rows[1][3]) == pytest.approx(mean)
    trend = np.mean([metrics[f"{kind}/log_px/severity_trend"].value for kind in kinds])
    assert value(along.rows[0][7]) == pytest.approx(trend)


def test_estimates_without_labels_say_against_whom(few: Mapping[str, Result]) -> None:
    errors, scales = unlabelled([few["unlabelled"].document])
    metrics = few["unlabelled"].metrics
    rows = {row[1]: row for row in errors.rows}
    assert value(rows["doc"][2]) == metrics["shifts/doc/mean_error"].value
    assert value(rows["mde"][3]) == metrics["mixed/mde/mean_error"].value
    assert rows["doc"][4] == ""
    assert value(rows["energy"][4]) == metrics["shifts/energy/mean_error_gain"].value
    assert str(metrics["shifts/energy/mean_error_gain"].reason) in errors.notes[2]
    assert value(scales.rows[0][3]) == metrics["shifts/validation/ece15"].value
