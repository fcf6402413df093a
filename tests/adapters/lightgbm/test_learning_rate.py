"""The learning rate of LightGBM, as plugins read and set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import pytest

from hookcore import CapabilityError, Engine
from hookcore_adapters.lightgbm import LightGBMAdapter
from hookcore_plugins import Checkpoint, LearningRateSchedule, ReduceLROnPlateau
from tests.adapters.lightgbm.trainings import PARAMS, both, by_callback, by_train, data, setter, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_schedule_gives_the_forest_of_lightgbms_own() -> None:
    """A plugin that sets the rate of each iteration grows the same forest as `lightgbm.reset_parameter`."""

    def rate(iteration: int) -> float:
        return float(0.3 * 0.7**iteration)

    own = lightgbm.train(PARAMS, num_boost_round=6, callbacks=[lightgbm.reset_parameter(learning_rate=rate)], **data())
    assert trees(by_train({}, 6, LearningRateSchedule(rate))) == trees(own)


@both
@pytest.mark.parametrize("name", ["learning_rate", "eta", "shrinkage_rate", None])
def test_the_rate_is_known_whatever_its_name(trains: Callable[..., Any], name: str | None) -> None:
    """The rate is the parameter under any of its names, or LightGBM's default, and changes when a plugin reduces it."""
    engine = Engine([ReduceLROnPlateau("valid_0-l2", patience=1, factor=0.5, min_delta=100)])
    trains({} if name is None else {name: 0.3}, 4, engine)
    assert engine.run is not None
    first = 0.1 if name is None else 0.3
    assert engine.run.history.state_dict()["learning_rates"] == [first, first, first / 2, first / 4]


def test_a_rate_set_too_late_is_refused_by_name() -> None:
    """With the callback, a plugin that sets the rate when an epoch begins is refused at once, any other when it sets it."""
    with pytest.raises(CapabilityError, match=r"'learning_rate_schedule' sets .* Call hookcore_adapters.lightgbm.train"):
        LightGBMAdapter([LearningRateSchedule(lambda _: 0.1)])
    with pytest.raises(CapabilityError, match=r"too late for its rate. Call hookcore_adapters.lightgbm.train") as raised:
        by_callback({}, 2, setter("on_train_begin"))
    assert "'setter'" in "".join(raised.value.__notes__)
    assert by_train({}, 2, setter("on_train_begin")).params["learning_rate"] == 0.5


def test_a_rate_that_another_callback_overwrites_is_an_error() -> None:
    """If a callback of LightGBM overwrites the rate that a plugin has set, the next iteration raises an error."""
    schedule = lightgbm.reset_parameter(learning_rate=lambda iteration: 0.1 * 0.9**iteration)
    with pytest.raises(CapabilityError, match=r"set the learning rate to 0.5, and another callback has overwritten it with 0.09"):
        by_callback({}, 4, setter("on_metrics"), callbacks=[schedule])


def test_a_schedule_of_another_parameter_leaves_the_rate_alone(tmp_path: Path) -> None:
    """It starts over in a resumed run, so a checkpoint is refused, and a plugin that sets the rate is not."""
    schedule = [lightgbm.reset_parameter(lambda_l2=lambda iteration: iteration)]
    assert by_train({}, 2, setter("on_train_begin"), callbacks=schedule).params["learning_rate"] == 0.5
    with pytest.raises(CapabilityError, match=r"'checkpoint' needs .* lightgbm.reset_parameter sets lambda_l2, and starts over"):
        by_train({}, 2, Checkpoint(tmp_path), callbacks=schedule)
