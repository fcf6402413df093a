"""What a demo trains, and how its libraries are loaded."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hookcore import Engine


class Task(Protocol):
    """A model with its data, the same in every run."""

    @property
    def epochs(self) -> int:
        """The most epochs, unless the command is given a number."""
        ...

    @property
    def plugins(self) -> Sequence[object]:
        """Those of this demo, beside the ones that every demo has."""
        ...

    @property
    def validation(self) -> str:
        """How the names of validation metrics begin, as in `val_`."""
        ...

    @property
    def file(self) -> str:
        """The file in a checkpoint that the framework's own loader opens; the directory itself if this is empty."""
        ...

    @property
    def loader(self) -> str:
        """That loader, for people."""
        ...

    def train(self, engine: Engine, epochs: int) -> None:
        """Train, with the framework's own loop if it has one."""

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load the model in `checkpoint`, with nothing of hookcore's, and return its validation metrics by their plain names."""
        ...


class MissingError(click.ClickException):
    """A library that a demo needs is not installed; the message names what to install."""


@contextlib.contextmanager
def loading(install: str = "'hookcore[demo]'") -> Iterator[None]:
    """Import a demo's libraries within this: quietly, and with an error that names what to install if a library is missing."""
    try:
        with _quiet_libraries():
            yield
    except ImportError as error:
        if error.name in {"jax", "torch"}:  # which KERAS_BACKEND has chosen
            install = install.replace("[demo]", f"[demo,{error.name}]")
        raise MissingError(f"The demo needs {error.name}: pip install {install}") from error


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
