"""TensorBoard on real Keras models."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_plugins import Checkpoint, TensorBoard
from tests.adapters.keras.backends import BACKEND
from tests.plugins.tensorboard.event_files import read, scalars, single, with_tests

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [f"word {number}" for number in range(20)]


def chapter() -> Any:
    """Return a smaller version of the chapter's model."""
    layers = keras.layers
    keras.utils.clear_session()  # so that layers have the same names again
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(len(WORDS), 4, name="embed"),
            layers.Conv1D(8, 3, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(8, 3, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer="rmsprop", loss="mse", metrics=["mae"])
    return model


def texts() -> tuple[Any, Any]:
    x = np.random.default_rng(0).integers(0, len(WORDS), (40, 12))
    return x, (x.sum(axis=1) / 100).astype("float32")


@pytest.mark.parametrize("form", ["fit", "adapter"])
def test_the_chapters_configuration_is_shown_in_every_tab(tmp_path: Path, form: str) -> None:
    """The chapter's settings write the run's values, the layers, each weight, and the word vectors."""
    x, y = texts()
    model = chapter()
    gradients = BACKEND == "tensorflow"  # the view that other backends lack
    board = TensorBoard(
        tmp_path, histogram_freq=1, embeddings_freq=1, embeddings_metadata={"embed": WORDS}, activations=True, gradients=gradients
    )
    arguments: dict[str, Any] = {"epochs": 3, "batch_size": 8, "verbose": 0}
    if form == "fit":
        run = fit(model, x, y, plugins=[board], validation_split=0.2, **arguments)
    else:
        adapter = KerasAdapter([board], validation_data=(x[32:], y[32:]))
        model.fit(x[:32], y[:32], validation_data=(x[32:], y[32:]), callbacks=[adapter], **arguments)
        assert adapter.run is not None
        run = adapter.run
    assert not run.failures
    for directory, prefix in (("train", ""), ("validation", "val_")):
        found = scalars(tmp_path / directory)
        for metric in ("loss", "mae"):
            expected = [(epoch, single(value)) for epoch, value in enumerate(run.history[f"{prefix}{metric}"])]
            assert found[f"epoch_{metric}"] == expected
    assert [step for step, _ in scalars(tmp_path / "validation")["evaluation_loss_vs_iterations"]] == [4, 8, 12]
    found = read(tmp_path / "train")
    for weight in ("embed/embeddings", "conv1d/kernel", "conv1d/bias", "dense/kernel"):
        assert [step for step, _ in found[f"{weight}/histogram"]] == [0, 1, 2]
        assert [step for step, _ in found.get(f"gradients/{weight}", ())] == ([0, 1, 2] if gradients else [])
    assert {"activations/embed", "activations/conv1d", "activations/dense"} <= found.keys()
    ((_, graph),) = found["__run_graph__"]
    assert {"Embedding", "Conv1D", "MaxPooling1D", "GlobalMaxPooling1D", "Dense"} <= {node.op for node in graph.node}
    last = np.loadtxt(tmp_path / "train/embeddings/embed-epoch-0002.tsv", delimiter="\t", dtype="float32")
    assert np.array_equal(last, keras.ops.convert_to_numpy(model.get_layer("embed").embeddings))
    assert (tmp_path / "train/embeddings/embed-labels.tsv").read_text().splitlines() == WORDS


def test_files_of_a_resumed_run_equal_those_of_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of an interrupted and resumed run have the values of an uninterrupted one, without repetitions."""
    x, y = texts()

    def run(name: str, *epochs: int) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for number in epochs:
            plugins = [TensorBoard(update_freq="batch", histogram_freq=1, hparams=False), Checkpoint("saved")]
            fit(chapter(), x, y, batch_size=8, epochs=number, verbose=0, plugins=plugins, resume="auto")
        found = read(tmp_path / name / "logs/train")
        del found["decisions"]  # it has the end of the interrupted run
        return found

    whole = run("whole", 4)
    assert [step for step, _ in whole["batch_loss"]] == list(range(1, 21))
    assert run("parts", 2, 4) == whole


def test_it_imports_no_tensorflow() -> None:
    """A run that does not use TensorFlow does not import it, also if it is installed."""
    script = """
        import sys, tempfile
        from tests.plugins.tensorboard.event_files import train
        from hookcore_plugins import TensorBoard
        assert "tensorflow" not in sys.modules
        everything = {"histogram_freq": 1, "images": True, "embeddings_freq": 1, "activations": True, "gradients": True}
        with tempfile.TemporaryDirectory() as directory:
            assert not train([TensorBoard(directory, update_freq="batch", **everything)], [1.0, 2.0]).failures
        assert "tensorflow" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, env=with_tests())
