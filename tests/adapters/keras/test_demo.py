"""`hookcore demo` as a process: its files, Ctrl-C, and missing libraries; and the sources of its texts."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import click
import keras
import numpy as np
import pytest
from numpy.lib import format as npy

from hookcore import store
from hookcore_adapters.demo import corpus, imdb
from hookcore_adapters.keras import MODEL_FILE
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the demo writes for TensorBoard")
needs_digits = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the demo trains on scikit-learn's digits")

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo"]


@needs_digits
def test_the_demo_trains_and_verifies_its_best_checkpoint(tmp_path: Path) -> None:
    """The demo ends with status 0, its best checkpoint has the recorded score, and the files that it names exist."""
    out = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--out", out, "--epochs", "3"], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal to it" in done.stdout
    assert "NOT" not in done.stdout
    assert "\b" not in done.stdout, "Keras's own progress bar is replaced"
    best = store.best(out / "checkpoints")
    assert str(best.path / MODEL_FILE) in done.stdout
    with (out / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert best.value == min(float(row["val_loss"]) for row in rows)


@needs_digits
def test_ctrl_c_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    """Ctrl-C during training ends with status 130 and a message, and the newest checkpoint verifies and loads."""
    out = tmp_path / "demo"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, "--out", out, "--epochs", "500"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "val_loss" in line:  # after the first of many epochs
                break
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    text = "".join(lines) + rest
    assert process.returncode == 130, text
    assert "interrupted" in rest
    assert "Traceback" not in text
    newest = store.newest(out / "checkpoints")
    model = keras.models.load_model(newest.path / MODEL_FILE)
    assert int(model.optimizer.iterations) == newest.step


@pytest.mark.parametrize(("missing", "extras"), [("keras", "demo"), ("tensorflow", "demo"), ("jax", "demo,jax")])
def test_the_demo_without_keras_names_the_extra(tmp_path: Path, missing: str, extras: str) -> None:
    """If Keras or its backend is not installed, the demo ends with status 1 and one line that names what to install."""
    (tmp_path / "keras.py").write_text(f"raise ImportError('No module named {missing}', name='{missing}')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*COMMAND, "--out", tmp_path / "demo"], capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"Error: The demo needs {missing}: pip install 'hookcore[{extras}]'"]
    assert not (tmp_path / "demo").exists()


# IMDB.


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Return the path of a file like Keras's imdb.npz, with sixty texts whose class one word shows, and a word index beside."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    texts = np.empty(60, object)
    for number, label in enumerate(labels):
        texts[number] = [*rng.integers(3, 1990, size=rng.integers(5, 40)).tolist(), 1 + int(label), 5000]
    path = tmp_path / "imdb.npz"
    np.savez(path, x_train=texts, y_train=labels, x_test=texts[:2], y_test=labels[:2])
    words = {"awful": 1, "lovely": 2} | {f"w{number}": number for number in range(3, 6000)}
    (tmp_path / "imdb_word_index.json").write_text(json.dumps(words))
    return path


@needs_tensorboard
def test_the_imdb_demo_trains_with_tensorboard_and_word_labels(tmp_path: Path, reviews: Path) -> None:
    """On a given file, the demo prints the TensorBoard command and the data, and writes logs, words and checkpoints."""
    out = tmp_path / "out"
    command = [*COMMAND, "--model", "imdb", "--data", str(reviews), "--out", str(out), "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"tensorboard --logdir {out / 'tensorboard'}" in done.stdout.partition("epoch ")[0]
    assert f"60 texts from {reviews}" in done.stdout
    assert "equal to it" in done.stdout
    assert "val_acc" in done.stdout
    with (out / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    model = keras.models.load_model(store.best(out / "checkpoints").path / MODEL_FILE)
    assert [type(layer).__name__ for layer in model.layers] == [
        "Embedding",
        "Conv1D",
        "MaxPooling1D",
        "Conv1D",
        "GlobalMaxPooling1D",
        "Dense",
    ]
    assert model.get_layer("embed").embeddings.shape == (2000, 128)
    labels = {path: path.read_text().splitlines() for path in out.rglob("*.tsv") if "lovely" in path.read_text()}
    assert labels, "the projector has the words"
    assert all(lines[:6] == ["<pad>", "<start>", "<unknown>", "<unused>", "awful", "lovely"] for lines in labels.values())


def rewritten(path: Path, protocol: int) -> Path:
    """Return the file with its texts pickled by another protocol, because NumPy has changed it."""
    other = path.with_name(f"protocol{protocol}.npz")
    with np.load(path, allow_pickle=True) as read, zipfile.ZipFile(other, "w") as archive:
        for name in read.files:
            content = io.BytesIO()
            npy.write_array_header_1_0(content, npy.header_data_from_array_1_0(read[name]))
            content.write(pickle.dumps(read[name], protocol) if read[name].dtype.hasobject else read[name].tobytes())
            archive.writestr(f"{name}.npy", content.getvalue())
    return other


@pytest.mark.parametrize("protocol", [None, 3, 5])
def test_a_file_is_read_as_keras_reads_it(reviews: Path, protocol: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file gives the same texts, order and indices as in Keras."""
    path = reviews if protocol is None else rewritten(reviews, protocol)
    monkeypatch.setattr(sys.modules[keras.datasets.imdb.load_data.__module__], "get_file", lambda *_, **__: str(path))
    (expected, labels), _ = keras.datasets.imdb.load_data(num_words=imdb.MAX_FEATURES)
    texts = imdb._from_file(path)
    assert [list(text) for text in texts.encoded] == [list(text) for text in expected]
    np.testing.assert_array_equal(texts.labels, labels)
    assert (len(texts.words), texts.words[4:7]) == (imdb.MAX_FEATURES, ["awful", "lovely", "w3"])


