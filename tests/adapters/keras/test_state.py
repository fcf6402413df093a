"""All state of a model is saved and restored, also what Keras itself does not save."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import CapabilityError, CheckpointError, HookcoreError, Run
from hookcore_adapters.keras import KerasTrainee, fit
from hookcore_adapters.keras.callbacks import BackupAndRestore
from hookcore_plugins import Checkpoint
from tests.adapters.keras.backends import BACKEND, OwnStep, apply, gradients, only_on, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

layers, optimizers = keras.layers, keras.optimizers


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a directory of the test, in which its runs save."""
    monkeypatch.chdir(tmp_path)


class Coach(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """A layer with its own optimizer."""

    def call(self, inputs: Any) -> Any:
        return inputs


class Two(OwnStep):
    """Two parts with an optimizer each, and other objects with state: a metric, a loss, and seeds."""

    def __init__(self, place: Callable[[Any, Any, Any], None]) -> None:
        super().__init__()
        self.first = keras.Sequential([layers.Input((3,)), layers.Dense(4, activation="relu"), layers.Dropout(0.5)])
        self.second = keras.Sequential([layers.Input((4,)), layers.Dense(1)])
        self.coach = Coach()
        self.seen = keras.metrics.Mean(name="seen")
        self.weighing = Weighing()
        place(self, optimizers.Adam(0.05), optimizers.SGD(0.05, momentum=0.9))
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        """No metrics for Keras to reset, because `seen` counts over all epochs."""
        return []

    def call(self, inputs: Any, *, training: bool = False) -> Any:
        return self.second(self.first(inputs, training=training))

    def own_step(self, data: Any) -> dict[str, Any]:
        x, y = data

        def loss_of() -> Any:
            noisy = x + 0.1 * keras.random.normal(keras.ops.shape(x))  # drawn from Keras's global generator
            return self.weighing(y, self(noisy, training=True))

        parts = [part.trainable_variables for part in (self.first, self.second)]
        loss, *found = gradients(loss_of, *parts)
        for optimizer, part, own in zip(found_in(self), parts, found, strict=True):
            apply(optimizer, own, part)
        self.seen.update_state(loss)
        self.weighing.weight.assign(self.weighing.weight * 0.9 + 0.1 * self.seen.result())
        return {"loss": loss, "seen": self.seen.result()}


class Weighing(keras.losses.Loss):  # type: ignore[misc]
    """A loss with a weight that training changes."""

    def __init__(self) -> None:
        super().__init__(name="weighing")
        self.weight = keras.Variable(1.0, trainable=False)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.weight * keras.ops.square(y_true - y_pred)


def as_attributes(model: Any, first: Any, second: Any) -> None:
    model.a_optimizer, model.b_optimizer = first, second


def in_a_list(model: Any, first: Any, second: Any) -> None:
    model.both = [first, second]


def in_nested_dicts(model: Any, first: Any, second: Any) -> None:
    model.both = {"first": {"optimizer": first}, "others": [{"optimizer": second}]}


def within_layers(model: Any, first: Any, second: Any) -> None:
    model.coach.optimizer, model.second.optimizer = first, second


def scaled(model: Any, first: Any, second: Any) -> None:
    model.a_optimizer = optimizers.LossScaleOptimizer(first, initial_scale=1.0)
    model.b_optimizer = second


PLACES = [as_attributes, in_a_list, in_nested_dicts, within_layers, scaled]


def found_in(model: Any) -> list[Any]:
    """Return both optimizers, in any place."""
    if hasattr(model, "a_optimizer"):
        return [model.a_optimizer, model.b_optimizer]
    if isinstance(getattr(model, "both", None), dict):
        return [model.both["first"]["optimizer"], model.both["others"][0]["optimizer"]]
    return list(model.both) if hasattr(model, "both") else [model.coach.optimizer, model.second.optimizer]


def two(place: Callable[[Any, Any, Any], None]) -> Any:
    keras.utils.set_random_seed(3)
    keras.src.backend.common.global_state.set_global_attribute("global_seed_generator", None)  # as in a new process
    model = Two(place)
    # JAX's trainer requires an optimizer, so the model has one that is not used.
    model.compile(optimizer="sgd" if BACKEND == "jax" else None, run_eagerly=True)
    return model


def values_of(model: Any) -> list[bytes]:
    """Return everything that a run leaves in the model."""
    own = [*model.variables, *model.seen.variables, model.weighing.weight]
    return [variable.numpy().tobytes() for variable in [*own, *(one for opt in found_in(model) for one in opt.variables)]]


def train(model: Any, data: Any, epochs: int = 2, **kwargs: Any) -> Run:
    checkpoint = Checkpoint("runs", every_n_steps=1, keep_last=None)
    return fit(model, *data, batch_size=12, epochs=epochs, verbose=0, plugins=[checkpoint], **kwargs)


@pytest.mark.parametrize("place", PLACES)
def test_a_model_with_its_own_optimizers_resumes_exactly(data: Any, place: Any) -> None:
    """Optimizers as attributes, in containers and in layers, a loss, a metric and global seeds resume bit for bit."""
    whole = two(place)
    run = train(whole, data)
    for step in (1, 2, 3):
        resumed = two(place)
        again = train(resumed, data, resume=Path("runs", f"step-{step:08d}")) if step == 1 else resume(resumed, data, step)
        assert values_of(resumed) == values_of(whole), step
        assert again.history.state_dict() == run.history.state_dict()


def resume(model: Any, data: Any, step: int) -> Run:
    """Resume from the checkpoints of the first run, which the second has moved aside."""
    return fit(model, *data, batch_size=12, epochs=2, verbose=0, resume=next(Path("runs").rglob(f"step-{step:08d}")))


@pytest.mark.parametrize("place", PLACES)
def test_optimizers_that_were_built_before_resume_too(data: Any, place: Any) -> None:
    """A run resumes in the same way if the script has built its optimizers before."""
    whole, resumed = two(place), two(place)
    train(whole, data)
    for optimizer, part in zip(found_in(resumed), (resumed.first, resumed.second), strict=True):
        optimizer.build(part.trainable_variables)
    resume(resumed, data, 2)
    assert values_of(resumed) == values_of(whole)


def test_a_snapshot_that_is_written_later_holds_nothing_of_later(data: Any, tmp_path: Path) -> None:
    """A snapshot that is written later has the state of its time: optimizers, losses, and what a layer's own code stores."""
    model = two(as_attributes)
    model.counter = Counter()
    model.counter.build((None, 3))
    model.fit(*data, batch_size=12, verbose=0)
    model.counter.beta = 0.25
    trainee, then = KerasTrainee(model), values_of(model)
    snapshot = trainee.snapshot()
    model.fit(*data, batch_size=12, verbose=0)
    model.counter.beta = 0.75
    writer = threading.Thread(target=trainee.write, args=(snapshot, tmp_path))
    writer.start()
    model.fit(*data, batch_size=12, verbose=0)
    writer.join()
    assert values_of(model) != then
    trainee.restore(trainee.read(tmp_path))
    assert values_of(model) == then
    assert model.counter.beta == 0.25


def test_a_snapshot_from_before_its_optimizers_were_built_is_refused(data: Any) -> None:
    """A snapshot from before the optimizers were built is an error that names the reason, and the model is not changed."""
    model = two(as_attributes)
    snapshot = KerasTrainee(model).snapshot()
    model.fit(*data, batch_size=12, verbose=0)
    now = values_of(model)
    with pytest.raises(HookcoreError, match="or one of its optimizers"):
        KerasTrainee(model).restore(snapshot)
    assert values_of(model) == now


@pytest.mark.parametrize(
    "text", ["[]", '{"model:a_optimizer": [999]}', '{"model:a_optimizer": [-1]}', '{"model:a_optimizer": 1}', "{"]
)
def test_what_optimizers_were_built_for_is_not_believed(data: Any, tmp_path: Path, text: str) -> None:
    """A file that builds an optimizer for variables that do not exist is refused, and nothing is built."""
    trained, fresh = two(as_attributes), two(as_attributes)
    trained.fit(*data, batch_size=12, verbose=0)
    KerasTrainee(trained).write(KerasTrainee(trained).snapshot(), tmp_path)
    (tmp_path / "optimizers.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"optimizers\.json cannot be read"):
        KerasTrainee(fresh).read(tmp_path)
    assert not fresh.a_optimizer.built


@keras.saving.register_keras_serializable("hookcore")
class Counter(keras.layers.Dense):  # type: ignore[misc]
    """A layer that stores a plain number, a NumPy number and a list that grows beside its variables."""

    def __init__(self, units: int = 2, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.beta, self.calls = 0.5, [0]

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["beta"] = self.beta
        store["number"] = np.int64(len(self.calls))
        store["calls"] = self.calls

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables({key: store[key] for key in ("0", "1")})
        self.beta = float(store["beta"])
        assert int(store["number"]) == len(store["calls"])
        self.calls = [int(number) for number in store["calls"]]


def counting() -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([layers.Input((3,)), Counter(), layers.Dense(1)])
    model.compile(optimizers.Adam(0.05), "mse", run_eagerly=True)
    return model


def test_a_layer_that_stores_a_plain_number_is_resumed(data: Any) -> None:
    """What a layer's own code stores beside its variables is restored: numbers, and arrays of another length."""
    model, again = counting(), counting()
    model.layers[0].beta, model.layers[0].calls = 0.125, [1, 2, 3]
    train(model, data)
    resume(again, data, 3)
    assert (again.layers[0].beta, again.layers[0].calls) == (0.125, [1, 2, 3])
    ours, theirs = ([one.numpy().tobytes() for one in [*m.variables, *m.optimizer.variables]] for m in (model, again))
    assert ours == theirs
    loaded = keras.models.load_model(Checkpoint("runs").newest().path / "model.keras")
    assert loaded.layers[0].calls == [1, 2, 3]


def test_reading_a_checkpoint_changes_no_layer(tmp_path: Path) -> None:
    """Reading a checkpoint does not call a layer's own loading code; restoring it does."""
    model = counting()
    trainee = KerasTrainee(model)
    trainee.write(trainee.snapshot(), tmp_path)
    model.layers[0].beta = 7.0
    read = trainee.read(tmp_path)
    assert model.layers[0].beta == 7.0
    trainee.restore(read)
    assert model.layers[0].beta == 0.5


def test_a_layer_that_cannot_be_saved_is_named_before_the_first_batch(data: Any) -> None:
    """A layer whose own code fails, or stores what Keras's files cannot hold, is an error before training."""
    for content, match in ((object(), "'beta'"), ("text", "'beta'")):
        model = counting()
        model.layers[0].beta = content
        with pytest.raises(CapabilityError, match=f"Counter 'counter\\w*' cannot be saved.*{match}"):
            train(model, data)
        assert int(model.optimizer.iterations) == 0


def test_a_layer_that_refuses_what_it_stored_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """If a layer's own loading code fails, the error names the layer, and no variable is changed."""
    model = counting()
    trainee = KerasTrainee(model)
    snapshot = trainee.snapshot()
    trainee.write(snapshot, tmp_path)
    for variable in model.variables:
        variable.assign(variable + 1.0)
    now = [variable.numpy().tobytes() for variable in model.variables]
    read = trainee.read(tmp_path)
    for saved in read.saved["model"]:
        if saved.own is not None and "beta" in saved.own:
            del saved.own["beta"]  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"Counter .* cannot be restored: .*KeyError\('beta'\)"):
        trainee.restore(read)
    assert [variable.numpy().tobytes() for variable in model.variables] == now


class Schedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule without a configuration, as scripts write it."""

    def __call__(self, step: Any) -> Any:
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))


class Holder(keras.layers.Layer):  # type: ignore[misc]
    """A layer whose arguments Keras cannot serialize."""

    def __init__(self, inner: Any, options: Any) -> None:
        super().__init__()
        self.inner, self.options = inner, options

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


class Plain(keras.Model):  # type: ignore[misc]
    """A subclassed model without a configuration, as most are."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block, self.head = block, layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.head(self.block(inputs))


def subclassed() -> Any:
    return Plain(Holder(layers.Dense(4), object()))


def functional() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Dense(1)(Holder(layers.Dense(4), object())(inputs)))


def scheduled() -> Any:
    return keras.Sequential([layers.Input((3,)), layers.Dense(1)])


def without_configuration(make: Callable[[], Any], *, built: bool = False) -> Any:
    keras.utils.set_random_seed(3)
    model = make()
    model.compile(optimizers.Adam(Schedule() if make is scheduled else 0.05), "mse", run_eagerly=True)
    if built:
        model(np.zeros((1, 3), "float32"))
    return model


def all_of(model: Any) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]


