"""Views of a Keras model, which do not change it."""

from __future__ import annotations

import io
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import CapabilityError, HookcoreError, Run, hookimpl
from hookcore.trainee import reason_lacking
from hookcore_adapters.keras import KerasAdapter, KerasTrainee, fit
from hookcore_adapters.keras.views import KerasViews
from hookcore_plugins import Activations
from tests.adapters.keras.backends import BACKEND, only_on
from tests.adapters.keras.viewed import LARGE_DATA, Batches, Subclassed, X, Y, large, layers, small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRADIENTS = only_on("tensorflow", what="the view of gradients")

# Activations.


def test_activations_are_what_each_layer_makes_of_the_first_samples() -> None:
    """Activations are each layer's outputs in validation, in float32."""
    model = small()
    model.fit(X, Y, epochs=2, verbose=0)
    found = KerasViews(model).activations((X, Y), samples=2)
    assert list(found) == ["hidden", "drop", "norm", "out"]
    value = X[:2]
    for layer in model.layers:
        value = layer(value, training=False) if layer.name in {"drop", "norm"} else layer(value)
        np.testing.assert_allclose(found[layer.name], keras.ops.convert_to_numpy(value), rtol=1e-6)
        assert found[layer.name].dtype == "float32"
    np.testing.assert_allclose(found["out"], model.predict(X[:2], verbose=0), rtol=1e-6)


def test_activations_of_nested_models_and_shared_layers() -> None:
    """Layers of nested models have activations, several calls and outputs are numbered, and masks are applied."""
    model = large()
    found = KerasViews(model).activations(LARGE_DATA, samples=3)
    assert sorted(found) == [
        "encoder/dense",
        "encoder/drop",
        "first",
        "merged",
        "not_equal",
        "reader/lstm/0",
        "reader/lstm/1",
        "reader/lstm/2",
        "second",
        "shared/0",
        "shared/1",
        "words",
    ]
    inputs = {name: part[:3] for name, part in LARGE_DATA[0].items()}
    with pytest.warns(UserWarning, match="destroy the mask"):
        predicted = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(found["first"], predicted["first"], rtol=1e-5)
    np.testing.assert_allclose(found["second"], predicted["second"], rtol=1e-5)
    shared = model.get_layer("shared")
    for name, expected in (("shared/0", shared(X[:3])), ("shared/1", shared(shared(X[:3])))):
        np.testing.assert_allclose(found[name], keras.ops.convert_to_numpy(expected), rtol=1e-5)
    np.testing.assert_allclose(
        np.concatenate([found["encoder/drop"], found["reader/lstm/1"]], axis=1), found["merged"], rtol=1e-5
    )


def test_a_model_within_a_model_is_seen_as_it_is_called() -> None:
    """A nested model that is called with training=True drops out, and one that is called twice is numbered."""
    keras.utils.set_random_seed(1)
    noisy = keras.Sequential([layers.Input((3,)), layers.Dropout(0.9, name="drop")], name="noisy")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Add(name="sum")([noisy(inputs, training=True), noisy(inputs)]))
    found = KerasViews(model).activations((np.ones((50, 3)), None), samples=50)
    assert sorted(found) == ["noisy/0/drop", "noisy/1/drop", "sum"]
    by_training = {bool(np.all(found[f"noisy/{number}/drop"] == 1)) for number in (0, 1)}
    assert by_training == {True, False}


@only_on("tensorflow", what="text in a model")
def test_what_is_no_number_is_left_out_of_the_activations() -> None:
    """Activations that are not numbers, such as words, are left out."""
    lookup = layers.StringLookup(vocabulary=["a", "b"], name="lookup")
    same = layers.Lambda(lambda words: words, output_shape=(), name="same")
    words = keras.Input((), dtype="string", name="words")
    model = keras.Model(words, layers.Dense(1, name="out")(layers.Embedding(3, 2, name="embed")(lookup(same(words)))))
    found = KerasViews(model).activations((np.array(["b", "a", "?"], object), None), samples=3)
    assert list(found) == ["lookup", "embed", "out"]
    assert found["lookup"].tolist() == [2.0, 1.0, 0.0]
    assert found["lookup"].dtype == "float32"


def test_activations_of_an_unbuilt_sequential_come_with_its_first_batch() -> None:
    """An unbuilt Sequential has activations after its first batch, and before it a view is an error."""
    model = keras.Sequential([layers.Dense(2, name="one"), layers.Dense(1, name="two")], name="unbuilt")
    model.compile("sgd", "mse")
    views = KerasViews(model)
    assert views.lacks("activations") is None
    with pytest.raises(HookcoreError, match="There are no activations: unbuilt is not built yet"):
        views.activations((X, Y))
    model.fit(X, Y, verbose=0)
    assert list(views.activations((X, Y))) == ["one", "two"]


