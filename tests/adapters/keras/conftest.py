"""Tiny real Keras models, and the two forms in which plugins run: `fit` and `KerasAdapter`."""

from __future__ import annotations

import importlib.util
import os
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import Engine, Run, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hookcore.resume import Resume

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if importlib.util.find_spec("keras") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.adapters.keras.backends import EAGERLY

SAMPLES = 24


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore warnings of Keras itself, and no others."""
    # Keras's callbacks compare metrics, and NumPy 2 deprecates the conversion of TensorFlow's tensors for it.
    numpy_copy = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(numpy_copy))


@pytest.fixture(scope="session")
def data() -> tuple[Any, Any]:
    """Return 24 samples of 3 features with labels of 0 and 1, the same in every session."""
    import numpy as np

    x = np.random.default_rng(7).normal(size=(SAMPLES, 3)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def build(**compile_arguments: Any) -> Any:
    """Return a new classifier with 3 features and 1 output, always with the same weights."""
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(**{"optimizer": "sgd", "loss": "binary_crossentropy", "metrics": ["acc"]} | compile_arguments)
    return model


@pytest.fixture
def make() -> Callable[..., Any]:
    """Return `make(**compile_arguments)`, which returns a new model. By default it runs eagerly if tracing takes longer."""

    def eager(**compile_arguments: Any) -> Any:
        return build(**{"run_eagerly": EAGERLY} | compile_arguments)

    return eager


@pytest.fixture(scope="session")
def _traced() -> tuple[Any, Any]:
    model = build()
    return model, model.get_weights()


@pytest.fixture(scope="session")
def _traced_by_threes() -> tuple[Any, Any]:
    model = build(steps_per_execution=3)
    return model, model.get_weights()


def as_new(model: Any, weights: Any) -> Any:
    """Give `model` the weights, the optimizer and the flags of a new one, but keep its traced functions."""
    import keras

    keras.utils.set_random_seed(3)
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    model.optimizer.learning_rate = 0.01
    model.stop_training = False
    model.history = None
    return model


@pytest.fixture
def model(_traced: tuple[Any, Any]) -> Any:
    """Return a model that is as new, and already traced."""
    return as_new(*_traced)


@pytest.fixture
def model_by_threes(_traced_by_threes: tuple[Any, Any]) -> Any:
    """Return a model as `model` does, with `steps_per_execution=3`."""
    return as_new(*_traced_by_threes)


@attrs.define
class Form:
    """One of the two forms in which plugins run in Keras."""

    name: str
    engine: Engine | None = None
    adapter: Any = None

    def __call__(
        self, model: Any, *args: Any, plugins: Iterable[object] | Engine = (), resume: Resume = False, **kwargs: Any
    ) -> Run:
        """Train, and return the run. After an exception, the run is `self.run`."""
        from hookcore_adapters.keras import KerasAdapter, fit

        self.engine = plugins if isinstance(plugins, Engine) else Engine(plugins)
        kwargs.setdefault("verbose", 0)
        if self.name == "fit":
            return fit(model, *args, plugins=self.engine, resume=resume, **kwargs)
        self.adapter = KerasAdapter(self.engine, validation_freq=kwargs.get("validation_freq", 1), resume=resume)
        callbacks = kwargs.pop("callbacks", None) or []
        model.fit(*args, callbacks=[*callbacks, self.adapter], **kwargs)  # as in `fit`: callbacks first
        return self.run

    @property
    def run(self) -> Run:
        """The latest run, which an exception may have ended."""
        assert self.engine is not None
        assert self.engine.run is not None
        return self.engine.run


@pytest.fixture(params=["fit", "adapter"])
def train(request: pytest.FixtureRequest) -> Form:
    """Return each of the two forms."""
    return Form(request.param)


@pytest.fixture
def train_by_fit() -> Form:
    """Return the form `fit`."""
    return Form("fit")


@pytest.fixture
def calls() -> Callable[..., object]:
    """Return `calls(on_epoch_end=function, name=...)`, which returns a plugin that calls `function(run)` in that hook."""

    def implementation(function: Callable[[Run], object]) -> Callable[[Run], None]:
        @hookimpl
        def hook(run: Run) -> None:
            function(run)

        return hook

    def make(name: str = "calls", **functions: Callable[[Run], object]) -> object:
        return types.SimpleNamespace(name=name, **{hook: implementation(function) for hook, function in functions.items()})

    return make


@pytest.fixture
def raising() -> Callable[[BaseException], Callable[..., Any]]:
    """Return `raising(error)`, which returns a function that raises `error`."""

    def make(error: BaseException) -> Callable[..., Any]:
        def function(*_: object, **__: object) -> None:
            raise error

        return function

    return make


@pytest.fixture
def watch() -> Callable[[], Any]:
    """Return `watch()`, which returns a user's Keras callback that records its arguments."""
    import keras

    class Seen(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def __init__(self) -> None:
            super().__init__()
            self.steps: Any = "never called"
            self.batches: list[dict[str, Any]] = []
            self.epochs: list[dict[str, Any]] = []
            self.evaluations: list[dict[str, Any]] = []

        def on_train_begin(self, logs: Any = None) -> None:
            del logs
            self.steps = self.params["steps"]
            self.trained = self.model

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch
            self.batches.append(dict(logs))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            del epoch
            self.epochs.append(dict(logs))

        def on_test_end(self, logs: Any = None) -> None:
            self.evaluations.append(dict(logs))

    return Seen
