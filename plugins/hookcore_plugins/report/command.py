"""`hookcore report`: what a run was, in the terminal, as a page or as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from hookcore import HookcoreError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--html", metavar="FILE", type=_FILE, help="Write one page that needs no other file.")
@click.option("--svg", metavar="FILE", type=_FILE, help="Write the curves as a picture.")
@click.option("--png", metavar="FILE", type=_FILE, help="Write the curves as a picture.")
def report(run: Path, html: Path | None, svg: Path | None, png: Path | None) -> None:
    """Sum up the RUN that the plugin Report recorded: its directory, or the run.json in it.

    --html, --svg and --png need what `pip install 'hookcore[report]'` installs.
    """
    # Only this command needs them: `hookcore --help` imports every command.
    from hookcore_plugins.report.run_report import RunReport
    from hookcore_plugins.report.summary import show

    try:
        recorded = RunReport.read(run)
        show(recorded)
        for kind, path in (("html", html), ("svg", svg), ("png", png)):
            if path is not None:
                click.echo(f"written: {recorded.save(path, kind)}")
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
