"""The IMDB demo: a convolutional network over words that overfits, with TensorBoard."""

from __future__ import annotations

import contextlib
import json
import pickle
import socket
import zipfile
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from hookcore_adapters.demo.corpus import SPECIAL, encode, paragraphs, vocabulary
from hookcore_adapters.demo.keras_task import KerasTask
from hookcore_adapters.demo.task import loading
from hookcore_plugins import TensorBoard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_FEATURES: Final = 2000
"""How many words have a vector: the most frequent ones."""
MAX_LENGTH: Final = 500
"""How many words of a text the model reads: the last ones."""
_TIMEOUT: Final = 5.0
"""How many seconds a download may wait for data."""


@attrs.frozen
class Texts:
    """Texts as indices of words, each with a class of 0 or 1, and the word of each index."""

    encoded: Sequence[Sequence[int]]
    labels: Any
    words: Sequence[str]
    batch_size: int
    epochs: int


def prepare(out: Path, data: Path | None) -> KerasTask:
    """Return the task with IMDB's reviews, from `data` or downloaded by Keras, or with texts on this machine if that fails."""
    click.echo("Loading Keras ...")
    with loading():
        import keras
    texts = _downloaded() or _standard_library() if data is None else _from_file(data)
    keras.utils.set_random_seed(1)
    log_dir = out / "tensorboard"
    click.echo(f"Watch it while it trains:  tensorboard --logdir {log_dir}")
    padded = keras.utils.pad_sequences(texts.encoded, MAX_LENGTH)
    split = int(len(padded) * 0.8)
    return KerasTask(
        _model(),
        (padded[:split], texts.labels[:split]),
        (padded[split:], texts.labels[split:]),
        batch_size=texts.batch_size,
        epochs=texts.epochs,
        # No early stopping, because the charts should show where overfitting begins.
        plugins=[TensorBoard(log_dir, histogram_freq=1, embeddings_freq=1, embeddings_metadata=texts.words)],
    )


def _model() -> Any:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((MAX_LENGTH,)),
            layers.Embedding(MAX_FEATURES, 128, name="embed"),
            layers.Conv1D(32, 7, activation="relu"),
            layers.MaxPooling1D(5),
            layers.Conv1D(32, 7, activation="relu"),
            layers.GlobalMaxPooling1D(),
            # A sigmoid, because binary_crossentropy expects probabilities.
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
    return model


def _downloaded() -> Texts | None:
    """Return IMDB's reviews, downloaded by `keras.datasets.imdb`, or None if the download fails."""
    import keras

    try:
        with _timeout(_TIMEOUT):
            (reviews, labels), _ = keras.datasets.imdb.load_data(num_words=MAX_FEATURES)
            index = keras.datasets.imdb.get_word_index()
    except Exception as error:  # noqa: BLE001 - Keras raises a bare Exception without a network
        click.echo(f"IMDB cannot be downloaded here: {error}")
        return None
    click.echo(f"The data: {len(reviews):,} film reviews, keras.datasets.imdb. Class 1 likes the film.")
    return Texts(reviews, labels, _labels(index), batch_size=128, epochs=20)


def _from_file(path: Path) -> Texts:
    """Return the reviews in `path`, a file like Keras's `imdb.npz`."""
    import numpy as np

    try:
        reviews, labels = _array(path, "x_train"), _array(path, "y_train")
        fits = len(reviews) == len(labels) > 1 and set(np.unique(labels)) == {0, 1}
        order = np.random.RandomState(113).permutation(len(reviews))  # as in Keras's load_data
        # Also as in load_data: 1 at the start, 2 for a word without a vector, and three reserved indices.
        encoded = [[1, *(int(word) + 3 if 0 <= word + 3 < MAX_FEATURES else 2 for word in reviews[number])] for number in order]
    except (OSError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise click.ClickException(f"{path} cannot be read as Keras's imdb.npz: {error}") from error
    if not fits:
        raise click.ClickException(f"{path} must have as many labels of 0 and 1 in y_train as texts in x_train.")
    click.echo(f"The data: {len(reviews):,} texts from {path}.")
    return Texts(encoded, np.asarray(labels)[order], _words_for(path), batch_size=128, epochs=20)


def _array(path: Path, name: str) -> Any:
    """Return one array of an `.npz` file. IMDB's texts are pickled lists, so only lists are unpickled."""
    from numpy.lib import format as npy

    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        _, _, dtype = headers[npy.read_magic(file)](file)
        if dtype.hasobject:
            return _ListUnpickler(file).load()
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)


class _ListUnpickler(pickle.Unpickler):
    """Reads the pickle of an array of lists of numbers, and refuses all others, because a pickle can call any function."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a constructor of NumPy's arrays. Raises `UnpicklingError` for any other name."""
        import numpy as np

        constructors = {"_reconstruct": np.zeros(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        if module.partition(".")[0] != "numpy" or name not in constructors:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array of lists needs")
        return constructors[name]


def _words_for(path: Path) -> list[str]:
    """Return the words by index, or numbers instead of words if there is no word index."""
    import keras

    beside = path.with_name("imdb_word_index.json")
    try:
        with _timeout(_TIMEOUT):
            index = json.loads(beside.read_text()) if beside.exists() else keras.datasets.imdb.get_word_index()
        return _labels(index)
    except Exception as error:  # noqa: BLE001 - Keras raises a bare Exception without a network
        click.echo(f"Words are shown as numbers, because {beside} does not exist and Keras cannot download it: {error}")
        return _labels({})


def _labels(index: dict[str, int]) -> list[str]:
    """Return the word of each index. In IMDB's texts the indices are three higher than in its word index."""
    words = {number + 3: word for word, number in index.items()}
    return [*SPECIAL, *(words.get(number, f"word {number}") for number in range(len(SPECIAL), MAX_FEATURES))]


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _standard_library() -> Texts:
    """Return paragraphs of the standard library's docstrings."""
    import numpy as np

    found = paragraphs()
    split = int(len(found) * 0.8)
    words = vocabulary([text for text, _ in found[:split]], MAX_FEATURES)
    index = {word: number for number, word in enumerate(words)}
    click.echo(
        f"The data instead: {len(found):,} paragraphs of docstrings of Python's standard library. Class 1 is about networks, "
        "processes and concurrency (asyncio, http, socket, ...), class 0 about text and data (email, json, xml, ...)."
    )
    # The texts are short and few, so they need smaller batches than IMDB, and overfit in fewer epochs.
    labels = np.array([label for _, label in found])
    return Texts([encode(text, index) for text, _ in found], labels, words, batch_size=32, epochs=10)