@pytest.mark.parametrize("make", [subclassed, functional, scheduled])
def test_a_model_without_a_configuration_is_saved_and_resumed(data: Any, caplog: pytest.LogCaptureFixture, make: Any) -> None:
    """A model without a configuration is saved as `model.weights.h5` and resumed, and the log names the reason once."""
    whole, again = without_configuration(make), without_configuration(make)
    seen: list[str] = []
    first = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(caplog.text))  # noqa: ARG005
    train(whole, data, callbacks=[first])
    assert "checkpoints hold no model.keras" in seen[0]
    assert caplog.text.count("checkpoints hold no model.keras") == 1
    saved = next(Path("runs").glob("step-00000003"))
    assert {"model.weights.h5", "arrays.h5", "random.json"} <= {path.name for path in saved.iterdir()}
    assert not (saved / "model.keras").exists()
    resume(again, data, 3)
    assert all_of(again) == all_of(whole)
    weights = without_configuration(make, built=True)
    weights.optimizer.build(weights.trainable_variables)
    weights.load_weights(saved / "model.weights.h5")  # Keras can read it without hookcore
    with pytest.raises(CheckpointError, match="is of another model"):
        KerasTrainee(counting()).read(saved)


@pytest.mark.parametrize("make", [subclassed, functional, scheduled])
def test_the_drop_in_backs_such_a_model_up(data: Any, caplog: pytest.LogCaptureFixture, make: Any) -> None:
    """`BackupAndRestore` works with a model without a configuration, and the log warns once."""
    whole, cut, again = (without_configuration(make, built=True) for _ in range(3))
    arguments = {"batch_size": 12, "shuffle": False, "verbose": 0}
    whole.fit(*data, epochs=3, **arguments)
    cut.fit(*data, epochs=2, callbacks=[BackupAndRestore("backup", delete_checkpoint=False)], **arguments)
    assert caplog.text.count("checkpoints hold no model.keras") == 1
    again.fit(*data, epochs=3, callbacks=[BackupAndRestore("backup")], **arguments)
    assert all_of(again) == all_of(whole)


