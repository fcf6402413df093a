"""On every backend, a run that is interrupted and resumed equals an uninterrupted run bit for bit.

`test_resume.py` interrupts runs at every moment, in one process. Here another process resumes from every checkpoint, for every
kind of data, and does not read the trained batches again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters import array_slicing

from hookcore import state, store
from hookcore_adapters.keras import fit
from hookcore_plugins import Checkpoint
from tests.adapters.keras.backends import BACKEND, kinds_of_data, tf
from tests.adapters.keras.lives import EPOCHS, KINDS, layers
from tests.plugins.tensorboard.event_files import with_tests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PART = "import sys; from tests.adapters.keras import lives; lives.{part}(sys.argv[1:])"
BATCHES = 4


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return, by kind of data, the results of an uninterrupted run, and of a run in another process from each checkpoint."""
    directory = tmp_path_factory.mktemp("law")
    kinds = [kind for kind in (parameter.values[0] for parameter in kinds_of_data(KINDS)) if is_here(kind)]
    for part in ("trains_whole", "resumes_from_each"):
        done = subprocess.run(
            [sys.executable, "-c", PART.format(part=part), *kinds],
            cwd=directory,
            env=with_tests(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return {
        kind: {name: json.loads((directory / kind / f"{name}.json").read_text()) for name in ("whole", "resumed")}
        for kind in kinds
    }


def is_here(kind: str) -> bool:
    return BACKEND == "tensorflow" if "dataset" in kind else BACKEND == "torch" or "DataLoader" not in kind


@pytest.mark.parametrize("kind", kinds_of_data(KINDS))
def test_a_new_process_resumes_from_saved_steps_and_epochs_ends(told: dict[str, dict[str, Any]], kind: str) -> None:
    """With moving averages, dropout and shuffling, a new process gives the same events, decisions and values."""
    whole, resumed = told[kind]["whole"], told[kind]["resumed"]
    assert len(resumed) == BATCHES * (EPOCHS if kind == "arrays" else 1)
    for step, life in resumed:
        assert life["ended"] == whole["ended"], step
        seen = life["seen"]
        assert sum(one.startswith("('batch ends'") for one in seen) == BATCHES * EPOCHS - step
        assert seen == whole["seen"][len(whole["seen"]) - len(seen) :], step


FAR, REST = 100_000, 5


class Numbered(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """An epoch of `FAR` and `REST` batches, which records those that are read."""

    def __init__(self, read: Callable[[int], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.read = read

    def __len__(self) -> int:
        return FAR + REST

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read(index)
        return np.full((1, 1), index % 7, "float32"), np.ones((1, 1), "float32")


def line(directory: Path) -> Path:
    """Save the second step of an epoch, as if only a few batches were left, and return the path."""
    keras.utils.set_random_seed(3)
    model = single()
    data = np.zeros((3, 1), "float32"), np.ones((3, 1), "float32")
    plugins = [Checkpoint(directory / "begun", every_n_steps=1, keep_last=None)]
    fit(model, *data, batch_size=1, epochs=1, verbose=0, plugins=plugins)
    there = directory / "begun" / "step-00000002"
    record = state.loads((there / "run.json").read_text())
    record["position"]["batch"], record["steps_per_epoch"] = FAR, FAR + REST
    files = {path.name for path in there.iterdir()} - {"manifest.json", "run.json"}

    def copy(place: Path) -> None:
        for name in files:
            shutil.copy(there / name, place)

    store.write(directory / "far", epoch=0, step=2, metric=None, value=None, record=state.dumps(record), files=copy)
    return directory / "far"


def single() -> Any:
    model = keras.Sequential([layers.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_batches_of_a_pydataset_are_not_read(tmp_path: Path, workers: int) -> None:
    """Of 100,000 trained batches, Keras reads only the first for their shape, and its workers a dozen."""
    read: list[int] = []

    def note(index: int) -> None:
        read.append(index)
        assert len(read) < 100, "trained batches are read again"

    model = single()
    # Metrics are built before, for which Keras's trainers would read a batch, and their workers more.
    model.evaluate(np.zeros((1, 1)), np.ones((1, 1)), verbose=0)
    run = fit(model, Numbered(note, workers=workers), shuffle=False, verbose=0, resume=line(tmp_path))
    assert run.progress.step == 2 + REST
    assert [index for index in read if (2 if workers == 1 else 12) <= index < FAR] == []
    assert set(range(FAR, FAR + REST)) <= set(read)


@pytest.mark.parametrize("shuffle", [False, True])
def test_skipped_batches_of_arrays_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shuffle: bool) -> None:
    """Of 100,000 trained batches of arrays, none is sliced."""
    there, read = line(tmp_path), list[int]()

    def note(length: int = 1) -> None:
        if length == 1:  # not a split or a whole array
            read.append(length)

    if BACKEND == "tensorflow":
        gather = tf.gather

        def noting(params: Any, indices: Any, **kwargs: Any) -> Any:
            with tf.control_dependencies([tf.py_function(note, [], [])]):
                return gather(params, indices, **kwargs)

        monkeypatch.setattr(tf, "gather", noting)
    else:
        slices = array_slicing.Sliceable.__getitem__

        def slicing(self: Any, indices: Any) -> Any:
            part = slices(self, indices)
            note(len(part))
            return part

        monkeypatch.setattr(array_slicing.Sliceable, "__getitem__", slicing)
    x = (np.arange(FAR + REST, dtype="float32") % 7)[:, None]
    run = fit(single(), x, np.ones_like(x), batch_size=1, shuffle=shuffle, verbose=0, resume=there)
    assert run.progress.step == 2 + REST
    both = 2  # x and y
    assert both * REST <= len(read) <= both * (REST + 2)
