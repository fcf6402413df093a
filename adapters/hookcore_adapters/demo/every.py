"""`hookcore demo --all`: train the digits with each installed framework, and print a table."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from hookcore_adapters.demo import result
from hookcore_adapters.demo.frameworks import FRAMEWORKS
from hookcore_adapters.demo.result import INTERRUPTED, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND: Final = "from hookcore.cli.main import main; main(prog_name='hookcore')"


def train(out: Path | None, epochs: int | None) -> int:
    """Train with each framework, and return the exit status: 0 if every loaded checkpoint has its recorded score.

    Each framework runs in a separate process, because they conflict in one. Checkpoints and logs go to the same places as without
    `--all`, or into a directory for each framework in `out`. Ctrl-C ends the current run, and no other begins.
    """
    results: list[Result] = []
    untrained: list[str] = []
    status, failed = 0, False
    try:
        for number, framework in enumerate(FRAMEWORKS, 1):
            click.echo()
            click.secho(f"{framework} ({number} of {len(FRAMEWORKS)})", bold=True)
            status, found = _train_one(framework, out, epochs)
            if found is not None and not found.missing:
                results.append(found)
            elif found is not None:
                untrained.append(f"{framework} was not trained. {found.missing}")
            elif status != INTERRUPTED:
                failed = True
                untrained.append(f"{framework} failed with exit status {status}: see above.")
            if status == INTERRUPTED:
                break
    except KeyboardInterrupt:  # between two runs
        status = INTERRUPTED
    if results:
        result.show(results)
    for line in untrained:
        click.echo(line)
    if status == INTERRUPTED:
        return INTERRUPTED
    return 0 if results and not failed and all(found.is_verified for found in results) else 1


def _train_one(framework: str, out: Path | None, epochs: int | None) -> tuple[int, Result | None]:
    """Train with one framework, and return the exit status and the result, or None if there is no result."""
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory, "result.json")
        arguments = ["--framework", framework, "--result", str(told)]
        arguments += [] if out is None else ["--out", str(out / framework)]
        arguments += [] if epochs is None else ["--epochs", str(epochs)]
        return _run([sys.executable, "-c", _COMMAND, "demo", *arguments]), Result.read(told)


def _run(command: list[str]) -> int:
    """Run a process to its end, and return its exit status, or `INTERRUPTED` if Ctrl-C was pressed.

    Ctrl-C in a terminal also reaches that process, so this waits until it has ended its run and reported it.
    """
    interrupted = False
    with _raised_sigterm(), subprocess.Popen(command) as process:  # noqa: S603 - the command is ours
        try:
            while True:
                try:
                    status = process.wait()
                except KeyboardInterrupt:
                    interrupted = True
                else:
                    return INTERRUPTED if interrupted else status
        finally:
            process.terminate()  # for other exceptions; has no effect if the process has ended


@contextlib.contextmanager
def _raised_sigterm() -> Iterator[None]:
    """Raise `SystemExit` for SIGTERM, so that no process is left running."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
