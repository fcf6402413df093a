"""The files of TensorBoard's projector: vectors with their labels, and the list of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from hookcore import ParameterError, store
from hookcore.authoring import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection

Labels: TypeAlias = "Sequence[str] | Path"
"""The words of the rows in order, or a file of them: one a line or, with columns between tabs, a header and one row a line."""
Job: TypeAlias = Callable[[], None]

CONFIG: Final = "projector_config.pbtxt"
DIRECTORY: Final = "embeddings"
_LABEL_FILE: Final = "labels"


def labels_of(given: Any, embeddings: Mapping[str, Any]) -> dict[str, str]:
    """The label file's text of each of the `embeddings` that `given` labels, by the embedding's name.

    `given` is None, `Labels` for every embedding, or a mapping of names to `Labels`. Raises `ParameterError` where there are not
    as many labels as rows, and for a name that no embedding has.
    """
    by_name = given if isinstance(given, Mapping) else {} if given is None else dict.fromkeys(embeddings, given)
    for name in by_name:
        if name not in embeddings:
            there = ", ".join(embeddings) or "none"
            hint = did_you_mean(name, embeddings)
            raise ParameterError(f"TensorBoard: embeddings_metadata names {name!r}, and the embeddings are: {there}.{hint}")
    texts = {}
    for name, labels in by_name.items():
        lines = _lines(labels) if isinstance(labels, str | Path) else [_line(word) for word in labels]
        header, rows = bool(lines) and "\t" in lines[0], len(embeddings[name])
        if len(lines) - header != rows:
            raise ParameterError(
                f"TensorBoard: embeddings_metadata has {len(lines) - header} labels for {name!r}, which has {rows} rows. "
                "Give each row its label, in the order of the rows: where the words begin at row 2, rows 0 and 1 need one too."
            )
        texts[name] = "".join(f"{line}\n" for line in lines)
    return texts


def _lines(path: str | Path) -> list[str]:
    """The lines of a label file; the projector passes over blank ones."""
    return [line for line in Path(path).read_text(encoding="utf-8").split("\n") if line.strip()]


def _line(word: object) -> str:
    """A word as the projector can show it: it takes a tab for the next column, and passes over a line without letters."""
    shown = re.sub(r"[\t\n\r]", lambda found: repr(found[0])[1:-1], str(word))
    return shown if shown.strip() else repr(shown)


def labels(directory: Path, name: str, text: str) -> Job:
    """Writes the labels of an embedding."""
    return lambda: store.write_bytes(directory / _file(name, _LABEL_FILE), text.encode())


def vectors(directory: Path, name: str, when: str, matrix: Any) -> Job:
    """Writes the vectors that an embedding has now, so that 32-bit floats read back exactly.

    What is no finite number becomes 0: the projector could draw none of the others.
    """
    finite = np.nan_to_num(matrix, nan=0.0, posinf=0.0, neginf=0.0)  # a copy: training goes on

    def write() -> None:
        row = "\t".join(["%.9g"] * finite.shape[1]) + "\n"
        text = "".join(row % tuple(values) for values in finite.tolist())
        store.write_bytes(directory / _file(name, when), text.encode())

    return write


def config(directory: Path, entries: Sequence[tuple[str, str]], labelled: Collection[str]) -> Job:
    """Writes the list of what there is to see, pairs of an embedding and when it was taken, the latest first."""
    made = ProjectorConfig()
    for name, when in reversed(entries):
        # Paths are relative to the list, and must not lead out of its directory.
        entry = made.embeddings.add(tensor_name=f"{name}, {when}", tensor_path=_file(name, when))
        if name in labelled:
            entry.metadata_path = _file(name, _LABEL_FILE)
    text = text_format.MessageToString(made)
    return lambda: store.write_bytes(directory / CONFIG, text.encode())


def _file(name: str, what: str) -> str:
    plain = re.sub(r"[^\w.-]+", "-", f"{name}-{what}")
    return f"{DIRECTORY}/{plain}.tsv"
