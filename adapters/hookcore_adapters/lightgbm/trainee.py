"""What LightGBM trains, as plugins see it: a forest, to which each iteration adds trees."""

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
LEFT: Final = "a callback of LightGBM's, such as early_stopping, ended training"
USE_TRAIN: Final = "Call hookcore_adapters.lightgbm.train(params, train_set, ..., plugins=[...]) instead of lightgbm.train"


@attrs.define(eq=False)
class LightGBMTrainee(Trainee):
    """`hookcore.Trainee` for a `Booster` in training. The adapter makes it."""

    framework: str = attrs.field(default=ADAPTER, init=False)
    scheduled: Sequence[str] = ()
    """The parameters that LightGBM's own callbacks set."""
    evaluates_training: bool = False
    """Whether the training data are evaluated too."""
    is_late: bool = False
    """Whether plugins hear of the beginning of what has been trained."""
    booster: Any = attrs.field(default=None, init=False)
    """None before training."""
    began_with: int = attrs.field(default=0, init=False)
    """The iterations that the forest had when the latest began, as plugins hear of it late."""
    is_over: bool = attrs.field(default=False, init=False)
    """Whether no iteration follows."""
    resumed: ForestSnapshot | None = attrs.field(default=None, init=False)
    """What was restored before training."""
    cut: int | None = attrs.field(default=None, init=False)
    """The iterations that are left of the forest, once a snapshot was restored."""
    results: Sequence[Any] = attrs.field(default=(), init=False)
    """What was evaluated last."""
    _at_begin: Sequence[Any] | None = attrs.field(default=None, init=False)
    _settings: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _has_offset: bool = attrs.field(default=False, init=False)
    """Whether the data have scores of the user's to begin with."""
    _rate: Rate | None = attrs.field(default=None, init=False)
    """None before training."""
    _without_text: weakref.WeakSet[ForestSnapshot] = attrs.field(factory=weakref.WeakSet, init=False)

    def attach(self, env: Any) -> None:
        """Begin to train the booster of `env`, which has what was restored. Raises `CapabilityError` for one of several."""
        booster = env.model
        if isinstance(booster, CVBooster):
            raise CapabilityError(
                "lightgbm: lightgbm.cv trains several models at a time, and a run is of one. Call lightgbm.train for each fold."
            )
        self.booster, self._settings, self.began_with = booster, settings_of(booster), env.begin_iteration
        self._rate = Rate(booster)
        if self._settings.get("num_machines", "1") != "1":
            raise CapabilityError(
                "lightgbm: several machines train this forest, and plugins would decide on each by itself. Train on one."
            )
        saved = {} if self.resumed is None else settings(self.resumed.text or "")
        if "objective" in saved and saved["objective"] != self._settings.get("objective"):
            raise CheckpointError(
                f"lightgbm: the checkpoint is of a forest with objective={saved['objective']!r}, and params have "
                f"{self._settings.get('objective')!r}: no model has trees of both. Give the same, or save into another directory."
            )
        if env.begin_iteration == 0:  # else LightGBM has put the scores of the forest in their place
            scores = [data.get_init_score() for data in (booster.train_set, *booster.valid_sets)]
            self._has_offset = any(score is not None and np.any(score) for score in scores)
        if self.resumed is not None and self.resumed.learning_rate != self.learning_rate:
            self._rate.put(self.resumed.learning_rate, by_plugin=False)

    def evaluated(self, results: Sequence[Any] | None) -> dict[str, Any]:
        """Return the metrics of an iteration by name, from `results`, what LightGBM has evaluated after it.

        Raises `MetricError` for two of one name, and `CapabilityError` if another callback has overwritten a plugin's rate.
        """
        self.results = results or ()
        found = metrics.by_name(self.results)
        if self._rate is not None:
            self._rate.check()
        return found

    def unlike(self) -> str | None:
        """Return the settings for which a resumed run grows other trees than one that was never cut, or None."""
        found = inexact(self._settings)
        if self.booster.train_set.get_position() is not None:  # lambdarank estimates the bias of each, and no model has it
            found["position"] = "[...]"
        return ", ".join(f"{name}={value}" for name, value in found.items()) or None

    @property
    def learning_rate(self) -> float:
        """The shrinkage of the next trees. Raises `AttributeError` before training, and `CapabilityError` if it cannot be set."""
        if self._rate is None:
            raise AttributeError("lightgbm: training has not begun, so there is no learning rate")
        return self._rate.get()

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self.lacks("learning_rate")
        if self.is_late:
            reason = f"LightGBM calls a callback after the iteration, too late for its rate. {USE_TRAIN}"
        if self._rate is None:
            reason = "training has not begun"
        if self._rate is None or reason is not None:
            raise CapabilityError(f"lightgbm: the learning rate cannot be set to {value!r}: {reason}.")
        self._rate.put(value, by_plugin=True)

    @property
    def iterations(self) -> int:
        """How many iterations the forest has; fewer than were trained if LightGBM found no split."""
        if self.cut is not None:
            return self.cut
        return self.began_with if self.is_late else int(self.booster.current_iteration())

    def snapshot(self, *, optimizer: bool = True) -> ForestSnapshot:
        """Return the forest as it is now; what goes into a checkpoint as text."""
        reason = self.lacks("snapshot")
        if reason is not None:
            raise CapabilityError(f"lightgbm: there is no snapshot: {reason}.")
        best = self.booster.best_iteration
        scores = self.booster.best_score.items() if best > 0 else ()
        best_score = [(data, metric, value) for data, own in scores for metric, value in own.items()]
        taken = ForestSnapshot(self.iterations, self.learning_rate, self.results, best, best_score)
        self._without_text.add(taken)
        if optimizer:  # for a checkpoint, which has those that plugins hold too, and is written by another thread
            for held in tuple(self._without_text):
                same = held.iterations == taken.iterations and taken.text
                held.text = taken.text if same else text_of(self.booster, held.iterations)
            self._without_text.clear()
        return taken

    def left(self) -> str | None:
        """Note that LightGBM has left training without telling the adapter. Return why it stopped, None if by an error."""
        self.is_over = True
        return LEFT if self.booster.best_iteration > 0 else None

    def restore(self, snapshot: ForestSnapshot) -> None:
        """Have training continue from `snapshot`, or at its end, cut the forest to it. Raises `CapabilityError` in between."""
        if self.booster is None:
            self.resumed, self.results = snapshot, snapshot.results
            return
        now, iterations = self.booster.current_iteration(), snapshot.iterations
        if not self.is_over:
            raise CapabilityError("lightgbm: a forest can be cut only once it is trained. Restore snapshots in on_train_end.")
        is_part = 1 <= iterations <= now
        if not is_part or (snapshot.text and trees(snapshot.text) != trees(text_of(self.booster, iterations))):
            raise CapabilityError(
                f"lightgbm: a snapshot of {iterations} iterations is no part of the forest, which has {now}: only that can be "
                "restored. LightGBM's own early stopping may have cut it; leave that out, or the plugin."
            )
        self.booster.best_iteration = self.cut = iterations
        self.results = snapshot.results

    def write(self, snapshot: ForestSnapshot, directory: Path) -> None:
        """Write `model.txt`, which `lightgbm.Booster(model_file=...)` opens, and the rest as JSON."""
        if snapshot.text is None:
            snapshot.text = text_of(self.booster, snapshot.iterations)
        snapshot.write(directory)

    def read(self, directory: Path) -> ForestSnapshot:
        """Return the snapshot that `write` wrote."""
        return ForestSnapshot.read(directory)

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, or None."""
        boosting = self._settings.get("boosting")
        if (capability == "checkpoint" and self.scheduled) or (
            capability == "learning_rate" and not set(NAMES).isdisjoint(self.scheduled)
        ):
            return (
                f"lightgbm.reset_parameter sets {', '.join(self.scheduled)}, and begins again in a run that is resumed. For the "
                "learning rate use the plugin LearningRateSchedule"
            )
        if capability == "checkpoint" and self._has_offset:
            return "no model holds the init_score of a data set, so a resumed run would lack it"
        if capability in {"learning_rate", "checkpoint"} and boosting == "rf":
            return "the trees of a random forest have no learning rate, and LightGBM does not add trees to one that was trained"
        if capability in {"snapshot", "checkpoint"} and boosting == "dart":
            return "boosting='dart' changes earlier trees, so its forest cannot be cut or continued. Use 'gbdt'"
        return super().lacks(capability)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction that LightGBM has for `metric`. Before the first iteration it has none of those of `feval`."""
        known = metrics.direction(metric, self.results)  # of a resumed run at first those of before, which may be others
        if known is None and self.booster is not None:
            if self._at_begin is None:
                training = self.booster.eval_train() if self.evaluates_training else []
                self._at_begin = [*training, *self.booster.eval_valid()]
            known = metrics.direction(metric, self._at_begin)
        return known
