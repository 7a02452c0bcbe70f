"""The command line: results on stdout, all else on stderr; bad input is one line and exit code 2."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jembench.progress import TrainingView, progress, spoken
from jembench.types import Precision, UserError
from jembench.version import __version__

if TYPE_CHECKING:
    from jembench.data.sets import Track
    from jembench.engine import Outcome
    from jembench.rebuild import Setup
    from jembench.tables import Table
    from jembench.zoo import ModelSpec

app = typer.Typer(
    name="jembench",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The benchmark suite for joint energy-based models.",
)

shelf = typer.Typer(help="The images of tracks that do not carry their own.")
app.add_typer(shelf, name="data")

Format = Literal["table", "markdown", "json"]
OUTPUT = Path("jembench-runs")
INTERRUPTED = 130  # 128 + SIGINT

ModelOption = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A baseline, recipe.toml, robustbench:NAME, timm:NAME, torchvision:NAME, file.py:build or "
        "package.module:build; repeat for several.",
    ),
]
SuiteOption = Annotated[
    str, typer.Option("--suite", "-s", help="One or several, comma-separated; see `jembench list suites`.")
]
TrackOption = Annotated[
    str, typer.Option("--track", "-t", help="In-distribution data set; see `jembench list tracks`.")
]
AnyTrackOption = Annotated[str | None, typer.Option("--track", "-t", help="The track; digits by default.")]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", "-w", help="A safetensors file to load into the model, or an official checkpoint."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of all randomness.")]
DeviceOption = Annotated[str, typer.Option("--device", help="A torch device: cpu, cuda, cuda:1, mps.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Only the first N of every image set, in its fixed shuffled order.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The store: records and results.")]
WorkersOption = Annotated[int, typer.Option("--workers", "-j", help="Processes; the numbers do not depend on it.")]
RefineOption = Annotated[
    str | None,
    typer.Option("--refine", help="SGLD steps of a refinement before the model; comma-separated for several rows."),
]
SmoothOption = Annotated[
    float | None, typer.Option("--smooth", help="Standard deviation of Gaussian noise before the model: the control.")
]
VotesOption = Annotated[int | None, typer.Option("--votes", help="Noisy copies whose logits a defence averages.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of .npz files with the images of a track that does not carry its own."),
]
ProtocolOption = Annotated[
    str, typer.Option("--protocol", "-p", help="The choices behind the numbers; see `jembench list protocols`.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", callback=lambda quiet: spoken(quiet))
]


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"jembench {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    model: ModelOption,
    suite: SuiteOption = "all",
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    weights: WeightsOption = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="Of the result on stdout.")] = "table",
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    limit: LimitOption = None,
    output: OutputOption = OUTPUT,
    workers: WorkersOption = 1,
    refine: RefineOption = None,
    smooth: SmoothOption = None,
    votes: VotesOption = None,
    norm: Annotated[
        str | None, typer.Option("--norm", help="Threat models: linf, l2 or both, comma-separated.")
    ] = None,
    eps: Annotated[
        str | None, typer.Option("--eps", help="Radii in units of [0, 1] pixels, comma-separated: 0.1, 8/255.")
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option("--attack", help="A further attack: see `jembench list attacks`, or file.py:function; repeat."),
    ] = None,
    goal: Annotated[str, typer.Option("--goal", help="untargeted, targeted or least-likely.")] = "untargeted",
    steps: Annotated[int | None, typer.Option("--steps", help="Of PGD.")] = None,
    restarts: Annotated[int | None, typer.Option("--restarts", help="Of PGD.")] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", help="Of PGD's restarts in turn: ce, margin, dlr, comma-separated.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="While crafting adversarials; they are verified in fp32.")
    ] = "fp32",
    detector: Annotated[
        list[str] | None,
        typer.Option("--detector", help="A post-hoc OOD detector: see `jembench list detectors`; repeat."),
    ] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", help="Who looks at generated images: see `jembench list extractors`.")
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option("--inception-weights", help="The weights of inception-v3, if offline.")
    ] = None,
    chain_steps: Annotated[
        int | None, typer.Option("--chain-steps", help="Of fresh chains, not the training's.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of fresh chains, not the training's: s^2 / (2 a).")
    ] = None,
    keep_top: Annotated[
        float, typer.Option("--keep-top", help="Share of the samples kept, by confidence; shown with every figure.")
    ] = 1.0,
    ood: Annotated[
        list[str] | None,
        typer.Option("--ood", help="A further OOD set, name=PATH: a folder of pictures, .npz, .npy; repeat."),
    ] = None,
    save_adversarials: Annotated[
        Path | None, typer.Option("--save-adversarials", help="Folder for the worst adversarials, a file per model.")
    ] = None,
    protocol: ProtocolOption = "v1",
    quiet: QuietOption = False,
) -> None:
    """Measure models and print a table per suite; what was measured before is not measured again."""
    from jembench import data, engine, gallery, report, zoo
    from jembench.batteries import Options
    from jembench.data import user
    from jembench.plan import plan
    from jembench.sampling import Sampling
    from jembench.store import Store

    started = time.perf_counter()
    description = data.track(track, folder=data_dir)
    extended = user.extended(description, _sets(ood or []))
    store = Store.open(output)
    if weights is not None and len(model) > 1:
        raise UserError("--weights goes with one --model")
    suites = list(dict.fromkeys(name.strip() for name in suite.split(",")))
    place = description.folder
    bare = [zoo.resolve(name, track=track, weights=weights, folder=place) for name in dict.fromkeys(model)]
    specs = _distinct([item for spec in bare for item in _defended(spec, refine, smooth, votes)])
    options = Options(
        norms=_words(norm),
        eps=_numbers(eps, "eps"),
        attacks=tuple(attack or ()),
        goal=goal,
        steps=steps,
        restarts=restarts,
        losses=_words(loss),
        precision=precision,
    )
    sampling = Sampling(
        extractor=extractor,
        weights=inception_weights,
        steps=chain_steps,
        temperature=temperature,
        keep_top=keep_top,
    )
    detecting = _serving(suites, "ood")
    generating = _serving(suites, "generation")
    plans = [
        plan(
            spec,
            name,
            track=extended if name in detecting else description,
            options=options,
            sampling=sampling if name in generating else None,
            detectors=detector or () if name in detecting else (),
            protocol=protocol,
            seed=seed,
            limit=limit,
            device=device,
        )
        for name in suites
        for spec in specs
    ]
    if save_adversarials is not None and "robustness" not in suites:
        raise UserError("--save-adversarials goes with --suite robustness")
    with progress(quiet) as show:
        outcomes = engine.run(plans, store, workers=workers, progress=show)
    made = list(zip(plans, outcomes, strict=True))
    pictures = gallery.pictures(made, store, output)
    if save_adversarials is not None:
        pictures += gallery.save(made, store, save_adversarials)
    if format == "json":
        typer.echo(report.as_json([outcome.document for outcome in outcomes]))
    else:
        for name in suites:
            group = [outcome for outcome in outcomes if outcome.document.suite == name]
            _print(group, format)
    if not quiet or format == "table":
        for folder in dict.fromkeys(path.parent for path in pictures):  # a line for each: there may be ten in one
            names = ", ".join(path.name for path in pictures if path.parent == folder)
            typer.echo(f"{folder}: {names}", err=format != "table")
    _close(outcomes, time.perf_counter() - started, to_stdout=format == "table", quiet=quiet)


@app.command("list")
def list_(
    what: Annotated[
        Literal["models", "recipes", "tracks", "suites", "protocols", "scores", "detectors", "attacks", "extractors"],
        typer.Argument(help="What to list."),
    ],
    track: Annotated[str | None, typer.Option("--track", "-t", help="Models or recipes of this track only.")] = None,
) -> None:
    """List what there is."""
    from jembench import attacks, baselines, data, protocols, suites
    from jembench.evaluators.detector import METHODS
    from jembench.extractors import EXTRACTORS
    from jembench.recipes import read_recipe
    from jembench.scores import SCORES

    if what == "models":
        names = [track] if track is not None else list(data.TRACKS)
        rows = [
            (f"{name} ({owner})", about)
            for owner in names
            for name, about in baselines.names(data.track(owner).name).items()
        ]
    elif what == "recipes":
        names = [data.track(track).name] if track is not None else list(data.TRACKS)
        rows = [(str(path), read_recipe(path).about) for owner in names for path in baselines.published(owner).values()]
        if not rows:
            raise UserError(f"track {track} has no recipes beside those of its models: `jembench list models`")
    elif what == "tracks":
        rows = [(name, data.track(name).about) for name in data.TRACKS]
    elif what == "suites":
        rows = [(name, about) for name, (_, about) in suites.SUITES.items()]
    elif what == "protocols":
        rows = [(name, known.about) for name, known in protocols.PROTOCOLS.items()]
    elif what == "detectors":
        rows = [(name, method.about) for name, method in METHODS.items()]
    elif what == "extractors":
        rows = [(name, known.about) for name, known in EXTRACTORS.items()]
    elif what == "attacks":
        rows = [(name, attacks.about(name)) for name in attacks.known()]
    else:
        rows = [(score.name, f"{score.title}: {score.about}") for score in SCORES]
    width = max(len(name) for name, _ in rows)
    for name, about in rows:
        typer.echo(f"{name:{width}}  {about}")


@app.command()
def explain(
    protocol: Annotated[str, typer.Argument(help="See `jembench list protocols`.")] = "v1",
) -> None:
    """Print the choices of a protocol, and where and why they depart from our own."""
    from jembench import protocols

    typer.echo(protocols.explain(protocol))


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="Result folders of one track; the first is the reference.")],
    format: Annotated[Literal["table", "markdown"], typer.Option("--format", "-f", help="Of the tables.")] = "table",
) -> None:
    """Paired differences between results on the same images: which model is better, and how sure that is."""
    from jembench import compare as comparison
    from jembench import report

    tables = comparison.compare(results)
    if format == "markdown":
        typer.echo(report.markdown_of(tables))
    else:
        _show(tables)


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe.toml, or the name of a baseline to train anew.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train, measure and describe every baseline of the track.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the run; with --all, of a folder for each. By default below jembench-runs/training/TRACK.",
        ),
    ] = None,
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    device: DeviceOption = "cpu",
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's own.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the snapshots in --output; with --all, leave out what is done.")
    ] = False,
    samples_every: Annotated[
        int | None,
        typer.Option("--samples-every", help="Keep a grid of samples every N iterations, not only the last."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files for TensorBoard.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a recipe; a run that was killed goes on with --resume and ends in the same weights."""
    from jembench import baselines, data

    if (recipe is None) != everything:
        raise UserError("name one recipe or baseline to train, or all of a track by --all")
    description = data.track(track, folder=data_dir)
    source = baselines.recipe_path(recipe, track=track) if recipe is not None else None
    from jembench import rebuild

    setup = rebuild.Setup(device=device, seed=seed, samples_every=samples_every, tensorboard=tensorboard)
    place = OUTPUT / "training" / track if output is None else output
    if source is not None:
        name = source.resolve().parent.name if source.name == baselines.RECIPE else source.stem
        place = place / name if output is None else place
        _train_one(source, place, track=description, setup=setup, resume=resume, quiet=quiet)
        return
    rebuild.rebuild(
        description,
        place,
        setup=setup,
        resume=resume,
        watch=lambda name: TrainingView(quiet, name),
        say=lambda line: None if quiet else typer.echo(line, err=True),
    )
    typer.echo(str(place))


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="An official checkpoint of JEM, JEM++, SADA-JEM or VERA.")],
    output: Annotated[Path, typer.Argument(help="A new folder for recipe.toml and weights.safetensors.")],
    track: TrackOption = "cifar10",
    data_dir: DataOption = None,
    layout: Annotated[
        str | None, typer.Option("--layout", help="What it is, if its names leave a choice: jem, jempp, sadajem, vera.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option("--norm", help="Its norm, if its names leave a choice: instance or layer.")
    ] = None,
) -> None:
    """Make an official checkpoint a model of jembench; it is read without running code in it."""
    from jembench import data, official

    description = data.track(track, folder=data_dir)
    read = official.read(checkpoint, layout=layout, norm=norm)
    gaussians = official.at_hand(description)
    if not gaussians and official.informed(read, description):
        words = "fresh chains will start from uniform noise, not from Gaussians of the training images"
        typer.echo(f"jembench: {words}: none of track {track} are here (`jembench data fetch`, --data-dir)", err=True)
    recipe = official.convert(read, output, track=description, gaussians=gaussians)
    chains = "no chains" if read.chains is None else f"{len(read.chains)} chains"
    typer.echo(f"{official.LAYOUTS[read.layout].title}: {read.network}, {chains}", err=True)
    typer.echo(str(recipe))


