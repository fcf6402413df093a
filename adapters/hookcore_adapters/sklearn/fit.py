"""`fit`: an estimator trained with plugins, by epochs and batches, over its `partial_fit`."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from sklearn.multioutput import MultiOutputClassifier
from sklearn.utils import _safe_indexing, indexable  # the first is documented too
from sklearn.utils.multiclass import unique_labels

from hookcore import ParameterError, Plugins, Resume
from hookcore.numeric import integer_of
from hookcore_adapters.loop import Loop
from hookcore_adapters.sklearn.batches import Batches
from hookcore_adapters.sklearn.networks import is_network
from hookcore_adapters.sklearn.trainee import SklearnTrainee

if TYPE_CHECKING:
    from hookcore import Run
    from hookcore_adapters.sklearn.scoring import Scorer


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

    * `estimator`: one with `partial_fit`. It is trained in place, and if it is fitted already, it learns more.
    * `x`, `y`: arrays, sparse matrices, lists or data frames, with one sample a row; `y` is None for what learns without targets.
    * `epochs`: how often the data are gone through; None until a plugin votes to stop.
    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `batch_size`: the samples of each call of `partial_fit`, by default 200; of the last one of an epoch, fewer. A call is one
      batch and one step, whatever the estimator makes of it: a linear model updates for each sample.
    * `validation_data`: `(x, y)`, or `(x,)`, to be scored every `validation_freq` epochs; these metrics begin with `val_`.
    * `metrics`: scorers by name, besides the estimator's own `score`: see `SklearnTrainee`. With `score_training` they score the
      training data at the end of each epoch too, which takes a prediction of each sample.
    * `classes`: all labels that `y` may have in a later call too; by default those of this `y`. A list of them,
      for each output, if there are several.
    * `sample_weight`: a weight for each sample, for `partial_fit`. Scores are without weights.
    * `shuffle`, `seed`: the order of the samples, which follows from `seed` and the epoch alone. What an estimator draws itself
      comes from its own `random_state`.
    * `trusted`: the types of your own that a checkpoint may hold: see `SklearnTrainee`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. Give the same data and arguments as before.

    The loss is the mean over the epoch's batches of what the estimator tells as `loss_`. Plugins see the exception that ends a
    run, Ctrl-C included; the caller gets it too. Raises what scikit-learn and the plugins raise, and `ParameterError` for what
    cannot be trained so.
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
        raise ParameterError(f"fit: validation_data must be a tuple (x, y), or (x,), got {type(data).__name__}.")
    if (number := integer_of(freq)) is None or number < 1:
        raise ParameterError(f"fit: validation_freq must be an integer of at least 1, got {freq!r}.")


@attrs.define(eq=False)
class _Training:
    """Calls `partial_fit` with what it takes."""

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
                f"fit: {kind}(early_stopping=True) cannot be trained by batches. Leave it out, and take the plugin EarlyStopping."
            )
        if self.y is None and "y" in takes and takes["y"].default is inspect.Parameter.empty:
            raise ParameterError(f"fit: {kind} learns from targets, and y is None. Write fit(estimator, x, y, ...).")
        for name in ("classes", "sample_weight"):
            if getattr(self, name) is not None and name not in takes:
                raise ParameterError(f"fit: {kind}.partial_fit takes no {name}. Leave it out.")
        return "classes" in takes

    def __attrs_post_init__(self) -> None:
        if self._takes_classes and self.classes is None:
            several = isinstance(self.estimator, MultiOutputClassifier)
            self.classes = [unique_labels(column) for column in np.asarray(self.y).T] if several else unique_labels(self.y)

    def train(self, rows: Any) -> None:
        """Train the samples `rows`. Raises `KeyboardInterrupt` if one came within."""
        more = {} if self.sample_weight is None else {"sample_weight": _safe_indexing(self.sample_weight, rows)}
        if self._takes_classes and not hasattr(self.estimator, "classes_"):
            more["classes"] = self.classes
        targets = () if self.y is None else (_safe_indexing(self.y, rows),)
        self.estimator.partial_fit(_safe_indexing(self.x, rows), *targets, **more)
        # A network swallows it, and has then made a part of an update. It counts its iterations from zero in each call.
        if is_network(self.estimator) and self.estimator.n_iter_ == 0:
            raise KeyboardInterrupt
