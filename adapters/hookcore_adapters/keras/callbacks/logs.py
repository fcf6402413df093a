"""`keras.callbacks.CSVLogger` and `TerminateOnNaN`, done by the plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hookcore_plugins as plugins
from hookcore import MetricError
from hookcore_adapters.keras.callbacks.face import Face, local, parameter, say

if TYPE_CHECKING:
    import os

    from hookcore_adapters.keras.callbacks.face import Logs


class CSVLogger(Face):
    """Keras's `CSVLogger`: same parameters; `NA` where a metric was not produced."""

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__(plugins.CSVLog(local(filename), separator, append=bool(append), absent="NA", only_metrics=True))

    sep = parameter("separator")
    append = parameter("append")

    @property
    def filename(self) -> str:
        """The file's path."""
        return str(self.plugin.path)


class TerminateOnNaN(Face):
    """Keras's `TerminateOnNaN`: looks at the loss after each batch."""

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error
        super().__init__(plugins.NaNGuard("loss", action="raise" if raise_error else "stop", missing="skip"))

    def state_dict(self) -> None:
        """None: it looks at one batch after the other, and counts anew after a restart."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """The plugin, with Keras's message or its error."""
        votes = len(self.latest.stop_reasons)
        try:
            super().on_train_batch_end(batch, logs)
        except MetricError as error:
            loss = (logs or {}).get("loss")
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately."
            ) from error
        if len(self.latest.stop_reasons) > votes:
            say(f"Batch {batch}: Invalid loss, terminating training")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keras looks at batches only."""
        del logs
        super().on_epoch_end(epoch, {})
