"""Runs that are uninterrupted, interrupted at a moment, and resumed, with all that must be equal at the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np
import pandas as pd

from hookcore import Engine, Run, hookimpl, state, store
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau
from tests.adapters.keras.backends import BACKEND, EAGERLY, Batches, tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hookcore.resume import Resume

layers, optimizers = keras.layers, keras.optimizers
EPOCHS = 3
JITTED = BACKEND == "jax"

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD with momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "Adam": lambda: optimizers.Adam(0.05),
    "Adam, averaged at the end": lambda: optimizers.Adam(0.05, use_ema=True),
    "Adam, averaged every 3 steps": lambda: optimizers.Adam(0.05, use_ema=True, ema_overwrite_frequency=3),
}


def new_model(optimizer: Any, **compile_arguments: Any) -> Any:
    """Return a model with all that a resumed run must restore: moving averages, dropout, and an optimizer's state."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer, "binary_crossentropy", metrics=["acc", "AUC"], **{"jit_compile": BACKEND == "jax"} | compile_arguments
    )
    model.optimizer.build(model.trainable_variables)
    return model


def scrambled(model: Any) -> Any:
    """Give `model` other values than a run has left, as of a new model that was made differently, but keep it traced."""
    keras.utils.set_random_seed(3)
    numbers = np.random.default_rng(11)
    for variable in [*model.variables, *model.optimizer.variables, *model.metrics_variables]:
        variable.assign(numbers.integers(1, 9, tuple(variable.shape)).astype(variable.dtype))
    random.seed(4)
    np.random.seed(4)  # noqa: NPY002 - the global generator
    model.stop_training = False
    return model


def as_at_first(model: Any, start: list[Any]) -> Any:
    """Give `model` the values that it had when it was made."""
    scrambled(model)
    for variable, value in zip([*model.variables, *model.optimizer.variables], start, strict=True):
        variable.assign(value)
    return model


