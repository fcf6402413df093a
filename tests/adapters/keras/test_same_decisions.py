"""The same plugins on the same metrics decide the same in Keras and in a hand-written loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import pytest

from hookcore import Run, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_adapters.loop import Loop
from hookcore_plugins import EarlyStopping, NaNGuard, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 6.0


class Rates:
    """Writes down the learning rate after every epoch's decisions."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    @hookimpl(trylast=True)
    def on_epoch_end(self, run: Run) -> None:
        self.seen.append(run.learning_rate)


def plugins() -> list[object]:
    """Rules that act on what this little training gives them."""
    return [
        ReduceLROnPlateau("val_loss", factor=0.3, patience=2, min_delta=0.02, cooldown=1, min_lr=0.01),
        EarlyStopping("val_acc", patience=7, start_from_epoch=2),
        EarlyStopping("val_loss", min_delta=0.005, patience=4, baseline=0.2),
        NaNGuard(),
    ]


def named(given: list[object]) -> list[object]:
    """The same, with a name for the second of a kind."""
    return [given[0], given[1], ("early_stopping_2", given[2]), given[3]]


@pytest.mark.parametrize("form", ["fit", "adapter"])
def test_the_same_metrics_lead_to_the_same_decisions(make: Callable[..., Any], data: Any, form: str) -> None:
    """Fed the metrics of a Keras run, a loop makes the same decisions at the same epochs, with the same reasons and rates."""
    x, y = data
    model = make(optimizer=keras.optimizers.SGD(RATE), run_eagerly=False)
    in_keras, rates = named(plugins()), Rates()
    arguments: dict[str, Any] = {"validation_data": (x[:9], y[:9]), "batch_size": 12, "epochs": 40, "verbose": 0}
    if form == "fit":
        trained = fit(model, x, y, plugins=[*in_keras, rates], **arguments)
    else:
        adapter = KerasAdapter([*in_keras, rates])
        model.fit(x, y, callbacks=[adapter], **arguments)
        assert adapter.run is not None
        trained = adapter.run

    replayed_rates = Rates()
    trainee = ScriptedTrainee(learning_rate=RATE, directions={"val_acc": "max", "val_loss": "min"})
    with Loop([*named(plugins()), replayed_rates], epochs=40, steps_per_epoch=2, trainee=trainee) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(2)):
                pass
            loop.log({name: trained.history[name][epoch] for name in trained.history})
    replayed = loop.run

    kinds = [decision.kind for decision in trained.decisions]
    assert kinds.count("learning_rate") >= 2, "the learning rate must be reduced for this test to tell"
    assert "stop" in kinds, "the run must be stopped for this test to tell"
    assert trained.history.epochs == replayed.history.epochs
    assert [(made.plugin, made.kind, made.epoch, made.step, made.message) for made in trained.decisions] == [
        (made.plugin, made.kind, made.epoch, made.step, made.message) for made in replayed.decisions
    ]
    assert trained.stop_reasons == replayed.stop_reasons
    assert trained.outcome is replayed.outcome
    # Keras keeps the rate as float32.
    assert rates.seen == pytest.approx(replayed_rates.seen, rel=1e-6)
    assert rates.seen[0] == RATE
    assert rates.seen[-1] < RATE
