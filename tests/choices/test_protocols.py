"""Named protocols: every published choice does what the published code does, says so, and leaves ``v1`` alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import jembench
from jembench import data
from jembench.attacks.defences import Defence, Defended
from jembench.attacks.victim import Victim
from jembench.choices.batteries import battery, distances
from jembench.choices.evaluators import evaluators
from jembench.choices.protocols import PROTOCOLS, V1, Refinement, choices, explain
from jembench.choices.request import Options, Request, Sampling
from jembench.choices.sampling import generation
from jembench.data import external
from jembench.data.sets import BATCH
from jembench.engine import bench
from jembench.engine.bench import Bench
from jembench.engine.plan import Job, plan
from jembench.evaluators.generation import Generation, top
from jembench.ground import generators, seeding
from jembench.measurements.contract import describe
from jembench.metrics.metric import DEPENDENT
from jembench.models.small import SmallNet
from jembench.models.softmax import Softmax
from jembench.pages.compare import compare
from jembench.pages.tables import calibration, report
from jembench.store.records import Store
from jembench.store.results import SourceFacts, read_result
from jembench.types import Batch, UserError
from jembench.zoo import baselines, catalogue
from jembench.zoo.references import ModelRef, parse

PUBLISHED = [name for name in PROTOCOLS if name != "v1"]
JEM, SADA = PROTOCOLS["jem2020"], PROTOCOLS["sadajem"]
DIGITS, CIFAR = data.track("digits"), data.track("cifar10")
OOD = ("ood",)


def spec(name: str = "jem") -> Any:
    return catalogue.resolve(parse(name), track="digits")


# --- v1 is what it was --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", baselines.all_golden("digits"), ids=lambda folder: folder.parent.name)
def test_v1_has_the_keys_of_the_golden_results(folder: Path) -> None:
    """The fields that protocols have added move no identity: every chunk and every hash is the committed one."""
    golden = read_result(folder)
    made = plan(
        spec(golden.model.name), golden.suite, track=DIGITS, request=Request(seed=golden.seed, limit=golden.limit)
    )
    assert [job.key for job in made.jobs] == [chunk.key for chunk in golden.chunks]
    assert (made.key, made.protocol_hash) == (golden.key, golden.protocol_hash)


def test_v1_shows_every_track_as_it_is() -> None:
    for name in data.TRACKS:
        track = data.track(name)
        assert V1.on(track, V1.evaluated("all")) == track


def test_a_field_that_came_later_is_described_where_it_departs() -> None:
    looker: Any = evaluators("generation", spec(), DIGITS)[0].extractor  # type: ignore[attr-defined]
    plain = describe(Generation(looker))
    assert set(plain) == {"name", "version", "extractor", "steps", "temperature", "keep_top"}
    assert describe(Generation(looker, by_class=True)) == {**plain, "by_class": True}


def test_numbers_of_two_protocols_share_no_ranking() -> None:
    made = {name: plan(spec(), "accuracy", track=DIGITS, request=Request(protocol=name)) for name in PROTOCOLS}
    assert len({each.protocol_hash for each in made.values()}) == len(PROTOCOLS)
    assert [each.protocol["name"] for each in made.values()] == list(PROTOCOLS)
    assert [job.key for job in made["sadajem"].jobs] == [job.key for job in made["v1"].jobs]  # no noise: same records
    assert not {job.key for job in made["jem2020"].jobs} & {job.key for job in made["v1"].jobs}


# --- explain ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_explain_names_every_choice_in_100_columns(name: str) -> None:
    text = explain(name)
    assert max(map(len, text.splitlines())) <= 100
    for choice in choices():
        assert f"\n{choice} " in text
    assert PROTOCOLS[name].code in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_departure_says_where_it_was_read(name: str) -> None:
    departures = {choice for choice in choices() if getattr(PROTOCOLS[name], choice) != getattr(V1, choice)}
    assert departures == set(PROTOCOLS[name].whence)
    assert len(departures) >= 8
    words = " ".join(explain(name).split())
    assert "straight-through" in words if name == "jem2020" else "train+test" in words


def test_the_attacks_of_v1_are_those_of_its_batteries() -> None:
    """The words of the explanation, on digits and on photographs, without and with noise."""
    made = {}
    for track in (DIGITS, CIFAR):
        bare = catalogue.resolve(
            ModelRef("object", "m", module=nn.Sequential(nn.Flatten(), nn.Linear(math.prod(track.shape), 10))),
            track=track.name,
        )
        for steps in (None, 1, 5):
            model = bare if steps is None else catalogue.defended(bare, Defence(steps))
            made[track.name, steps] = battery(model, track, Options())
    d, noisy, p, noisy_p = (made[key] for key in (("digits", None), ("digits", 1), ("cifar10", None), ("cifar10", 1)))
    long = made["digits", 5].images
    assert (d.images, noisy_p.images, made["cifar10", 5].images) == (None, noisy.images, long)
    words = {each.name: each.metadata["empty"] for each in fields(V1) if "about" in each.metadata}
    assert (
        words["attack_images"] == f"all ({noisy.images} if noisy, {long} from 5 SGLD steps on; photographs: {p.images})"
    )
    assert (
        words["attack_steps"] == f"{d.steps} ({noisy.steps} if noisy; photographs: {p.steps}, {noisy_p.steps} if noisy)"
    )
    assert noisy.restarts == noisy_p.restarts
    assert words["attack_restarts"] == f"{d.restarts} ({noisy.restarts} if noisy; photographs: {p.restarts})"
    assert words["attack_copies"] == f"{noisy.copies} if noisy (photographs: {noisy_p.copies})"
    assert "autoattack" in d.attacks
    assert (p.attacks, noisy_p.attacks) == (("square",), ("square", "spsa"))
    said = f"(photographs: PGD, Square with {p.queries} queries, transfer; AutoAttack only if asked for)"
    assert said in " ".join(each.metadata["about"] for each in fields(V1) if each.name == "attack")
    for name in PROTOCOLS:
        assert "photographs:" in explain(name)


def test_the_calibration_error_beside_the_scores_is_that_of_the_protocol(tmp_path: Path) -> None:
    """And no other word of the tables changes by it: a plain one is not shown twice."""
    theirs = jembench.evaluate("softmax", "calibration", limit=60, output=tmp_path, protocol="jem2020").document
    ours = theirs.model_copy(update={"protocol": theirs.protocol.model_copy(update={"name": "v1"})})
    gone = theirs.model_copy(update={"protocol": theirs.protocol.model_copy(update={"name": "gone"})})
    headers = [[table.header[2:] for table in report.tables([each])[:2]] for each in (ours, theirs, gone)]
    assert (
        headers[0]
        == headers[2]
        == [["NLL", "Brier", "squared ECE", "AURC"], ["ECE-15", "ECE-20", "adaptive", "classwise"]]
    )
    assert headers[1] == [["NLL", "Brier", "ECE-20", "AURC"], ["ECE-15", "adaptive", "classwise"]]
    assert report.tables([theirs])[0].rows[0][4] == theirs.metric("test/raw/ece20")
    assert calibration.BANDS in report.tables([theirs])[0].notes
    assert calibration.DEBIASED in report.tables([ours])[0].notes
    assert [PROTOCOLS[name].ece for name in PROTOCOLS] == ["squared_ece15", "ece20", "ece20", "ece20"]


def test_an_unknown_protocol_gets_the_nearest_name(call: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"unknown protocol 'jem2021'; did you mean 'jem2020'\?"):
        PROTOCOLS["jem2021"]
    answer = call("explain", "sadajam")
    assert (answer.code, answer.out) == (2, "")
    assert "did you mean 'sadajem'" in answer.err
    assert call("explain", "sadajem").out == explain("sadajem") + "\n"
    assert [line.split()[0] for line in call("list", "protocols").out.splitlines()] == list(PROTOCOLS)


# --- noise --------------------------------------------------------------------------------------------------------


def test_the_noise_is_the_papers_in_our_units() -> None:
    """N(0, .03) on [-1, 1] and ours on [0, 1] give one network the same logits."""
    torch.manual_seed(0)
    network = SmallNet(shape=(1, 8, 8), classes=10, width=4).double()
    x = torch.rand((5, 1, 8, 8), generator=generators.generator("x")).double()
    xi = torch.randn(x.shape, generator=generators.generator("xi")).double()
    ours = Softmax(network, mean=0.5, std=0.5).logits(x + JEM.test_noise * xi)
    assert torch.allclose(ours, network((2 * x - 1) + 0.03 * xi), atol=1e-12)


@dataclass(frozen=True)
class Peek:
    """Records the images that a measurement sees."""

    name: ClassVar[str] = "peek"
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Any]] = frozenset()
    finite: ClassVar[frozenset[str]] = frozenset()

    def columns(self, model: Any, batch: Batch, generator: Any) -> dict[str, Any]:
        ones = np.ones(len(batch.index), dtype=np.int32)
        return {"image": batch.images.flatten(1).numpy(), "forwards": ones, "gradients": ones}


@dataclass(frozen=True)
class Glance(Peek):
    """Another measurement of the same images."""

    name: ClassVar[str] = "glance"


def seen(tmp_path: Path, measurement: Peek, stop: int = 180, **changes: Any) -> np.ndarray:
    oracle = catalogue.resolve(parse("oracle"), track="gauss")
    source = data.track("gauss").source("test")
    job = Job(oracle, measurement, "test", source.sha256, 0, stop, 180, 0, 0, "cpu", noise=0.015)
    job = replace(job, **changes)
    store = Store.open(tmp_path)
    Bench(store)(job)
    found: np.ndarray = store.records(job.key)[0]["image"]
    return found


def test_all_measurements_of_a_chunk_see_the_same_noisy_images(tmp_path: Path) -> None:
    """However many of its images are measured, and whatever model looks; another seed or source has other noise."""
    clean = seen(tmp_path, Peek(), noise=0.0)
    noisy = seen(tmp_path, Peek())
    assert np.array_equal(clean, data.load("gauss", "test").pixels(0, 180).reshape(180, -1))
    assert (noisy - clean).std() == pytest.approx(0.015, rel=0.05)
    assert abs((noisy - clean).mean()) < 4 * 0.015 / math.sqrt(clean.size)
    assert np.array_equal(seen(tmp_path, Glance()), noisy)
    assert np.array_equal(seen(tmp_path, Peek(), stop=7), noisy[:7])
    assert not np.array_equal(seen(tmp_path, Peek(), seed=1), noisy)


def test_noise_is_in_a_key_where_there_is_some() -> None:
    job = Job(spec(), Peek(), "test", "d" * 64, 0, 180, 180, 0, 0, "cpu")
    assert replace(job, noise=0.0).key == job.key
    assert len({replace(job, noise=noise).key for noise in (0.0, 0.015, 0.03)}) == 3


def test_the_model_sees_noise_and_the_extractor_and_the_attacks_do_not() -> None:
    made = plan(spec(), "hybrid", track=DIGITS, request=Request(protocol="jem2020"))
    noise = {(job.measurement.name, job.source): job.noise for job in made.jobs}
    assert noise["logits", "test"] == 0.015
    assert {noise[key] for key in noise if key[0] in ("embedded", "samples")} == {0.0}
    attacked = plan(
        catalogue.defended(spec(), Defence(1)), "distance", track=DIGITS, request=Request(protocol="jem2020")
    )
    assert {job.noise for job in attacked.jobs} == {0.0}
    ood = plan(spec(), "ood", track=DIGITS, request=Request(protocol="jem2020"))
    assert {job.noise for job in ood.jobs} == {0.015}
    assert made.protocol["sources"]["test"] == {**DIGITS_TEST, "noise": 0.015}


DIGITS_TEST = {"sha256": DIGITS.source("test").sha256, "n": 360}


def test_the_noise_of_a_defence_stands_in_place_of_the_protocols() -> None:
    """Published code adds it once, to the images, and refines them then; one without noise of its own gets it too."""
    for suite in ("accuracy", "calibration", "ood"):
        for defence, noise in ((Defence(1), 0.0), (Defence(1, sigma=0.0), 0.015)):
            made = plan(catalogue.defended(spec(), defence), suite, track=DIGITS, request=Request(protocol="jem2020"))
            own = [job for job in made.jobs if job.measurement.name == "logits" and job.model.defence == defence]
            assert own
            assert {job.noise for job in own} == {noise}
            assert made.protocol["sources"]["test"]["noise"] == 0.015  # bare or defended, the protocol is one


def test_the_protocol_says_noise_only_of_images_that_a_model_sees_with_it() -> None:
    made = plan(spec(), "hybrid", track=DIGITS, request=Request(protocol="jem2020"))
    assert {job.noise for job in made.jobs if job.source == "train"} == {0.0}
    assert "noise" not in made.protocol["sources"]["train"]
    assert made.protocol["sources"]["test"]["noise"] == 0.015


def test_jempp_has_noise_in_accuracy_and_none_in_detection() -> None:
    """As its evaluation's default and its scripts have it, so that both in one result are refused."""
    for suite, noise in (("accuracy", 0.015), ("calibration", 0.015), ("ood", 0.0)):
        jobs = plan(spec(), suite, track=DIGITS, request=Request(protocol="jempp")).jobs
        assert {job.noise for job in jobs if job.measurement.name == "logits"} == {noise}
    with pytest.raises(UserError, match="run suites accuracy, calibration, hybrid and ood apart"):
        plan(spec(), "all", track=DIGITS, request=Request(protocol="jempp"))