SCRIPT = """
    import json, sys
    import keras, numpy as np
    from hookcore import Engine, hookimpl
    from hookcore_adapters.keras import fit
    from hookcore_plugins import Checkpoint

    keras.utils.set_random_seed(3)
    x = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")

    class Autoencoder(keras.Model):
        def __init__(self, options):
            super().__init__()
            self.options, self.encode, self.decode = options, keras.layers.Dense(2), keras.layers.Dense(3)

        def call(self, inputs):
            code = self.encode(inputs)
            return self.decode(code + keras.random.normal(keras.ops.shape(code)))

    model = Autoencoder(object())
    model.compile(keras.optimizers.Adam(0.1), "mse")

    class Cut:
        @hookimpl
        def on_batch_end(self, run):
            if run.progress.step == int(sys.argv[2]):
                run.interrupt(KeyboardInterrupt())

    try:
        run = fit(model, x, x, batch_size=5, epochs=3, plugins=[Cut(), Checkpoint(sys.argv[1])], resume="auto", verbose=0)
    except KeyboardInterrupt:
        sys.exit()
    values = [variable.numpy().tobytes().hex() for variable in [*model.variables, *model.optimizer.variables]]
    print(json.dumps([values, run.history.state_dict()]))
"""


def test_such_a_model_is_resumed_in_a_new_process(tmp_path: Path) -> None:
    """A subclassed model without a configuration that draws without a seed resumes exactly in a new process."""

    def process(directory: str, cut: int) -> str:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), directory, str(cut)]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    whole = process("whole", 0)
    assert process("cut", 7) == ""
    assert process("cut", 0) == whole != ""


