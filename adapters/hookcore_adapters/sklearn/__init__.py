"""scikit-learn: a trainee and a `fit` with epochs and batches for estimators with `partial_fit`, and a callback that observes."""

from __future__ import annotations

from hookcore_adapters.sklearn import installed as _installed  # first: its error names what to install
from hookcore_adapters.sklearn.adapter import SklearnAdapter
from hookcore_adapters.sklearn.batches import Batches
from hookcore_adapters.sklearn.fit import fit
from hookcore_adapters.sklearn.trainee import SklearnTrainee

__all__ = ["Batches", "SklearnAdapter", "SklearnTrainee", "fit"]

del _installed
