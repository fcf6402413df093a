"""`keras.callbacks.SwapEMAWeights`, whose state survives a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore_adapters.keras.events import Logs


class SwapEMAWeights(StatefulCallback, keras.callbacks.SwapEMAWeights):  # type: ignore[misc]  # Keras ships no types
    """Keras's `SwapEMAWeights`: same parameter and default. Which weights the model has is in every backup and checkpoint."""

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__(swap_on_epoch)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._ema_weights_in_model = False  # an earlier fit leaves it set

    def state_dict(self) -> Mapping[str, Any]:
        return {"ema_weights_in_model": self._ema_weights_in_model}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ema_weights_in_model = bool(state["ema_weights_in_model"])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.run_after_epoch_end()
