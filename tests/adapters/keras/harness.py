"""The harnesses of `fit` and `KerasAdapter`: a small model that runs eagerly, on any backend."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from hookcore.testing import SEED, Feature, Harness, Job, Votes, digest_of
from hookcore_adapters.keras import MODEL_FILE, KerasAdapter, fit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore import Mode
    from hookcore.testing import Scenario

SAMPLES = 6
"""The samples of a batch."""
BACKEND = keras.backend.backend()
JAX = BACKEND == "jax"


@keras.saving.register_keras_serializable("harness")
class Scaled(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Multiplies by a weight without dimensions."""

    def build(self, shape: Any) -> None:  # noqa: ARG002 - Keras's signature
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale


@keras.saving.register_keras_serializable("harness")
class Telling(keras.Sequential):  # type: ignore[misc]
    """Reports each trained batch to a job, and adds a metric of the job to each evaluation."""

    job: Job | None = None
    train_function: Any
    rate = 0.0
    """The learning rate of the latest batch."""

    def make_train_function(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - Keras's signature
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        train = self.train_function

        def telling(*args: Any) -> Any:
            self._tell(*args)
            return train(*args)

        self.train_function = telling

    def _tell(self, *args: Any) -> None:
        assert self.job is not None
        rate = self.optimizer._learning_rate
        if isinstance(rate, keras.Variable) and JAX:  # within an epoch the trainer holds the values
            place = [id(variable) for variable in self.optimizer.variables].index(id(rate))
            self.rate = float(args[0][2][place])
        elif isinstance(rate, keras.Variable):
            self.rate = float(rate.numpy())
        self.job.trains()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        metrics = super().evaluate(*args, **kwargs)
        if self.job is not None:
            metrics["score"] = self.job.report("val_score")
        return metrics


class Reporting(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds a metric of the job to each epoch, and stops after some epochs."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["score"] = self.job.report("score")
        if epoch + 1 == self.job.scenario.own_stop_after:
            self.model.stop_training = True


def data(batches: int, seed: int = SEED) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(size=(batches * SAMPLES, 3)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


@functools.cache
def traced(*, scalar: bool, bfloat16: bool, accumulate: int | None, schedule: bool) -> tuple[Any, list[Any]]:
    """Return a model and its first values. Runs share the model, because tracing takes longer than training."""
    layers = [keras.layers.Input((3,)), keras.layers.Dense(2, activation="relu")]
    layers += [Scaled()] if scalar else []
    layers += [keras.layers.Dense(2, dtype="bfloat16")] if bfloat16 else []
    model = Telling([*layers, keras.layers.Dropout(0.25), keras.layers.Dense(1, activation="sigmoid")])
    rate: Any = keras.optimizers.schedules.ExponentialDecay(0.125, 10, 0.5) if schedule else 0.125
    model.compile(keras.optimizers.Adam(rate, gradient_accumulation_steps=accumulate), "binary_crossentropy", metrics=["acc"])
    model.optimizer.build(model.trainable_variables)
    model.evaluate(*data(1), verbose=0)  # makes the metrics
    return model, [np.array(keras.ops.convert_to_numpy(value)) for value in values(model)]


def values(model: Any) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def model_for(scenario: Scenario) -> Any:
    """Return the model with nothing left of the previous run."""
    keras.utils.set_random_seed(SEED)
    accumulate = scenario.accumulate if scenario.accumulate > 1 else None
    model, first = traced(scalar=scenario.scalar, bfloat16=scenario.bfloat16, accumulate=accumulate, schedule=scenario.schedule)
    for variable, value in zip(values(model), first, strict=True):
        variable.assign(value)
    if scenario.learning_rate is not None and not scenario.schedule:
        model.optimizer.learning_rate = scenario.learning_rate
    model.stop_training = False
    return model


def predictions(model: Any) -> str:
    return digest_of({"predicted": np.asarray(keras.ops.convert_to_numpy(model(data(1)[0], training=False)))})


class FitHarness(Harness):
    """Trains through `fit`."""

    name = f"keras.fit-{BACKEND}"
    host = "keras"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.EVALUATION_BY_STEPS: "Keras evaluates at the end of epochs only",
        Feature.SEVERAL_SETS: "Keras validates on one data set",
        Feature.SANITY_CHECK: "Keras has no such check",
        Feature.MIN_EPOCHS: "Keras has no such parameter",
        Feature.NO_LEARNING_RATE: "every optimizer of Keras has a learning rate",
        Feature.RATE_GROUPS: "an optimizer of Keras has one learning rate",
        Feature.OWN_CHECKPOINT: "Keras's own checkpoints hold only the model",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "the optimizer's learning rate comes from a schedule"}
    votes = Votes(train_begin=1, epoch_begin=1)
    directions: ClassVar[Mapping[str, Mode | None]] = {"loss": "min", "val_loss": "min", "acc": "max", "val_acc": "max"}
    shuffle = True

    def __init__(self, job: Job) -> None:
        self.job, scenario = job, job.scenario
        self.model = model_for(scenario)
        self.model.job = job
        every = scenario.evaluate_every_epochs
        self.data = data(scenario.batches)
        self.arguments: dict[str, Any] = {
            "batch_size": SAMPLES,
            "epochs": scenario.epochs,
            "validation_data": None if every is None else data(scenario.evaluation_batches, SEED + 1),
            "validation_batch_size": SAMPLES,
            "validation_freq": every or 1,
            "shuffle": self.shuffle,
            "verbose": 0,
        }
        self.reporting = Reporting(job)

    def train(self) -> None:
        fit(
            self.model,
            *self.data,
            callbacks=[self.reporting],
            plugins=self.job.plugins,
            resume=self.job.resume,
            **self.arguments,
        )

    def digest(self) -> str:
        found = enumerate(values(self.model))
        return digest_of({str(number): np.asarray(keras.ops.convert_to_numpy(value)) for number, value in found})

    def updates(self) -> int:
        return int(self.model.optimizer.iterations)

    def rates(self) -> tuple[float, ...]:
        return (self.model.rate,)

    def predict(self) -> str:
        return predictions(self.model)

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        return predictions(keras.models.load_model(checkpoint / MODEL_FILE))


class AdapterHarness(FitHarness):
    """Trains through `KerasAdapter`."""

    name = f"keras.KerasAdapter-{BACKEND}"
    host = "keras"
    tells_errors = False
    shuffle = False  # the adapter cannot repeat an order that it does not know

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        given = {name: self.arguments[name] for name in ("validation_data", "validation_freq")}
        self.adapter = KerasAdapter(job.plugins, resume=job.resume, **given)

    def train(self) -> None:
        self.model.fit(*self.data, callbacks=[self.reporting, self.adapter], **self.arguments)
