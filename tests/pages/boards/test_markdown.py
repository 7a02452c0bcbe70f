"""Leaderboards in markdown: from result folders alone, ranked only by what tests have shown."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import jembench
from jembench import data
from jembench.api import Result
from jembench.choices import published
from jembench.data.sets import Track
from jembench.ground.identity import identity
from jembench.metrics.metric import Metric
from jembench.pages.boards import gather, markdown
from jembench.pages.seeds import SEEDS, collect, write_seeds
from jembench.pages.tables import publications
from jembench.pages.tables.table import Table
from jembench.store.results import ResultDocument, read_result, write_result
from jembench.types import UserError
from jembench.zoo import baselines


@pytest.fixture
def golden(digits: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Baselines whose golden results are those of now."""
    place = tmp_path / "baselines" / "digits"
    shutil.copytree(baselines.folder("digits"), place, ignore=shutil.ignore_patterns("golden", SEEDS))
    for name, result in digits.items():
        shutil.copytree(result.folder, place / name / "golden")
    monkeypatch.setattr(baselines, "folder", lambda track: tmp_path / "baselines" / track)
    return place


def page(track: Track, golden: Sequence[Path], published: Sequence[Table] = ()) -> str:
    """The leaderboard of result folders."""
    return markdown.page(gather.board(track, data.about(track.ref), golden), published)


def written() -> str:
    """The leaderboard of the golden results that there are."""
    return page(data.track("digits"), baselines.all_golden("digits"))


def test_it_is_written_and_then_current(call: Callable[..., Any], golden: Path, tmp_path: Path) -> None:
    """``--check`` exits 1 where the file is absent or differs in one character, and never writes."""
    output, path = tmp_path / "boards", tmp_path / "boards" / "digits.md"
    absent = call("leaderboard", "--check", "--output", output)
    assert absent.code == 1
    assert "does not exist" in absent.err
    assert not output.exists()
    assert call("leaderboard", "--output", output).code == 0
    content = path.read_text()
    assert call("leaderboard", "--check", "--output", output).code == 0
    path.write_text(content.replace("jem", "gem", 1))
    assert call("leaderboard", "--check", "--output", output).code == 1
    assert path.read_text() != content
    assert call("leaderboard", "--output", output).code == 0
    assert path.read_text() == content


def test_every_model_number_and_protocol_is_in_it(golden: Path, digits: dict[str, Result]) -> None:
    text = written()
    assert text.count("\n## Suite all") == 1
    for name, result in digits.items():
        document = result.document
        assert f"| {name} " in text
        assert f"{result.metrics['mean/mass/auroc'].value:.3f}" in text
        assert str(document.model.weights_sha256)[:12] in text
        assert document.protocol_hash[:12] in text
    assert text == written()


def test_it_does_not_depend_on_when_or_how_long_it_was_measured(golden: Path) -> None:
    before = written()
    path = golden / "jem" / "golden" / "result.json"
    content = json.loads(path.read_text())
    content["cost"].update(seconds=1e9, peak_memory_mb=1e9)
    content["provenance"]["created"] = "1970-01-01T00:00:00+00:00"
    content["provenance"]["environments"][0].update(cpus=1, processor="other")
    content.pop("digest", None)
    path.write_text(json.dumps(content))
    assert written() == before


def test_numbers_of_different_protocols_share_no_table(golden: Path, tmp_path: Path) -> None:
    limited = jembench.evaluate("softmax", "all", limit=30, output=tmp_path / "store")
    shutil.rmtree(golden / "softmax" / "golden")
    shutil.copytree(limited.folder, golden / "softmax" / "golden")
    text = written()
    assert text.count("\n## Suite all") == 2
    assert "**" not in text  # nobody to be better than
    assert re.search("(softmax|jem) \\(`[0-9a-f]{12}`\\): not ranked with `[0-9a-f]{12}`, since n of 'test' is", text)


