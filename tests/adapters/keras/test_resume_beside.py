"""A run that is interrupted within an epoch resumes exactly beside callbacks, in every form, with any random generator."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import Run, hookimpl
from hookcore_adapters.keras import KerasAdapter, callbacks, fit
from hookcore_adapters.keras.finalizing import told_before
from hookcore_plugins import Checkpoint
from tests.adapters.keras.backends import LOADER, SEVERAL_STEPS, only_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
EPOCHS, BATCHES = 2, 4


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def new(**compile_arguments: Any) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dropout(0.2), keras.layers.Dense(1)])
    model.compile(**{"optimizer": keras.optimizers.Adam(0.1), "loss": "mse"} | compile_arguments)
    return model


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends the run at a batch, counted over the run, without an event for plugins, like a kill."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.left -= 1
        if self.left < 0:
            raise InterruptedError


def by_fit(model: Any, data: Any, beside: list[Any], **kwargs: Any) -> None:
    fit(model, **data, callbacks=beside, plugins=[Checkpoint("runs", every_n_steps=1)], resume="auto", **kwargs)


def by_adapter(model: Any, data: Any, beside: list[Any], **kwargs: Any) -> None:
    adapter = KerasAdapter([Checkpoint("runs", every_n_steps=1)], resume="auto")
    model.fit(**data, callbacks=[*beside, adapter], **kwargs)


def by_backups(model: Any, data: Any, beside: list[Any], **kwargs: Any) -> None:
    model.fit(**data, callbacks=[*beside, callbacks.BackupAndRestore("runs", save_freq=1)], **kwargs)


FORMS = pytest.mark.parametrize("train", [by_fit, by_adapter, by_backups])


def ends(train: Callable[..., None], data: Callable[[], Any], cut: int | None, beside: Callable[[], list[Any]] = list) -> Any:
    """Return the final weights and optimizer variables of a run, interrupted or not."""
    shutil.rmtree("runs", ignore_errors=True)
    arguments = {"epochs": EPOCHS, "verbose": 0}
    if cut is not None:
        with pytest.raises(InterruptedError):
            train(new(), data(), [Cut(cut), *beside()], **arguments)
    model = new()
    train(model, data(), beside(), **arguments)
    return [variable.numpy().tolist() for variable in [*model.variables, *model.optimizer.variables]]


def arrays() -> dict[str, Any]:
    return {"x": X, "y": Y, "batch_size": 6}


class Decaying(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Changes the learning rate after each batch, draws random numbers and evaluates, and has no state."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        optimizer = self.model.optimizer
        optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate)) * 0.9
        np.random.random()  # noqa: NPY002 - it shuffles on JAX
        keras.random.uniform(())
        self.model.predict(X[:6], verbose=0)


@FORMS
@pytest.mark.parametrize("cut", [1, 5])
def test_what_callbacks_do_for_each_batch_is_done_once(train: Callable[..., None], cut: int) -> None:
    """The effects of a callback before the plugins occur once for each batch, also if the run is interrupted."""
    uncut = ends(train, arrays, None, lambda: [Decaying()])
    assert ends(train, arrays, cut, lambda: [Decaying()]) == uncut


def loader(*, seed: int | None = None, noisy: bool = False) -> dict[str, Any]:
    import torch

    class Samples(torch.utils.data.Dataset):  # type: ignore[misc]  # Any if PyTorch is not installed
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, index: int) -> Any:
            noise = keras.random.normal((3,)).detach() if noisy else 0.0
            return torch.as_tensor(X[index]) + noise, torch.as_tensor(Y[index])

    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return {"x": torch.utils.data.DataLoader(Samples(), batch_size=6, shuffle=True, generator=generator), "shuffle": False}


@LOADER
@FORMS
@pytest.mark.parametrize("cut", [1, 4, 6])
@pytest.mark.parametrize("arguments", [{"seed": 5}, {"noisy": True}], ids=str)
def test_whatever_a_data_loader_draws_from_is_restored(train: Callable[..., None], arguments: dict[str, Any], cut: int) -> None:
    """A DataLoader whose order comes from its own generator, or its samples' noise from Keras's, is resumed exactly."""
    uncut = ends(train, lambda: loader(**arguments), None)
    assert ends(train, lambda: loader(**arguments), cut) == uncut


@only_on("torch", what="a DataLoader to validate on")
def test_the_generator_of_validation_data_is_restored() -> None:
    """A validation loader with random order and noise gives the same metrics in a resumed run."""

    def losses(cut: int | None) -> list[float]:
        shutil.rmtree("runs", ignore_errors=True)
        found: list[float] = []
        for at in (cut, None) if cut is not None else (None,):
            run: Run | None = None
            arguments = {"validation_data": loader(seed=4, noisy=True)["x"], "epochs": EPOCHS, "verbose": 0, "resume": "auto"}
            try:
                beside = [] if at is None else [Cut(at)]
                run = fit(new(), X, Y, batch_size=6, callbacks=beside, plugins=[Checkpoint("runs", every_n_steps=1)], **arguments)
            except InterruptedError:
                continue
            found = run.history["val_loss"]
        return found

    assert losses(5) == losses(None)


@SEVERAL_STEPS
@pytest.mark.parametrize(("before", "after", "cut"), [(1, 3, 1), (1, 3, 2), (3, 1, 3), (2, 3, 2)])
def test_executions_of_another_length_lose_no_batch(before: int, after: int, cut: int) -> None:
    """With another `steps_per_execution` in the resumed run, each batch of the epoch is trained once."""
    steps: list[int] = []

    class Cutting:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            if run.progress.step == cut:
                run.interrupt(KeyboardInterrupt())

    class Counting:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            steps.append(run.progress.step)

    arguments: dict[str, Any] = {"epochs": 1, "verbose": 0, "batch_size": 6}
    with pytest.raises(KeyboardInterrupt):
        fit(new(steps_per_execution=before), X, Y, plugins=[Cutting(), Checkpoint("runs")], **arguments)
    model = new(steps_per_execution=after)
    run = fit(model, X, Y, plugins=[Counting(), Checkpoint("runs")], resume="auto", **arguments)
    assert run.progress.step == BATCHES
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == BATCHES
    assert steps[-1] == BATCHES


@only_on("jax", what="a trainer that finalizes the weights after an exception")
def test_a_fit_within_a_fit_leaves_the_outer_one_its_place() -> None:
    """After a fit of the same model within a hook, the outer fit's error is still reported once before weights are finalized."""
    model, told = new(), list[BaseException]()

    def ends(error: BaseException) -> None:
        try:
            raise error
        finally:
            model.optimizer.finalize_variable_values(model.trainable_weights)

    with told_before(model, told.append):
        with told_before(model, lambda _: pytest.fail("the inner fit is over")):
            pass
        with pytest.raises(KeyboardInterrupt) as raised:
            ends(KeyboardInterrupt())
    assert told == [raised.value]
    assert "finalize_variable_values" not in vars(model.optimizer)