TEXT = only_on("tensorflow", what="text in a model")
TEXTS = [["the cat sat"], ["a dog ran far"], ["cats and dogs"], ["nothing here"]] * 6


def reading(*, adapted: bool = True, mode: str = "int") -> Any:
    keras.utils.set_random_seed(3)
    lookup = layers.TextVectorization(max_tokens=20, output_mode=mode, output_sequence_length=4 if mode == "int" else None)
    if adapted:
        lookup.adapt(tensor(TEXTS))
    after = [layers.Embedding(20, 4), layers.Flatten()] if mode == "int" else []
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, *after])
    model.compile("adam", "mse")
    return model


@TEXT
@pytest.mark.parametrize("kind", ["a .keras file", "weights and assets"])
def test_a_vocabulary_that_was_adapted_before_the_first_start_is_resumed(data: Any, kind: str, monkeypatch: Any) -> None:
    """A lookup layer gets the vocabulary of the checkpoint if the resumed script does not adapt it, or adapts it again."""
    if kind == "weights and assets":
        monkeypatch.setattr(layers.TextVectorization, "get_config", lambda self: {"no": object()})  # noqa: ARG005
    texts = tensor(TEXTS), np.repeat(data[1], 16, axis=1)
    whole = reading()
    train(whole, texts)
    names = {path.name for path in next(Path("runs").glob("step-00000003")).iterdir()}
    assert ("model.assets.zip" in names) == ("model.keras" not in names) == (kind == "weights and assets")
    for step, adapted in ((2, False), (3, False), (3, True)):
        again = reading(adapted=adapted)
        resume(again, texts, step)
        assert again.layers[0].get_vocabulary() == whole.layers[0].get_vocabulary()
        assert all_of(again) == all_of(whole)


