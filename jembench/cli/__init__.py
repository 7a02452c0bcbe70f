"""The command line: results on stdout, all else on stderr; bad input is one line and exit code 2.

- Here: commands, options, the live view of a training run.
- Never: arithmetic; a call of plan, engine or store: `api` and `rebuild` have all that a Python caller has.
- A new one: a function in a module here and a line in `COMMANDS`; options of measurements come from
  `choices.request`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from jembench.cli import judge, lists, maintain, measure, models, pages, push, results, shelf, site, submissions, track
from jembench.types import UserError
from jembench.version import __version__

INTERRUPTED = 130  # 128 + SIGINT

COMMANDS: dict[str, Callable[..., None]] = {
    "run": measure.run,
    "check": measure.check,
    "list": lists.list_,
    "explain": lists.explain,
    "show": results.show,
    "compare": results.compare,
    "train": models.train,
    "convert": models.convert,
    "gate": judge.gate,
    "golden": judge.golden,
    "verify-adversarials": judge.verify_adversarials,
    "submit": submissions.submit,
    "verify": submissions.verify,
    "leaderboard": pages.leaderboard,
    "site": site.site,
    "report": site.report,
    "push": push.push,
    "gallery": results.gallery,
}

#: name -> (one line about the commands below it, these)
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "data": (
        "The images of tracks.",
        {
            "list": shelf.list_,
            "fetch": shelf.fetch,
            "verify": shelf.verify,
            "export": shelf.export,
            "overlap": shelf.overlap,
        },
    ),
    "track": (
        "Tracks of your own, from a track.toml.",
        {"check": track.check, "extractor": track.extractor},
    ),
    "maintain": (
        "Baselines that are shipped with jembench, made anew.",
        {"train": maintain.train, "golden": maintain.golden, "cards": maintain.cards, "reference": maintain.reference},
    ),
}

app = typer.Typer(
    name="jembench",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The benchmark suite for joint energy-based models.",
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
for _name, (_help, _commands) in GROUPS.items():
    _group = typer.Typer(help=_help)
    for _part, _command in _commands.items():
        _group.command(_part)(_command)
    app.add_typer(_group, name=_name)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"jembench {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _open_streams() -> None:
    """Have nobody listen where a stream is closed, as under a daemon: a file of ours must not get its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")


def main() -> None:
    """Run the command line; the entry point of ``jembench`` and ``python -m jembench``."""
    _open_streams()
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
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click's answer to it is exit code 1
            os._exit(0)
        raise
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