def test_facts_of_a_source_tell_its_noise_only_if_there_is_some() -> None:
    assert SourceFacts(sha256="a", n=1).model_dump(mode="json") == {"sha256": "a", "n": 1}
    noisy = SourceFacts(sha256="a", n=1, noise=0.015)
    assert SourceFacts.model_validate(noisy.model_dump(mode="json")) == noisy


# --- OOD sets -----------------------------------------------------------------------------------------------------


def test_interp_mixes_test_images_with_the_batch_before(shelf: Callable[..., Path]) -> None:
    shown = JEM.on(data.track("cifar10", folder=shelf("cifar10_test", 250)), OOD)
    part = shown.source("interp").part
    assert (part.set, part.split, part.span) == ("cifar10", "test", (0, 1000))
    images = data.images(shown, "test").images
    images = images[external.canonical_order(external.fingerprints(images, np.full(250, -1)))]
    mixed = data.images(shown, "interp")
    first, second = images[:150].astype(int), images[100:].astype(int)
    assert np.array_equal(mixed.images, (first + second) // 2)
    assert (len(mixed), set(mixed.labels.tolist())) == (250 - BATCH, {-1})
    assert external.cut(np.zeros(90, dtype=np.int64), part).shape == (2, 0)
    assert JEM.on(CIFAR, OOD).source("interp").n == 9_900


@pytest.mark.parametrize("name", PUBLISHED)
def test_interp_is_not_independent_of_test(name: str) -> None:
    assert CIFAR.source("interp").base == "ood-base"
    assert PROTOCOLS[name].on(CIFAR, OOD).source("interp").base == "test"


def test_interp_has_its_noise_on_top_of_that_of_both_images() -> None:
    """Its standard deviation is sqrt(3/2) of the other sets', as in the published three lines."""
    s, shape = JEM.ood_noise, (200_000,)
    one, other, more = (seeding.rng("interp", k).standard_normal(shape) for k in range(3))
    published = ((0.3 + s * one) + (0.5 + s * other)) / 2 + s * more - 0.4
    track = JEM.on(CIFAR, OOD)
    assert track.source("interp").noise == pytest.approx(published.std(), rel=0.01)
    assert {source.noise for source in track.sources if source.name not in ("interp", "chains")} == {s}


def test_celeba_is_the_whole_photograph_of_the_published_splits(tmp_path: Path) -> None:
    """All splits in JEM, the test split in SADA-JEM; a folder of crops cannot give either."""
    for name, split, n in (("jem2020", "all", 202_599), ("jempp", "all", 202_599), ("sadajem", "test", 19_962)):
        source = PROTOCOLS[name].on(CIFAR, OOD).source("celeba")
        assert (source.part.view, source.part.split, source.n, source.absent) == ("resize", split, n, "")
        folder = PROTOCOLS[name].on(data.track("cifar10", folder=tmp_path), OOD)
        assert "shows uncropped photographs" in folder.source("celeba").absent
        assert [source.name for source in folder.sources if source.absent] == ["celeba"]
    assert [source.name for source in JEM.on(DIGITS, OOD).sources if source.absent] == ["interp"]


def write(folder: Path, name: str, n: int, labels: bool = True) -> None:
    rng = seeding.rng("images", name)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / f"{name}.npz", images=images, **({"labels": np.arange(n) % 10} if labels else {}))


