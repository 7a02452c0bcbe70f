"""Tables of samples: every number is the document's, the protocol stands below, references once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import jembench
from jembench.api import Result
from jembench.choices.request import Sampling
from jembench.metrics.metric import Metric
from jembench.pages.tables import report
from jembench.pages.tables.samples import chains, generation, hybrid


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    """Forty samples and images of a model by chains, of a flow, and of one without samples."""
    output = tmp_path_factory.mktemp("few")
    return {
        name: jembench.evaluate(name, "hybrid", limit=40, output=output) for name in ("sadajem", "glow-cond", "softmax")
    }


def documents(results: Mapping[str, Result]) -> list[report.ResultDocument]:
    return [result.document for result in results.values()]


def test_rows_are_the_sources_that_a_model_has_and_the_references_once(few: Mapping[str, Result]) -> None:
    quality, variety = generation(documents(few))
    rows = [tuple(row[:2]) for row in quality.rows]
    assert rows == [
        ("sadajem", "fresh"),
        ("sadajem", "buffer"),
        ("sadajem", "by class"),
        ("glow-cond", "fresh"),
        ("glow-cond", "by class"),
        ("softmax", "fresh"),
        ("—", "uniform"),
        ("—", "Gaussians"),
        ("—", "test"),
    ]
    assert [tuple(row[:2]) for row in variety.rows] == rows


def test_cells_are_the_documents_metrics(few: Mapping[str, Result]) -> None:
    quality, _ = generation(documents(few))
    place = quality.header.index("FD")
    assert quality.rows[1][place] == few["sadajem"].metrics["buffer/digits-ref/fd"]
    assert quality.rows[3][place] == few["glow-cond"].metrics["fresh/digits-ref/fd"]
    assert quality.rows[7][place] == few["sadajem"].metrics["class-gaussians/digits-ref/fd"]
    missing = quality.rows[5][place]
    assert isinstance(missing, Metric)
    assert (missing.value, missing.reason) == (None, "the model does not sample")


def test_the_hybrid_row_is_accuracy_is_and_fd(few: Mapping[str, Result]) -> None:
    (table,) = hybrid(documents(few))
    metrics = few["sadajem"].metrics
    assert table.rows[0] == [
        "sadajem",
        metrics["test/accuracy"],
        metrics["fresh/digits-ref/inception_score"],
        metrics["fresh/digits-ref/fd"],
        metrics["buffer/digits-ref/fd"],
    ]
    titles = [table.title for table in report.tables(documents(few))]
    assert titles[0] == "hybrid · digits-v1"


def test_number_seed_length_temperature_and_filter_are_said(tmp_path: Path) -> None:
    sampling = Sampling(steps=3, temperature=1e-4, keep_top=0.5)
    result = jembench.evaluate("sadajem", "hybrid", limit=40, sampling=sampling, output=tmp_path)
    quality, _ = generation([result.document])
    assert quality.notes[0] == (
        "20 samples, seed 0; steps of the fresh chains: sadajem 3 (T = 0.0001); ONLY THE TOP 50 % BY CONFIDENCE"
    )
    assert result.metrics["fresh/digits-ref/inception_score"].n == {"fresh, top 50 %": 20}
    assert result.metrics["test/digits-ref/inception_score"].n == {"test": 40}


def test_chains_say_whether_they_stay(tmp_path: Path) -> None:
    result = jembench.evaluate("sadajem", "generation", limit=40, output=tmp_path)
    (table,) = chains([result.document])
    assert [row[1] for row in table.rows] == ["0K", "1K", "5K", "20K"]
    assert table.rows[1][2] == result.metrics["1K/digits-ref/fd"]
    runaway = result.metrics["chain/runaway"].value
    word = "stays on the data" if runaway <= 1.5 else "RUNS AWAY"
    assert f"distance at 20K is {runaway:.2f} of that at 1K: {word}" in table.notes[1]
    flow = jembench.evaluate("glow", "generation", limit=40, output=tmp_path)
    assert chains([flow.document]) == []
