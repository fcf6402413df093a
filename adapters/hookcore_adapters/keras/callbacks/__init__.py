"""Keras's callbacks with Keras's signatures, run by hookcore's plugins: change the import line of a script and nothing else.

Each class takes what the one of `keras.callbacks` takes, has its defaults and attributes, and prints its messages. What it
decides is decided by the plugin of the same job. docs/differences-from-keras.md lists what is different, on purpose, and why.

`LambdaCallback` is Keras's own, since it decides nothing. `SwapEMAWeights` swaps as Keras's does, and has state. `TensorBoard`
writes what Keras's does, has state too, and needs no TensorFlow.
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
