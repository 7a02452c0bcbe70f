"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jembench.ground.progress import spoken

OUTPUT = Path("jembench-runs")

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
