"""Write the files of TensorBoard's projector: vectors, their labels, and the list of both."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from hookcore import ParameterError, store
from hookcore.authoring import did_you_mean, local_path

if TYPE_CHECKING:
    from collections.abc import Collection

Labels: TypeAlias = "Sequence[str] | Path"
"""The labels of the rows in order, or a file with a label per line or, beneath a header, columns between tabs."""
Job: TypeAlias = Callable[[], None]

CONFIG: Final = "projector_config.pbtxt"
DIRECTORY: Final = "embeddings"
_LABEL_FILE: Final = "labels"


def labels_of(given: Any, embeddings: Mapping[str, Any]) -> dict[str, str]:
    """Return the content of the label file of each embedding that has labels, by the embedding's name.

    `given` is None, `Labels` for every embedding, or a mapping of names to `Labels`. Raises `ParameterError` if there are more or
    fewer labels than rows, and for a name that no embedding has.
    """
    by_name = given if isinstance(given, Mapping) else {} if given is None else dict.fromkeys(embeddings, given)
    for name in by_name:
        if name not in embeddings:
            known = ", ".join(embeddings) or "none"
            hint = did_you_mean(name, embeddings)
            raise ParameterError(f"TensorBoard: embeddings_metadata names {name!r}, and the embeddings are: {known}.{hint}")
    texts = {}
    for name, labels in by_name.items():
        lines = _lines(labels) if isinstance(labels, str | Path) else [_line(word) for word in labels]
        header, rows = bool(lines) and "\t" in lines[0], len(embeddings[name])
        if len(lines) - header != rows:
            raise ParameterError(
                f"TensorBoard: embeddings_metadata has {len(lines) - header} labels for {name!r}, which has {rows} rows. "
                "Give each row its label, in the order of the rows: if the words begin at row 2, rows 0 and 1 need labels too."
            )
        texts[name] = "".join(f"{line}\n" for line in lines)
    return texts


def _lines(path: str | Path) -> list[str]:
    """Return the lines of a label file, without the blank ones, which the projector skips."""
    return [
        line for line in io.StringIO(store.read_file(local_path(path)).decode(), newline=None).read().split("\n") if line.strip()
    ]


def _line(word: object) -> str:
    """Return `word` as a line of a label file. The projector would start a column at a tab, and skip a blank line."""
    shown = re.sub(r"[\t\n\r]", lambda found: repr(found[0])[1:-1], str(word))
    return shown if shown.strip() else repr(shown)


def labels(directory: Path, name: str, text: str) -> Job:
    """Return the job that writes the labels of an embedding."""
    return lambda: store.write_bytes(directory / _file(name, _LABEL_FILE), text.encode())


def vectors(directory: Path, name: str, when: str, matrix: Any) -> Job:
    """Return the job that writes the vectors of an embedding as they are now. 32-bit floats read back exactly.

    A value that is not finite becomes 0: otherwise the projector would draw no vector at all.
    """
    finite = np.nan_to_num(matrix, nan=0.0, posinf=0.0, neginf=0.0)  # a copy, as training changes the matrix

    def write() -> None:
        row = "\t".join(["%.9g"] * finite.shape[1]) + "\n"
        text = "".join(row % tuple(values) for values in finite.tolist())
        store.write_bytes(directory / _file(name, when), text.encode())

    return write


def config(directory: Path, entries: Sequence[tuple[str, str]], labelled: Collection[str]) -> Job:
    """Return the job that writes the list of `entries`, pairs of an embedding and when it was taken, the latest first."""
    listed = ProjectorConfig()
    for name, when in reversed(entries):
        # A path is relative to the list, and must not leave its directory.
        entry = listed.embeddings.add(tensor_name=f"{name}, {when}", tensor_path=_file(name, when))
        if name in labelled:
            entry.metadata_path = _file(name, _LABEL_FILE)
    text = text_format.MessageToString(listed)
    return lambda: store.write_bytes(directory / CONFIG, text.encode())


def _file(name: str, what: str) -> str:
    plain = re.sub(r"[^\w.-]+", "-", f"{name}-{what}")
    return f"{DIRECTORY}/{plain}.tsv"