# Views change nothing.


class Counting(layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Counts its calls, also in validation, and draws random numbers of all three kinds."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.seeds = keras.random.SeedGenerator(1)
        self.mean = keras.metrics.Mean(name="seen")

    def call(self, inputs: Any) -> Any:
        """Return the inputs, after drawing random numbers."""
        self.count.assign_add(1.0)
        if BACKEND != "jax":  # JAX's trainer gives metrics of layers no values within a call
            self.mean.update_state(keras.ops.mean(inputs))
        random.random()  # noqa: S311 - the global generator
        np.random.random()  # noqa: NPY002
        shared = None if BACKEND != "jax" else self.seeds  # on JAX a layer cannot draw without a seed
        return inputs + 0.0 * (keras.random.normal((1,), seed=self.seeds) + keras.random.normal((1,), seed=shared))


def watched(look: Callable[[Any], object]) -> tuple[Any, ...]:
    """Train with dropout, calling `look` in every hook, and return all results."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(9)
    model = keras.Sequential(
        [
            layers.Input((3,)),
            Counting(),
            layers.Dense(4, activity_regularizer="l2"),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
        ]
    )
    model.add(layers.Dense(1))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)

    class Looks:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            look(run.trainee)

        @hookimpl
        def on_evaluate_batch_end(self, run: Run) -> None:
            look(run.trainee)

        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            look(run.trainee)

    look(KerasTrainee(model))
    run = fit(model, X, Y, validation_data=Batches(), epochs=2, batch_size=4, verbose=0, plugins=[Looks()])
    state = [keras.ops.convert_to_numpy(variable).tolist() for variable in (*model.variables, *model.optimizer.variables)]
    drawn = (random.random(), np.random.random(), np.asarray(keras.random.normal((2,))).tolist())  # noqa: NPY002, S311
    history = {name: run.history[name] for name in ("loss", "mae", "val_loss", "val_mae")}
    later = keras.Input((3,))
    model_again = keras.Model(later, layers.Dense(1)(later))
    metrics = {name: float(value) for name, value in model.get_metrics_result().items()}
    return state, history, drawn, metrics, model_again.name, model_again.layers[1].name


LOOKS: dict[str, Callable[[Any], object]] = {
    "weights": lambda views: views.weights(),
    "activations": lambda views: views.activations(Batches(), 3),
    "gradients": lambda views: views.gradients(Batches(), 3),
    "graph": lambda views: views.graph(),
    "embeddings": lambda views: views.embeddings(),
}


@pytest.fixture(scope="module")
def unwatched() -> tuple[Any, ...]:
    """Train without views, and return the results."""
    return watched(lambda _: None)


@pytest.mark.parametrize("view", [pytest.param(name, marks=GRADIENTS if name == "gradients" else ()) for name in LOOKS])
def test_looking_changes_nothing(unwatched: tuple[Any, ...], view: str) -> None:
    """A run with views in every hook ends with the same weights, seeds, metrics, history and names."""
    for seen, expected in zip(watched(LOOKS[view]), unwatched, strict=True):
        assert seen == expected


# Gradients.


def loss_at(model: Any, name: str, index: tuple[int, ...], shift: float, data: Any) -> float:
    """Return the compiled loss with one weight changed."""
    layer, variable = name.rsplit("/", 1)
    value = getattr(model.get_layer(layer), variable)
    original = value.numpy()
    shifted = original.copy()
    shifted[index] += shift
    value.assign(shifted)
    x, y, *weights = data
    loss = model.compute_loss(x, y, model(x, training=False), *weights, training=False)
    value.assign(original)
    return float(loss)


@GRADIENTS
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_the_slopes_of_the_compiled_loss(*, weighted: bool) -> None:
    """Gradients equal finite differences of the compiled loss, with regularizers and sample weights."""
    model = small()
    data = (X, Y, np.linspace(0, 2, 12)) if weighted else (X, Y)
    gradients = KerasViews(model).gradients(data, samples=12)
    assert sorted(gradients) == ["hidden/bias", "hidden/kernel", "norm/beta", "norm/gamma", "out/bias", "out/kernel"]
    for name, index in [("hidden/kernel", (1, 2)), ("out/kernel", (0, 0)), ("norm/gamma", (3,)), ("out/bias", (0,))]:
        slope = (loss_at(model, name, index, 1e-2, data) - loss_at(model, name, index, -1e-2, data)) / 2e-2
        assert gradients[name][index] == pytest.approx(slope, rel=2e-2, abs=1e-4)
        assert abs(slope) > 1e-4


@GRADIENTS
def test_gradients_are_of_the_first_samples() -> None:
    """By default gradients are of the first 32 samples, which are all here; of fewer samples they differ."""
    views = KerasViews(small())
    assert not np.allclose(views.gradients((X, Y))["out/kernel"], views.gradients((X, Y), 2)["out/kernel"])
    np.testing.assert_array_equal(views.gradients((X, Y), 2)["out/kernel"], views.gradients((X[:2], Y[:2]))["out/kernel"])


@GRADIENTS
def test_gradients_of_a_model_of_several_outputs() -> None:
    """Gradients of a model with several outputs have the names of weights, and are dense for an embedding."""
    model = large()
    views = KerasViews(model)
    gradients = views.gradients(LARGE_DATA)
    assert {name: value.shape for name, value in gradients.items()} == {
        name: value.shape for name, value in views.weights().items()
    }
    assert all(np.any(value) for value in gradients.values())


@GRADIENTS
def test_gradients_of_frozen_and_unused_weights() -> None:
    """A frozen layer has no gradients, and a weight that the loss does not depend on has zeros."""
    inputs = keras.Input((3,))
    frozen = layers.Dense(2, trainable=False, name="frozen")
    outputs = {"one": layers.Dense(1, name="one")(frozen(inputs)), "two": layers.Dense(1, name="two")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"one": "mse"})
    gradients = KerasViews(model).gradients((X, {"one": Y}))
    assert sorted(gradients) == ["one/bias", "one/kernel", "two/bias", "two/kernel"]
    assert np.any(gradients["one/kernel"])
    assert gradients["two/kernel"].tolist() == [[0.0]] * 3


@GRADIENTS
def test_a_subclassed_model_with_a_loss_of_its_own_has_gradients() -> None:
    """A subclassed model whose compute_loss lacks the argument `training` has gradients."""

    class Own(Subclassed):
        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:
            """Return ten times the mean."""
            del x, y, sample_weight
            return 10.0 * keras.ops.mean(y_pred)

    model = Own()
    model.compile("sgd")
    with pytest.raises(HookcoreError, match="There are no gradients of subclassed before it is built"):
        KerasViews(model).gradients((X, Y))
    mean = float(np.mean(model(X)))
    assert float(KerasViews(model).gradients((X, Y))["scale"]) == pytest.approx(10 * mean, rel=1e-4)


# Embeddings, pictures, and missing views.


def test_embeddings_are_matrices_by_the_layers_names() -> None:
    """Embeddings are those of built layers, also in nested models."""
    nested = keras.Sequential([layers.Input((6,)), layers.Embedding(10, 2, name="words")], name="nested")
    model = keras.Sequential([layers.Input((6,)), nested, layers.Dense(1)])
    found = KerasViews(model).embeddings()
    assert {name: matrix.shape for name, matrix in found.items()} == {"nested/words": (10, 2)}
    np.testing.assert_array_equal(found["nested/words"], nested.layers[0].embeddings.numpy())
    unbuilt = KerasViews(keras.Sequential([layers.Embedding(10, 2)]))
    assert unbuilt.embeddings() == {}
    assert unbuilt.lacks("embeddings") is None


def test_what_a_model_lacks_is_said() -> None:
    """`lacks` gives a reason for each missing view; an unbuilt subclassed model may still get embeddings."""
    subclassed = KerasViews(Subclassed())
    assert "subclassed is a subclassed model, so only its own call method knows what its layers return" in str(
        subclassed.lacks("activations")
    )
    with pytest.raises(HookcoreError, match="There are no activations: subclassed is a subclassed model"):
        subclassed.activations((X, Y))
    assert subclassed.lacks("embeddings") is None
    if BACKEND == "tensorflow":
        assert subclassed.lacks("gradients") == "subclassed is not compiled, so it has no loss"
        assert KerasViews(small()).lacks("gradients") is None
    else:
        assert KerasViews(small()).lacks("gradients") == f"the Keras adapter takes gradients on TensorFlow, and not on {BACKEND}"
    assert KerasViews(small()).lacks("embeddings") == "small has no Embedding layer"
    assert KerasViews(large()).lacks("embeddings") is None
    for capability in ("weights", "activations", "graph", "picture"):
        assert KerasViews(small()).lacks(capability) is None


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_picture_is_a_png() -> None:
    """A picture is a PNG by Keras, pydot and Graphviz, with nested models expanded, or as boxes if Keras fails."""
    pytest.importorskip("pydot")
    small_one, large_one = KerasViews(small()).picture(), KerasViews(large()).picture()
    assert small_one.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(large_one[at : at + 4], "big") for at in (16, 20))
    assert width > 400
    assert height > 400
    assert KerasViews(small()).picture() == small_one
    opened = keras.Sequential([layers.Input((3,)), small()])
    heights = [int.from_bytes(KerasViews(model).picture()[20:24], "big") for model in (opened, small())]
    assert heights[0] > heights[1]


@pytest.mark.parametrize("there", [(), ("pydot",), ("dot",)])
def test_without_pydot_or_graphviz_the_error_says_what_to_install(
    there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without pydot or Graphviz, the error names what is missing, and only that."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pydot", raising=False)
    if "pydot" in there:
        (tmp_path / "pydot.py").touch()
    if "dot" in there:
        (tmp_path / "dot").touch(mode=0o755)
    with pytest.raises(HookcoreError) as raised:
        KerasViews(small()).picture()
    assert ("pip install pydot" in str(raised.value)) is ("pydot" not in there)
    assert ("apt install graphviz" in str(raised.value)) is ("dot" not in there)


def test_a_picture_that_cannot_be_drawn_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any error of pydot or Graphviz, and an unbuilt model, is a `HookcoreError`."""
    with pytest.raises(HookcoreError, match="There is no picture of unbuilt before it is built"):
        KerasViews(keras.Sequential([layers.Dense(1)], name="unbuilt")).picture()
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "dot").touch(mode=0o755)  # an empty file instead of the program
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    with pytest.raises(HookcoreError, match="could not draw small"):
        KerasViews(small()).picture()


