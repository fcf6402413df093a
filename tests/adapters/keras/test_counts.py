"""Updates and batches are counted for every way in which a Keras model can have more or fewer updates than batches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras
import numpy as np
import pytest

from hookcore import hookimpl, store
from hookcore_plugins import Checkpoint
from tests.adapters.keras.backends import EAGERLY, SEVERAL_STEPS, OwnStep, gradients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore import Capture, Run

    Train = Callable[..., Run]

BATCHES, EPOCHS = 12, 3


class Own(OwnStep):
    """A model with its own train step."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def gradients(self, batch: Any) -> tuple[Any, Any]:
        """Return the loss and its gradients."""
        x, y = batch
        return gradients(lambda: keras.ops.mean((self(x) - y) ** 2), self.trainable_variables)


class Twice(Own):
    """Two updates per batch."""

    def own_step(self, data: Any) -> dict[str, Any]:
        for _ in range(2):
            loss, gradients = self.gradients(data)
            self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


class ByHand(Own):
    """One update every four batches, with gradients in Python attributes, which no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: tuple[Any, ...] = ()

    def own_step(self, data: Any) -> dict[str, Any]:
        loss, gradients = self.gradients(data)
        self.kept = (*self.kept, gradients)
        if len(self.kept) == 4:
            self.optimizer.apply([sum(several) for several in zip(*self.kept, strict=True)], self.trainable_variables)
            self.kept = ()
        return {"loss": loss}


class TwoOptimizers(Own):
    """Two optimizers, one of them in a layer. The one that Keras makes by default is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.dense.own = keras.optimizers.SGD(0.01), {"second": keras.optimizers.SGD(0.02)}

    def own_step(self, data: Any) -> dict[str, Any]:
        for optimizer in (self.first, self.dense.own["second"]):
            loss, gradients = self.gradients(data)
            optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


class Nested(Twice):
    """Another optimizer beside the compiled one, in a list in a dict, where Keras also finds what to save."""

    def __init__(self) -> None:
        super().__init__()
        self.others = {"discriminator": [keras.optimizers.SGD(0.01)]}

    def own_step(self, data: Any) -> dict[str, Any]:
        _, gradients = self.gradients(data)
        self.others["discriminator"][0].apply(gradients, self.trainable_variables)
        return super().own_step(data)


class Hidden(Own):
    """Trains by hand, without the optimizer that Keras makes by default."""

    def own_step(self, data: Any) -> dict[str, Any]:
        loss, gradients = self.gradients(data)
        for variable, gradient in zip(self.trainable_variables, gradients, strict=True):
            variable.assign(variable - 0.1 * gradient)
        return {"loss": loss}


class Plain(Own):
    """Keras's own train step."""

    train_step = keras.Model.train_step


@attrs.frozen
class Case:
    """A model, its compiled optimizer, and the steps of all batches, or None if the optimizer's count is right."""

    model: type[Own]
    optimizer: Callable[[], Any]
    steps: int | None


def adam(**more: Any) -> Any:
    return keras.optimizers.Adam(0.05, **more)