@app.command()
def gate(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A baseline, path/to/file.py:build or package.module:build.")
    ],
    suite: Annotated[str, typer.Option("--suite", "-s", help="The suite to compare.")] = "all",
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    weights: WeightsOption = None,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="A result folder to compare with, instead of the baseline's own.")
    ] = None,
    refine: Annotated[int | None, typer.Option("--refine", help="SGLD steps of a refinement before the model.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    limit: LimitOption = None,
    output: OutputOption = OUTPUT,
    workers: WorkersOption = 1,
    protocol: ProtocolOption = "v1",
    quiet: QuietOption = False,
) -> None:
    """Compare a fresh result with the golden one: exit 0, 1 (a metric is worse) or 2 (not comparable)."""
    from jembench import baselines, data, engine, zoo
    from jembench import gate as gates
    from jembench.defences import Defence
    from jembench.plan import plan
    from jembench.results import Protocol, read_result
    from jembench.store import Store

    description = data.track(track, folder=data_dir)
    spec = zoo.resolve(model, track=track, weights=weights, folder=description.folder)
    defence = None if refine is None else Defence(refine)
    spec = spec if defence is None else zoo.defended(spec, defence)
    made = plan(spec, suite, track=description, protocol=protocol, seed=seed, limit=limit, device=device)
    title = "" if defence is None else defence.title
    place = baselines.attacked(title) if suite == baselines.ROBUSTNESS else baselines.GOLDEN
    reference = read_result(golden if golden is not None else baselines.golden(model, track=track, place=place))
    gates.check_comparable(Protocol.model_validate(made.protocol), reference)
    with progress(quiet) as show:
        (outcome,) = engine.run([made], Store.open(output), workers=workers, progress=show)
    verdict = gates.compare(outcome.document, reference)
    typer.echo(verdict.text)
    if verdict.worse:
        raise typer.Exit(1)


@app.command()
def golden(
    output: Annotated[Path, typer.Option("--output", "-o", help="Laid out as baselines/TRACK.")],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Of these baselines only; repeat.")] = None,
    refine: Annotated[str, typer.Option("--refine", help="SGLD steps of the refined rows.")] = "1,10",
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    records: Annotated[Path, typer.Option("--records", help="The store of the runs.")] = OUTPUT,
    workers: WorkersOption = 1,
    quiet: QuietOption = False,
) -> None:
    """Measure the golden results of suite robustness: of every baseline, bare and behind refinements."""
    from jembench import data, rebuild

    description = data.track(track, folder=data_dir)
    steps = [_whole(word, "--refine") for word in _words(refine) or ()]
    with progress(quiet) as show:
        places = rebuild.attack(
            description, output, records=records, refine=steps, names=model or (), workers=workers, progress=show
        )
    for place in places:
        typer.echo(str(place))


@app.command("verify-adversarials")
def verify_adversarials(
    file: Annotated[Path, typer.Argument(help="What `jembench run --save-adversarials` wrote.")],
    model: Annotated[str, typer.Option("--model", "-m", help="As of `jembench run`; it need not be the attacked one.")],
    track: TrackOption = "digits",
    data_dir: DataOption = None,
    weights: WeightsOption = None,
    refine: Annotated[int | None, typer.Option("--refine", help="SGLD steps of a refinement before the model.")] = None,
    smooth: SmoothOption = None,
    votes: VotesOption = None,
    draws: Annotated[int, typer.Option("--draws", help="Fresh draws of a stochastic model.", min=1)] = 20,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Judge saved adversarials anew: in the ball, in range, finite, misclassified. Exit 1 if one is not valid."""
    from tabulate import tabulate

    from jembench import adversarials, data, zoo

    description = data.track(track, folder=data_dir)
    bare = zoo.resolve(model, track=track, weights=weights)
    if refine is not None and smooth is not None:
        raise UserError("adversarials are judged by one model: choose --refine or --smooth")
    (spec,) = _defended(bare, None if refine is None else str(refine), smooth, votes)
    verdicts = adversarials.verify(file, spec, track=description, draws=draws, seed=seed, device=device)
    rows = []
    for verdict in verdicts:
        robust = f"{verdict.robust.value:.3f} ({verdict.robust.low:.3f}–{verdict.robust.high:.3f})"
        one_shot = "" if verdict.one_shot is None else f"{verdict.one_shot:.3f}"
        rows.append([verdict.ball.name, verdict.n, verdict.valid, robust, one_shot])
    header = ["ball", "images", "valid", f"robust accuracy of {spec.name}", "one shot"]
    typer.echo(tabulate(rows, headers=header, disable_numparse=True))
    if any(verdict.valid < verdict.n for verdict in verdicts):
        typer.echo("jembench: not all adversarials are in their ball, in [0, 1] and finite", err=True)
        raise typer.Exit(1)


@app.command()
def leaderboard(
    track: AnyTrackOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every track that has a leaderboard.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the markdown files.")] = Path(
        "leaderboards"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is not current.")] = False,
) -> None:
    """Write leaderboards/TRACK.md from the golden results of the track's baselines and the published rows."""
    from jembench import baselines, data, files, leaderboard, published

    if everything and track is not None:
        raise UserError("name one track, or all of them by --all")
    stale = False
    for name in data.TRACKS if everything else [track or "digits"]:
        description = data.track(name)
        golden = baselines.all_golden(name)
        attacked = leaderboard.robustness(description, baselines.all_attacked(name))
        printed = published.tables(name)
        if everything and not (golden or attacked or printed):
            continue
        content = leaderboard.leaderboard(description, golden, attacked, printed)
        path = output / f"{name}.md"
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            pictures = leaderboard.pictures(description, golden, attacked)
            for place, written in {path.name: content.encode(), **pictures}.items():
                files.write(output / place, written)
                typer.echo(str(output / place))
        elif current == content:
            typer.echo(f"{path} is current")
        else:
            stale = True
            state = "does not exist" if current is None else "is not current"
            typer.echo(f"{path} {state}: run `jembench leaderboard --track {name}`", err=True)
    if stale:
        raise typer.Exit(1)


@app.command()
def card(
    name: Annotated[str | None, typer.Argument(help="A baseline.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every baseline of the track, or of every track.")] = False,
    track: AnyTrackOption = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a card is not current.")] = False,
) -> None:
    """Write the README.md of a baseline from its recipe, training record, golden result and NOTES.md."""
    from jembench import baselines, data, files
    from jembench import card as cards

    if (name is None) != everything:
        raise UserError("name one baseline, or all of a track by --all")
    sources: dict[Path, str] = {}
    for owner in data.TRACKS if everything and track is None else [track or "digits"]:
        data.track(owner)
        found = baselines.recipes(owner).values() if name is None else [baselines.recipe_path(name, track=owner)]
        sources |= dict.fromkeys(found, owner)
    stale = False
    for source, owner in sources.items():
        path = source.with_name(cards.CARD)
        content = cards.card(source.parent)
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if not check:
            if current is not None and cards.AUTHOR not in current:
                raise UserError(f"{path} was not written by jembench: move it away, or keep its words in {cards.NOTES}")
            files.write(path, content.encode())
            typer.echo(str(path))
        elif current == content:
            typer.echo(f"{path} is current")
        else:
            stale = True
            typer.echo(f"{path} is not current: run `jembench card {source.parent.name} --track {owner}`", err=True)
    if stale:
        raise typer.Exit(1)


@shelf.command("list")
def data_list(
    track: Annotated[str | None, typer.Option("--track", "-t", help="Also the image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the published sets, and what there is of a track's image sets on this machine."""
    from jembench.data import archives, inventory

    for name, known in archives.ARCHIVES.items():
        place = inventory.downloaded(name)
        typer.echo(f"{name:9}{known.about}; {known.terms}")
        typer.echo(f"{'':9}{known.megabytes} MB, {'not here' if place is None else f'in {place}'}")
    if track is not None:
        _sources(track, data_dir)
    elif data_dir is not None:
        raise UserError("--data-dir goes with --track: it is looked at for the image sets of a track")


@shelf.command("fetch")
def data_fetch(names: Annotated[list[str], typer.Argument(help="Published sets: see `jembench data list`.")]) -> None:
    """Download published sets into the cache and check them; what is there is not downloaded again."""
    from jembench.data import archives, cache

    for name, known in {name: archives.archive(name) for name in names}.items():
        typer.echo(f"{name}: {known.about}; {known.terms}; {known.megabytes} MB from {known.home}", err=True)
        archives.fetch(name)
        typer.echo(f"{name}: complete in {cache.downloads()}")


@shelf.command("verify")
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Published sets that were downloaded.")] = None,
    track: Annotated[str | None, typer.Option("--track", "-t", help="The image sets of this track.")] = None,
    data_dir: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check downloads, or the image sets of a track: exit 2 if something is damaged."""
    from jembench.data import archives

    if not names and track is None:
        raise UserError("name published sets (`jembench data list`), or a track by --track, with its --data-dir if any")
    if data_dir is not None and track is None:
        raise UserError("--data-dir goes with --track: a folder is checked for the image sets of a track")
    for name in names or ():
        archives.verify(name)
        typer.echo(f"{name}: complete, every checksum is right")
    if track is not None:
        damaged = _sources(track, data_dir)
        if damaged:
            raise UserError(damaged[0])


def _sources(track: str, data_dir: Path | None) -> list[str]:
    """Print the state of a track's image sets; what is wrong with the damaged ones."""
    from tabulate import tabulate

    from jembench import data
    from jembench.data import inventory

    description = data.track(track, folder=data_dir)
    if not description.external:
        raise UserError(f"track {track} carries its images: there is nothing to look for")
    found = inventory.sources(description)
    rows = [[entry.source.name, entry.source.role, entry.n, entry.source.n, entry.state] for entry in found]
    typer.echo(tabulate(rows, headers=[f"track {track}", "role", "here", "complete", ""]))
    return [entry.words for entry in found if entry.state == "damaged"]


def main() -> None:
    """Run the command line; the entry point of ``jembench`` and ``python -m jembench``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets question marks, not a traceback
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer's answer to a KeyboardInterrupt, without a word
            raise typer.Abort
    except UserError as error:
        typer.echo(f"jembench: {error}", err=True)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("jembench: interrupted; what was computed is kept", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read stdout has read enough
        os._exit(0)
    except OSError as error:  # a full disk behind stdout, say
        typer.echo(f"jembench: {error}", err=True)
        os._exit(2)  # not sys.exit: the interpreter would flush stdout once more
    except Exception as error:
        usage = getattr(error, "format_message", None)  # of click, which typer carries under a private name
        if usage is None:
            raise
        typer.echo(f"jembench: {' '.join(usage().split())} See `jembench --help`.", err=True)
        sys.exit(2)
    sys.exit(code or 0)


def _train_one(source: Path, place: Path, *, track: Track, setup: Setup, resume: bool, quiet: bool) -> None:
    """Train a recipe; of the processes that torchrun has started only the first one speaks."""
    from jembench import rebuild
    from jembench.history import read_history
    from jembench.journal import draw_curve

    leads = os.environ.get("RANK", "0") == "0"
    with TrainingView(quiet or not leads) as view:
        weights = rebuild.fit(source, place, track=track, setup=setup, resume=resume, observer=view)
    if leads:
        draw_curve(place)
        if not quiet:
            typer.echo(rebuild.summary(read_history(place)), err=True)
        typer.echo(str(weights))


def _defended(spec: ModelSpec, refine: str | None, smooth: float | None, votes: int | None) -> list[ModelSpec]:
    """A model behind every defence that was asked for; itself if none was."""
    from jembench import zoo
    from jembench.defences import Defence

    if refine is None and smooth is None:
        if votes is not None:
            raise UserError("--votes goes with --refine or --smooth")
        return [spec]
    found = []
    for word in _words(refine) or ():
        steps = _whole(word, "--refine")
        found.append(Defence(steps) if votes is None else Defence(steps, votes=votes))
    if smooth is not None:
        found.append(Defence.smoothing(smooth) if votes is None else Defence(steps=0, sigma=smooth, votes=votes))
    return [zoo.defended(spec, defence) for defence in found]


def _serving(suites: list[str], evaluator: str) -> list[str]:
    """The suites with an evaluator, which its options go to; all of them if none has it, to be told so."""
    from jembench.suites import suite

    return [name for name in suites if evaluator in suite(name)] or suites


def _sets(words: list[str]) -> dict[str, str]:
    """OOD sets ``name=PATH`` of a user."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, origin = word.partition("=")
        if not equals or not origin:
            raise UserError(f"--ood takes name=PATH, not {word!r}")
        if name in found:
            raise UserError(f"--ood names {name!r} twice")
        found[name] = origin
    return found


def _words(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated words, each once."""
    return None if text is None else tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def _whole(word: str, option: str) -> int:
    if not word.isdecimal():
        raise UserError(f"{option} takes whole numbers, comma-separated, not {word!r}")
    return int(word)


def _numbers(text: str | None, what: str) -> tuple[float, ...] | None:
    """Comma-separated numbers, fractions among them."""
    if text is None:
        return None
    found = []
    for word in _words(text) or ():
        top, _, bottom = word.partition("/")
        try:
            found.append(float(top) / float(bottom or 1))
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(f"--{what} takes numbers, comma-separated, such as 0.1 or 8/255, not {word!r}") from error
    return tuple(found)


def _distinct(specs: list[ModelSpec]) -> list[ModelSpec]:
    """Models of the same name get the start of their fingerprint, so that no two rows of a table are called alike."""
    specs = list({(spec.name, spec.fingerprint): spec for spec in specs}.values())  # named in two ways
    names = [spec.name for spec in specs]
    return [
        replace(spec, name=f"{spec.name}-{spec.fingerprint[:6]}") if names.count(spec.name) > 1 else spec
        for spec in specs
    ]


def _print(outcomes: list[Outcome], format: Format) -> None:
    from jembench import report

    documents = [outcome.document for outcome in outcomes]
    if format == "markdown":
        typer.echo(report.markdown(documents))
        return
    _show(report.tables(documents))


def _show(tables: list[Table]) -> None:
    from rich.console import Console

    from jembench import report

    ruler = Console(width=1000)
    for table in tables:
        drawn = report.rich(table)
        needed = ruler.measure(drawn).maximum  # a narrow terminal wraps lines, it does not lose digits
        console = Console(width=max(needed, Console().width if sys.stdout.isatty() else 100))
        console.print(drawn)
        for note in table.notes:
            console.print(note, style="dim", soft_wrap=True, markup=False, highlight=False)
        console.print()


def _close(outcomes: list[Outcome], seconds: float, *, to_stdout: bool, quiet: bool) -> None:
    """Where the results are, what was computed and how long it took."""
    if quiet and not to_stdout:
        return
    for outcome in outcomes:
        typer.echo(f"{outcome.folder / 'result.json'}", err=not to_stdout)
    chunks = len({key for outcome in outcomes for key in outcome.chunks})
    computed = len({key for outcome in outcomes for key in outcome.computed})
    if computed == 0:
        typer.echo(f"nothing to compute: all {chunks} chunks were there, {seconds:.2f} s", err=not to_stdout)
    else:
        typer.echo(f"{computed} of {chunks} chunks computed, {seconds:.2f} s", err=not to_stdout)


if __name__ == "__main__":
    main()
