"""`keras.callbacks.CSVLogger` and `TerminateOnNaN`, run by the plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hookcore_plugins as plugins
from hookcore import MetricError
from hookcore_adapters.keras.callbacks.arguments import local_path
from hookcore_adapters.keras.callbacks.plugin_callback import PluginCallback, plugin_parameter, print_message

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.numeric_logs import Logs


class CSVLogger(PluginCallback):
    """Keras's `CSVLogger`: same parameters, and `NA` for a metric that an epoch lacks."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__(plugins.CSVLog(local_path(filename), separator, append=bool(append), absent="NA", only_metrics=True))

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