def test_ood_detection_says_what_it_cannot_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run on a folder: interp without an interval, CelebA without a value, the others as ever."""
    monkeypatch.setenv("JEMBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "images"
    folder.mkdir()
    for name, n in (("cifar10_train", 300), ("cifar10_test", 130), ("svhn_test", 30), ("cifar100_test", 30)):
        write(folder, name, n)
    write(folder, "celeba_sample", 20, labels=False)
    torch.manual_seed(0)
    result, other = (
        jembench.evaluate(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)),
            "ood",
            track="cifar10",
            data_dir=folder,
            name=name,
            limit=20,
            output=tmp_path / "runs",
            protocol="jem2020",
        )
        for name in ("one", "other")
    )
    found, p = result.metrics, {name: item.p for name, item in result.metrics.items()}
    assert found["svhn/max_py/auroc"].low is not None
    assert found["svhn/mass/auroc_gain"].low is not None
    for name in ("interp/max_py/auroc", "interp/mass/auroc_gain", "interp/log_px/fpr95"):
        item = found[name]
        assert item.value is not None
        assert (item.low, item.high, item.p, item.reason) == (None, None, None, DEPENDENT)
    assert p["svhn/mass/auroc_gain"] is not None
    assert found["interp/max_py/auroc"].n == {"test": 20, "interp": 20}
    for name in ("celeba/max_py/auroc", "mean/max_py/auroc", "mean/mass/auroc_gain"):
        assert found[name].value is None
        assert "shows uncropped photographs" in str(found[name].reason)
    assert not [name for name in found if name.startswith("attacked")]  # evaluator stress is ours
    text = result.to_markdown()
    assert "protocol jem2020, not v1: see `jembench explain jem2020`" in text
    assert f"interp, near: {DEPENDENT}" in text
    sources = result.document.protocol.sources
    assert "celeba" not in sources
    assert sources["interp"].noise == pytest.approx(0.015 * math.sqrt(1.5))
    assert read_result(result.folder).protocol_hash == result.evaluation.plan.protocol_hash
    table, *_ = compare([result.folder, other.folder])
    assert {row[1] for row in table.rows} == {"svhn", "cifar100"}  # no mean: each has CelebA or interp


# --- attacks ------------------------------------------------------------------------------------------------------


def published_logits(network: nn.Module, x: torch.Tensor, steps: int, copies: int, generator: Any) -> torch.Tensor:
    """The defence as it was published: in [-1, 1], and with a refinement that autograd does not see."""
    u = (x - 0.5) / 0.5
    u = u.repeat(copies, 1, 1, 1)
    u = u + 0.03 * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    for _ in range(steps):
        (slope,) = torch.autograd.grad(network(u).logsumexp(1).sum(), [u], retain_graph=True)
        u.data += slope + 0.01 * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    logits: torch.Tensor = network(u).reshape(copies, len(x), -1).mean(0)
    return logits


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_the_attack_of_jem2020_sees_the_refinement_as_the_identity(steps: int) -> None:
    """JEM-0, -1 and -10: the gradient of the published `x.data +=` is ours to 1e-6; the true one is another."""
    torch.manual_seed(0)
    network = SmallNet(shape=(1, 8, 8), classes=10, width=4).double()
    for parameter in network.parameters():
        parameter.data.mul_(2)
    made: Any = distances(catalogue.defended(spec(), Defence(steps)), DIGITS, Options(), protocol=JEM)
    defended = Defended(Softmax(network, mean=0.5, std=0.5), Defence(steps))
    x = torch.rand((4, 1, 8, 8), generator=generators.generator("x")).double().requires_grad_()

    def slope(logits: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.arange(4)), x)
        return gradient

    def ours(mode: Any) -> torch.Tensor:
        victim = Victim(
            defended, generator=generators.generator("noise"), copies=made.attack.copies, gradient=mode
        ).double()
        return victim(x)

    theirs = published_logits(network, x, steps, 5, generators.generator("noise"))
    seen_by_attack = ours(made.attack.gradient)
    assert torch.allclose(seen_by_attack.double(), theirs, atol=1e-5)
    straight, published = slope(seen_by_attack), slope(theirs)
    assert published.abs().max() > 1e-3
    assert torch.allclose(straight, published, atol=1e-6)
    if steps:
        assert not torch.allclose(slope(ours("full")), published, atol=1e-4)


def test_the_search_of_jem2020_is_of_300_images_behind_its_defence() -> None:
    made: Any = distances(catalogue.defended(spec(), Defence(1)), DIGITS, Options(), protocol=JEM)
    attack = made.attack
    assert (attack.gradient, attack.copies, attack.steps, attack.restarts) == ("straight-through", 5, 40, 20)
    assert Refinement(votes=5, sigma=0.03 / 2, size=1.0 / 4, noise=0.01 / 2) == JEM.attack_defence
    assert Defence(7) == Defence(7, **JEM.attack_defence._asdict())
    jobs = plan(
        catalogue.defended(spec(), Defence(1)), "distance", track=DIGITS, request=Request(protocol="jem2020")
    ).jobs
    assert sum(job.stop - job.start for job in jobs if job.measurement.threat.norm == "l2") == 300  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("suite", "name", "defence", "options", "words"),
    [
        ("distance", "jem2020", None, {}, "behind its refinement, JEM-n: say --refine 0, 1 or 10"),
        ("distance", "jem2020", Defence(1, votes=3), {}, "5 votes, noise 0.015 and steps of 0.25 with 0.005"),
        ("distance", "jem2020", Defence.smoothing(0.1), {}, "leave out --votes and --smooth"),
        ("distance", "jem2020", Defence(1), {"steps": 3}, "fixes --steps"),
        ("distance", "jem2020", Defence(1), {"restarts": 1}, "fixes --restarts"),
        ("robustness", "jem2020", None, {}, "has nothing of suite 'robustness'"),
        ("robustness", "jempp", None, {}, "has nothing of suite 'robustness'"),
        ("distance", "jempp", None, {}, "has nothing of suite 'distance'"),
        ("distance", "sadajem", None, {}, "has nothing of suite 'distance'"),
        ("likelihood", "jem2020", None, {}, "measures accuracy, calibration, ood, generation, distance"),
        ("robustness", "sadajem", Defence(1), {}, "attacks a model without noise, by one PGD"),
        ("robustness", "sadajem", None, {"eps": (0.1,), "norms": ("linf",)}, "fixes --norm, --eps"),
        ("robustness", "sadajem", None, {"losses": ("margin",)}, "fixes --loss"),
    ],
)
def test_what_a_protocol_refuses(suite: str, name: str, defence: Any, options: dict[str, Any], words: str) -> None:
    model = spec() if defence is None else catalogue.defended(spec(), defence)
    with pytest.raises(UserError) as error:
        plan(model, suite, track=DIGITS, request=Request(options=Options(**options), protocol=name))
    assert words in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_norm_and_eps_of_a_curve_are_free_in_jem2020() -> None:
    made: Any = distances(
        catalogue.defended(spec(), Defence(0)), DIGITS, Options(norms=("l2",), eps=(0.5,)), protocol=JEM
    )
    assert [(grid.norm, grid.eps) for grid in made.grids] == [("l2", (0.5,))]


def test_the_attack_of_sadajem_is_one_plain_pgd() -> None:
    """50 steps of 2/255 whatever the ball, from one random start in each, on 1,000 images; no other attack."""
    made = battery(spec(), DIGITS, Options(), protocol=SADA)
    parts = [part for part in made.parts(DIGITS) if part.name == "pgd"]
    assert [round(255 * part.eps) for part in parts] == [1, 2, 4, 8, 12, 16, 22, 30]
    for part in parts:
        rung: Any = part.need.measurement.attack  # type: ignore[attr-defined]
        assert rung.size * part.eps == pytest.approx(2 / 255)
        assert (rung.steps, rung.restarts, rung.losses, rung.decay, rung.copies) == (50, 1, ("ce",), False, None)
        assert not part.need.given
        assert part.need.limit == 1000
    names = {part.name for part in made.parts(DIGITS) if not part.check}
    assert names == {"null", "pgd", "worst", "distal"}


def test_its_iterates_are_those_of_the_published_loop() -> None:
    """On a linear model, which they never break: sign steps, projection, clamp, from the same start."""
    from jembench.attacks.contract import Task
    from jembench.attacks.ladder import Rung
    from jembench.attacks.pgd import random_offset
    from jembench.attacks.threat import Threat

    weight = torch.randn((10, 64), generator=generators.generator("w"))
    weight[0] += 100  # class 0 always wins

    class Linear(nn.Module):
        def logits(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ weight.T

    eps, eta = 8 / 255, 2 / 255
    x, y = torch.rand((3, 1, 8, 8), generator=generators.generator("x")), torch.zeros(3, dtype=torch.int64)
    generator = generators.generator("start")
    normal = torch.randn(x.shape, generator=generators.generator("start"))
    z = (x + random_offset(normal, "linf", eps)).clamp(0, 1)
    rung = next(p for p in battery(spec(), DIGITS, Options(), protocol=SADA).parts(DIGITS) if p.name == "pgd")
    attack: Any = replace(rung.need.measurement.attack, size=eta / eps)  # type: ignore[attr-defined]
    assert isinstance(attack, Rung)
    for _ in range(50):
        z.requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(Linear().logits(z), y), z)
        z = torch.min(x + eps, torch.max(x - eps, z.detach() + eta * slope.sign())).clamp(0, 1)
    victim = Victim(Linear(), generator=generator)
    found = attack.perturb(victim, Task(x, y, None, Threat("linf", eps), (), generator, ("stream",)))
    margins = [Linear().logits(images)[:, 0] - Linear().logits(images)[:, 1:].amax(1) for images in (found.images, z)]
    assert torch.allclose(margins[0], margins[1], rtol=1e-4)
    assert not bool(found.claimed.any())


# --- generation ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0.05, 1.0), st.integers(0, 2**31))
def test_a_share_of_each_class_is_its_most_confident(n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, classes, there = rng.random(n), rng.integers(0, 4, n), rng.random(n) < 0.8
    kept = top(confidence, there, share, classes=classes)
    assert not (kept & ~there).any()
    for y in np.unique(classes[there]):
        own = there & (classes == y)
        assert kept[own].sum() == int(share * own.sum())  # as its code has it
        left = confidence[own & ~kept]
        assert not len(left) or left.max() <= confidence[own & kept].min(initial=np.inf)


def test_sixty_thousand_real_images_are_train_and_test() -> None:
    """Every image of CIFAR-10 once: three splits of its training images and the test images."""
    made = evaluators(
        "generation", catalogue.resolve(parse("uniform"), track="digits"), DIGITS, Request(protocol="jempp")
    )
    (generation,) = made
    assert isinstance(generation, Generation)
    assert generation.reference == ("train", "validation", "ood-base", "test")
    assert sum(CIFAR.source(name).n for name in generation.reference) == 60_000
    assert sum(DIGITS.source(name).n for name in generation.reference) == 1_797
    assert not any(job.measurement.rounded for job in embedded("jempp", "chains"))
    assert all(job.measurement.rounded for job in embedded("jempp", "train"))
    assert all(job.measurement.rounded for job in embedded("jem2020", "chains"))
    looked = {job.source for job in embedded("sadajem", "")}
    assert looked == {"train", "validation", "ood-base", "test", "chains"}


@pytest.mark.parametrize(("name", "n"), [("cifar100", 50_000), ("svhn", 73_257)])
def test_of_other_sets_their_code_opens_the_train_split_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, n: int
) -> None:
    monkeypatch.setattr("jembench.choices.sampling.looker", lambda *_: None)  # neither has an extractor of its own
    track = data.track(name)
    made = generation(
        catalogue.resolve(parse("uniform"), track="digits"), track, Sampling(), protocol=PROTOCOLS["jempp"]
    )
    assert made.reference == ("train", "validation", "ood-base")
    assert sum(track.source(part).n for part in made.reference) == n


def embedded(name: str, source: str) -> list[Any]:
    jobs = plan(spec(), "generation", track=DIGITS, request=Request(protocol=name)).jobs
    found = [job for job in jobs if job.measurement.name == "embedded" and source in ("", job.source)]
    assert found
    return found


def test_sadajem_keeps_90_percent_for_fd_and_10_for_is_and_says_so(tmp_path: Path) -> None:
    result = jembench.evaluate("jem", "hybrid", limit=120, output=tmp_path, protocol="sadajem")
    found, plan = result.metrics, result.evaluation.plan
    record = next(
        columns
        for batch in [list(bench.batches(plan, Store.open(tmp_path), (need,))) for need, _ in plan.parts]
        for columns in [batch[0].columns]
        if batch[0].measurement.name == "samples" and "seen" in columns
    )
    shares = {
        share: sum(int(share * count) for count in np.unique(record["seen"], return_counts=True)[1])
        for share in (0.9, 0.1)
    }
    who = DIGITS.extractor
    real = "train + validation + ood-base + test"
    assert found[f"buffer/{who}/fd"].n == {"buffer, top 90 % of each class": shares[0.9], real: 4 * 120}
    assert found[f"buffer/{who}/inception_score"].n == {"buffer, top 10 % of each class": shares[0.1]}
    assert not [name for name in found if name.startswith(("fresh/", "conditional/"))]
    assert "the reference holds the test images" in str(found[f"buffer/{who}/copies"].reason)
    text = " ".join(report.markdown([result.document]).split())
    assert "ONLY THE TOP 90 % BY CONFIDENCE WITHIN EACH CLASS; IS: OF THE TOP 10 %" in text
    assert f"against {real}" in text
    assert "of buffer samples" in text
    assert "test/accuracy" in found


def test_a_model_without_persistent_chains_has_empty_cells(tmp_path: Path) -> None:
    made = plan(spec("glow-cond"), "generation", track=DIGITS, request=Request(protocol="sadajem", limit=20))
    names = {(job.measurement.name, job.model.name) for job in made.jobs}
    assert ("samples", "glow-cond") not in names
    result = jembench.evaluate("glow-cond", "generation", limit=20, output=tmp_path, protocol="sadajem")
    empty = result.metrics[f"buffer/{DIGITS.extractor}/fd"]
    assert (empty.value, empty.reason) == (None, "the model has no persistent chains")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"keep_top": 0.5}, "--keep-top"), ({"steps": 3}, "--chain-steps"), ({"temperature": 1.0}, "--temperature")],
)
def test_options_of_samples_are_fixed(options: dict[str, Any], words: str) -> None:
    for name in PUBLISHED:
        with pytest.raises(UserError, match=f"^protocol '{name}' fixes {words}: leave it out"):
            plan(spec(), "generation", track=DIGITS, request=Request(sampling=Sampling(**options), protocol=name))


# --- the command line ---------------------------------------------------------------------------------------------


def test_an_option_against_the_protocol_is_one_line(call: Callable[..., Any], tmp_path: Path) -> None:
    common = ("run", "-m", "jem", "--protocol", "sadajem", "-o", tmp_path)
    for extra, words in (
        (("-s", "generation", "--keep-top", "0.5"), "protocol 'sadajem' fixes --keep-top"),
        (("-s", "ood", "--detector", "knn"), "protocol 'sadajem' has no detectors"),
    ):
        answer = call(*common, *extra)
        assert (answer.code, answer.out) == (2, "")
        assert words in answer.err
        assert answer.err.count("\n") == 1


def test_a_run_and_a_gate_take_a_protocol(call: Callable[..., Any], tmp_path: Path) -> None:
    """And neither a gate nor a comparison holds numbers of one against those of another."""
    common = ("-m", "softmax", "-s", "accuracy", "--limit", 40, "-o", tmp_path, "-q")
    answers = [call("run", *common, "--full", "--protocol", name) for name in ("v1", "jem2020")]
    assert [answer.code for answer in answers] == [0, 0]
    assert "protocol jem2020, not v1" in answers[1].out
    assert "protocol" not in answers[0].out
    places = [path.parent for path in tmp_path.rglob("result.json")]
    golden = next(place for place in places if read_result(place).protocol.name == "jem2020")
    assert call("gate", *common, "--baseline", golden, "--protocol", "jem2020").code == 0
    refused = call("gate", *common, "--baseline", golden, "--protocol", "v1")
    assert refused.code == 2
    assert "name is 'v1', not 'jem2020'" in refused.err
    against = call("compare", *places)
    assert against.code == 2
    assert "protocol is" in against.err