@TEXT
def test_an_adapted_layer_with_weights_of_its_own_is_resumed(tmp_path: Path) -> None:
    """The vocabulary and weights of "tf_idf" and the mean of a normalization layer are restored."""

    def model(*, adapted: bool) -> Any:
        words, scale = layers.TextVectorization(max_tokens=20, output_mode="tf_idf"), layers.Normalization()
        if adapted:
            words.adapt(tensor(TEXTS))
            scale.adapt(np.array([[1.0], [5.0]]))
        inputs = [keras.Input((1,), dtype="string"), keras.Input((1,))]
        return keras.Model(inputs, [words(inputs[0]), scale(inputs[1])])

    inputs = [tensor(TEXTS), keras.ops.ones((24, 1))]
    first, second = model(adapted=True), model(adapted=False)
    KerasTrainee(first).write(KerasTrainee(first).snapshot(), tmp_path)
    trainee = KerasTrainee(second)
    trainee.restore(trainee.read(tmp_path))
    for ours, theirs in zip(second(inputs), first(inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@TEXT
def test_a_hostile_archive_of_assets_is_refused(data: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """An archive of assets is checked as carefully as a `.keras` file."""
    del data
    monkeypatch.setattr(layers.TextVectorization, "get_config", lambda self: {"no": object()})  # noqa: ARG005
    trainee = KerasTrainee(reading())
    trainee.write(trainee.snapshot(), tmp_path)
    with zipfile.ZipFile(tmp_path / "model.assets.zip", "a") as archive:
        archive.writestr("assets/../../evil", b"x")
    with pytest.raises(CheckpointError, match="not part of a model"):
        trainee.read(tmp_path)
