"""Activations in real runs that write real files, on a trainee whose layers are known."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import CapabilityError, Engine, HookcoreError, ParameterError, Run, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint
from hookcore_plugins.activations import Activations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

np = pytest.importorskip("numpy", reason="activations are NumPy arrays")

VALIDATION = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@attrs.define(eq=False)
class Layered(ScriptedTrainee):
    """Two layers, one within another, that scale the samples by the weight, which each batch counts up."""

    def activations(self, data: Any, samples: int = 1) -> Mapping[str, Any]:
        inputs = np.array(data[:samples], "float32")
        return {"first": inputs * self.weights[0], "encoder/file": inputs.sum(axis=1) * self.weights[0]}


def train(
    plugins: Sequence[object], epochs: int, *, crash: tuple[int, int] | None = None, data: Any = VALIDATION, **options: Any
) -> Run:
    """Train two batches an epoch; `crash` is the epoch and the batch in which the run ends, if it does."""
    trainee = options.pop("trainee", None) or Layered()
    loop = Loop(plugins, epochs=epochs, trainee=trainee, validation_data=data, **options)
    with contextlib.suppress(RuntimeError), loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(2)):
                if crash == (epoch, batch):
                    raise RuntimeError
                trainee.weights = [trainee.weights[0] + 1]
    return loop.run


def files(directory: Path) -> dict[str, bytes]:
    """Return the content of every file below `directory`."""
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_each_epoch_has_a_file_of_every_layers_activations(tmp_path: Path) -> None:
    """A file has an array under each layer's name, even one with slashes or one that `numpy.savez` reserves, without pickle."""
    train([Activations(tmp_path)], 2)
    assert sorted(files(tmp_path)) == ["activations-epoch-0001.npz", "activations-epoch-0002.npz"]
    for epoch, weight in [(1, 2), (2, 4)]:
        with np.load(tmp_path / f"activations-epoch-{epoch:04d}.npz", allow_pickle=False) as read:
            assert read.files == ["first", "encoder/file"]
            assert read["first"].tolist() == [[1.0 * weight, 2.0 * weight]]
            assert read["encoder/file"].tolist() == [3.0 * weight]
            assert read["first"].dtype == "float32"


def test_every_n_epochs_and_samples(tmp_path: Path) -> None:
    """Every second epoch is written, with two samples each."""
    train([Activations(tmp_path, every_n_epochs=2, samples=2)], 5)
    assert sorted(files(tmp_path)) == ["activations-epoch-0002.npz", "activations-epoch-0004.npz"]
    with np.load(tmp_path / "activations-epoch-0004.npz") as read:
        assert read["first"].tolist() == [[8.0, 16.0], [24.0, 32.0]]


def test_a_layer_over_the_limit_is_left_out_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A layer that still fits is written, the log names the others once, and the next run warns again."""
    activations = Activations(tmp_path, max_megabytes=7e-6)
    for _ in range(2):
        caplog.clear()
        train([activations], 3)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told == ["activations: the activations of first are left out: they take 8 B, and max_megabytes=7e-06 leaves 7 B"]
    with np.load(tmp_path / "activations-epoch-0003.npz") as read:
        assert read.files == ["encoder/file"]


def test_the_limit_is_on_the_whole_file(tmp_path: Path) -> None:
    """Two layers of 8 and 4 bytes: 11 bytes have room for the first alone, and 12 for both."""
    for megabytes, names in [(11e-6, ["first"]), (12e-6, ["first", "encoder/file"])]:
        train([Activations(tmp_path, max_megabytes=megabytes)], 1)
        with np.load(tmp_path / "activations-epoch-0001.npz") as read:
            assert read.files == names


def test_the_files_of_an_earlier_run_are_moved_aside(tmp_path: Path) -> None:
    """Files of an earlier run move to the first free number, and nothing else in the directory is touched."""
    (tmp_path / "notes.npz").write_text("mine")
    for epochs in (3, 2, 1):
        train([Activations(tmp_path)], epochs)
    assert sorted(files(tmp_path)) == [
        "activations-epoch-0001.npz",
        "earlier-001/activations-epoch-0001.npz",
        "earlier-001/activations-epoch-0002.npz",
        "earlier-001/activations-epoch-0003.npz",
        "earlier-002/activations-epoch-0001.npz",
        "earlier-002/activations-epoch-0002.npz",
        "notes.npz",
    ]


@settings(max_examples=settings().max_examples // 5)  # each is three runs with files
@given(
    cut=st.tuples(st.integers(0, 4), st.integers(0, 1)),
    every_n_steps=st.sampled_from([None, 1, 2, 3]),
    every_n_epochs=st.integers(1, 3),
    first=st.booleans(),
)
def test_a_resumed_run_leaves_the_files_of_one_that_never_stopped(
    *, cut: tuple[int, int], every_n_steps: int | None, every_n_epochs: int, first: bool
) -> None:
    """Wherever a run is cut and the plugin is listed, a resumed run leaves the same files, byte for byte."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)

        def run(name: str, epochs: int, crash: tuple[int, int] | None = None) -> None:
            both: list[object] = [
                Activations(here / name),
                Checkpoint(here / f"{name}-saved", every_n_steps=every_n_steps, every_n_epochs=every_n_epochs),
            ]
            train(both if first else both[::-1], epochs, crash=crash, resume="auto")

        run("whole", 5)
        run("parts", 5, cut)
        run("parts", 5)
        assert {name: content for name, content in files(here / "parts").items() if "earlier" not in name} == files(
            here / "whole"
        )


