"""scikit-learn: a trainee and a `fit` with epochs and batches for estimators with `partial_fit`, and a callback that observes."""

from __future__ import annotations

from hookcore_adapters.sklearn import installed as _installed
from hookcore_adapters.versions import check_version as _check_version

try:
    import sklearn as _sklearn
    import skops as _skops
except ImportError as error:
    _installed.explain(error)
    raise
else:
    _check_version(_sklearn.__version__, _installed.FLOOR, adapter="sklearn", name="scikit-learn", distribution="scikit-learn")

from hookcore_adapters.sklearn.adapter import SklearnAdapter
from hookcore_adapters.sklearn.batches import Batches
from hookcore_adapters.sklearn.fit import fit
from hookcore_adapters.sklearn.trainee import SklearnTrainee

__all__ = ["Batches", "SklearnAdapter", "SklearnTrainee", "fit"]

del _check_version, _installed, _sklearn, _skops
