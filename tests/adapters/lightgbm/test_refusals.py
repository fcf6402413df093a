"""What is refused in LightGBM, with an error that names it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from hookcore import CapabilityError, MetricError, ParameterError, Run, hookimpl
from hookcore.testing import RecordingPlugin
from hookcore_adapters.lightgbm import LightGBMAdapter, LightGBMTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau
from tests.adapters.lightgbm.harness import data_set, samples
from tests.adapters.lightgbm.trainings import PARAMS, both, by_train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@both
def test_dart_and_random_forests_are_refused_what_they_cannot(trains: Callable[..., Any], tmp_path: Path) -> None:
    """DART's forest cannot be cut or continued; a random forest has no rate and cannot be continued, but can be cut."""
    restoring = EarlyStopping("valid_0-l2", patience=1, restore_best_weights=True)
    for plugin in (restoring, Checkpoint(tmp_path)):
        with pytest.raises(CapabilityError, match=f"'{type(plugin).__name__.lower()[:5]}.*boosting='dart' changes earlier trees"):
            trains({"boosting_type": "dart"}, 2, plugin)
    random_forest = {"boosting": "random_forest", "bagging_fraction": 0.5, "bagging_freq": 1}
    for needing in (Checkpoint(tmp_path), ReduceLROnPlateau("valid_0-l2")):
        with pytest.raises(CapabilityError, match=r"boosting='rf' has no learning rate, .* Use boosting='gbdt'"):
            trains(random_forest, 2, needing)
    booster = trains(random_forest, 20, restoring)
    assert booster.num_trees() == booster.best_iteration


def test_cross_validation_is_refused_by_name() -> None:
    """`lightgbm.cv` trains several models, and a run has one: the error tells what to call."""
    adapter = LightGBMAdapter([RecordingPlugin()])
    with pytest.raises(CapabilityError, match=r"lightgbm.cv trains several models at once"):
        lightgbm.cv(PARAMS, data_set(1), 2, stratified=False, callbacks=[adapter])
    assert adapter.run is None


@both
def test_a_score_to_begin_with_is_refused_a_checkpoint(trains: Callable[..., Any], tmp_path: Path) -> None:
    """A resumed forest would lack the `init_score` of the data, so a checkpoint is refused; other plugins work."""
    x, y = samples(1)
    for plugin in (EarlyStopping("valid_0-l2", restore_best_weights=True), Checkpoint(tmp_path)):
        train_set = lightgbm.Dataset(x, y, init_score=np.full(len(y), 5.0))
        given = {"train_set": train_set, "valid_sets": [data_set(2, train_set)]}
        if isinstance(plugin, Checkpoint):
            with pytest.raises(CapabilityError, match=r"'checkpoint' needs .* a model does not hold the init_score"):
                trains({}, 2, plugin, **given)
        else:
            trains({}, 2, plugin, **given)


def test_several_machines_are_refused_by_name() -> None:
    """The plugins on each machine would decide by themselves."""
    trainee, text = LightGBMTrainee(), "[num_machines: 2]"
    env = SimpleNamespace(begin_iteration=0, model=SimpleNamespace(model_to_string=lambda num_iteration: text * num_iteration))
    with pytest.raises(CapabilityError, match="num_machines=2, and the plugins on each machine"):
        trainee.attach(env)


def test_what_the_callback_cannot_do_is_refused_by_name() -> None:
    """The callback cannot resume, and `train` does not take the adapter: each error tells what to do."""
    with pytest.raises(ParameterError, match=r"resume must be False, .* got 'auto'. Call hookcore_adapters.lightgbm.train"):
        LightGBMAdapter([], resume="auto")
    with pytest.raises(ParameterError, match=r"callbacks has a LightGBMAdapter, .* Pass its plugins"):
        by_train({}, 2, callbacks=[LightGBMAdapter([])])


@both
def test_two_metrics_of_one_name_are_an_error(trains: Callable[..., Any]) -> None:
    """Two validation sets with the same name would hide each other's metrics."""
    given = {"valid_sets": [data_set(2), data_set(3)], "valid_names": ["same", "same"]}
    with pytest.raises(MetricError, match=r"two metrics have the same name, .*\['same-l2', 'same-l2'\]"):
        trains({}, 2, **given)


@both
def test_a_snapshot_is_restored_only_at_the_end_and_only_of_this_forest(trains: Callable[..., Any]) -> None:
    """A forest is not cut during training, and a snapshot that is not part of it is refused."""

    class Early:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.trainee.restore(run.trainee.snapshot())

    class Foreign:
        kept: Any = None

        @hookimpl
        def on_train_end(self, run: Run) -> None:
            if self.kept is not None:
                run.trainee.restore(self.kept)
            self.kept = run.trainee.snapshot()

    with pytest.raises(CapabilityError, match=r"restored during training, .* in on_train_end"):
        trains({}, 2, Early())
    with pytest.raises(CapabilityError, match="no snapshot can be taken: boosting='dart'"):
        trains({"boosting": "dart"}, 2, Early())
    foreign = Foreign()
    trains({"lambda_l2": 9.0}, 2, foreign)
    with pytest.raises(
        CapabilityError, match="the snapshot has 2 iterations that are not the first ones of the forest, which has 3"
    ):
        trains({}, 3, foreign)