# Through the trainee.


def test_the_trainee_has_the_views() -> None:
    """Plugins find all views on `run.trainee`, with the reasons for missing ones."""
    trainee = KerasTrainee(large())
    assert "words/embeddings" in trainee.weights()
    assert "words" in trainee.activations(LARGE_DATA)
    if BACKEND == "tensorflow":
        assert "words/embeddings" in trainee.gradients(LARGE_DATA)
    assert "words" in {node.name for node in trainee.graph()}
    assert list(trainee.embeddings()) == ["words"]
    assert reason_lacking(trainee, "picture") is None
    assert reason_lacking(trainee, "learning_rate") is None
    assert "subclassed model" in str(reason_lacking(KerasTrainee(Subclassed()), "activations"))


def test_a_plugin_that_needs_activations_is_refused_for_a_subclassed_model(tmp_path: Path) -> None:
    """A plugin that needs activations is refused by name for a subclassed model, before the first batch."""
    model = Subclassed()
    model.compile("sgd", "mse")
    with pytest.raises(CapabilityError, match=r"'activations' needs the trainee's activations, but subclassed is a subclassed"):
        fit(model, X, Y, validation_data=(X, Y), verbose=0, plugins=[Activations(tmp_path)])
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("form", ["fit", "adapter"])
@pytest.mark.parametrize("given", ["validation_data", "validation_split"])
def test_the_chapters_activation_logger_is_the_activations_plugin(tmp_path: Path, form: str, given: str) -> None:
    """The plugin `Activations` saves what the book's callback saves: each layer's activations after each epoch, by name."""
    model = small()
    arguments: dict[str, Any] = {"validation_data": (X[9:], Y[9:])} if given == "validation_data" else {"validation_split": 0.25}
    plugins: list[object] = [Activations(tmp_path)]
    if form == "fit":
        fit(model, X, Y, epochs=2, verbose=0, plugins=plugins, **arguments)
    else:
        adapter = KerasAdapter(plugins, validation_data=(X[9:], Y[9:]))
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[adapter], **arguments)
    opened = [np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) for path in sorted(tmp_path.iterdir())]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["activations-epoch-0001.npz", "activations-epoch-0002.npz"]
    assert [(name, opened[0][name].shape) for name in opened[0].files] == [
        ("hidden", (1, 4)),
        ("drop", (1, 4)),
        ("norm", (1, 4)),
        ("out", (1, 1)),
    ]
    np.testing.assert_allclose(opened[1]["out"], model.predict(X[9:10], verbose=0), rtol=1e-6)
    assert not np.array_equal(opened[0]["out"], opened[1]["out"]), "each epoch has its own"


def test_without_validation_data_the_adapters_run_continues(tmp_path: Path) -> None:
    """Without validation data, the adapter's run continues, and the error says what to give."""
    adapter = KerasAdapter([Activations(tmp_path)])
    small().fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[adapter])
    run: Run | None = adapter.run
    assert run is not None
    assert "KerasAdapter(plugins, validation_data=...)" in str(run.failures[0].error)
    assert len(run.history) == 1
