"""The shelf: names are links to keys, and no two results share a folder."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import jembench
from jembench.api import Result
from jembench.ground import files
from jembench.store import shelf
from jembench.store.records import HIDDEN, Store
from jembench.store.results import RESULT
from jembench.types import UserError

ONE, TWO = "a" * 64, "b" * 64


def test_a_name_belongs_to_the_first_key_and_the_next_gets_a_number(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert shelf.place(store, ONE, "jem-digits-ood") is None
    assert shelf.claim(store, ONE, "jem-digits-ood") == tmp_path / "jem-digits-ood"
    assert shelf.claim(store, TWO, "jem-digits-ood") == tmp_path / "jem-digits-ood-2"
    for _ in range(2):
        assert shelf.claim(store, ONE, "jem-digits-ood") == tmp_path / "jem-digits-ood"
        assert shelf.place(store, TWO, "jem-digits-ood") == tmp_path / "jem-digits-ood-2"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "jem-digits-ood").mkdir()
    store = Store.open(tmp_path)
    for _ in range(2):
        assert shelf.claim(store, ONE, "jem-digits-ood") == tmp_path / "jem-digits-ood-2"
        assert shelf.place(store, ONE, "jem-digits-ood") == tmp_path / "jem-digits-ood-2"


def test_of_many_at_the_same_time_each_gets_one_place(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    keys = [f"{number:064x}" for number in range(12)] * 2
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda key: shelf.claim(store, key, "jem-digits-ood"), keys))
    assert places[:12] == places[12:]
    assert len(set(places)) == 12


def test_words_of_a_name_are_safe_in_a_path() -> None:
    assert shelf.word("net.py:build", "digits", "ood", "", "my label/2") == "net.py-build-digits-ood-my-label-2"
    assert shelf.word("../../x", "", "é") == "x-é"
    assert not shelf.word(".hidden", "a").startswith(".")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two models, one of them with two seeds."""
    output = tmp_path_factory.mktemp("runs")
    for model, seed in (("jem", 0), ("jem", 1), ("softmax", 0)):
        jembench.evaluate(model, "accuracy", limit=30, seed=seed, output=output)
    jembench.evaluate("softmax", "calibration", limit=30, output=output, label="mine")
    return output


def test_other_options_are_another_folder_and_the_same_ones_are_not(runs: Path) -> None:
    names = {path.parent.name for path in runs.glob(f"*/{RESULT}")}
    assert names == {
        "jem-digits-accuracy",
        "jem-digits-accuracy-2",
        "softmax-digits-accuracy",
        "softmax-digits-calibration-mine",
    }
    again = jembench.evaluate("jem", "accuracy", limit=30, seed=1, output=runs)
    assert again.folder.name == "jem-digits-accuracy-2"
    assert not again.evaluation.outcome.computed


def test_a_removed_folder_is_filled_again_and_a_renamed_one_stays_a_result(runs: Path, tmp_path: Path) -> None:
    output = shutil.copytree(runs, tmp_path / "copy")
    shutil.rmtree(output / "jem-digits-accuracy")
    (output / "softmax-digits-accuracy").rename(output / "kept")
    for model in ("jem", "softmax"):
        again = jembench.evaluate(model, "accuracy", limit=30, output=output)
        assert not again.evaluation.outcome.computed
        assert again.folder == output / f"{model}-digits-accuracy"
    assert jembench.load_result("kept", output=output).metrics == again.metrics


def test_results_are_found_by_name_by_path_and_by_model(runs: Path) -> None:
    first, second = runs / "jem-digits-accuracy", runs / "jem-digits-accuracy-2"
    assert shelf.find(["jem-digits-accuracy-2", str(first)], runs) == [second, first]
    assert shelf.find(["softmax-digits-calibration-mine"], runs) == [runs / "softmax-digits-calibration-mine"]
    both = shelf.find(["jem", "softmax"], runs)  # softmax's latest is of a suite that jem has not
    assert both[1] == runs / "softmax-digits-accuracy"
    assert both[0] in (first, second)
    with pytest.raises(UserError, match="neither a result nor a model with one"):
        shelf.find(["glow"], runs)


def test_a_damaged_result_is_left_out_of_the_list_with_a_word(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = shutil.copytree(runs, tmp_path / "copy")
    (output / "jem-digits-accuracy" / RESULT).write_text("{}")
    assert len(shelf.entries(output)) == 3
    assert "left out" in caplog.text


def test_a_store_of_the_layout_before_is_brought_into_this_one(runs: Path, tmp_path: Path) -> None:
    """Its records serve, its results have names, and its pictures lie with them."""
    output = shutil.copytree(runs, tmp_path / "copy")
    (output / HIDDEN / "v1").rename(output / "v1")
    (output / HIDDEN).rmdir()
    shutil.rmtree(output / "v1" / "names")
    for path in list(output.glob(f"*/{RESULT}")):
        document = json.loads(path.read_bytes())
        old = output / "v1" / document["track"] / document["model"]["name"] / document["suite"] / document["key"][:12]
        old.parent.mkdir(parents=True, exist_ok=True)
        path.parent.rename(old)
        files.write(old / "picture.png", document["key"].encode())
    again = jembench.evaluate("jem", "accuracy", limit=30, seed=1, output=output)
    assert not again.evaluation.outcome.computed
    assert (again.folder / "picture.png").read_text() == again.document.key
    names = {path.parent.name for path in output.glob(f"*/{RESULT}")}
    assert names == {
        "jem-digits-accuracy",
        "jem-digits-accuracy-2",
        "softmax-digits-accuracy",
        "softmax-digits-calibration",
    }
    assert not (output / "v1").exists()


def test_a_loaded_result_is_the_one_that_was_measured(runs: Path) -> None:
    result = jembench.load_result("jem-digits-accuracy", output=runs)
    assert isinstance(result, Result)
    assert result.metrics["test/accuracy"].n == {"test": 30}
    frame = result.records("accuracy")
    assert (frame["label"] == frame["prediction"]).mean() == result.metrics["test/accuracy"].value


def test_a_damaged_result_of_the_layout_before_stays_where_it_is(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And all others are brought over."""
    output = tmp_path / "old"
    for name, content in (("a", "{"), ("b", (runs / "jem-digits-accuracy" / RESULT).read_text())):
        files.write(output / "v1" / "digits-v1" / "jem" / "accuracy" / name / RESULT, content.encode())
    (output / "v1" / "chunks").mkdir()
    shelf.settle(output)
    assert (output / "jem-digits-accuracy" / RESULT).exists()
    assert (output / HIDDEN / "v1" / "digits-v1" / "jem" / "accuracy" / "a" / RESULT).read_text() == "{"
    assert "left there" in caplog.text


def test_a_folder_that_bears_the_name_of_another_is_left_alone(runs: Path, tmp_path: Path) -> None:
    output = shutil.copytree(runs, tmp_path / "copy")
    shutil.rmtree(output / "jem-digits-accuracy")
    (output / "softmax-digits-accuracy").rename(output / "jem-digits-accuracy")
    again = jembench.evaluate("jem", "accuracy", limit=30, output=output)
    assert again.folder.name not in ("jem-digits-accuracy", "softmax-digits-accuracy")
    assert jembench.load_result("jem-digits-accuracy", output=output).document.model.name == "softmax"


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    one, other = (shelf.word("n" * 100, "m" * 100, end) for end in ("a", "b"))
    assert one != other
    assert max(len(one), len(other)) <= 130
    assert shelf.claim(Store.open(tmp_path), ONE, one).name == one