def test_golden_results_of_other_images_are_refused(golden: Path) -> None:
    """A track whose bytes changed under a golden result has no leaderboard until it is made anew."""
    path = golden / "softmax" / "golden" / "result.json"
    content = json.loads(path.read_text())
    content["protocol"]["sources"]["textures"]["sha256"] = "0" * 64
    content["protocol_hash"] = identity(content["protocol"])
    content.pop("digest", None)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="the result of 'softmax' is of other images of 'textures' than digits-v1"):
        written()


def test_without_golden_results_or_of_another_track_there_is_none(golden: Path, tmp_path: Path, oracle: Result) -> None:
    with pytest.raises(UserError, match="no golden results and no published rows"):
        page(data.track("digits"), [])
    shutil.copytree(oracle.folder, golden / "oracle" / "golden")
    with pytest.raises(UserError, match="the result of 'oracle' is of gauss-v1, not digits-v1"):
        written()


def trained(document: ResultDocument, name: str, seed: int, accuracy: float) -> ResultDocument:
    """A result as of a model and a training seed, with an accuracy of its own and an interval of ± .02."""
    model = document.model.model_copy(update={"name": name, "weights_sha256": identity([name, seed])})
    first = replace(document.metrics[0], value=accuracy, low=accuracy - 0.02, high=accuracy + 0.02)
    return document.model_copy(update={"model": model, "metrics": [first, *document.metrics[1:]]})


@pytest.fixture
def place(oracle: Result, tmp_path: Path) -> Callable[..., Path]:
    """Makes a baseline of gauss, with a golden result of the first accuracy; of several, they are its seeds."""
    examples = (oracle.folder / "examples.parquet").read_bytes()

    def place(name: str, *accuracies: float) -> Path:
        runs = [(seed, trained(oracle.document, name, seed, one)) for seed, one in enumerate(accuracies)]
        write_result(tmp_path / name / "golden", runs[0][1], examples)
        if len(runs) > 1:
            write_seeds(tmp_path / name, collect(runs))
        return tmp_path / name / "golden"

    return place


def row(text: str, name: str) -> list[str]:
    """The cells of a model in the table of accuracies."""
    table = text[text.index("### accuracy:") :]
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return next(found for found in cells if found[:1] == [name])


def test_models_of_several_seeds_show_their_mean_and_say_so(place: Callable[..., Path]) -> None:
    """The interval is that of the images, ± .02; the spread of the seeds, .01, stands apart."""
    text = page(data.track("gauss"), [place("jem", 0.8, 0.81, 0.79), place("softmax", 0.8)])
    assert text.count("\n## Suite all") == 1
    assert row(text, "jem")[1] == "0.800<sup>a</sup> (0.780–0.820) ±0.010"
    assert row(text, "softmax")[1] == "0.800<sup>a</sup> (0.780–0.820)"
    assert (
        f"- `jem`: mean of 3 training seeds; weights of seed 0 shipped; weights `{identity(['jem', 0])[:12]}`" in text
    )
    assert "- `softmax`: 1 training seed: its intervals hold test variance only; weights `" in text


def test_all_numbers_have_intervals_of_test_and_training_variance(place: Callable[..., Path]) -> None:
    """t s / sqrt(3) = 4.302653 * .01 / sqrt(3) = .0248, with .02 in squares .0319; nothing is bold there."""
    text = page(data.track("gauss"), [place("a", 0.85, 0.86, 0.84), place("b", 0.8)])
    fold = text[text.index("<details>") : text.index("</details>")]
    assert "0.850 (0.818–0.882)" in fold
    assert "**" not in fold


def test_figures_of_the_shipped_weights_alone_are_named(place: Callable[..., Path], oracle: Result) -> None:
    """A metric that one training could not give is no mean."""
    folder = place("jem", 0.8)
    missing = trained(oracle.document, "jem", 1, 0.8)
    metrics = [
        replace(item, value=None, low=None, high=None, reason="NaN") if item.id == "mean/mass/auroc" else item
        for item in missing.metrics
    ]
    seeds = collect([(0, read_result(folder)), (1, missing.model_copy(update={"metrics": metrics}))])
    write_seeds(folder.parent, seeds)
    text = page(data.track("gauss"), [folder])
    assert "mean of 2 training seeds; weights of seed 0 shipped; of these weights alone: mean/mass/auroc; w" in text


