"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jembench.progress import spoken

Format = Literal["table", "markdown", "json"]
OUTPUT = Path("jembench-runs")

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
    bool,
    typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.", callback=lambda quiet: spoken(quiet)),
]