def test_a_file_of_plain_numbers_is_read_too(tmp_path: Path, reviews: Path) -> None:
    """A file with texts of one length, which is not pickled, is read too."""
    path = tmp_path / "plain.npz"
    np.savez(path, x_train=np.array([[7, 8], [9, 1999]]), y_train=np.array([0, 1]))
    texts = imdb._from_file(path)
    assert sorted(map(list, texts.encoded)) == [[1, 10, 11], [1, 12, 2]]
    assert reviews.exists()


class Harmful:
    """Harm that a pickle can do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_other_pickle_is_loaded(tmp_path: Path) -> None:
    """A pickle that names any other function is refused, and the function is not called."""
    path, made = tmp_path / "harmful.npz", tmp_path / "made"
    np.savez(path, x_train=np.array([Harmful(made), [1]], object), y_train=np.array([0, 1]))
    with pytest.raises(click.ClickException, match=r"cannot be read as Keras's imdb.npz: it names \w+.mkdir"):
        imdb._from_file(path)
    assert not made.exists()


def test_a_file_that_is_something_else_is_one_error(tmp_path: Path) -> None:
    """A file of another kind, or with missing arrays or other labels, is an error that names it."""
    (tmp_path / "text.npz").write_text("words")
    np.savez(tmp_path / "others.npz", x=np.zeros(3))
    np.savez(tmp_path / "fewer.npz", x_train=np.ones((3, 2), int), y_train=np.array([0, 1]))
    np.savez(tmp_path / "stars.npz", x_train=np.ones((3, 2), int), y_train=np.array([0, 1, 2]))
    np.savez(tmp_path / "flat.npz", x_train=np.ones(2, int), y_train=np.array([0, 1]))
    for name in ("text", "others", "flat"):
        with pytest.raises(click.ClickException, match=f"{name}.npz cannot be read as Keras's imdb.npz"):
            imdb._from_file(tmp_path / f"{name}.npz")
    for name in ("fewer", "stars"):
        with pytest.raises(click.ClickException, match="as many labels of 0 and 1 in y_train as texts"):
            imdb._from_file(tmp_path / f"{name}.npz")


def offline(*_: object, **__: object) -> None:
    """Raise Keras's error without a network."""
    assert socket.getdefaulttimeout() is not None, "a network that does not answer must time out"
    raise Exception("URL fetch failure")  # noqa: TRY002 - as in Keras


def test_without_a_network_it_trains_on_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network, the demo trains on thousands of texts of two classes from the standard library, and prints a note."""
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(keras.datasets.imdb, "load_data", offline)
    task = imdb.prepare(tmp_path, None)
    said = capsys.readouterr().out
    assert "IMDB cannot be downloaded here: URL fetch failure" in said
    assert "paragraphs of docstrings of Python's standard library" in said
    assert socket.getdefaulttimeout() is None
    (x, y), (x_validation, y_validation) = task.data, task.validation_data
    assert len(x) > 1500
    assert 0.15 < len(x_validation) / (len(x) + len(x_validation)) < 0.25
    assert 0.3 < y.mean() < 0.7
    assert set(np.unique(y_validation)) == {0, 1}
    assert x.shape[1] == 500
    assert x.max() < imdb.MAX_FEATURES
    assert len(task.plugins[0].embeddings_metadata) == imdb.MAX_FEATURES  # type: ignore[attr-defined]
    assert task.model.count_params() == 2000 * 128 + (7 * 128 + 1) * 32 + (7 * 32 + 1) * 32 + 33


def test_the_texts_of_the_standard_library_are_always_the_same() -> None:
    """The texts do not repeat, in an order that mixes the classes; frequent words come first, after the four special ones."""
    found = corpus.paragraphs()
    assert found == corpus.paragraphs()
    assert len({tuple(words) for words, _ in found}) == len(found)
    assert 0.3 < sum(label for _, label in found[:200]) / 200 < 0.7
    words = corpus.vocabulary([["b", "a", "b"], ["c"]], 6)
    assert words == ["<pad>", "<start>", "<unknown>", "<unused>", "b", "a"]
    assert corpus.encode(["a", "c"], {word: number for number, word in enumerate(words)}) == [1, 5, 2]


def test_words_without_names_are_numbered(
    reviews: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If there is no word index beside the file, and no network, the words are numbers, and the demo prints the reason."""
    (reviews.parent / "imdb_word_index.json").unlink()
    monkeypatch.setattr(keras.datasets.imdb, "get_word_index", offline)
    assert imdb._from_file(reviews).words[4:6] == ["word 4", "word 5"]
    assert "Words are shown as numbers" in capsys.readouterr().out


def test_data_are_for_imdb(reviews: Path) -> None:
    """`--data` is refused for another model, before anything is loaded."""
    done = subprocess.run([*COMMAND, "--data", str(reviews)], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--data is for --model imdb" in done.stderr


def test_help_loads_no_framework() -> None:
    """The help of the program and of the demo imports no framework."""
    code = (
        "import sys; from click.testing import CliRunner; from hookcore.cli.main import main; "
        "run = CliRunner().invoke; assert 'demo' in run(main, ['--help']).output; "
        "assert '--model' in run(main, ['demo', '--help']).output; "
        "print([name for name in ('keras', 'numpy', 'tensorboard', 'tensorflow', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "[]\n"