def test_a_resumed_run_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    """Files after the checkpoint are removed even if the resumed run ends before it reaches their epochs."""
    plugins = [Activations(tmp_path / "seen"), Checkpoint(tmp_path / "saved", every_n_epochs=2)]
    train(plugins, 4, crash=(3, 1))
    assert len(files(tmp_path / "seen")) == 3
    train(plugins, 4, crash=(2, 0), resume="auto")
    assert sorted(files(tmp_path / "seen")) == ["activations-epoch-0001.npz", "activations-epoch-0002.npz"]


def test_a_resumed_run_that_had_no_such_plugin_moves_the_files_aside(tmp_path: Path) -> None:
    """Files of another run are moved aside, though this run is resumed."""
    train([Activations(tmp_path / "seen")], 1)
    train([Checkpoint(tmp_path / "saved")], 2, crash=(1, 0))
    train([Checkpoint(tmp_path / "saved"), Activations(tmp_path / "seen")], 2, resume="auto")
    assert sorted(files(tmp_path / "seen")) == ["activations-epoch-0002.npz", "earlier-001/activations-epoch-0001.npz"]


def test_the_weights_are_those_that_the_epoch_ended_with(tmp_path: Path) -> None:
    """Wherever the plugin is listed, it writes before a plugin that restores other weights at the end of the epoch."""

    class PutsBack:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.trainee.restore({"weights": [0.0]})

    train([PutsBack(), Activations(tmp_path)], 1)
    with np.load(tmp_path / "activations-epoch-0001.npz") as read:
        assert read["first"].tolist() == [[2.0, 4.0]]


def test_what_cannot_be_stored_without_pickle_is_no_file(tmp_path: Path) -> None:
    """After an error the plugin is disabled, the run continues, and the file of the epoch before is whole."""

    @attrs.define(eq=False)
    class Odd(Layered):
        def activations(self, data: Any, samples: int = 1) -> Mapping[str, Any]:
            return {"a": np.array([{}], object) if self.weights[0] > 2 else np.zeros(samples), "data": np.array(data)}

    run = train([Activations(tmp_path)], 3, trainee=Odd())
    assert [(failure.plugin, failure.hook) for failure in run.failures] == [("activations", "on_epoch_end")]
    assert len(run.history) == 3
    assert list(files(tmp_path)) == ["activations-epoch-0001.npz"]
    assert [path.name for path in tmp_path.iterdir()] == ["activations-epoch-0001.npz"]


def test_without_validation_data_the_run_continues_without_it(tmp_path: Path) -> None:
    """The error names what is missing at the beginning, and nothing is written."""
    run = train([Activations(tmp_path)], 2, data=None)
    (failure,) = run.failures
    assert (failure.hook, type(failure.error)) == ("on_train_begin", HookcoreError)
    assert "Give the loop validation_data" in str(failure.error)
    assert len(run.history) == 2
    assert files(tmp_path) == {}


def test_a_trainee_without_activations_is_refused_by_name(tmp_path: Path) -> None:
    """A trainee without activations is refused before the first batch."""
    with pytest.raises(CapabilityError, match=r"'activations' needs .*, but a scripted trainee does not provide activations"):
        train([Activations(tmp_path)], 1, trainee=ScriptedTrainee())


def test_bad_parameters_are_refused(tmp_path: Path) -> None:
    """The error names the parameter, the value and what was expected."""
    (tmp_path / "file").touch()
    bad: list[tuple[str, Any]] = [("directory", 5), ("directory", None), ("every_n_epochs", 0), ("samples", 0), ("samples", 1.5)]
    bad += [("max_megabytes", 0), ("max_megabytes", float("inf")), ("max_megabytes", "1")]
    for name, value in bad:
        with pytest.raises(ParameterError, match=f"Activations: {name} must be .*, got {value!r}"):
            Activations(**{"directory": tmp_path, name: value})
    with pytest.raises(ParameterError, match="directory must be the path of a directory, not of a file"):
        Activations(tmp_path / "file")


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """A spec string gives every parameter, and nothing is made before a run begins."""
    engine = Engine([f"activations:directory={tmp_path}/seen,every_n_epochs=2,samples=3,max_megabytes=0.5"])
    made = engine["activations"]
    assert (made.directory, made.every_n_epochs, made.samples, made.max_megabytes) == (tmp_path / "seen", 2, 3, 0.5)
    assert list(tmp_path.iterdir()) == []
