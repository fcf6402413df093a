"""The protocol of a demo's task, and the loading of its libraries."""

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
        """The most epochs to train; `--epochs` overrides it."""
        ...

    @property
    def plugins(self) -> Sequence[object]:
        """The plugins of this demo, in addition to those of every demo."""
        ...

    @property
    def validation(self) -> str:
        """The prefix of validation metrics, as in `val_`."""
        ...

    @property
    def file(self) -> str:
        """The file in a checkpoint for the framework's own loader; empty if the loader opens the directory."""
        ...

    @property
    def loader(self) -> str:
        """The name of that loader, for the output."""
        ...

    def train(self, engine: Engine, epochs: int) -> None:
        """Train, with the framework's own loop if it has one."""

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load the model in `checkpoint` without hookcore, and return its validation metrics by their names without a prefix."""
        ...


class MissingError(click.ClickException):
    """Raised if a library that a demo needs is missing; the message names what to install."""


@contextlib.contextmanager
def loading(install: str = "'hookcore[demo]'") -> Iterator[None]:
    """Import a demo's libraries in this `with` block. Hides their output, and raises `MissingError` if a library is missing."""
    try:
        with _quiet_libraries():
            yield
    except ImportError as error:
        if error.name in {"jax", "torch"}:  # the backend that KERAS_BACKEND has chosen
            install = install.replace("[demo]", f"[demo,{error.name}]")
        raise MissingError(f"The demo needs {error.name}: pip install {install}") from error


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hide what TensorFlow's native libraries write to standard error while they load, which its log level does not prevent."""
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
