"""Keras models that are not compiled, in `Loop`: one or several, with their optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import CapabilityError, CheckpointError, ParameterError
from hookcore.authoring import reason_lacking
from hookcore_adapters.keras import KerasTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau
from tests.adapters.keras.backends import apply, gradients, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore import Run
    from hookcore.resume import Resume

layers = keras.layers


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a directory of the test, in which its runs save."""
    monkeypatch.chdir(tmp_path)


def network(outputs: int, inputs: int = 3) -> Any:
    return keras.Sequential(
        [layers.Input((inputs,)), layers.Dense(4, activation="relu"), layers.Dropout(0.5), layers.Dense(outputs)]
    )


class One:
    """A model with one optimizer."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(3)
        self.models = {"model": network(1)}
        self.optimizers: Mapping[str, Any] = {"optimizer": keras.optimizers.Adam(0.05)}

    def trainee(self) -> KerasTrainee:
        return KerasTrainee(self.models["model"], optimizer=self.optimizers["optimizer"])

    def step(self, x: Any, y: Any) -> Any:
        model, optimizer = self.models["model"], self.optimizers["optimizer"]
        variables = model.trainable_variables
        loss, found = gradients(lambda: keras.ops.mean(keras.ops.square(model(x, training=True) - tensor(y))), variables)
        apply(optimizer, found, variables)
        return loss


class Adversaries:
    """A generator and a discriminator with an optimizer each. One optimizer scales the loss."""

    def __init__(self) -> None:
        keras.utils.set_random_seed(3)
        self.models = {"generator": network(3, inputs=2), "discriminator": network(1)}
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.05), initial_scale=1.0)
        self.optimizers: Mapping[str, Any] = {"generator": keras.optimizers.SGD(0.05, momentum=0.9), "discriminator": scaled}

    def trainee(self) -> KerasTrainee:
        self.models = dict(reversed(self.models.items()))  # in another order of names
        return KerasTrainee(self.models, optimizer=self.optimizers)

    def step(self, x: Any, y: Any) -> Any:
        del y
        generator, discriminator = self.models["generator"], self.models["discriminator"]
        noise = np.random.normal(size=(len(x), 2)).astype("float32")  # noqa: NPY002 - as in users' code

        def fake() -> Any:
            return keras.ops.mean(discriminator(generator(noise, training=True), training=True))

        losses = {"generator": lambda: -fake(), "discriminator": lambda: fake() - keras.ops.mean(discriminator(x, training=True))}
        for name, of in losses.items():
            variables = self.models[name].trainable_variables
            loss, found = gradients(of, variables)
            apply(self.optimizers[name], found, variables)
        return loss


def train(made: One | Adversaries, data: Any, *, cut: int | None = None, resume: Resume = False, plugins: Any = ()) -> Run:
    """Train three epochs of four batches, with a checkpoint of each step."""
    checkpoint = Checkpoint("runs", every_n_steps=1, keep_last=None)
    with Loop([*plugins, checkpoint], epochs=3, trainee=made.trainee(), resume=resume) as loop:
        for _ in loop.epochs():
            for rows in loop.batches(np.split(np.arange(len(data[0])), 4)):
                if loop.run.progress.step == cut:
                    raise KeyboardInterrupt
                loop.log(loss=made.step(data[0][rows], data[1][rows]))
            loop.log(val_loss=1.0)
    return loop.run


def values(made: One | Adversaries) -> list[bytes]:
    holders = [*made.models.values(), *made.optimizers.values()]
    return [variable.numpy().tobytes() for holder in holders for variable in holder.variables]


@pytest.mark.parametrize("make", [One, Adversaries])
@pytest.mark.parametrize("cut", [1, 5, 8])
def test_a_loop_with_a_tape_resumes_exactly(data: Any, make: Callable[[], Any], cut: int) -> None:
    """New models, with optimizers that are not built yet, resume bit for bit."""
    whole, first, second = make(), make(), make()
    keras.utils.set_random_seed(4)
    uncut = train(whole, data)
    keras.utils.set_random_seed(4)
    with pytest.raises(KeyboardInterrupt):
        train(first, data, cut=cut)
    resumed = train(second, data, resume="auto")
    assert resumed.resumed_from is not None
    assert values(second) == values(whole)
    assert resumed.history.state_dict() == uncut.history.state_dict()
    assert resumed.progress.step == 12


def test_plugins_set_the_rate_of_the_given_optimizer_and_restore_the_best_weights(data: Any) -> None:
    """Without compilation, plugins set the rate of the single optimizer, and restore the weights of all models."""
    made = One()
    best = EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    run = train(made, data, plugins=[ReduceLROnPlateau("val_loss", patience=1, factor=0.5), best])
    assert run.learning_rate == pytest.approx(0.0125)
    then = KerasTrainee(keras.models.clone_model(made.models["model"]), optimizer=keras.optimizers.Adam())
    then.restore(then.read(next(Path("runs").glob("step-00000004"))))
    assert [weight.tobytes() for weight in then.model.get_weights()] == [
        weight.tobytes() for weight in made.models["model"].get_weights()
    ]


def test_each_model_is_a_file_that_keras_opens(data: Any) -> None:
    """Each model's file has its name, and the weights of each optimizer are beside it."""
    made = Adversaries()
    train(made, data)
    saved = next(Path("runs").glob("step-00000012"))
    names = {path.name for path in saved.iterdir()}
    assert {"generator.keras", "discriminator.keras", "generator.optimizer.weights.h5"} <= names
    for name, model in made.models.items():
        loaded = keras.models.load_model(saved / f"{name}.keras")
        assert [weight.tobytes() for weight in loaded.get_weights()] == [weight.tobytes() for weight in model.get_weights()]
    other = KerasTrainee(
        {"discriminator": made.models["discriminator"], "gen": made.models["generator"]}, optimizer=made.optimizers
    )
    with pytest.raises(CheckpointError, match=r"gen\.weights\.h5 cannot be read"):
        other.read(saved)


