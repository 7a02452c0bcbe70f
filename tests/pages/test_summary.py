"""Summaries: the answer on one screen, with honest intervals; what a result holds is what they say."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import jsonschema
import pytest

from jembench.choices.suites import SUITES
from jembench.evaluators import EVALUATORS
from jembench.evaluators.quantities import QUANTITIES, Headline, Quantity, matches
from jembench.metrics.metric import Metric
from jembench.pages import remarks, summary
from jembench.pages.reference import PAGES
from jembench.pages.result import COLUMNS, Result, Results
from jembench.pages.tables.figures import BAND, interval, short, sure
from jembench.store.results import ResultDocument, read_result
from jembench.types import UserError
from jembench.zoo import baselines

GOLDEN = [path for track in ("digits", "cifar10") for path in baselines.all_golden(track)]
ATTACKED = [path for track in ("digits", "cifar10") for path in baselines.all_golden(track, baselines.attacked("*"))]


def document(model: str, place: str = "golden", track: str = "digits") -> ResultDocument:
    return read_result(Path(GOLDEN[0]).parents[2] / track / model / place)


def lines(*documents: ResultDocument, width: int = 100) -> list[str]:
    page = summary.summary(documents, width=width)
    more = [("Pictures", "a/b.png"), ("More", "jembench show x")]
    return summary.text(page, width=width, aside="4.1 s, nothing reused", more=more).splitlines()


@pytest.mark.parametrize("place", [*GOLDEN, *ATTACKED], ids=lambda path: "-".join(path.parts[-4:]))
def test_every_shipped_result_fits_one_screen_and_any_terminal(place: Path) -> None:
    for width in (100, 80, 60):
        shown = lines(read_result(place), width=width)
        assert len(shown) <= summary.LINES
        assert max(map(len, shown)) <= width
        assert shown[-1].startswith("More")


@pytest.mark.parametrize("count", [2, 5, 10])
def test_several_models_are_a_row_each(count: int) -> None:
    documents = [read_result(path) for path in GOLDEN if "digits" in path.parts][:count]
    shown = lines(*documents)
    assert len(shown) <= summary.LINES
    assert max(map(len, shown)) <= summary.COLUMNS
    for each in documents:
        (row,) = [line for line in shown if line.split()[:1] == [each.model.name]]
        accuracy = each.metric("test/accuracy")
        assert accuracy is not None
        assert accuracy.value is None or f"{accuracy.value:.3f}".lstrip("0") in row


def test_more_models_than_there_is_room_for_are_counted() -> None:
    base = document("jem")
    many = [base.model_copy(update={"model": base.model.model_copy(update={"name": f"m{n}"})}) for n in range(14)]
    shown = lines(*many)
    assert len(shown) <= summary.LINES
    assert any(line.startswith("4 more models") for line in shown)


def test_two_models_have_a_verdict_only_where_their_intervals_are_apart() -> None:
    jem, softmax = document("jem"), document("softmax")
    page = summary.summary([jem, softmax])
    assert page.rows[-1][0] == ("better", "")
    verdicts = {
        title.split(" ↑")[0].split(" ↓")[0]: cell[0] for title, cell in zip(page.header, page.rows[-1], strict=True)
    }
    assert verdicts["accuracy"] == "not sure"
    assert verdicts["AUROC log p"] == "jem"
    assert verdicts["ECE"] == "–"  # a band of chance tells no two models apart


def test_the_paper_s_table_has_every_set_with_its_interval() -> None:
    whole = document("jem")
    evaluators = [entry for entry in whole.protocol.evaluators if entry["name"] == "ood"]
    protocol = whole.protocol.model_copy(update={"evaluators": evaluators})
    ood = whole.model_copy(update={"suite": "ood", "protocol": protocol})
    page = summary.summary([ood])
    assert page.header == ["AUROC", "mean", "textures", "interp", "rotated", "flipped", "inverted", "noise"]
    for row, score in zip(page.rows[::2], ("log_px", "max_py", "mass"), strict=True):
        for name, cell in zip(page.header[1:], row[1:], strict=True):
            metric = ood.metric(f"{name}/{score}/auroc")
            assert metric is not None
            assert metric.value is not None
            assert abs(float(cell[0]) - metric.value) <= 0.0005
    narrow = summary.summary([ood], width=60)
    assert "more OOD sets" in narrow.more


def test_an_empty_cell_says_why() -> None:
    shown = lines(document("softmax"))
    (row,) = [line for line in shown if line.startswith("FD samples")]
    letter = row[row.index("(") : row.index(")") + 1]
    assert f"{letter} the model does not sample" in shown


def test_warnings_and_strange_words_come_first_and_stay_text() -> None:
    jem = document("jem")
    warned = jem.model_copy(update={"warnings": ("outputs change with the batch",)})
    assert any(line.startswith("warning: outputs change") for line in lines(warned))
    hostile = jem.model_copy(update={"model": jem.model.model_copy(update={"name": "<script>alert(1)</script>"})})
    assert "<script>" not in summary.html(summary.summary([hostile]))
    assert "&lt;script&gt;" in summary.html(summary.summary([hostile]))


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.02, 0.008, 0.05, ".008–.050"),  # half a width would leave the range
        (0.5, 0.4, 0.6, "±.100"),
        (0.967, 0.946, 0.978, ".946–.978"),
        (331.6, 298.7, 368.4, "299–368"),
        (10.0, 9.0, 11.0, "±1.00"),
        (1.0, 0.9928, 1.0, ".993–1.000"),
    ],
)
def test_half_a_width_is_shown_only_where_it_is_honest(value: float, low: float, high: float, words: str) -> None:
    metric = Metric("accuracy", "test", value=value, low=low, high=high, method="wilson")
    assert interval(metric) == words
    band = replace(metric, method=BAND)
    assert interval(band).startswith("‹")
    assert interval(replace(metric, low=None, high=None)) == ""


@pytest.mark.parametrize("digits", [2, 3])
def test_a_half_width_is_that_of_both_sides(digits: int) -> None:
    """Wherever ± stands, value less and plus it are the ends, to the digits that are shown."""
    shown = 0
    for path in GOLDEN:
        for metric in read_result(path).metrics:
            words = interval(metric, digits=digits)
            if words.startswith("±"):
                assert metric.value is not None
                assert metric.low is not None
                assert metric.high is not None
                half = float(words.lstrip("±<"))
                unit = 10.0 ** -(len(words.partition(".")[2]) if "." in words else 0)
                assert abs(metric.value - metric.low - half) <= unit
                assert abs(metric.high - metric.value - half) <= unit
                shown += 1
    assert shown > 20


def test_short_numbers_keep_their_sign_and_drop_the_zero() -> None:
    assert [short(x) for x in (-0.0004, 0.0, 1.0, -0.5, 99.994, 12345.6)] == [
        ".000",
        ".000",
        "1.000",
        "-.500",
        "99.99",
        "12346",
    ]
    assert (sure(0.04), sure(1e-9)) == ("p=.040", "p<.001")


def test_every_metric_of_the_shipped_results_is_one_documented_quantity() -> None:
    for path in [*GOLDEN, *ATTACKED]:
        for metric in read_result(path).metrics:
            (quantity,) = [each for each in QUANTITIES[metric.evaluator] if each.matches(metric.id)]
            assert quantity.better == metric.better, metric.id


def test_no_two_quantities_of_an_evaluator_share_an_id() -> None:
    for quantities in QUANTITIES.values():
        assert len({each.id for each in quantities}) == len(quantities)
    for one, other in combinations(QUANTITIES["robustness"], 2):
        assert not one.matches(other.id.replace("<", "").replace(">", ""))


def test_every_evaluator_has_headlines_that_are_its_own_quantities() -> None:
    assert set(QUANTITIES) == set(EVALUATORS)
    for name, evaluator in EVALUATORS.items():
        headlines: tuple[Headline, ...] = evaluator.headlines  # type: ignore[attr-defined]
        assert 1 <= len(headlines) <= 5
        for headline in headlines:
            assert len(headline.title) <= 13
            assert len(headline.about) <= 70
            assert sum(quantity.holds(headline) for quantity in QUANTITIES[name]) == 1, headline


def test_a_distance_is_fd_or_fid_and_a_threat_is_the_headline_one() -> None:
    assert matches("fresh/<extractor>/<fd>", "fresh/inception-v3/fid")
    assert not matches("fresh/<extractor>/<fd>", "fresh/digits-ref/fd_infinity")
    assert matches("test/<linf>/worst/a", "test/linf-0.1/worst/a", {"<linf>": "linf-0.1"})
    assert not matches("test/<linf>/worst/a", "test/linf-0.2/worst/a", {"<linf>": "linf-0.1"})
    assert Quantity("a/<n>", "higher", "", "").matches("a/12")


def test_what_suite_a_result_is_of_is_what_a_list_shows_of_it() -> None:
    jem = document("jem")
    for suite, title in (
        ("ood", "AUROC log p"),
        ("all", "accuracy"),
        ("calibration", "ECE"),
        ("likelihood", "bits/dim"),
    ):
        found = summary.first(jem.model_copy(update={"suite": suite}))
        assert found is not None
        assert found[0].title == title
    assert set(SUITES) >= {"stress", "unlabelled"}


def test_remarks_name_what_is_wrong_and_only_with_certainty() -> None:
    words = " ".join(remarks.remarks([document("softmax")]))
    assert "rotated: log p(x) prefers it to the test images" in words
    assert "max p(y|x) sees it better (.719, p<.001)" in words
    jem = document("jem")
    for metric in jem.metrics:
        assert metric.name != "reliable"
    doubtful = [replace(metric, p=0.2) if metric.name == "auroc_gain" else metric for metric in jem.metrics]
    assert "sees it better" not in " ".join(remarks.remarks([jem.model_copy(update={"metrics": doubtful})]))
    attacked = document("jem", "robustness/plain")
    flags = [
        replace(metric, value=0.0, reason="zero gradients") if metric.name == "reliable" else metric
        for metric in attacked.metrics
    ]
    assert "robust accuracy in linf is unreliable: zero gradients" in remarks.remarks(
        [attacked.model_copy(update={"metrics": flags})]
    )


def test_a_result_in_python_is_short_tidy_and_markup() -> None:
    golden = Path(GOLDEN[0]).parents[1] / "jem" / "golden"
    result = Result(read_result(golden), golden)
    assert len(repr(result).splitlines()) <= 20
    frame = result.frame()
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(result.metrics)
    row = frame[(frame["metric"] == "auroc") & (frame["source"] == "interp") & (frame["score"] == "log_px")].iloc[0]
    metric = result.metrics["interp/log_px/auroc"]
    assert (row["value"], row["low"], row["high"]) == (metric.value, metric.low, metric.high)
    assert row["n"] == sum(metric.n.values())
    assert set(frame.loc[frame["metric"] == "nll", "unit"]) == {"nats"}
    assert "<table>" in result._repr_html_()
    other = Result(read_result(golden.parents[1] / "softmax" / "golden"), golden.parents[1] / "softmax" / "golden")
    both = Results([result, other])
    assert len(repr(both).splitlines()) <= 20
    assert len(both.frame()) == len(frame) + len(other.frame())
    with pytest.raises(UserError, match="unknown metric with a value 'aurok'; did you mean 'auroc'"):
        result.plot("aurok")


def test_a_plot_shows_the_numbers_and_ends_of_the_result() -> None:
    golden = Path(GOLDEN[0]).parents[1] / "jem" / "golden"
    result = Result(read_result(golden), golden)
    from matplotlib.figure import Figure

    axis = result.plot("auroc", Figure().add_subplot())
    labels = [label.get_text() for label in axis.get_yticklabels()]
    for container in axis.containers:
        points, _, (bars,) = container.lines
        for x, y, segment in zip(*points.get_data(), bars.get_segments(), strict=True):
            metric = result.metrics[f"{labels[round(y)]}/{container.get_label()}/auroc"]
            assert x == metric.value
            assert segment[:, 0] == pytest.approx([metric.low, metric.high])


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_pages_are_current(name: str) -> None:
    assert (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()


def test_results_are_of_the_documented_schema() -> None:
    """By an independent validator."""
    schema = json.loads(PAGES["result.schema.json"]())
    for path in (*GOLDEN[:3], *ATTACKED[:2]):
        jsonschema.validate(json.loads((path / "result.json").read_bytes()), schema)


def test_an_evaluator_without_headlines_shows_its_first_metrics() -> None:
    jem = document("jem")
    strange = [replace(metric, evaluator="strange") for metric in jem.metrics if metric.evaluator == "ood"]
    protocol = jem.protocol.model_copy(update={"evaluators": [{"name": "strange", "version": 1}]})
    page = summary.summary([jem.model_copy(update={"metrics": strange, "protocol": protocol, "suite": "strange"})])
    assert [row[0][0].split()[0] for row in page.rows] == [metric.id for metric in strange[:5]]


def test_results_of_other_sizes_or_protocols_are_not_ranked() -> None:
    jem, softmax = document("jem"), document("softmax")
    facts = {name: each.model_copy(update={"n": 20}) for name, each in softmax.protocol.sources.items()}
    fewer = softmax.model_copy(update={"protocol": softmax.protocol.model_copy(update={"sources": facts})})
    page = summary.summary([jem, fewer])
    assert "not to be compared" in page.title
    assert [row[0][0] for row in page.rows] == ["jem", "softmax"]


def test_two_results_of_one_model_are_two_rows() -> None:
    jem = document("jem")
    page = summary.summary([jem, jem.model_copy(update={"seed": 1})])
    assert [row[0][0] for row in page.rows][:2] == ["jem (1)", "jem (2)"]
    parts = [jem.model_copy(update={"suite": suite}) for suite in ("accuracy", "ood")]
    assert not summary.summary(parts).title.startswith("digits-v1")  # several suites of one model are one row


def test_warnings_and_reasons_have_their_room_before_rows() -> None:
    jem = document("softmax")
    warned = jem.model_copy(update={"warnings": tuple(f"{word} " * 30 for word in ("one", "two", "three"))})
    shown = lines(warned)
    assert len(shown) <= summary.LINES
    text = " ".join(shown)
    for word in ("one one", "two two", "three three", "(a) the model does not sample", "Look at"):
        assert word in text
    assert "more lines" in text


def test_a_very_narrow_terminal_and_a_very_long_name_do_no_harm() -> None:
    jem = document("jem")
    long = jem.model_copy(update={"model": jem.model.model_copy(update={"name": "n" * 100})})
    assert max(map(len, lines(long, document("softmax")))) <= summary.COLUMNS
    assert lines(jem, width=8)
