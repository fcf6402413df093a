"""`hookcore checkpoints`: list, find, verify and prune the checkpoints in a directory."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hookcore import store
from hookcore.errors import CheckpointError, ParameterError
from hookcore.paths import local_path
from hookcore.store import Retention, files
from hookcore.text import format_size, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from hookcore.store import SavedCheckpoint


class _LocalDirectory(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(local_path(value, "DIR"), param, ctx)
        except ParameterError as error:
            self.fail(str(error), param, ctx)


_DIRECTORY = click.argument("directory", metavar="DIR", type=_LocalDirectory(exists=True, file_okay=False, path_type=Path))


class _NoCheckpoint(click.ClickException):
    exit_code = 2


@click.group()
def checkpoints() -> None:
    """List, find, verify or prune the checkpoints in a directory."""


@checkpoints.command()
@_DIRECTORY
@click.pass_context
def ls(ctx: click.Context, directory: Path) -> None:
    """List the checkpoints in DIR: what each holds, and why it is kept.

    Only manifests and file sizes are read; `verify` reads every file. The exit status is 1 if a checkpoint is damaged, and 2 if
    DIR holds no checkpoint.
    """
    ctx.exit(show(directory))


@checkpoints.command(short_help="Find the checkpoint in DIR with the best value.")
@_DIRECTORY
@click.option("--path", "only_path", is_flag=True, help="Print only its path, for a script.")
def best(directory: Path, *, only_path: bool) -> None:
    """Find the checkpoint in DIR with the best value of the monitored metric; of equal values, the earliest.

    Every file of the checkpoint is verified. Damaged checkpoints are skipped, and named on the standard error. The exit status
    is 1 if no whole checkpoint has a value, and 2 if DIR holds no checkpoint.
    """
    _paths(directory)
    try:
        found = store.best(directory)
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error
    if only_path:
        click.echo(os.fsencode(found.path))
    else:
        click.echo(f"{found.path.name}: epoch {found.epoch + 1}, {_metric(found)}, {format_size(files.size(found.path))}.")


@checkpoints.command(short_help="Compare the files of checkpoints with their manifests.")
@_DIRECTORY
@click.argument("steps", metavar="[STEP]...", nargs=-1, type=click.IntRange(min=0))
@click.pass_context
def verify(ctx: click.Context, directory: Path, steps: tuple[int, ...]) -> None:
    """Compare every file of the checkpoints in DIR, or only of those at the given STEPs, with the manifests.

    The exit status is 1 if a checkpoint is damaged or missing, and 2 if DIR holds no checkpoint.
    """
    paths = _paths(directory)
    failed = False
    for path in [directory / store.name_of(step) for step in steps] or paths:
        try:
            store.verify(path)
        except CheckpointError as error:
            failed = True
            click.echo(f"{path.name} {_problem(path, error) if path in paths else 'does not exist.'}")
        else:
            click.echo(f"{path.name} is whole: {format_size(files.size(path))}.")
    ctx.exit(int(failed))


@checkpoints.command()
@_DIRECTORY
@click.option("--keep-last", metavar="N", type=click.IntRange(min=1), help="Keep the N newest; 1 by default.")
@click.option("--keep-best", metavar="N", type=click.IntRange(min=1), help="Keep the N best of each metric; 1 by default.")
@click.option("--keep-every", metavar="N", type=click.IntRange(min=1), help="Keep the last checkpoint of every Nth epoch.")
@click.option("--damaged", is_flag=True, help="Also remove damaged checkpoints.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.pass_context
def prune(ctx: click.Context, /, *, directory: Path, damaged: bool, dry_run: bool, **keep: int | None) -> None:
    """Remove the checkpoints in DIR that none of the options keeps.

    All checkpoints are verified first. The newest and the best whole checkpoint always stay, and damaged ones stay unless you
    give --damaged. The exit status is 1 if a run is writing into DIR or a checkpoint cannot be removed, and 2 if DIR holds no
    checkpoint.
    """
    given = {name.removeprefix("keep_"): value for name, value in keep.items() if value is not None}
    if not given and not damaged:
        raise click.UsageError(
            "Give what to keep: --keep-last, --keep-best or --keep-every; or only --damaged, to remove damaged checkpoints.", ctx
        )
    try:
        lock = None if dry_run else store.lock(directory)
        try:
            _prune(directory, Retention(**{"last": 1, "best": 1, **given}) if given else None, damaged=damaged, dry_run=dry_run)
        finally:
            if lock is not None:
                lock.release()
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error


def _prune(directory: Path, retention: Retention | None, *, damaged: bool, dry_run: bool) -> None:
    """Prune `directory`; without a `retention` every whole checkpoint stays."""
    paths = _paths(directory)
    whole, broken = _whole_and_broken(paths, contents=True)
    kept = {checkpoint.path: ("whole",) for checkpoint in whole} if retention is None else retention.reasons(whole)
    facts = {checkpoint.path: f"epoch {checkpoint.epoch + 1}, {_metric(checkpoint)}" for checkpoint in whole}
    freed, removed = 0, 0
    for path in paths:
        nbytes = files.size(path)
        named = f"{path.name}, {format_size(nbytes)}; {facts[path] if path in facts else f'it {broken[path]}'}"
        if path in kept:
            click.echo(f"kept: {named}; {_why(kept[path])}")
        elif path in broken and not damaged:
            click.echo(f"left: {named}")
        else:
            if not dry_run:
                store.remove(path)
            freed, removed = freed + nbytes, removed + 1
            click.echo(f"{'would be removed' if dry_run else 'removed'}: {named}")
    left = f" Damaged, but not removed without --damaged: {len(broken)}." if broken and not damaged else ""
    click.echo(f"{removed} {'would be removed' if dry_run else 'removed'}, freeing {format_size(freed)}.{left}")


def show(directory: Path, console: Console | None = None) -> int:
    """Print the list; return 1 if a checkpoint is damaged, else 0. Raises `click.ClickException` if there is no checkpoint."""
    # Imported here, because only what prints needs rich.
    from rich.table import Table
    from rich.text import Text

    from hookcore.cli.console import open_console

    console = console or open_console()
    paths = _paths(directory)
    whole, broken = _whole_and_broken(paths, contents=False)
    by_path = {checkpoint.path: checkpoint for checkpoint in whole}
    retention = whole[-1].retention if whole else None
    reasons = {} if retention is None else retention.reasons(whole)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    columns: dict[str, dict[str, Any]] = {
        "step": {"justify": "right", "no_wrap": True},
        "epoch": {"justify": "right", "no_wrap": True},
        "metric": {"overflow": "fold"},
        "size": {"justify": "right", "no_wrap": True},
        "saved": {"no_wrap": True},
        "kept as": {"overflow": "fold"},
    }
    for title, options in columns.items():
        table.add_column(title, **options)
    for path in paths:
        checkpoint = by_path.get(path)
        if checkpoint is None:
            epoch, metric, why = "-", "-", Text("damaged", "bold red")
        else:
            epoch, metric = str(checkpoint.epoch + 1), _metric(checkpoint)
            # The row has the metric's name in another column.
            given = ["best" if reason == f"best {checkpoint.metric}" else reason for reason in reasons.get(path, ("-",))]
            why = Text(_why(given))
        size = format_size(files.size(path))
        table.add_row(path.name.removeprefix("step-").lstrip("0") or "0", epoch, Text(metric), size, _saved(path), why)
    console.print(table)
    for path, problem in broken.items():
        console.print(Text(f"{path.name} {problem}"))
    return int(bool(broken))


def _paths(directory: Path) -> list[Path]:
    paths = store.named(directory)
    if not paths:
        is_checkpoint = (directory / store.MANIFEST).exists()
        hint = " It is itself a checkpoint: give the directory that contains it." if is_checkpoint else ""
        raise _NoCheckpoint(f"{printable(str(directory))} holds no checkpoint.{hint}")
    return paths


def _whole_and_broken(paths: Iterable[Path], *, contents: bool) -> tuple[list[SavedCheckpoint], dict[Path, str]]:
    """Return the checkpoints in `paths` that are whole, in the order of `paths`, and the problem of each of the others."""
    whole, broken = [], {}
    for path in paths:
        try:
            whole.append(store.verify(path, contents=contents))
        except CheckpointError as error:
            broken[path] = _problem(path, error)
    return whole, broken


def _problem(path: Path, error: CheckpointError) -> str:
    return str(error).removeprefix(f"The checkpoint {path} ")


def _metric(checkpoint: SavedCheckpoint) -> str:
    return "-" if checkpoint.value is None else f"{printable(checkpoint.metric or '', 60)}={checkpoint.value:.6g}"


def _why(reasons: Iterable[str]) -> str:
    """Return the reasons as printable text: they may have a metric's name, which may be any text."""
    return ", ".join(printable(reason, 80) for reason in reasons)


def _saved(path: Path) -> str:
    """Return the local time of the manifest, which is written last; without a manifest, that of the directory.

    Return `-` for a time outside the calendar, which any program can set.
    """
    last = path / store.MANIFEST
    when = (last if os.path.lexists(last) else path).lstat().st_mtime
    try:
        return datetime.fromtimestamp(when, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "-"
