"""`hookcore compare`: rank runs, and show why each ended and in what they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hookcore import HookcoreError


@click.command(short_help="Compare runs: which was best, and how they differ.")
@click.argument("runs", metavar="RUNS...", nargs=-1, required=True)
@click.option("--metric", metavar="NAME", help="Rank by this metric; by default the one that most runs monitor.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which value is better, if the metric's direction is unknown.")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write one page with the curves.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of the table.")
def compare(runs: tuple[str, ...], metric: str | None, mode: Any, html: Path | None, *, as_json: bool, as_csv: bool) -> None:
    """Compare RUNS: folders, which are searched, and logs of any kind that hookcore reads.

    Those are run.json, CSV and JSON logs of hookcore, Keras and Lightning, trainer_state.json, TensorBoard's directories,
    XGBoost's results and MLflow's store. A run with several logs counts once. The best comes first.
    """
    from hookcore_plugins.report.compare.comparison import Comparison
    from hookcore_plugins.report.compare.table import show

    if as_json and as_csv:
        raise click.UsageError("Give --json or --csv, not both.")
    try:
        comparison = Comparison.read(runs, metric, mode)
        if as_json:
            click.echo(comparison.dumps())
        elif as_csv:
            click.echo(comparison.csv(), nl=False)
        else:
            show(comparison)
        if html is not None:
            click.echo(f"written: {comparison.save(html)}", err=as_json or as_csv)
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
