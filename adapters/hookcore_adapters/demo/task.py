"""What a demo trains, and how its libraries are loaded."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@attrs.frozen
class Task:
    """A compiled model with its data, the same in every run."""

    model: Any
    train: Any
    validation: Any
    batch_size: int
    epochs: int
    """The most epochs, unless the command is given a number."""
    plugins: Sequence[object]
    """Those of this demo, beside the ones that every demo has."""


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import a demo's libraries within this: quietly, and with an error that names what to install if a library is missing."""
    try:
        with _quiet_libraries():
            yield
    except ImportError as error:
        raise click.ClickException(f"The demo needs {error.name}: pip install 'hookcore[demo]'") from error


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hide what TensorFlow's native libraries write to standard error while they load, whatever its log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
