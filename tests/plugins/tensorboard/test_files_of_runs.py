"""The event files of several runs in one directory: of earlier, resumed, killed and abandoned ones. Nothing is lost or mixed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from hookcore import store
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, TensorBoard
from hookcore_plugins.tensorboard import event_files
from tests.plugins.tensorboard.event_files import (
    EVERYTHING,
    both,
    read,
    scalars,
    tables,
    train,
    train_by_steps,
    with_tests,
)


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt()])
def test_nothing_is_lost_if_an_exception_ends_the_run(tmp_path: Path, error: BaseException) -> None:
    """The files have all batches before the exception, and how the run ended."""
    with pytest.raises(type(error)):
        train([TensorBoard(tmp_path, update_freq="batch")], [1.0, 1.0], batches=3, fail=(1, 2, error))
    found = read(tmp_path / "train")
    assert [step for step, _ in found["batch_loss"]] == [1, 2, 3, 4, 5]
    outcome, status = ("failed", 2) if isinstance(error, RuntimeError) else ("interrupted", 0)
    assert f"the run ended: **{outcome}**" in found["decisions"][-1][1]
    assert found["_hparams_/session_end_info"][-1][1].session_end_info.status == status


def test_an_earlier_run_is_moved_aside(tmp_path: Path) -> None:
    """One plugin serves three runs: each has its own files and embeddings, and files of others stay."""
    board = TensorBoard(tmp_path, **EVERYTHING)
    for value in (1.0, 2.0, 3.0):
        train([board], [value])
        (tmp_path / "train" / "notes.txt").write_text("mine")
    for value, place in ((1.0, "earlier-001"), (2.0, "earlier-002"), (3.0, ".")):
        assert scalars(tmp_path / place / "validation")["epoch_loss"] == [(0, value)]
        assert (tmp_path / place / "train" / "projector_config.pbtxt").exists()
        assert len(list((tmp_path / place / "train" / "embeddings").iterdir())) == 4
    assert [path.parent for path in tmp_path.rglob("notes.txt")] == [tmp_path / "train"]


def test_a_directory_without_event_files_is_left_alone(tmp_path: Path) -> None:
    """A directory called `train` without event files may hold data, and is not moved."""
    (tmp_path / "train" / "embeddings").mkdir(parents=True)
    (tmp_path / "train" / "embeddings" / "cat.jpg").write_text("cat")
    train([TensorBoard(tmp_path)], [1.0])
    assert (tmp_path / "train" / "embeddings" / "cat.jpg").exists()
    assert not list(tmp_path.glob("earlier*"))


@settings(max_examples=settings().max_examples // 5)  # each is three runs with files
@given(
    values=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4),
    crash=st.tuples(st.integers(0, 3), st.integers(0, 2), st.binary(max_size=20)),
    every_n_steps=st.sampled_from([None, 1, 2, 3]),
    place=st.integers(0, 3),
    update_freq=st.sampled_from(["epoch", "batch", 2]),
    asynchronous=st.booleans(),
)
def test_a_resumed_log_reads_as_that_of_a_run_that_never_stopped(
    values: list[float],
    crash: tuple[int, int, bytes],
    every_n_steps: int | None,
    place: int,
    update_freq: Any,
    *,
    asynchronous: bool,
) -> None:
    """After a crash anywhere, every value is equal, wherever the plugin is listed, also if the files have a torn end."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)

        def run(name: str, fail: Any = None) -> None:
            plugins: list[object] = [ReduceLROnPlateau(patience=1, factor=0.5), EarlyStopping(patience=2)]
            plugins.append(Checkpoint("saved", every_n_steps=every_n_steps, asynchronous=asynchronous))
            plugins.insert(place, TensorBoard(**EVERYTHING | {"update_freq": update_freq}))
            (here / name).mkdir(exist_ok=True)
            with contextlib.chdir(here / name):  # paths are hyperparameters too
                assert not train(plugins, values, batches=3, fail=fail, resume="auto").failures

        run("whole")
        with contextlib.suppress(RuntimeError):
            run("parts", (*crash[:2], RuntimeError("crash")))
        whole, parts = here / "whole/logs", here / "parts/logs"
        saved = store.named(here / "parts/saved")
        for path in parts.glob("*/*tfevents*"):
            with path.open("ab") as file:
                file.write(crash[2])
        run("parts")
        assert both(parts) == both(whole)
        assert scalars(parts / "train") == scalars(whole / "train")
        assert tables(parts / "train") == tables(whole / "train")
        assert bool(list(parts.glob("earlier-*"))) == (not saved)


