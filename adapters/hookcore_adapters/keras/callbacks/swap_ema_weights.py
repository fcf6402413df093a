"""`keras.callbacks.SwapEMAWeights`, with state for checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras import internals
from hookcore_adapters.keras.callback_states import EMA_STATE
from hookcore_adapters.keras.callbacks.stateful_callback import StatefulCallback

if TYPE_CHECKING:
    from collections.abc import Mapping


class SwapEMAWeights(StatefulCallback, keras.callbacks.SwapEMAWeights):  # type: ignore[misc]  # Keras ships no types
    """Keras's `SwapEMAWeights`: same parameter and default. Backups and checkpoints record which weights the model has."""

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__(swap_on_epoch)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        internals.set_has_ema_weights(self, value=False)  # an earlier fit may have left it set

    def state_dict(self) -> Mapping[str, Any]:
        return {"ema_weights_in_model": internals.has_ema_weights(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        internals.set_has_ema_weights(self, value=EMA_STATE(state)["ema_weights_in_model"])
