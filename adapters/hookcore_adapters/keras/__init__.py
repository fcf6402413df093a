"""Keras: plugins in `model.fit`, either through `fit` or as one callback, and any Keras callback as a plugin."""

from __future__ import annotations

from hookcore_adapters.keras import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import keras as _keras
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_keras.__version__, _installed.FLOOR, adapter="keras", name="Keras")

from hookcore_adapters.keras.adapter import KerasAdapter
from hookcore_adapters.keras.fit import fit
from hookcore_adapters.keras.hosted_callback import from_keras
from hookcore_adapters.keras.trainee import MODEL_FILE, KerasTrainee

__all__ = ["MODEL_FILE", "KerasAdapter", "KerasTrainee", "fit", "from_keras"]

del _check_version, _installed, _keras