@pytest.mark.parametrize("every_n_steps", [1, 2, 3])
@pytest.mark.parametrize("step", range(1, 7))
def test_a_resumed_log_of_a_loop_by_steps_reads_as_that_of_a_run_that_never_stopped(
    tmp_path: Path, step: int, every_n_steps: int
) -> None:
    """After a crash anywhere every value is equal, also if the checkpoint was taken at an observation within an epoch."""

    def run(name: str, fail: Any = None) -> None:
        plugins = [
            ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
            TensorBoard(**EVERYTHING | {"update_freq": "batch"}),
            Checkpoint("saved", every_n_steps=every_n_steps),
        ]
        (tmp_path / name).mkdir(exist_ok=True)
        with contextlib.chdir(tmp_path / name):  # paths are hyperparameters too
            assert not train_by_steps(plugins, fail=fail, resume="auto").failures

    run("whole")
    with contextlib.suppress(RuntimeError):
        run("parts", (step, RuntimeError("crash")))
    run("parts")
    whole, parts = tmp_path / "whole/logs", tmp_path / "parts/logs"
    assert both(parts) == both(whole)
    assert [at for at, _ in scalars(parts / "train")["step_loss"]] == [2, 4, 6]
    assert tables(parts / "train") == tables(whole / "train")


def test_a_run_that_had_ended_is_resumed(tmp_path: Path) -> None:
    """A resumed run removes the outcome that the files had, and writes its own."""

    def run(values: list[float]) -> None:
        train([TensorBoard(tmp_path / "logs", **EVERYTHING), Checkpoint(tmp_path / "saved")], values, resume="auto")

    run([3.0, 2.0])
    run([3.0, 2.0, 1.0])
    found = read(tmp_path / "logs" / "train")
    assert [step for step, _ in found["epoch_loss"]] == [0, 1, 2]
    assert len(found["_hparams_/session_start_info"]) == len(found["_hparams_/session_end_info"]) == 1
    assert [text.count("the run ended") for _, text in found["decisions"]] == [0, 0, 1]


def test_a_resumed_run_does_not_continue_the_log_of_another(tmp_path: Path) -> None:
    """If another run wrote in the directory since, its files are moved aside and the decisions so far are written again."""
    saved = Checkpoint(tmp_path / "saved")

    def board() -> TensorBoard:
        return TensorBoard(tmp_path / "logs", clock=lambda: 1000.0)  # both begin within a second

    train([board(), saved], [3.0, 2.0])
    train([board()], [9.0] * 5)
    train([board(), saved], [3.0, 2.0, 1.0], resume="auto")
    assert scalars(tmp_path / "logs" / "validation")["epoch_loss"] == [(2, 1.0)]
    assert scalars(tmp_path / "logs" / "earlier-001" / "validation")["epoch_loss"] == [(0, 3.0), (1, 2.0)]
    assert scalars(tmp_path / "logs" / "earlier-002" / "validation")["epoch_loss"] == [(epoch, 9.0) for epoch in range(5)]
    assert [step for step, _ in read(tmp_path / "logs" / "train")["decisions"]] == [2, 4, 6]


