"""`keras.callbacks.TensorBoard` without TensorFlow, with state for checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np

from hookcore import schema
from hookcore.numeric import unwrapped
from hookcore_adapters.keras.callbacks.arguments import as_frequency, local_path
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback
from hookcore_adapters.keras.callbacks.summaries import RUNS, Summaries
from hookcore_plugins.tensorboard.plugin import check_packages

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.numeric_logs import Logs

_STATE: Final = schema.fields(
    {
        "trained": schema.integer,
        "epoch_began_at": schema.integer,
        "tested": schema.integer,
        "ending": schema.text,
        "events": schema.fields(dict.fromkeys(RUNS, schema.integer)),
    }
)


class TensorBoard(StatefulCallback, keras.callbacks.TensorBoard):  # type: ignore[misc]  # Keras ships no types
    """Keras's `TensorBoard`: same parameters, defaults, tags and steps, without TensorFlow.

    Keras's own code decides what is written and when. A run that `BackupAndRestore` or `Checkpoint` resumes continues the files
    and steps, and events after the backup are removed.
    """

    embeddings_metadata: Any

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | str | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: str | dict[str, str] | None = None,
    ) -> None:
        check_packages()
        self._summaries = Summaries()
        self._restored: Mapping[str, Any] | None = None
        self._epoch_began_at = 0
        """The number of batches that were trained before this epoch."""
        self._batches_written = 0
        """The number of the latest batch that was trained and written.

        Batches up to it are not written again while they are skipped.
        """
        self._is_resumed = False
        """Whether the counts were restored and no batch has followed."""
        self._is_training = False
        super().__init__(
            local_path(log_dir),
            histogram_freq=as_frequency(self, histogram_freq=histogram_freq or 0),
            write_graph=write_graph,
            write_images=write_images,
            write_steps_per_second=write_steps_per_second,
            update_freq=self._batches_or_epoch(update_freq),
            profile_batch=_plain_batches(profile_batch),
            embeddings_freq=as_frequency(self, embeddings_freq=embeddings_freq or 0),
            embeddings_metadata=embeddings_metadata,
        )

    def _batches_or_epoch(self, value: Any) -> Any:
        if isinstance(value, str):
            if value in {"batch", "epoch"}:
                return value
            raise ValueError(f"TensorBoard: update_freq must be 'epoch', 'batch' or a number of batches, got {value!r}.")
        return as_frequency(self, 1, update_freq=value)

    @property
    def summary(self) -> Summaries:
        """The object that Keras's code uses as `tensorflow.summary`."""
        return self._summaries

    def state_dict(self) -> Mapping[str, Any]:
        counts = {"trained": self._batches_written, "epoch_began_at": self._epoch_began_at, "tested": self._global_test_batch}
        return counts | self._summaries.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._restored = _STATE(state)  # used in the first method after on_train_begin of all callbacks, which resets the counts

    def _begin(self) -> None:
        """Begin writing, if that has not been done, at the position of the restored state."""
        if not self._summaries.waits:
            return
        state, self._restored = self._restored, None
        self._summaries.begin(state)
        if state is not None:
            self._global_train_batch = self._batches_written = state["trained"]
            self._epoch_began_at, self._global_test_batch = state["epoch_began_at"], state["tested"]
            self._should_write_train_graph, self._is_resumed = False, True
            super().on_epoch_begin(0)  # an interrupted epoch may not begin again, and its speed is measured from here

    def set_model(self, model: Any) -> None:
        while self._prev_summary_state:  # left by a fit that an exception ended
            for context in reversed(self._prev_summary_state.pop()):
                context.__exit__(None, None, None)
        self._summaries.prepare(Path(self.log_dir))
        self._is_training = self._is_resumed = False
        self._restored, self._epoch_began_at, self._batches_written = None, 0, 0
        super().set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._is_training = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begin()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._begin()
        if self._is_resumed:  # an execution of the interrupted epoch, possibly one that was trained
            self._global_train_batch = self._epoch_began_at + batch // self.model.steps_per_execution
        self._is_resumed = False
        if self._global_train_batch >= self._batches_written:
            super().on_train_batch_begin(batch, logs)
        else:
            self._global_train_batch += 1
            self._pop_writer()
            self._push_writer(self._train_writer, self._global_train_batch)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._global_train_batch > self._batches_written:
            self._batches_written = self._global_train_batch
            super().on_train_batch_end(batch, logs)
        else:
            self.run_afterwards()

    def on_test_begin(self, logs: Logs = None) -> None:
        self._begin()
        super().on_test_begin(logs)

    def on_test_end(self, logs: Logs = None) -> None:
        super().on_test_end(logs)
        self._summaries.copy()
        if not self._is_training:
            self._summaries.end()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._epoch_began_at = self._global_train_batch
        super().on_epoch_end(epoch, logs)
        self._summaries.copy()

    def on_train_end(self, logs: Logs = None) -> None:
        self._begin()
        super().on_train_end(logs)
        self._is_training = False

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_writers": {}, "_prev_summary_state": [], "_restored": None}

    # Methods that in Keras's class need TensorFlow, or change an argument

    def _write_keras_model_summary(self) -> None:
        if type(self.model).__name__ in {"Functional", "Sequential"}:
            try:
                json = self.model.to_json()
            except Exception as error:  # noqa: BLE001 - as in Keras
                warnings.warn(f"Model failed to serialize as JSON. Ignoring... {error}", stacklevel=2)
                return
            with self._train_writer.as_default():
                self._summaries.model(json)

    def _configure_embeddings(self) -> None:
        given = self.embeddings_metadata
        if isinstance(given, Mapping):
            self.embeddings_metadata = dict(given)  # Keras empties it
        try:
            with self._summaries.surviving_errors():
                Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            super()._configure_embeddings()
        finally:
            self.embeddings_metadata = given


def _plain_batches(value: Any) -> Any:
    """Return `profile_batch` with Python's integers. Raises Keras's `ValueError` for other numbers."""
    plain = unwrapped(value)
    if isinstance(plain, tuple | list | np.ndarray):
        plain = tuple(unwrapped(batch) for batch in plain)
    if all(isinstance(batch, int) for batch in (plain if isinstance(plain, tuple) else (plain,))) or isinstance(plain, str):
        return plain
    raise ValueError(
        "profile_batch must be a non-negative integer or 2-tuple of positive integers. A pair of positive integers signifies "
        f"a range of batches to profile. Found: {value}"
    )
