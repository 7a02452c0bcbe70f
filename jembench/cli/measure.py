"""``jembench run``: measure models."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jembench.cli.options import (
    OUTPUT,
    DataOption,
    DeviceOption,
    LimitOption,
    OutputOption,
    ProtocolOption,
    QuietOption,
    SeedOption,
    SmoothOption,
    TrackOption,
    VotesOption,
    WeightsOption,
    WorkersOption,
)
from jembench.cli.terminal import draw
from jembench.cli.words import defended, numbers, outliers, words
from jembench.ground.progress import progress
from jembench.types import Precision, UserError

if TYPE_CHECKING:
    from jembench.engine.bench import Outcome
    from jembench.zoo.catalogue import ModelSpec

Format = Literal["table", "markdown", "json"]
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
RefineOption = Annotated[
    str | None,
    typer.Option("--refine", help="SGLD steps of a refinement before the model; comma-separated for several rows."),
]


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
    from jembench import data, gallery
    from jembench.choices.batteries import Options
    from jembench.choices.sampling import Sampling
    from jembench.data import user
    from jembench.engine import bench
    from jembench.engine.plan import plan
    from jembench.pages.tables import report
    from jembench.store.records import Store
    from jembench.zoo import catalogue

    started = time.perf_counter()
    description = data.track(track, folder=data_dir)
    extended = user.extended(description, outliers(ood or []))
    store = Store.open(output)
    if weights is not None and len(model) > 1:
        raise UserError("--weights goes with one --model")
    suites = list(dict.fromkeys(name.strip() for name in suite.split(",")))
    place = description.folder
    bare = [catalogue.resolve(name, track=track, weights=weights, folder=place) for name in dict.fromkeys(model)]
    specs = _distinct([item for spec in bare for item in defended(spec, refine, smooth, votes)])
    options = Options(
        norms=words(norm),
        eps=numbers(eps, "eps"),
        attacks=tuple(attack or ()),
        goal=goal,
        steps=steps,
        restarts=restarts,
        losses=words(loss),
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
        outcomes = bench.run(plans, store, workers=workers, progress=show)
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


def _serving(suites: list[str], evaluator: str) -> list[str]:
    """The suites with an evaluator, which its options go to; all of them if none has it, to be told so."""
    from jembench.choices.suites import SUITES

    return [name for name in suites if evaluator in SUITES[name]] or suites


def _distinct(specs: list[ModelSpec]) -> list[ModelSpec]:
    """Models of the same name get the start of their fingerprint, so that no two rows of a table are called alike."""
    specs = list({(spec.name, spec.fingerprint): spec for spec in specs}.values())  # named in two ways
    names = [spec.name for spec in specs]
    return [
        replace(spec, name=f"{spec.name}-{spec.fingerprint[:6]}") if names.count(spec.name) > 1 else spec
        for spec in specs
    ]


def _print(outcomes: list[Outcome], format: Format) -> None:
    from jembench.pages.tables import report

    documents = [outcome.document for outcome in outcomes]
    if format == "markdown":
        typer.echo(report.markdown(documents))
        return
    draw(report.tables(documents))


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
