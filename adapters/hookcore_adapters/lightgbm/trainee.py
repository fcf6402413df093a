"""What LightGBM trains, as plugins see it: a forest, to which each iteration adds trees."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
from lightgbm import CVBooster

from hookcore import CapabilityError, CheckpointError, MetricError, MetricNames, state
from hookcore.trainee import Trainee

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hookcore.trainee import Capability, Mode

ADAPTER: Final = "lightgbm"
MODEL: Final = "model.txt"
REST: Final = "training.json"
RATES: Final = ("learning_rate", "shrinkage_rate", "eta")
"""What LightGBM calls the learning rate."""
TRAINING: Final = "training"
"""What LightGBM calls the training data if it is given no other name."""
USE_TRAIN: Final = "Call hookcore_adapters.lightgbm.train(params, train_set, ..., plugins=[...]) instead of lightgbm.train"
_REPEATABLE: Final = {
    "feature_fraction": "1",
    "feature_fraction_bynode": "1",
    "data_sample_strategy": "bagging",
    "extra_trees": "0",
    "use_quantized_grad": "0",
    "linear_tree": "0",
    "cegb_penalty_feature_lazy": "",
    "cegb_penalty_feature_coupled": "",
}
"""The settings with which trees depend on nothing but the forest so far, as LightGBM writes them."""


@attrs.define(eq=False)
class ForestSnapshot:
    """The first iterations of a forest.

    Later ones do not change them, so their text is made only for a checkpoint: for each best epoch it would cost too much.
    """

    iterations: int
    learning_rate: float
    results: Sequence[Any]
    """What was evaluated after the last of them, as LightGBM lists it."""
    text: str | None = attrs.field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """The bytes that it takes on disk, as far as they are known."""
        return len(self.text or "")


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
    _rate: float = attrs.field(default=0.0, init=False)
    _rates_seen: Any = attrs.field(default=None, init=False)
    """What the booster's parameters had for the rate when it was read."""
    _rate_set: float | None = attrs.field(default=None, init=False)
    """The rate that a plugin set last."""
    _without_text: weakref.WeakSet[ForestSnapshot] = attrs.field(factory=weakref.WeakSet, init=False)

    def attach(self, env: Any) -> None:
        """Begin to train the booster of `env`, which has what was restored. Raises `CapabilityError` for one of several."""
        booster = env.model
        if isinstance(booster, CVBooster):
            raise CapabilityError(
                "lightgbm: lightgbm.cv trains several models at a time, and a run is of one. Call lightgbm.train for each fold."
            )
        self.booster, self._settings, self.began_with = booster, _settings(_text_of(booster)), env.begin_iteration
        if self._settings.get("num_machines", "1") != "1":
            raise CapabilityError(
                "lightgbm: several machines train this forest, and plugins would decide on each by itself. Train on one."
            )
        saved = {} if self.resumed is None else _settings(self.resumed.text or "")
        if "objective" in saved and saved["objective"] != self._settings.get("objective"):
            raise CheckpointError(
                f"lightgbm: the checkpoint is of a forest with objective={saved['objective']!r}, and params have "
                f"{self._settings.get('objective')!r}: no model has trees of both. Give the same, or save into another directory."
            )
        if env.begin_iteration == 0:  # else LightGBM has put the scores of the forest in their place
            scores = [data.get_init_score() for data in (booster.train_set, *booster.valid_sets)]
            self._has_offset = any(score is not None and np.any(score) for score in scores)
        if self.resumed is not None and self.resumed.learning_rate != self.learning_rate:
            self._set_rate(self.resumed.learning_rate)

    def heard(self, results: Sequence[Any] | None) -> dict[str, Any]:
        """Return the metrics of an iteration, of what LightGBM has evaluated after it."""
        self.results = results = results or ()
        metrics = {f"{result[0]}-{result[1]}": result[2] for result in results}
        if len(metrics) < len(results):
            raise MetricError(
                f"lightgbm: of the metrics {[f'{result[0]}-{result[1]}' for result in results]} two have one name. "
                "Give each validation set and each metric a name of its own."
            )
        if self._rate_set is not None and self._rate_set != self.learning_rate:
            raise CapabilityError(
                f"lightgbm: a plugin set the learning rate to {self._rate_set!r}, and a callback beside the adapter has set it "
                f"to {self.learning_rate!r}. Leave out either."
            )
        return metrics

    def unlike(self) -> str | None:
        """Return the settings for which a resumed run grows other trees than one that was never cut, or None."""
        own = self._settings
        found = {name: own[name] for name, exact in _REPEATABLE.items() if own.get(name, exact) != exact}
        fractions = {name: own[name] for name in own if name.endswith("bagging_fraction") and own[name] != "1"}
        found |= fractions if own.get("bagging_freq", "0") != "0" else {}
        found |= {"objective": "rank_xendcg"} if own.get("objective") == "rank_xendcg" else {}
        if self.booster.train_set.get_position() is not None:  # lambdarank estimates the bias of each, and no model has it
            found["position"] = "[...]"
        return ", ".join(f"{name}={value}" for name, value in found.items()) or None

    # The learning rate

    @property
    def learning_rate(self) -> float:
        """The shrinkage of the trees to come."""
        if self.booster is None:
            raise AttributeError("lightgbm: training has not begun, so there is no learning rate")
        seen = tuple(map(self.booster.params.get, RATES))
        if seen != self._rates_seen:
            known = [rate for rate in seen if rate is not None]
            # LightGBM's own text has the one in use, in six digits.
            self._rate = float(known[0] if len(known) == 1 else _settings(_text_of(self.booster))["learning_rate"])
            self._rates_seen = seen
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        reason = self.lacks("learning_rate")
        if self.is_late:
            reason = f"LightGBM calls a callback once the iteration is trained, too late for its rate. {USE_TRAIN}"
        if reason is not None:
            raise CapabilityError(f"lightgbm: the learning rate cannot be set to {value!r}: {reason}.")
        self._set_rate(value)
        self._rate_set = value

    def _set_rate(self, value: float) -> None:
        self.booster.reset_parameter({"learning_rate": value})
        self._rate, self._rates_seen = value, tuple(map(self.booster.params.get, RATES))

    # Snapshots and checkpoints

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
        taken = ForestSnapshot(self.iterations, self.learning_rate, self.results)
        self._without_text.add(taken)
        if optimizer:  # for a checkpoint, which has those that plugins hold too, and is written by another thread
            for held in tuple(self._without_text):
                held.text = taken.text if held.iterations == taken.iterations and taken.text else self._text(held.iterations)
            self._without_text.clear()
        return taken

    def _text(self, iterations: int) -> str:
        first = 0 if iterations else self.booster.current_iteration()  # LightGBM takes 0 iterations for all
        return str(self.booster.model_to_string(num_iteration=iterations or -1, start_iteration=first))

    def restore(self, snapshot: ForestSnapshot) -> None:
        """Have training continue from `snapshot`, or at its end, cut the forest to it. Raises `CapabilityError` in between."""
        if self.booster is None:
            self.resumed, self.results = snapshot, snapshot.results
            return
        now, iterations = self.booster.current_iteration(), snapshot.iterations
        if not self.is_over:
            raise CapabilityError("lightgbm: a forest can be cut only once it is trained. Restore snapshots in on_train_end.")
        is_part = 1 <= iterations <= now
        if not is_part or (snapshot.text and _trees(snapshot.text) != _trees(self._text(iterations))):
            raise CapabilityError(
                f"lightgbm: a snapshot of {iterations} iterations is no part of the forest, which has {now}: only that can be "
                "restored. LightGBM's own early stopping may have cut it; leave that out, or the plugin."
            )
        self.booster.best_iteration = self.cut = iterations
        self.results = snapshot.results

    def write(self, snapshot: ForestSnapshot, directory: Path) -> None:
        """Write `model.txt`, which `lightgbm.Booster(model_file=...)` opens, and the rest as JSON."""
        text = snapshot.text or self._text(snapshot.iterations)
        (directory / MODEL).write_text(text, encoding="utf-8")
        results = [[*result[:2], float(result[2]), bool(result[3])] for result in snapshot.results]
        rest = {"iterations": snapshot.iterations, "learning_rate": snapshot.learning_rate, "results": results}
        (directory / REST).write_text(state.dumps(rest), encoding="utf-8")

    def read(self, directory: Path) -> ForestSnapshot:
        """Return the snapshot that `write` wrote."""
        text, rest = (directory / MODEL).read_text(encoding="utf-8"), state.loads((directory / REST).read_text(encoding="utf-8"))
        return ForestSnapshot(
            int(rest["iterations"]), float(rest["learning_rate"]), [tuple(result) for result in rest["results"]], text
        )

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, or None."""
        boosting = self._settings.get("boosting")
        if (capability == "checkpoint" and self.scheduled) or (
            capability == "learning_rate" and not set(RATES).isdisjoint(self.scheduled)
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
        known = _direction(metric, self.results)  # of a resumed run at first those of before, which may be others
        if known is None and self.booster is not None:
            if self._at_begin is None:
                training = self.booster.eval_train() if self.evaluates_training else []
                self._at_begin = [*training, *self.booster.eval_valid()]
            known = _direction(metric, self._at_begin)
        return known


def _direction(metric: str, results: Sequence[Any]) -> Mode | None:
    return next(("max" if result[3] else "min" for result in results if metric == f"{result[0]}-{result[1]}"), None)


def metric_names(validation: Iterable[str], training: str = TRAINING) -> MetricNames:
    """Return how the names of metrics begin, for data sets of these names."""
    prefixes = dict.fromkeys(f"{name}-" for name in validation)
    return MetricNames(validation=tuple(prefixes), training=(f"{training}-",))


def _text_of(booster: Any) -> str:
    """Return the text of a model with one iteration at most."""
    return str(booster.model_to_string(num_iteration=1))


def _settings(text: str) -> dict[str, str]:
    """Return the settings by their first names, whatever the user called them, as the text of a model has them."""
    return dict(re.findall(r"^\[(\w+): (.*)\]$", text, re.MULTILINE))


def _trees(text: str) -> str:
    """Return the trees of a model's text."""
    return text[text.find("\nTree=0") : text.find("\nend of trees")]
