"""The trainee of LightGBM: a forest, to which each iteration adds trees."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
from lightgbm import CVBooster

from hookcore import CapabilityError, CheckpointError
from hookcore.trainee import Trainee
from hookcore_adapters.lightgbm import metrics
from hookcore_adapters.lightgbm.model_text import inexact, settings, settings_of, text_of, trees
from hookcore_adapters.lightgbm.rate import NAMES, Rate
from hookcore_adapters.lightgbm.snapshot import ForestSnapshot

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.trainee import Capability, Mode

ADAPTER: Final = "lightgbm"
LEFT: Final = "a callback of lightgbm.train, such as early_stopping"
USE_TRAIN: Final = "Call hookcore_adapters.lightgbm.train(params, train_set, ..., plugins=[...]) instead of lightgbm.train"


@attrs.define(eq=False)
class LightGBMTrainee(Trainee):
    """Present a `Booster` in training to plugins, as a `hookcore.Trainee`. The adapter makes it."""

    framework: str = attrs.field(default=ADAPTER, init=False)
    scheduled: Sequence[str] = ()
    """The parameters that `lightgbm.reset_parameter` sets."""
    evaluates_training: bool = False
    """Whether the training data are evaluated too."""
    is_late: bool = False
    """Whether the iteration whose beginning plugins get now is trained already."""
    booster: Any = attrs.field(default=None, init=False)
    """None before training begins."""
    began_with: int = attrs.field(default=0, init=False)
    """The number of iterations that the forest had when the latest one began."""
    is_over: bool = attrs.field(default=False, init=False)
    """Whether training is over, so that snapshots can be restored."""
    resumed: ForestSnapshot | None = attrs.field(default=None, init=False)
    """The snapshot that was restored before training."""
    cut: int | None = attrs.field(default=None, init=False)
    """The number of iterations to which restoring a snapshot has cut the forest; None if none was restored."""
    results: Sequence[Any] = attrs.field(default=(), init=False)
    """The latest evaluations, as LightGBM lists them."""
    _at_begin: Sequence[Any] | None = attrs.field(default=None, init=False)
    _settings: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _has_offset: bool = attrs.field(default=False, init=False)
    """Whether a data set has an `init_score`."""
    _rate: Rate | None = attrs.field(default=None, init=False)
    """None before training."""
    _without_text: weakref.WeakSet[ForestSnapshot] = attrs.field(factory=weakref.WeakSet, init=False)

    def attach(self, env: Any) -> None:
        """Train the booster of `env` from now on, with the learning rate of the snapshot that was restored, if any.

        Raises `CapabilityError` for training that plugins cannot steer, and `CheckpointError` for a snapshot with another
        objective.
        """
        booster = env.model
        if isinstance(booster, CVBooster):
            raise CapabilityError(
                "lightgbm: lightgbm.cv trains several models at once, and a run has one. Call lightgbm.train for each fold."
            )
        self.booster, self._settings, self.began_with = booster, settings_of(booster), env.begin_iteration
        self._rate = Rate(booster)
        if self._settings.get("num_machines", "1") != "1":
            raise CapabilityError(
                f"lightgbm: num_machines={self._settings['num_machines']}, and the plugins on each machine would decide by "
                "themselves. Train on one machine."
            )
        saved = {} if self.resumed is None else settings(self.resumed.text or "")
        if "objective" in saved and saved["objective"] != self._settings.get("objective"):
            raise CheckpointError(
                f"lightgbm: the checkpoint is of a forest with objective={saved['objective']!r}, and params have "
                f"{self._settings.get('objective')!r}. Pass the same objective, or save into another directory."
            )
        if env.begin_iteration == 0:  # else LightGBM has replaced them with the scores of the forest
            scores = [data.get_init_score() for data in (booster.train_set, *booster.valid_sets)]
            self._has_offset = any(score is not None and np.any(score) for score in scores)
        if self.resumed is not None and self.resumed.learning_rate != self.learning_rate:
            self._rate.put(self.resumed.learning_rate, by_plugin=False)

    def evaluated(self, results: Sequence[Any] | None) -> dict[str, Any]:
        """Return the metrics of an iteration by name, from `results`, LightGBM's evaluations after it.

        Raises `MetricError` if two have the same name, and `CapabilityError` if another callback has overwritten a plugin's rate.
        """
        self.results = results or ()
        found = metrics.by_name(self.results)
        if self._rate is not None:
            self._rate.check()
        return found

    def unlike(self) -> str | None:
        """Return the settings with which a resumed run grows other trees than an uninterrupted one, or None."""
        found = inexact(self._settings)
        if self.booster.train_set.get_position() is not None:  # lambdarank estimates its bias, and a model lacks that
            found["position"] = "[...]"
        return ", ".join(f"{name}={value}" for name, value in found.items()) or None

    @property
    def learning_rate(self) -> float:
        """The shrinkage of the next trees.

        Raises `AttributeError` before training, and if it is set, `CapabilityError` if plugins cannot set it.
        """
        if self._rate is None:
            raise AttributeError("lightgbm: training has not begun, so there is no learning rate")
        return self._rate.get()

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self.lacks("learning_rate")
        if self.is_late:
            reason = f"LightGBM calls a callback only after the iteration, too late for its rate. {USE_TRAIN}"
        if self._rate is None:
            reason = "training has not begun"
        if self._rate is None or reason is not None:
            raise CapabilityError(f"lightgbm: the learning rate cannot be set to {value!r}: {reason}.")
        self._rate.put(value, by_plugin=True)

    @property
    def iterations(self) -> int:
        """The number of iterations of the forest; fewer than were trained if LightGBM found no split."""
        if self.cut is not None:
            return self.cut
        return self.began_with if self.is_late else int(self.booster.current_iteration())

    def snapshot(self, *, optimizer: bool = True) -> ForestSnapshot:
        """Return the forest as it is now; for a checkpoint, which is `optimizer`, with the text of it."""
        reason = self.lacks("snapshot")
        if reason is not None:
            raise CapabilityError(f"lightgbm: no snapshot can be taken: {reason}.")
        best = self.booster.best_iteration
        scores = self.booster.best_score.items() if best > 0 else ()
        best_score = [(data, metric, value) for data, own in scores for metric, value in own.items()]
        taken = ForestSnapshot(self.iterations, self.learning_rate, self.results, best, best_score)
        self._without_text.add(taken)
        if optimizer:  # a checkpoint has the snapshots that plugins hold too, and is written by another thread
            for held in tuple(self._without_text):
                same = held.iterations == taken.iterations and taken.text
                held.text = taken.text if same else text_of(self.booster, held.iterations)
            self._without_text.clear()
        return taken

    def left(self) -> str | None:
        """Note that training is over, and return why LightGBM itself has stopped it, or None if it was an error."""
        self.is_over = True
        return LEFT if self.booster.best_iteration > 0 else None

    def restore(self, snapshot: ForestSnapshot) -> None:
        """Have training continue from `snapshot` or, once it is over, cut the forest to `snapshot`.

        Raises `CapabilityError` during training, and for a snapshot that is not part of the forest.
        """
        if self.booster is None:
            self.resumed, self.results = snapshot, snapshot.results
            return
        now, iterations = self.booster.current_iteration(), snapshot.iterations
        if not self.is_over:
            raise CapabilityError(
                "lightgbm: a snapshot was restored during training, and a forest can be cut only when training is over. Restore "
                "it in on_train_end."
            )
        is_part = 1 <= iterations <= now
        if not is_part or (snapshot.text and trees(snapshot.text) != trees(text_of(self.booster, iterations))):
            raise CapabilityError(
                f"lightgbm: the snapshot has {iterations} iterations that are not the first ones of the forest, which has {now}. "
                "If LightGBM's own early stopping has cut the forest, leave that out, or the plugin."
            )
        self.booster.best_iteration = self.cut = iterations
        self.results = snapshot.results

    def write(self, snapshot: ForestSnapshot, directory: Path) -> None:
        """Write `model.txt`, which `lightgbm.Booster(model_file=...)` opens, and `training.json` into `directory`."""
        if snapshot.text is None:
            snapshot.text = text_of(self.booster, snapshot.iterations)
        snapshot.write(directory)

    def read(self, directory: Path) -> ForestSnapshot:
        """Return the snapshot that `write` wrote."""
        return ForestSnapshot.read(directory)

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, as the end of a sentence, or None if it is not."""
        boosting = self._settings.get("boosting")
        if (capability == "checkpoint" and self.scheduled) or (
            capability == "learning_rate" and not set(NAMES).isdisjoint(self.scheduled)
        ):
            return (
                f"lightgbm.reset_parameter sets {', '.join(self.scheduled)}, and starts over in a resumed run. To schedule the "
                "learning rate, use the plugin LearningRateSchedule"
            )
        if capability == "checkpoint" and self._has_offset:
            return "a model does not hold the init_score of a data set, so a resumed run would lack it. Leave out init_score"
        if capability in {"learning_rate", "checkpoint"} and boosting == "rf":
            return "boosting='rf' has no learning rate, and LightGBM cannot continue such a forest. Use boosting='gbdt'"
        if capability in {"snapshot", "checkpoint"} and boosting == "dart":
            return "boosting='dart' changes earlier trees, so its forest cannot be cut or continued. Use boosting='gbdt'"
        return super().lacks(capability)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction that LightGBM declares for `metric`; for a metric of `feval`, only after the first iteration."""
        known = metrics.direction(metric, self.results)  # in a resumed run, these are at first those of the checkpoint
        if known is None and self.booster is not None:
            if self._at_begin is None:
                training = self.booster.eval_train() if self.evaluates_training else []
                self._at_begin = [*training, *self.booster.eval_valid()]
            known = metrics.direction(metric, self._at_begin)
        return known