def start_of(model: Any) -> list[Any]:
    return [np.array(variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]


def rates(epoch: int, rate: float) -> float:
    """Return a rate that starts from the current one, because the plateau changes it too."""
    return rate * (0.9 if epoch else 1.0)


@attrs.define
class Life:
    """One run: what its plugins saw, and its end."""

    seen: list[Any] = attrs.field(factory=list)
    moments: int = 0
    run: Run | None = None
    values: list[bytes] = attrs.field(factory=list)
    error: BaseException | None = None

    @property
    def ended(self) -> dict[str, Any]:
        """Return what must be equal at the end."""
        assert self.run is not None
        return {
            "values": self.values,
            "history": state.dumps(self.run.history.state_dict()),  # as text, because NaN is not equal to NaN
            "decisions": [decision for decision in self.run.decisions if decision.kind != "checkpoint"],
            "stop_reasons": self.run.stop_reasons,
            "outcome": self.run.outcome,
            "step": self.run.progress.step,
        }


def diary(life: Life) -> types.SimpleNamespace:
    """Return a plugin that records events, except of validations, which may be repeated, and draws random numbers."""

    @hookimpl
    def on_train_begin() -> None:
        random.random(), np.random.random()  # noqa: NPY002, S311 - a resumed run draws these again

    @hookimpl
    def on_epoch_begin(run: Run, epoch: int) -> None:
        life.seen.append(("epoch begins", epoch, run.learning_rate, random.random()))  # noqa: S311

    @hookimpl
    def on_batch_begin(run: Run, batch: int) -> None:
        life.seen.append(("batch begins", batch, run.steps_per_epoch))

    @hookimpl
    def on_batch_end(run: Run, batch: int, metrics: Mapping[str, float]) -> None:
        life.seen.append(("batch ends", batch, run.progress.step, dict(metrics), np.random.random()))  # noqa: NPY002

    @hookimpl
    def on_epoch_end(epoch: int, metrics: Mapping[str, float]) -> None:
        life.seen.append(("epoch ends", epoch, dict(metrics)))

    hooks = (on_train_begin, on_epoch_begin, on_batch_begin, on_batch_end, on_epoch_end)
    return types.SimpleNamespace(name="diary", **{hook.__name__: hook for hook in hooks})


def cutting(life: Life, at: int | None) -> types.SimpleNamespace:
    """Return a plugin that interrupts the run at a moment at which a signal could, counted over the run."""

    def moment(run: Run) -> None:
        if life.moments == at:
            run.interrupt(KeyboardInterrupt())
        life.moments += 1

    hooks = ("on_epoch_begin", "on_batch_end", "on_evaluate_batch_end", "on_epoch_end")
    return types.SimpleNamespace(name="cutting", **dict.fromkeys(hooks, hookimpl(moment)))


def live(model: Any, data: Any, *, at: int | None = None, resume: Resume = False, form: str = "fit", **kwargs: Any) -> Life:
    """Run `model` in the working directory, uninterrupted or interrupted at a moment, and return the run."""
    life = Life()
    every, monitor = kwargs.pop("every_n_steps", None), kwargs.pop("monitor", "val_loss")
    plugins = [
        diary(life),
        LearningRateSchedule(rates),
        ReduceLROnPlateau(monitor, patience=1, factor=0.5),
        EarlyStopping(monitor, patience=kwargs.pop("patience", 2), restore_best_weights=True),
        cutting(life, at),
        Checkpoint("runs", every_n_epochs=None if every is None else 1, every_n_steps=every, keep_last=None),
    ]
    engine = Engine(plugins)
    arguments = {"batch_size": 5, "epochs": EPOCHS, "validation_split": 0.25, "verbose": 0} | kwargs
    try:
        if form == "fit":
            fit(model, *data, plugins=engine, resume=resume, **arguments)
        else:
            model.fit(*data, callbacks=[KerasAdapter(engine, resume=resume)], **arguments)
    except KeyboardInterrupt as error:
        life.error = error
    life.run = engine.run
    life.values = [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]
    return life


def small(*, built: bool = True, kind: Any = keras.Sequential, **compile_arguments: Any) -> Any:
    """Return the smallest model with metrics, which runs eagerly, because tracing takes longer."""
    keras.utils.set_random_seed(3)
    model = kind([*([layers.Input((3,))] if built else []), layers.Dense(1, activation="sigmoid")])
    arguments = {"optimizer": optimizers.Adam(0.1), "loss": "mse", "metrics": ["mae"], "run_eagerly": EAGERLY}
    model.compile(**arguments | compile_arguments)
    return model


def cut_and_resumed(model: Callable[[], Any], data: Callable[[], tuple[Any, ...]], at: int, **kwargs: Any) -> tuple[Life, Life]:
    """Return an uninterrupted run, and one that was interrupted at a moment and resumed with a new model and new data."""
    arguments: dict[str, Any] = {"validation_split": 0.0, "monitor": "loss", "batch_size": None, "patience": 99} | kwargs
    whole = live(model(), data(), **arguments)
    shutil.rmtree("runs", ignore_errors=True)
    cut = live(model(), data(), at=at, **arguments)
    assert cut.error is not None
    resumed = live(model(), data(), resume="auto", **arguments)
    cut.seen += resumed.seen
    resumed.seen = cut.seen
    return whole, resumed


class Shuffled(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Four batches in an order that Keras draws from Python's generator, with noise for each epoch from NumPy's."""

    def __init__(self, data: tuple[Any, Any]) -> None:
        super().__init__()
        self.x, self.y = data
        self.noise = 0.0

    def on_epoch_begin(self) -> None:
        self.noise = np.random.normal()  # noqa: NPY002 - as users do

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        part = slice(6 * index, 6 * index + 6)
        return self.x[part] + self.noise, self.y[part]


def known(data: tuple[Any, Any]) -> Any:
    return tf.data.Dataset.from_tensor_slices(data).batch(6)


def unknown(data: tuple[Any, Any]) -> Any:
    return known(data).filter(lambda x, y: True)  # noqa: ARG005 - a filter hides the length


def again_and_again(data: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the batches endlessly, as Keras needs for several epochs."""
    while True:
        yield from ((data[0][start : start + 6], data[1][start : start + 6]) for start in range(0, len(data[0]), 6))


def loader(data: tuple[Any, Any], seed: int | None = None) -> Any:
    """Return a shuffling DataLoader, which draws from a generator with `seed`, or from the one that `set_random_seed` seeds."""
    import torch

    generator = None if seed is None else torch.Generator().manual_seed(seed)
    samples = torch.utils.data.TensorDataset(*map(torch.as_tensor, data))
    return torch.utils.data.DataLoader(samples, batch_size=6, shuffle=True, generator=generator)


KINDS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "arrays": lambda data: data,
    "a dataset": lambda data: (known(data),),
    "a dataset of unknown length": lambda data: (unknown(data),),
    "a PyDataset": lambda data: (Shuffled(data),),
    "a PyDataset read by threads": lambda data: (Batches(data, workers=2),),
    "pandas": lambda data: tuple(map(pd.DataFrame, data)),
    "a generator": lambda data: (again_and_again(data),),
    "a DataLoader": lambda data: (loader(data),),
    "a DataLoader with a seed of its own": lambda data: (loader(data, seed=5),),
}
"""Kinds of data whose order is the same in each process, in four batches of six."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "arrays": {"batch_size": 6},
    "pandas": {"batch_size": 6},
    "a PyDataset": {"shuffle": True},
    "a PyDataset read by threads": {"shuffle": True},
    "a generator": {"shuffle": False, "steps_per_epoch": 4},
}
"""Further arguments of `fit` for a kind of data; for others it is `shuffle=False`."""


def arguments_for(kind: str) -> dict[str, Any]:
    return ARGUMENTS.get(kind, {"shuffle": False})


# Parts of `test_law.py`, each in a separate process, with a directory for each kind of data.


def _of_kinds(kinds: list[str], name: str, tell: Callable[[Any, Callable[..., Life]], Any]) -> None:
    model = new_model(OPTIMIZERS["Adam, averaged every 3 steps"]())
    x = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")
    data = x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    # To make metrics, Keras's trainers read a batch, and threads that read a PyDataset read more batches before they stop.
    model.evaluate(x[:6], data[1][:6], verbose=0)
    start = start_of(model)
    for kind in kinds:
        Path(kind).mkdir(exist_ok=True)
        with contextlib.chdir(kind):

            def train(prepared: Any, kind: str = kind, **kwargs: Any) -> Life:
                given: dict[str, Any] = {"validation_split": 0.0, "monitor": "loss", "batch_size": None, "patience": 99}
                return live(prepared, KINDS[kind](data), every_n_steps=1, **given | arguments_for(kind) | kwargs)

            told = tell(as_at_first(model, start), train)
            Path(f"{name}.json").write_text(json.dumps(told))


def _told(life: Life) -> dict[str, Any]:
    if life.error is not None:
        raise life.error
    values = hashlib.sha256(b"".join(life.values)).hexdigest()
    ended = {name: repr(value) for name, value in life.ended.items() if name != "values"}
    return {"ended": ended | {"values": values}, "seen": [repr(one) for one in life.seen]}


def trains_whole(kinds: list[str]) -> None:
    """Train without interruption, and save each step."""
    _of_kinds(kinds, "whole", lambda model, train: _told(train(model)))


def resumes_from_each(kinds: list[str]) -> None:
    """Resume from each checkpoint of the uninterrupted run, or from a third of them if the data are not arrays."""

    def tell(model: Any, train: Callable[..., Life]) -> list[tuple[int, dict[str, Any]]]:
        Path("runs").rename("saved")
        kind = Path.cwd().name
        chosen = store.available(Path("saved"))[kinds.index(kind) % 3 :: 1 if kind == "arrays" else 3]
        return [(saved.step, _told(train(scrambled(model), resume=saved.path))) for saved in chosen]

    _of_kinds(kinds, "resumed", tell)