ALL: Final = BATCHES * EPOCHS
CASES: Final = {
    "one update per batch": Case(Plain, adam, ALL),
    "an update every 4 batches": Case(Plain, lambda: adam(gradient_accumulation_steps=4), ALL // 4),
    "an update every 5 batches": Case(Plain, lambda: adam(gradient_accumulation_steps=5), ALL // 5),
    "an update every 16 batches": Case(Plain, lambda: adam(gradient_accumulation_steps=16), ALL // 16),
    "no update in any epoch": Case(Plain, lambda: adam(gradient_accumulation_steps=100), 0),
    "a scaled loss": Case(Plain, lambda: keras.optimizers.LossScaleOptimizer(adam()), ALL),
    # The fourth batch overflows, and is not accumulated.
    "a scaled loss, an update every 2 batches": Case(
        Plain, lambda: keras.optimizers.LossScaleOptimizer(adam(gradient_accumulation_steps=2), initial_scale=2.0**127), None
    ),
    "two updates per batch": Case(Twice, adam, 2 * ALL),
    "an update every 4 batches, by hand": Case(ByHand, adam, ALL // 4),
    "two optimizers": Case(TwoOptimizers, lambda: "rmsprop", ALL),
    "two optimizers, one in a list in a dict": Case(Nested, adam, ALL),
    "an optimizer that is not told of": Case(Hidden, lambda: "rmsprop", ALL),
}


@attrs.define(eq=False)
class Moments:
    """Captures every moment, and records the name of its checkpoint and where training continues."""

    name: str = "moments"
    found: list[tuple[str, tuple[int, int]]] = attrs.field(factory=list)
    has_asked: bool = False

    def _keep(self, capture: Capture) -> None:
        position = json.loads(capture.record)["position"]
        self.found.append((store.name_of(capture.step, capture.accumulated), (position["epoch"], position["batch"])))
        self.has_asked = False

    def _ask(self, run: Run) -> None:
        if not self.has_asked:
            self.has_asked = True
            run.when_settled(self._keep)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self._ask(run)

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        self._ask(run)


@pytest.mark.parametrize(
    ("name", "by_execution"),
    # Gradients in Python attributes are in no checkpoint, and an execution of three batches ends within a sum of four.
    [
        pytest.param(name, number, marks=SEVERAL_STEPS if number > 1 else ())
        for name, case in CASES.items()
        for number in (1, 3)
        if (case.model, number) != (ByHand, 3)
    ],
)
def test_steps_are_updates_and_positions_are_batches(
    train_by_fit: Train, data: Any, tmp_path: Path, name: str, by_execution: int
) -> None:
    """Each step is an update, every position has its own name, and a run resumed from any of them ends with the same weights."""
    case = CASES[name]

    def fitted(directory: Path, *more: object, resume: Any = None) -> tuple[Run, Any, int]:
        keras.utils.set_random_seed(5)
        model = case.model()
        model.build((None, 3))
        eagerly = EAGERLY or case.model in {
            ByHand,
            TwoOptimizers,
        }  # these use variables that JAX's trainer does not pass to a traced step
        model.compile(case.optimizer(), "mse", steps_per_execution=by_execution, run_eagerly=eagerly)
        plugins = [Checkpoint(directory, every_n_steps=1, keep_last=None), *more]
        run = train_by_fit(model, *data, batch_size=2, shuffle=False, epochs=EPOCHS, plugins=plugins, resume=resume)
        optimizer: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        return run, model.get_weights(), int(optimizer.iterations)

    moments = Moments()
    run, weights, updates = fitted(tmp_path / "uncut", moments)
    assert (run.progress.step, run.steps_per_epoch) == (updates if case.steps is None else case.steps, BATCHES)
    assert [position for _, position in moments.found if position[1] == 0] == [(epoch + 1, 0) for epoch in range(EPOCHS)]
    positions: dict[str, set[tuple[int, int]]] = {}
    for saved_as, (epoch, batch) in moments.found:  # the last batch of an epoch and its end are one position
        positions.setdefault(saved_as, set()).add((epoch + 1, 0) if batch == BATCHES else (epoch, batch))
    assert all(len(found) == 1 for found in positions.values()), positions
    saved = store.available(tmp_path / "uncut")
    assert {checkpoint.path.name for checkpoint in saved} == set(positions)
    assert [checkpoint.record()["position"] for checkpoint in saved] == sorted(
        [checkpoint.record()["position"] for checkpoint in saved], key=lambda position: (position["epoch"], position["batch"])
    )
    for checkpoint in saved[:: max(1, len(saved) // (4 if EAGERLY else 2))]:  # each resumed run is traced again
        again, resumed, _ = fitted(tmp_path / checkpoint.path.name, resume=checkpoint.path)
        assert again.progress.step == run.progress.step
        assert all(np.array_equal(expected, found) for expected, found in zip(weights, resumed, strict=True)), checkpoint.step
