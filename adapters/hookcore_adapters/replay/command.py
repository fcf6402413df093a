"""`hookcore replay`: what a stopping or learning-rate rule would have done in recorded runs."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore import HookcoreError
from hookcore.authoring import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hookcore_plugins.report.recorded import RecordedError, RecordedRun

_FILE = click.Path(dir_okay=False, path_type=Path)


class _InOrder(click.Command):
    """Keeps the order of options, because a `--vary` belongs to the `--plugin` before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Record the order of the options, and parse as click does."""
        if args and not ctx.resilient_parsing:
            with contextlib.suppress(click.UsageError):  # click reports it below
                ctx.meta[__name__] = [option.name for option in self.make_parser(ctx).parse_args(args=list(args))[2]]
        return super().parse_args(ctx, args)


@click.command(cls=_InOrder, short_help="Show what plugins would have done in recorded runs.")
@click.argument("metrics", metavar="METRICS...", nargs=-1, required=True)
@click.option("--plugin", "plugins", metavar="SPEC", multiple=True, required=True, help="A plugin, as early_stopping:patience=3.")
@click.option("--vary", metavar="KEY=VALUES", multiple=True, help="Values of a parameter of that plugin: 1..10, or 0,0.001.")
@click.option("--metric", metavar="NAME", help="What counts. Default: what the first plugin monitors.")
@click.option("--lose-at-most", metavar="X", type=click.FloatRange(min=0), default=0.0, help="What the best setting may lose.")
@click.option("--learning-rate", metavar="RATE", type=click.FloatRange(min=0), help="At the beginning, if the log lacks it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--svg", metavar="FILE", type=_FILE, help="Draw the curve with each stop, and what saves most and loses least.")
@click.option("--png", metavar="FILE", type=_FILE, help="The same as a bitmap.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    metrics: tuple[str, ...],
    plugins: tuple[str, ...],
    vary: tuple[str, ...],
    *,
    metric: str | None,
    lose_at_most: float,
    learning_rate: float | None,
    as_json: bool,
    svg: Path | None,
    png: Path | None,
) -> None:
    """Show what plugins would have done in the runs recorded in METRICS: when each setting stops, what it saves and loses.

    \b
    hookcore replay runs/first/metrics.csv --plugin early_stopping --vary patience=1..10
    hookcore replay runs --plugin early_stopping:monitor=val_loss --vary patience=1..10 --vary min_delta=0,0.001
    hookcore replay log.csv --plugin reduce_lr_on_plateau:patience=2..5 --learning-rate 0.001

    METRICS are files and folders, which are searched: logs of CSVLog, JSONLog, Report, Keras, Lightning, TensorBoard,
    Transformers, XGBoost and MLflow, told apart by what is in them. A --vary belongs to the --plugin before it; several make a
    grid. The best setting saves most of those with which no run loses more than --lose-at-most, by default nothing.

    --svg and --png need what `pip install 'hookcore[report]'` installs.
    """  # noqa: D301 - click keeps the lines after \b
    # Imported here, because `hookcore --help` imports every command.
    from hookcore.cli.console import open_console
    from hookcore_adapters.replay import table
    from hookcore_adapters.replay.settings import paired, settings_of
    from hookcore_adapters.replay.sweep import sweep
    from hookcore_plugins.report.recorded import read_runs

    def left_out(error: RecordedError) -> None:
        click.echo(f"Left out: {error}", err=True)

    try:
        settings = settings_of(paired(ctx.meta[__name__], plugins, vary))
        with _each_warning_once():
            runs = [_ended(run) for run in read_runs(metrics, on_error=left_out)]
            swept = sweep(runs, settings, metric=metric, learning_rate=learning_rate)
        if as_json:
            click.echo(json.dumps(table.as_json(swept, lose_at_most), indent=1, allow_nan=False))
        else:
            table.show(open_console(), swept, lose_at_most)
        if learning_rate is not None:
            click.echo(_use_of_rate(runs), err=as_json)
        for kind, path in (("svg", svg), ("png", png)):
            if path is not None:
                from hookcore_adapters.replay.picture import save

                save(path, swept, lose_at_most, kind)
                click.echo(f"written: {path}", err=as_json)
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error


def _use_of_rate(runs: Sequence[RecordedRun]) -> str:
    """Say for which runs --learning-rate counts."""
    lacking = [run.name for run in runs if run.learning_rate is None]
    if len(lacking) == len(runs):
        return "Note: --learning-rate is used for every run: no log has a learning rate."
    used = f"used only for {', '.join(lacking)}" if lacking else "not used"
    return printable(f"Note: --learning-rate is {used}: the {'other ' if lacking else ''}logs have their own.", 400)


def _ended(run: RecordedRun) -> RecordedRun:
    """Return `run` with its end, as the run.json beside its log records it, if its own log does not."""
    from hookcore_plugins.report.record import FILE
    from hookcore_plugins.report.recorded import RecordedError, read_runs

    beside = run.path.parent / FILE
    if run.outcome is not None or not beside.is_file():
        return run
    with contextlib.suppress(RecordedError):
        found = read_runs([run.path, beside])
        if len(found) == 1:
            return attrs.evolve(run, outcome=found[0].outcome, stop_reasons=found[0].stop_reasons)
    return run


@contextlib.contextmanager
def _each_warning_once() -> Iterator[None]:
    """Log each warning once, although every setting gives it for every run."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return text not in seen and not seen.add(text)  # type: ignore[func-returns-value]

    kept: Any = logging.getLogger("hookcore")
    kept.addFilter(is_new)
    try:
        yield
    finally:
        kept.removeFilter(is_new)