def test_a_new_file_is_read_after_earlier_ones(tmp_path: Path) -> None:
    """A new file has a later name, also if the clock goes back or two runs begin within a second: TensorBoard sorts by name."""
    now = 1000.0

    def run(epochs: int) -> None:
        board = TensorBoard(tmp_path / "logs", clock=lambda: now)
        train([board, Checkpoint(tmp_path / "saved")], [1.0] * epochs, resume="auto")

    run(1)
    now = 5.0
    run(2)
    now = 1000.0
    run(3)
    assert len(event_files.named(tmp_path / "logs" / "train")) == 3
    assert [step for step, _ in scalars(tmp_path / "logs" / "train")["epoch_loss"]] == [0, 1, 2]
    assert sum("the run ended" in text for _, text in read(tmp_path / "logs" / "train")["decisions"]) == 1


@pytest.mark.parametrize("torn", [b"\0" * 20, b"\1", b"\xff" * 40])
def test_what_a_crash_left_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Zeros after a loss of power, or a part of a record, are removed, and whole records stay."""
    train([TensorBoard(tmp_path)], [1.0, 2.0])
    before = read(tmp_path / "train")
    (path,) = event_files.named(tmp_path / "train")
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(torn)
    assert event_files.cut(tmp_path / "train", 1000) == sum(1 for _ in LegacyEventFileLoader(str(path)).Load()) - 1
    assert path.stat().st_size == size
    assert read(tmp_path / "train") == before
    assert event_files.cut(tmp_path / "train", 0) == 0
    assert not path.exists()


CHILD = """
    import os, sys
    from pathlib import Path
    from hookcore import hookimpl
    from hookcore_plugins import Checkpoint, TensorBoard
    from tests.plugins.tensorboard.event_files import train
    from tests.plugins.tensorboard.test_tensorboard import EVERYTHING

    class Dies:
        name = "dies"

        @hookimpl(tryfirst=True)
        def on_batch_end(self, run):
            if run.progress.step == int(sys.argv[1]):
                os.write(1, b"now\\n")
                os.read(0, 1)  # until it is killed

    board = TensorBoard("logs", **EVERYTHING | {"update_freq": "batch"})
    train([board, Checkpoint("saved", every_n_steps=1, asynchronous=False), Dies()], [3.0, 2.0, 1.0], batches=3, resume="auto")
"""


def child(step: int, *, kill: bool) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(step)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=with_tests())
    with process:
        assert process.stdout is not None
        if kill:
            assert process.stdout.readline() == b"now\n"
            process.kill()
    assert process.returncode == (-signal.SIGKILL if kill else 0)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_after_a_kill_what_a_checkpoint_knows_of_is_in_the_files(tmp_path: Path, step: int) -> None:
    """The files of a killed run have what its checkpoint counts, and if it is resumed they read as if it was never killed."""
    for name, kills in (("whole", []), ("parts", [step])):
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            for at in kills:
                child(at, kill=True)
                assert [found for found, _ in read(Path("logs/train")).get("batch_loss", [])] == list(range(1, at))
            child(0, kill=False)
    assert both(tmp_path / "parts/logs") == both(tmp_path / "whole/logs")
    assert tables(tmp_path / "parts/logs/train") == tables(tmp_path / "whole/logs/train")


def test_a_run_that_is_left_without_its_end_is_written(tmp_path: Path) -> None:
    """A run without an end, as when Keras's fit raises, is written at the end of the process or when another run begins."""
    script = """
        from hookcore import Engine, Run
        from hookcore_plugins import TensorBoard
        engine = Engine([TensorBoard("logs", update_freq="batch")], autoload=False)
        for run in range(2):
            session = engine.start(Run())
            session.train_begin()
            session.epoch_begin(0)
            session.batch_end(0, {"loss": float(run)})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert scalars(tmp_path / "logs" / "earlier-001" / "train")["batch_loss"] == [(1, 0.0)]
    assert scalars(tmp_path / "logs" / "train")["batch_loss"] == [(1, 1.0)]
