"""`keras.callbacks.CSVLogger` and `TerminateOnNaN`, run by the plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import hookcore_plugins as plugins
from hookcore import MetricError, Run, SavedCheckpoint, hookimpl
from hookcore_adapters.keras.callbacks.arguments import local_path
from hookcore_adapters.keras.callbacks.plugin_callback import PluginCallback, plugin_parameter, print_message

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.numeric_logs import Logs


class CSVLog(plugins.CSVLog):
    """The plugin, which continues its file if a backup or a checkpoint has restored the callback that runs it."""

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        if self.state_dict()["rows"] is not None:
            # The run is the callback's own, and was not resumed itself. By the count of rows the plugin knows how far.
            run.resumed_from = SavedCheckpoint(Path("the run beside it"), epoch=0, step=0)
        super().on_train_begin(run)


class CSVLogger(PluginCallback):
    """Keras's `CSVLogger`: same parameters, and `NA` for a metric that an epoch lacks.

    In a `fit` that `BackupAndRestore` or `Checkpoint` resumes, it continues its file, with `append` or without, from the row at
    which the backup or checkpoint was saved.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__(CSVLog(local_path(filename), separator, append=bool(append), absent="NA", only_metrics=True))
        self._waits = False
        """Whether training has begun, and the file was not opened yet: callbacks listed after this one may restore it."""

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._waits = False

    def on_train_begin(self, logs: Logs = None) -> None:
        del logs
        self._waits = True

    def _begin(self) -> None:
        if self._waits:
            self._waits = False
            super().on_train_begin()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begin()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._begin()
        super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._begin()
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._begin()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        self._begin()
        super().on_train_end(logs)

    sep = plugin_parameter("separator")
    append = plugin_parameter("append")

    @property
    def filename(self) -> str:
        """The file's path."""
        return str(self.plugin.path)


class TerminateOnNaN(PluginCallback):
    """Keras's `TerminateOnNaN`: checks the loss after each batch."""

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error
        super().__init__(plugins.NaNGuard("loss", action="raise" if raise_error else "stop", missing="skip"))

    def state_dict(self) -> None:
        """Return None: there is nothing to restore."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        votes = len(self.current_run.stop_reasons)
        try:
            super().on_train_batch_end(batch, logs)
        except MetricError as error:
            loss = (logs or {}).get("loss")
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately."
            ) from error
        if len(self.current_run.stop_reasons) > votes:
            print_message(f"Batch {batch}: Invalid loss, terminating training")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        del logs
        super().on_epoch_end(epoch, {})  # as in Keras, only batches are checked
