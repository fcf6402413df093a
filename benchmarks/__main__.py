"""Run all benchmarks, one after the other, each in its own process: `python benchmarks`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

from side_by_side import SCRIPTS


@click.command()
@click.option("--check", is_flag=True, help="Run fewer rounds, and fail if a figure exceeds its gate by far, twice.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write the results into this directory, as JSON.")
@click.pass_context
def main(ctx: click.Context, out: Path | None, *, check: bool) -> None:
    """Run every benchmark.

    Under --check, a script that fails is measured a second time, because other work on the machine can only make a figure worse.
    """
    failed = []
    for script, quick in SCRIPTS.items():
        command = [sys.executable, str(Path(__file__).with_name(f"{script}.py"))]
        command += ["--check", *quick.split()] if check else []
        command += ["--json", str(out / f"{script}.json")] if out is not None else []
        click.secho(f"== {script} ==", bold=True)
        for _ in range(1 + check):
            began = time.monotonic()
            status = subprocess.run(command, check=False).returncode  # noqa: S603 - the scripts beside this one
            click.echo(f"{script} took {time.monotonic() - began:.0f} s\n")
            if status == 0:
                break
        else:
            failed.append(script)
    click.echo(f"Failed: {', '.join(failed)}." if failed else "All ran.")
    ctx.exit(int(bool(failed)))


if __name__ == "__main__":
    main()
