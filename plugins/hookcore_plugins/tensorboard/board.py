"""Write the events and files that TensorBoard shows, in one log directory."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from hookcore_plugins.tensorboard import event_files, projector, summaries
from hookcore_plugins.tensorboard.event_writer import EventWriter
from hookcore_plugins.tensorboard.written import TRAIN, VALIDATION, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from hookcore.authoring import Node
    from hookcore_plugins.tensorboard.event_writer import Fill

_TABLE_HEAD: Final = ("| epoch | step | plugin | what |", "|---|---|---|---|")


class Board:
    """Write events and files into the directories `train` and `validation` of `log_dir`, for one run.

    A `resumed` run continues its own files in `log_dir`, which are cut to what `written` counts. Other files are moved aside.
    `written` is kept up to date. `metadata` has the labels of the embeddings; they are checked against `matrices` before any
    file is touched, or against the first embeddings if the model is not built yet.

    Each call hands over to the writer's thread, and raises an earlier error of that thread.
    """

    def __init__(
        self,
        log_dir: Path,
        written: Written,
        clock: Callable[[], float],
        metadata: Any,
        matrices: Mapping[str, Any],
        *,
        resumed: bool,
    ) -> None:
        self._log_dir = log_dir
        self._written = written
        self._clock = clock
        self._metadata = metadata
        self._label_texts: Mapping[str, str] | None = None
        self._check_labels(matrices)
        self.continues = resumed and written.file in self._train_files()
        """Whether the run continues the files in the directory."""
        self.moved_to: Path | None = None
        """The directory to which the files of an earlier run were moved."""
        if self.continues:
            for name in (TRAIN, VALIDATION):
                written.events[name] = event_files.cut(log_dir / name, written.events[name])
        else:
            self.moved_to = event_files.set_aside(log_dir, (TRAIN, VALIDATION), (projector.CONFIG, projector.DIRECTORY))
            written.events.clear()
            written.embeddings.clear()
            written.file = None
        self._writer = EventWriter(log_dir, written.events, clock)
        # If a run is dropped without its end, its thread ends.
        weakref.finalize(self, self._writer.end_soon).atexit = False
        self.scalars: Callable[[str, int, str, Mapping[str, float]], None] = self._writer.add
        """Hand over the scalars of `TRAIN` or `VALIDATION` at a step, with a prefix before each name.

        The writer's own method, as a call in between would cost every batch.
        """

    def _train_files(self) -> list[str]:
        return [path.name for path in event_files.named(self._log_dir / TRAIN)]

    def _check_labels(self, matrices: Mapping[str, Any]) -> None:
        if matrices and self._label_texts is None:
            self._label_texts = projector.labels_of(self._metadata, matrices)

    def _add(self, step: int, fill: Fill) -> None:
        self._writer.add(TRAIN, step, None, fill)

    def hyperparameters(self, values: Mapping[str, bool | float | str]) -> None:
        """Hand over the hyperparameters of the run, which becomes a row in TensorBoard's table."""
        self._add(0, summaries.session_start(values, self._clock()))

    def outcome(self, status: str) -> None:
        """Hand over how the run ended, for its row in the table: `SUCCESS`, `FAILURE` or `UNKNOWN`."""
        self._add(0, summaries.session_end(status, self._clock()))

    def decisions(self, step: int, rows: Iterable[tuple[int, str, str]]) -> None:
        """Hand over all decisions at `step`: the epoch, the plugin and the message of each."""
        # Epochs are counted from one, as in the messages beside them.
        table = [f"| {epoch + 1} | {step} | {_cell(plugin)} | {_cell(message)} |" for epoch, plugin, message in rows]
        self._add(step, summaries.text("decisions", "\n".join([*_TABLE_HEAD, *table])))

    def graph(self, nodes: Sequence[Node]) -> None:
        """Hand over the graph of layers."""
        self._add(0, summaries.graph(nodes))

    def weights(self, epoch: int, weights: Mapping[str, Any], *, images: bool) -> None:
        """Hand over a histogram of each of `weights` and, with `images`, an image of each that is a matrix."""
        for name, array in weights.items() if images else ():
            if array.ndim == 2 and min(array.shape) > 1:  # noqa: PLR2004 - a matrix
                self._add(epoch, summaries.image(f"{name}/image", array))
        self.histograms(epoch, "", {f"{name}/histogram": array for name, array in weights.items()})

    def histograms(self, epoch: int, prefix: str, arrays: Mapping[str, Any]) -> None:
        """Hand over a histogram of the finite values in each of `arrays`, and the number of the others if there are any."""
        for name, array in arrays.items():
            row, missing = summaries.finite(array)
            self._add(epoch, summaries.histogram(prefix + name, row))
            if missing:
                self.scalars(TRAIN, epoch, "nonfinite/", {prefix + name: missing})

    def embeddings(self, matrices: Mapping[str, Any], when: str) -> None:
        """Hand over the vectors of each embedding at `when`, and the list of all; without `matrices`, the list alone."""
        self._check_labels(matrices)
        writer, directory, labels, listed = self._writer, self._log_dir / TRAIN, self._label_texts or {}, self._written.embeddings
        writer.flush()  # the vectors of one moment at most are in memory
        for name, matrix in matrices.items():
            writer.submit(projector.vectors(directory, name, when, matrix))
            listed.append((name, when))
        for name, text in labels.items():
            writer.submit(projector.labels(directory, name, text))
        writer.submit(projector.config(directory, listed, labels))

    def write_soon(self) -> None:
        """Make the writer write now what was handed over, without waiting for it."""
        self._writer.hurry()

    def sync(self) -> None:
        """Wait until what was handed over is in the files, so that `written` is right; see `EventWriter.sync`."""
        self._writer.sync()
        if self._written.file is None:
            self._written.file = next(iter(self._train_files()), None)

    def close(self) -> None:
        """Write all that was handed over. Raises an error of the writer that was not raised before."""
        self._writer.close()

    def close_quietly(self) -> None:
        """Write all that was handed over, and log an error instead of raising it."""
        self._writer.close_quietly()


def _cell(text: str) -> str:
    """Return `text` so that it stays within one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
