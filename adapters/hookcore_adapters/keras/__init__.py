"""Keras: plugins in `model.fit`, either through `fit` or as one callback, and any Keras callback as a plugin."""

from __future__ import annotations

from hookcore_adapters.keras import installed as _installed  # first: its error names what to install
from hookcore_adapters.keras.adapter import KerasAdapter
from hookcore_adapters.keras.fit import fit
from hookcore_adapters.keras.hosted_callback import from_keras
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

__all__ = ["MODEL_FILE", "KerasAdapter", "KerasTrainee", "fit", "from_keras"]

del _installed