def test_what_several_cannot_have_is_refused_by_name(data: Any) -> None:
    """The rate of several optimizers, and a view of several models, are refused before training, with the reason."""
    with pytest.raises(CapabilityError, match="there are 2 optimizers, and a plugin sets the rate of one"):
        train(Adversaries(), data, plugins=[ReduceLROnPlateau("loss")])
    trainee = Adversaries().trainee()
    assert "there are 2 models" in str(reason_lacking(trainee, "weights"))
    assert reason_lacking(trainee, "snapshot") is None
    assert "given none" in str(reason_lacking(KerasTrainee(network(1)), "learning_rate"))


def test_a_checkpoint_without_an_optimizer_gives_a_warning(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The log warns once that an optimizer which the trainee was not given is not saved, and how to give it."""
    made = One()
    made.trainee = lambda: KerasTrainee(made.models["model"])  # type: ignore[method-assign]
    train(made, data)
    assert caplog.text.count("checkpoints hold no optimizer") == 1
    caplog.clear()
    train(One(), data)
    assert "checkpoints hold no optimizer" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (lambda _: ({}, None), "model must be a model, or a dict of models by names of letters"),
        (lambda _: ({"a": 1}, None), "got int, which is not a model"),
        (lambda model: ({"../a": model}, None), "model must be"),
        (lambda model: (model, "adam"), "optimizer must be an optimizer of Keras's, or a dict of them"),
        (lambda model: (model, {"a.b": keras.optimizers.SGD()}), "optimizer must be"),
    ],
)
def test_what_is_given_is_checked(arguments: Any, match: str) -> None:
    """Names that cannot be file names, and objects that are not models or optimizers, are refused when the trainee is made."""
    model, optimizer = arguments(network(1))
    with pytest.raises(ParameterError, match=match):
        KerasTrainee(model, optimizer=optimizer)
