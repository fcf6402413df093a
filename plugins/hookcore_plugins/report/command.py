"""`hookcore report`: sum up a run, in the terminal, as a page or as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from hookcore import HookcoreError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Sum up a run that the plugin Report recorded.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--html", metavar="FILE", type=_FILE, help="Write one page that needs no other file.")
@click.option("--svg", metavar="FILE", type=_FILE, help="Write the curves as a picture.")
@click.option("--png", metavar="FILE", type=_FILE, help="Write the curves as a picture.")
@click.option("--watch", is_flag=True, help="Follow the run until it ends, also on the page of --html.")
def report(run: Path, *, html: Path | None, svg: Path | None, png: Path | None, watch: bool) -> None:
    """Sum up the RUN that the plugin Report recorded: its directory, or the run.json in it.

    --html, --svg and --png need what `pip install 'hookcore[report]'` installs. --watch exits with status 1 if the run was
    killed. `hookcore compare` shows several runs.
    """
    # Only this command needs them: `hookcore --help` imports every command.
    from hookcore_plugins.report.run_report import RunReport
    from hookcore_plugins.report.summary import show
    from hookcore_plugins.report.watch import watch as follow

    try:
        if watch:
            recorded = follow(run, html)
        else:
            recorded = RunReport.read(run)
            show(recorded)
        for kind, path in (("html", html), ("svg", svg), ("png", png)):
            if path is not None:
                click.echo(f"written: {path if watch and kind == 'html' else recorded.save(path, kind)}")
    except HookcoreError as error:
        raise click.ClickException(str(error)) from error
    if watch and recorded.status == "killed":
        raise click.exceptions.Exit(1)
