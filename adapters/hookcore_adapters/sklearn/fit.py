"""`fit`: train an estimator with plugins, in epochs and batches, by its `partial_fit`."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import Any

import attrs
import numpy as np
from sklearn.multioutput import MultiOutputClassifier
from sklearn.utils import _safe_indexing, indexable  # the first is documented too
from sklearn.utils.multiclass import unique_labels

from hookcore import ParameterError, Plugins, Resume, Run
from hookcore.numeric import integer_of
from hookcore_adapters.loop import Loop
from hookcore_adapters.sklearn.batches import Batches
from hookcore_adapters.sklearn.networks import is_network
from hookcore_adapters.sklearn.scoring import Scorer  # noqa: TC001 - tools such as jsonargparse read the types of the arguments
from hookcore_adapters.sklearn.trainee import SklearnTrainee


def fit(
    estimator: Any,
    x: Any,
    y: Any = None,
    *,
    epochs: int | None,
    plugins: Plugins = (),
    batch_size: int = 200,
    validation_data: tuple[Any, ...] | None = None,
    validation_freq: int = 1,
    metrics: Mapping[str, Scorer] | None = None,
    score_training: bool = True,
    classes: Any = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    seed: int = 0,
    trusted: Collection[str] = (),
    resume: Resume = False,
) -> Run:
    """Train `estimator` by its `partial_fit`, with `plugins`, and return the run.

    * `estimator`: an estimator with `partial_fit`. It is trained in place; a fitted one is trained further.
    * `x`, `y`: arrays, sparse matrices, lists or data frames, with one sample in each row; `y` is None for an estimator that
      learns without targets.
    * `epochs`: how many times to train on all samples; None trains until a plugin votes to stop.
    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `batch_size`: the number of samples in each call of `partial_fit`, 200 by default; the last call of an epoch may have fewer.
      A call is one batch and one step, even if the estimator updates for each sample, as linear models do.
    * `validation_data`: `(x, y)` or `(x,)`, scored every `validation_freq` epochs as metrics that begin with `val_`.
    * `metrics`: scorers by name, in addition to the estimator's own `score`; see `SklearnTrainee`. With `score_training`, they
      score the training data at the end of each epoch too, which predicts each sample once.
    * `classes`: all labels that `y` may have in this and later calls, by default those of this `y`; for an estimator with several
      outputs, a list with the labels of each.
    * `sample_weight`: a weight for each sample, for `partial_fit`. Scores ignore it.
    * `shuffle`, `seed`: the order of the samples, which depends only on `seed` and the epoch. The estimator's own random numbers
      come from its `random_state`.
    * `trusted`: your own types that a checkpoint may hold; see `SklearnTrainee`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one; a path
      resumes from that checkpoint, or from the newest in that directory. Pass the same data and arguments as before.

    The loss of an epoch is the mean of the estimator's `loss_` over its batches. The exception that ends a run, Ctrl-C included,
    reaches plugins and the caller. Raises what scikit-learn and the plugins raise, and `ParameterError` for an estimator or
    arguments that cannot be trained this way.
    """
    trainee = SklearnTrainee(estimator, metrics=metrics or {}, trusted=trusted)
    _check_validation(validation_data, validation_freq)
    x, y, sample_weight = indexable(x, y, sample_weight)
    training = _Training(estimator, x, y, classes, sample_weight)
    batches = Batches(x.shape[0] if hasattr(x, "shape") else len(x), batch_size, shuffle=shuffle, seed=seed)
    with Loop(
        plugins,
        epochs=epochs,
        steps_per_epoch=len(batches),
        trainee=trainee,
        model=estimator,
        validation_data=validation_data,
        validation_freq=validation_freq,
        resume=resume,
    ) as loop:
        for epoch in loop.epochs():
            for rows in loop.batches(batches):
                training.train(rows)
                loop.log(trainee.loss())
            if score_training:
                loop.log(trainee.scores(x, y))
            if validation_data is not None and (epoch + 1) % validation_freq == 0:
                with loop.evaluation():
                    loop.log(trainee.scores(*validation_data))
    return loop.run


def _check_validation(data: Any, freq: Any) -> None:
    if data is not None and (not isinstance(data, tuple | list) or len(data) not in {1, 2}):
        length = f" of length {len(data)}" if isinstance(data, tuple | list) else ""
        raise ParameterError(f"fit: validation_data must be (x, y) or (x,), got an object of type {type(data).__name__}{length}.")
    if (number := integer_of(freq)) is None or number < 1:
        raise ParameterError(f"fit: validation_freq must be an integer of at least 1, got {freq!r}.")


@attrs.define(eq=False)
class _Training:
    """Call `partial_fit` with the arguments that it takes."""

    estimator: Any
    x: Any
    y: Any
    classes: Any
    sample_weight: Any
    _takes_classes: bool = attrs.field(init=False)

    @_takes_classes.default
    def _look(self) -> bool:
        kind, takes = type(self.estimator).__name__, inspect.signature(self.estimator.partial_fit).parameters
        if getattr(self.estimator, "early_stopping", False):
            raise ParameterError(
                f"fit: estimator must not have early_stopping=True, which works only in {kind}.fit. Leave it out, and use the "
                "plugin EarlyStopping."
            )
        if self.y is None and "y" in takes and takes["y"].default is inspect.Parameter.empty:
            raise ParameterError(f"fit: y must be targets, as {kind} needs them, got None. Call fit(estimator, x, y, ...).")
        for name in ("classes", "sample_weight"):
            if getattr(self, name) is not None and name not in takes:
                raise ParameterError(f"fit: {name} must be None, as {kind}.partial_fit does not take it. Leave it out.")
        return "classes" in takes

    def __attrs_post_init__(self) -> None:
        if self._takes_classes and self.classes is None:
            several = isinstance(self.estimator, MultiOutputClassifier)
            self.classes = [unique_labels(column) for column in np.asarray(self.y).T] if several else unique_labels(self.y)

    def train(self, rows: Any) -> None:
        """Train on the samples `rows`. Raises `KeyboardInterrupt` if Ctrl-C has cut the update of a network."""
        more = {} if self.sample_weight is None else {"sample_weight": _safe_indexing(self.sample_weight, rows)}
        if self._takes_classes and not hasattr(self.estimator, "classes_"):
            more["classes"] = self.classes
        targets = () if self.y is None else (_safe_indexing(self.y, rows),)
        self.estimator.partial_fit(_safe_indexing(self.x, rows), *targets, **more)
        # A network swallows Ctrl-C after part of an update. It counts its iterations from zero in each call.
        if is_network(self.estimator) and self.estimator.n_iter_ == 0:
            raise KeyboardInterrupt