def test_seeds_of_another_golden_result_are_refused_by_name(place: Callable[..., Path], oracle: Result) -> None:
    """Weights, protocol or numbers that are not those of the golden result: made before it, or edited."""
    folder = place("jem", 0.8, 0.81)
    path = folder.parent / SEEDS
    content = json.loads(path.read_text())
    for change, reason in (
        (lambda new: new["runs"][0].update(weights_sha256="0" * 64), "no run with its weights"),
        (lambda new: new.update(protocol_hash="0" * 64), "are of protocol 000000000000"),
        (lambda new: new["runs"][0]["metrics"].update({"test/accuracy": [0.9, 0.8, 1.0]}), "for its test/accuracy"),
        (lambda new: new.update(runs=[]), "not valid training seeds"),
    ):
        edited = json.loads(json.dumps(content))
        change(edited)
        path.write_text(json.dumps(edited))
        with pytest.raises(UserError, match=reason) as error:
            page(data.track("gauss"), [folder])
        assert str(error.value).startswith(f"{path}: ")


def test_a_track_with_published_rows_alone_says_that_nothing_of_ours_is_measured() -> None:
    text = page(data.track("cifar100"), [], publications.tables("cifar100"))
    assert "Nothing of ours is measured on this track yet." in text
    assert "Bold" not in text
    assert "baselines/" not in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Published"]
    assert "| JEM †         | 0.0487 |" in text


def test_the_command_covers_every_track_that_has_a_leaderboard(
    call: Callable[..., Any], golden: Path, tmp_path: Path
) -> None:
    output = tmp_path / "boards"
    words = ("leaderboard", "--all", "--output", output)
    assert call(*words).code == 0
    assert sorted(path.name for path in output.glob("*.md")) == ["cifar10.md", "cifar100.md", "digits.md"]
    assert call(*words, "--check").code == 0
    path = output / "cifar100.md"
    path.write_text(path.read_text().replace("0.0487", "0.0486"))
    stale = call(*words, "--check")
    assert stale.code == 1
    assert stale.err == f"{path} is not current: run `jembench leaderboard --track cifar100`\n"
    assert "digits.md is current" in stale.out
    assert "0.0486" in path.read_text()
    for bad in (("--all", "--track", "cifar10"), ("--track", "svhn")):
        answer = call("leaderboard", *bad, "--output", output)
        assert (answer.code, answer.err.count("\n")) == (2, 1)


