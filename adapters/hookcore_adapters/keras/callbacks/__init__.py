"""Keras's callbacks with Keras's signatures, run by hookcore's plugins: a script changes only its import line.

Each class has the parameters, defaults, attributes and messages of its counterpart in `keras.callbacks`, and its decisions are a
plugin's. docs/differences-from-keras.md lists each intended difference and its reason.

`LambdaCallback` is Keras's own, because it decides nothing. `SwapEMAWeights` swaps in the same way as Keras's, and has state.
`TensorBoard` writes the same as Keras's, has state, and does not need TensorFlow.
"""

from __future__ import annotations

from keras.callbacks import LambdaCallback

from hookcore_adapters.keras.callbacks.backup_and_restore import BackupAndRestore
from hookcore_adapters.keras.callbacks.early_stopping import EarlyStopping
from hookcore_adapters.keras.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from hookcore_adapters.keras.callbacks.logs import CSVLogger, TerminateOnNaN
from hookcore_adapters.keras.callbacks.model_checkpoint import ModelCheckpoint
from hookcore_adapters.keras.callbacks.swap_ema_weights import SwapEMAWeights
from hookcore_adapters.keras.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
