"""A small Keras run with every view of it, a TensorBoard server that shows it, and Chromium."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if any(importlib.util.find_spec(name) is None for name in ("jinja2", "keras", "matplotlib", "selenium", "tensorboard")):
    collect_ignore_glob = ["test_*.py"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hookcore import Run
    from tests.browser.looking import Browser

POSITIVE = "wonderful superb brilliant charming moving delightful gripping witty beautiful touching clever fresh".split()  # noqa: SIM905
NEGATIVE = "awful dull tedious clumsy boring dreadful shallow wooden stale pointless silly bland".split()  # noqa: SIM905
NEUTRAL = (  # noqa: SIM905
    "the a film actor scene story camera music director plot ending dialogue script character minute screen role "
    "theatre audience year town night train letter house street river garden winter summer window table morning "
    "evening picture"
).split()
TABS = ["timeseries", "scalars", "graphs", "histograms", "distributions", "projector", "hparams", "text"]
WORDS = [*POSITIVE, *NEGATIVE, *NEUTRAL]
EPOCHS = 8
LENGTH = 24


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def run(directory: Path) -> Run:
    """Train a small convolutional network on made-up reviews, until a plugin votes to stop."""
    import keras

    from hookcore_adapters.keras import fit
    from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, Report, TensorBoard

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((LENGTH,), name="review"),
            layers.Embedding(len(WORDS), 8, name="embed"),
            layers.Conv1D(8, 3, activation="relu", name="conv1d"),
            layers.MaxPooling1D(2, name="max_pooling1d"),
            layers.Conv1D(8, 3, activation="relu", name="conv1d_1"),
            layers.GlobalMaxPooling1D(name="global_max_pooling1d"),
            layers.Dense(1, activation="sigmoid", name="dense"),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(0.01), loss="binary_crossentropy", metrics=["acc"])
    tensorboard = TensorBoard(
        "logs",
        update_freq="batch",
        histogram_freq=1,
        activations=True,
        embeddings_freq=1,
        embeddings_metadata=WORDS,
        steps_per_second=True,
    )
    # No epoch improves by `min_delta`: each reduces the learning rate, and the sixth stops the run, on any machine.
    plugins = [
        ReduceLROnPlateau(factor=0.5, patience=1, min_delta=10.0),
        EarlyStopping(patience=5, min_delta=10.0),
        Checkpoint("checkpoints"),
        Report("report"),
        tensorboard,
    ]
    train, validation = _reviews(0, 256), _reviews(1, 64)
    with contextlib.chdir(directory):
        return fit(model, *train, validation_data=validation, batch_size=32, epochs=EPOCHS, verbose=0, plugins=plugins)


def _reviews(seed: int, number: int) -> tuple[Any, Any]:
    """Return texts as indices into `WORDS`, and their classes; most words are neutral, and the others are of the class."""
    import numpy as np

    random = np.random.default_rng(seed)
    liked = random.integers(0, 2, number)
    of_kind = np.where(liked[:, None], 0, len(POSITIVE)) + random.integers(0, len(POSITIVE), (number, LENGTH))
    neutral = random.integers(len(POSITIVE) + len(NEGATIVE), len(WORDS), (number, LENGTH))
    return np.where(random.random((number, LENGTH)) < 0.1, of_kind, neutral), liked.astype("float32")


@pytest.fixture(scope="session")
def tensorboard(run: Run, directory: Path) -> Iterator[str]:
    """Yield the address of a TensorBoard server that has read the whole run: a page shows what was read when it was opened."""
    from tests.browser.looking import fetch, wait

    del run
    log = directory / "tensorboard.log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory / "logs")]
    command += ["--host", "127.0.0.1", "--port", "0"]  # one that is free
    with log.open("wb") as output, subprocess.Popen(command, cwd=directory, stdout=output, stderr=output) as server:
        try:

            def address() -> str | None:
                assert server.poll() is None, f"TensorBoard ended:\n{log.read_text()}"
                found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())
                return found and found[0]

            url = wait(address, "TensorBoard prints its address")
            points = written(directory / "logs")
            wait(
                lambda: {part: len(fetch(f"{url}data/plugin/{part}")) for part in points} == points,
                f"TensorBoard has read all points: {points}",
            )
            ended = 'hparams/session_groups?request={"allowedStatuses":["STATUS_SUCCESS","STATUS_FAILURE"]}'
            wait(lambda: fetch(f"{url}data/plugin/{ended}")["totalSize"], "TensorBoard has read how the run ended")
            listing = f"{url}data/plugins_listing"
            wait(lambda: all(fetch(listing)[tab]["enabled"] for tab in TABS), f"TensorBoard shows all of {TABS}")
            yield url
        finally:
            server.terminate()


def written(logs: Path) -> dict[str, int]:
    """Return the number of points of each tag of each run in the event files, by the path at which a server shows them."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    found = {}
    for log in ("train", "validation"):
        events = EventAccumulator(str(logs / log)).Reload()
        for tag, metadata in events.summary_metadata.items():
            plugin = metadata.plugin_data.plugin_name
            if plugin in {"scalars", "histograms", "text"}:
                found[f"{plugin}/{plugin}?run={log}&tag={tag}"] = len(events.Tensors(tag))
    return found


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory for screenshots: the variable SCREENSHOTS, or a temporary directory."""
    directory = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def browser(screenshots: Path) -> Iterator[Browser]:
    """Yield one Chromium for all tests."""
    from tests.browser.looking import Browser

    with Browser.started(screenshots) as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, tensorboard: str) -> Callable[[str], Browser]:
    """Return a function that opens a tab of TensorBoard, such as `"scalars&tagFilter=loss"`, and returns the browser."""

    def show(tab: str) -> Browser:
        browser.open(f"{tensorboard}?darkMode=false#{tab}")
        return browser

    return show