def test_checking_needs_no_torch_and_no_images(tmp_path: Path) -> None:
    """The leaderboards and cards of the repository, as the environment of tables sees them."""
    code = (
        "import sys; from jembench import cli\n"
        "for words in (['leaderboard', '--all', '--check'], ['maintain', 'cards', '--check']):\n"
        "    sys.argv = ['jembench', *words]\n"
        "    try: cli.main()\n"
        "    except SystemExit as end: assert not end.code, words\n"
        "assert not {'torch', 'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=published.place().parents[1],
        env={"PATH": "", "PYTHONPATH": str(published.place().parents[1]), "JEMBENCH_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


CIFAR10 = data.track("cifar10")
BITS = "b" * 64  # hash of a part of a set
Sizes = dict[str, tuple[int, str]]


def pinned(name: str) -> str:
    return CIFAR10.source(name).sha256


#: As of `--limit 2000` where the test split is whole and of the OOD sets there are parts.
LIMITED: Sizes = {
    "test": (2000, pinned("test")),
    "interp": (995, pinned("interp")),
    "svhn": (2000, BITS),
    "chains": (1000, pinned("chains")),
}


@pytest.fixture
def made(part: Callable[..., Result], tmp_path: Path) -> Callable[..., Path]:
    """Makes a result on cifar10 of chosen evaluators, sources and metrics; a folder of its own."""
    document = part().document

    def made(name: str, sizes: Sizes, metrics: list[Metric], *evaluators: str | dict[str, Any]) -> Path:
        protocol = document.protocol.model_dump()
        protocol["sources"] = {source: {"n": n, "sha256": sha} for source, (n, sha) in sizes.items()}
        protocol["evaluators"] = [
            {"name": item, "version": 1} if isinstance(item, str) else item for item in evaluators
        ]
        content = document.model_dump(exclude={"metrics"}) | {
            "model": {"name": name, "fingerprint": name, "weights_sha256": identity(name)},
            "protocol": protocol,
            "protocol_hash": identity(protocol),
        }
        folder = tmp_path / identity([name, sizes, list(map(str, evaluators))])[:8]
        write_result(
            folder, ResultDocument(**content, metrics=metrics), (part().folder / "examples.parquet").read_bytes()
        )
        return folder

    return made


def figure(name: str, source: str, variant: str, low: float, n: dict[str, int]) -> Metric:
    """A metric with an interval of .02."""
    evaluator = {"accuracy": "accuracy", "auroc": "ood"}.get(name, "robustness")
    return Metric(name, source, variant, low + 0.01, low, low + 0.02, "wilson", n, "higher", evaluator=evaluator)


def accuracy(low: float, n: int) -> Metric:
    return figure("accuracy", "test", "", low, {"test": n})


def sections(text: str) -> dict[str, str]:
    """The sections by their headings."""
    return {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}


def test_results_over_parts_of_published_sets_say_so(made: Callable[..., Path]) -> None:
    """In the section, and under every table with a number of such a set."""
    n = {"test": 2000, "svhn": 2000}
    metrics = [accuracy(0.8, 2000), *(figure("auroc", "svhn", score, 0.7, n) for score in ("log_px", "max_py"))]
    text = page(CIFAR10, [made("jem", LIMITED, metrics, "accuracy", "ood")])
    assert "chains 1000. Subsets of published sets: test 2,000 of 10,000, svhn 2,000 of 26,032.\n" in text
    assert text.count("_subset: test 2,000 of 10,000_") == 1
    assert "_subset: test 2,000 of 10,000, svhn 2,000 of 26,032_" in text


def test_complete_sets_are_no_subsets(made: Callable[..., Path]) -> None:
    whole = {"test": (10000, pinned("test")), "svhn": (26032, BITS)}
    n = {"test": 10000, "svhn": 26032}
    metrics = [accuracy(0.8, 10000), figure("auroc", "svhn", "log_px", 0.7, n)]
    text = page(CIFAR10, [made("jem", whole, metrics, "accuracy", "ood")])
    assert "ubset" not in text


def test_different_data_and_published_rows_are_never_ranked_together(made: Callable[..., Path]) -> None:
    """Two models over one part, a better one over another part of the same size, and published rows above all."""
    one, other = ({"test": (2000, bits)} for bits in (BITS, "c" * 64))
    golden = [
        made(name, sizes, [accuracy(low, 2000)], "accuracy")
        for name, sizes, low in (("a", one, 0.60), ("b", one, 0.50), ("best", other, 0.90))
    ]
    text = page(CIFAR10, golden, publications.tables("cifar10"))
    found = sections(text)
    ours = [found[name] for name in found if ": protocol v1 on cifar10-v1" in name]
    assert len(ours) == 2
    both = next(part for part in ours if "| a " in part)
    assert "0.610<sup>a</sup> (0.600–0.620)" in both
    assert "| best" not in both
    assert "best (`" in found["Headlines"]
    assert "since sha256 of 'test' is" in found["Headlines"]
    assert list(found)[-1] == "Published"
    assert "ranked neither with ours nor among themselves" in found["Published"]
    for part in ours:
        assert "JEM paper" not in part
    assert "**" not in found["Published"]
    assert "from the golden results in `baselines/cifar10` and `leaderboards/published.json`; do not edit" in text


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [
        ({"test": (10000, pinned("test"))}, False),
        ({"test": (10000, BITS)}, True),  # as many as published, and others
        ({"test": (2000, pinned("test"))}, False),  # the first of the whole set
        ({"test": (2000, BITS)}, False),  # a part: it cannot be checked
        ({"test": (10001, BITS)}, True),
        ({"svhn": (26032, BITS)}, False),  # nothing is pinned
        ({"svhn": (26033, BITS)}, True),
        ({"chains": (100, BITS)}, True),  # made by arithmetic, so pinned whatever its size
        ({"chains": (100, pinned("chains"))}, False),
        ({"mine": (100, BITS)}, True),
    ],
)
def test_what_cannot_be_checked_is_accepted_and_what_can_be_is_checked(
    made: Callable[..., Path], sizes: Sizes, refused: bool
) -> None:
    folder = made("jem", sizes, [accuracy(0.5, 100)], "accuracy")
    if refused:
        with pytest.raises(UserError, match=f"is of other images of '{next(iter(sizes))}' than cifar10-v1 has"):
            page(CIFAR10, [folder])
    else:
        assert "| jem " in page(CIFAR10, [folder])


SHORT = "no AutoAttack: upper bounds, not to be held against AutoAttack's.\n"
GENERATION = {
    "name": "generation",
    "version": 1,
    "extractor": {"name": "cifar10-ref", "distance": "fd"},
    "keep_top": 1.0,
}
BATTERY = {"steps": 20, "restarts": 1, "goal": "untargeted", "copies": 0, "precision": "fp32"}
ROBUSTNESS = {"name": "robustness", "version": 1, "battery": BATTERY}


def test_a_leaderboard_of_limited_suites(made: Callable[..., Path], tmp_path: Path) -> None:
    """What a model of photographs can afford: accuracy and samples, or accuracy alone, and attacks on 200 images."""
    attacked = []
    golden = []
    for name, low in (("jem", 0.70), ("softmax", 0.80)):
        n = {"test": 200}
        metrics = [
            figure("robust_accuracy", "test", "clean", low, n),
            figure("robust_accuracy", "test", "linf-0.0314/worst", 0.9 - low, n),
            figure("robust_accuracy", "test", "linf-0.0314/pgd", 0.95 - low, n),
            Metric("reliable", "test", "linf", 1.0),
        ]
        attacked.append(made(name, {"test": (200, pinned("test"))}, metrics, ROBUSTNESS))
        samples = [] if name == "softmax" else [Metric("fd", "fresh", "cifar10-ref", 90.0, n={"fresh": 1000})]
        sizes = LIMITED | {"train": (2000, pinned("train"))}
        golden.append(made(name, sizes, [accuracy(low, 2000), *samples], "accuracy", GENERATION))
    golden.append(made("igebm", {"test": (2000, pinned("test"))}, [accuracy(0.9, 2000)], "accuracy"))
    text = page(CIFAR10, [*golden, *attacked], publications.tables("cifar10"))
    found = sections(text)
    assert len(found) == 4  # headlines, one protocol, of which that of igebm is a part, attacks, published
    hybrid = next(part for part in found.values() if "### hybrid · cifar10-v1" in part)
    assert "train 2,000 of 45,000" in hybrid
    assert "| igebm" in hybrid[: hybrid.index("<details>")]
    assert "| igebm" not in hybrid[hybrid.index("<details>") :]
    robust = next(part for name, part in found.items() if name.startswith("Attacks, no defence"))
    assert "Subsets of published sets: test 200 of 10,000." in robust
    assert f"Attacks: PGD-20 on 200 images, {SHORT}" in robust
    assert robust.count("_subset: test 200 of 10,000_") == 2
    assert "0.210" in robust
    pictures = markdown.pictures(gather.board(CIFAR10, "", [*golden, *attacked]))
    assert list(pictures) == ["cifar10-hybrid.png", "cifar10-robustness.png"]
    for name, picture in pictures.items():
        assert f"({name})" in text
        assert picture.axes


def test_attacks_on_photographs_are_named_by_what_ran(made: Callable[..., Path]) -> None:
    """From the results: which they were, how long, on how many images, and whether AutoAttack is among them."""

    def section(sizes: dict[str, int], **battery: int) -> str:
        metrics = [
            figure("robust_accuracy", "test", "clean", 0.5, {"test": 200}),
            Metric("reliable", "test", "linf", 1.0),
        ]
        for name, n in (("worst", 200), *sizes.items()):
            metrics.append(figure("robust_accuracy", "test", f"linf-0.0314/{name}", 0.3, {"test": n}))
        evaluator = {**ROBUSTNESS, "battery": {**BATTERY, **battery}}
        folder = made("jem", {"test": (200, pinned("test"))}, metrics, evaluator)
        return page(CIFAR10, [folder])

    bare = {"pgd": 200, "square": 200, "transfer": 200}
    assert f"Attacks: PGD-50, Square, transfer on 200 images, {SHORT}" in section(bare, steps=50)
    refined = {"pgd-none": 200, "pgd-full": 100, "square": 30, "spsa": 30, "reject": 10}
    found = section(refined, steps=10, copies=2, refinement=1, draws=5)
    assert f"Attacks: PGD-10 on 200 images; Square, SPSA on 30 images, {SHORT}" in found
    found = section({"pgd": 200, "autoattack": 200})
    assert "Attacks: PGD-20, AutoAttack on 200 images: upper bounds.\n" in found
    assert "no AutoAttack" not in found


def test_golden_results_are_held_against_the_sets_of_their_protocol(made: Callable[..., Path], tmp_path: Path) -> None:
    """The interp of JEM's code has 9,900 images, ours 995."""
    folder = made("jem", {"interp": (9_900, BITS)}, [accuracy(0.5, 100)], "accuracy")
    with pytest.raises(UserError, match="is of other images of 'interp'"):
        page(CIFAR10, [folder])
    content = json.loads((folder / "result.json").read_text())
    content["protocol"]["name"] = "jem2020"
    content["protocol_hash"] = identity(content["protocol"])
    content.pop("digest", None)
    (folder / "result.json").write_text(json.dumps(content))
    text = page(CIFAR10, [folder])
    assert "interp 9900" in text
    assert "interp 9,900" not in text


def test_pictures_are_of_one_protocol_each(made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second protocol has a picture of its own, with its hash in the name; without samples there is none."""
    drawn: list[list[ResultDocument]] = []
    monkeypatch.setattr(
        "jembench.pages.pictures.generation.tradeoff", lambda documents: drawn.append(documents) or Figure()
    )
    monkeypatch.setattr(
        "jembench.pages.pictures.plots.robustness", lambda documents: drawn.append(documents) or Figure()
    )
    fd = Metric("fd", "fresh", "cifar10-ref", 90.0, n={"fresh": 1000})
    golden = [
        made(name, {"test": (n, BITS)}, [accuracy(0.7, n), fd], "accuracy", GENERATION)
        for n in (1000, 2000)
        for name in ("a", "b")
    ]
    clean = [figure("robust_accuracy", "test", "clean", 0.5, {"test": 200})]
    attacked = [
        made(name, {"test": (200, bits)}, clean, ROBUSTNESS) for bits in (BITS, "c" * 64) for name in ("a", "b")
    ]
    text = page(CIFAR10, [*golden, *attacked])
    pictures = markdown.pictures(gather.board(CIFAR10, "", [*golden, *attacked]))
    assert set(pictures) == {
        f"cifar10-{kind}-{read_result(folder).protocol_hash[:12]}.png"
        for kind, folders in (("hybrid", golden), ("robustness", attacked))
        for folder in folders
    }
    assert all(text.count(f"({name})") == 1 for name in pictures)
    assert [[document.model.name for document in documents] for documents in drawn] == [["a", "b"]] * 4
    assert all(len({document.protocol_hash for document in documents}) == 1 for documents in drawn)
    none = [made(name, {"test": (50, BITS)}, [accuracy(0.7, 50)], "accuracy", GENERATION) for name in ("a", "b")]
    assert markdown.pictures(gather.board(CIFAR10, "", none)) == {}
    assert "![" not in page(CIFAR10, none)
