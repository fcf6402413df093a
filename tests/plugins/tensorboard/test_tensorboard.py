"""The plugin TensorBoard: its parameters, what it needs and imports, and the texts of decisions."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import CapabilityError, Engine, LoadError, ParameterError, Run, hookimpl
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, TensorBoard
from tests.plugins.tensorboard.event_files import EVERYTHING, Visible, read, train

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize("log_first", [True, False])
def test_decisions_are_texts_at_their_steps(tmp_path: Path, *, log_first: bool) -> None:
    """The latest text of a step has all decisions of that step; the outcome comes last."""
    others: list[object] = [ReduceLROnPlateau(patience=1, factor=0.5), EarlyStopping(patience=2)]
    board = TensorBoard(tmp_path)
    run = train([board, *others] if log_first else [*others, board], [1.0] * 5)
    texts = read(tmp_path / "train")["decisions"]
    shown = dict(texts)
    assert [step for step, _ in texts] == sorted(step for step, _ in texts)
    for decision in run.decisions:
        what = f"stop: {decision.message}" if decision.kind == "stop" else decision.message
        row = f"| {decision.epoch + 1} | {decision.step} | {decision.plugin} | {what} |"
        assert row in shown[decision.step].split("\n")
    assert list(shown) == [4, 6]
    assert shown[6].split("\n")[-1] == "| 3 | 6 |  | the run ended: **stopped** |"
    assert [len(text.split("\n")) for text in shown.values()] == [3, 5]


def test_a_message_stays_within_its_cell(tmp_path: Path) -> None:
    """Bars and line ends in a message do not break the table."""

    class Stops:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            run.stop("a | b\nc")

    train([TensorBoard(tmp_path), Stops()], [1.0])
    assert "| 1 | 1 | stops | stop: a \\| b c |" in read(tmp_path / "train")["decisions"][0][1]


def test_needs_are_what_the_parameters_ask_for(tmp_path: Path) -> None:
    """The plugin needs the views that its parameters ask for; it does without a graph."""
    assert TensorBoard(tmp_path).needs == ()
    assert TensorBoard(tmp_path, **EVERYTHING).needs == ("weights", "activations", "gradients", "embeddings")
    with pytest.raises(CapabilityError, match="'tensorboard' needs the trainee's weights, but they are frozen"):
        train([TensorBoard(tmp_path, histogram_freq=1)], [1.0], trainee=Visible(without={"weights": "they are frozen"}))


def test_activations_need_validation_data(tmp_path: Path) -> None:
    """Activations without validation data are refused before training."""
    board = TensorBoard(tmp_path, histogram_freq=1, activations=True)
    with pytest.raises(CapabilityError, match="need validation data"):
        Engine([board], on_error={"tensorboard": "raise"}).start(Run.of(Visible())).train_begin()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"log_dir": 5}, "log_dir must be the path of a directory, got 5"),
    ({"log_dir": __file__}, "log_dir must be the path of a directory, not of a file"),
    ({"update_freq": 0}, "update_freq must be 'epoch', 'batch' or a number of steps of at least 1, got 0"),
    ({"update_freq": True}, "update_freq must be"),
    ({"update_freq": "step"}, "update_freq must be"),
    ({"update_freq": ["batch"]}, "update_freq must be"),
    ({"histogram_freq": -1}, "histogram_freq must be an integer of at least 0"),
    ({"embeddings_freq": 1.5}, "embeddings_freq must be"),
    ({"graph": "yes"}, "graph must be True or False"),
    ({"images": True}, "images has no effect while histogram_freq is 0; give histogram_freq=1"),
    ({"activations": True}, "activations has no effect"),
    ({"gradients": True}, "gradients has no effect"),
    ({"embeddings_metadata": ["a"]}, "embeddings_metadata has no effect while embeddings_freq is 0"),
    (
        {"embeddings_freq": 1, "embeddings_metadata": "words.tsv"},
        "embeddings_metadata must be .*; there is no such file, got 'words.tsv'",
    ),
    ({"embeddings_freq": 1, "embeddings_metadata": {"words": 5}}, "embeddings_metadata must be a list of words, .*, got 5"),
    ({"clock": 3}, "clock must be a function"),
]


@pytest.mark.parametrize(("parameters", "message"), BAD)
def test_bad_parameters_are_refused(parameters: Mapping[str, Any], message: str) -> None:
    """The error names the parameter, the value and what was expected."""
    with pytest.raises(ParameterError, match=f"TensorBoard: {message}"):
        TensorBoard(**parameters)


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """A spec string can set every parameter that a string can hold."""
    board = Engine([f"tensorboard:log_dir={tmp_path},update_freq=3,histogram_freq=1,images=true"])["tensorboard"]
    assert (board.log_dir, board.update_freq, board.histogram_freq, board.images) == (tmp_path, 3, 1, True)
    assert Engine(["tensorboard:update_freq=batch"])["tensorboard"].update_freq == "batch"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LoadError, match=r"pip install 'hookcore\[tensorboard\]'"):
        TensorBoard()


def test_importing_the_plugins_imports_no_tensorboard() -> None:
    """TensorBoard and NumPy are imported when the first run begins."""
    script = "import sys, hookcore_plugins; sys.exit(sorted({'tensorboard', 'numpy'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_checkpoints_keep_the_name_of_the_class(tmp_path: Path) -> None:
    """A checkpoint has the class under the name from before it moved, so that older checkpoints match it."""
    train([TensorBoard(tmp_path / "logs"), Checkpoint(tmp_path / "saved")], [1.0])
    (record,) = (tmp_path / "saved").glob("step-*/run.json")
    assert json.loads(record.read_text())["plugins"]["tensorboard"]["type"] == "hookcore_plugins.tensorboard.TensorBoard"


def test_the_work_of_decisions_grows_as_they_do(tmp_path: Path) -> None:
    """Each is looked at a few times, however many there are by then: a scheduler may change the rate at every step."""

    class Counted:
        epoch, plugin, kind, message = 0, "schedule", "learning_rate", "less"

        def __init__(self, step: int) -> None:
            self._step = step

        @property
        def step(self) -> int:
            looked.append(self._step)
            return self._step

    tables: dict[int, int] = {}
    board: Any = SimpleNamespace(decisions=lambda step, rows: tables.update({step: len(rows)}))
    plugin, looked, decisions = TensorBoard(tmp_path), list[int](), list[Counted]()
    run: Any = SimpleNamespace(progress=SimpleNamespace(step=0, epoch=0), decisions=decisions, outcome="completed")
    for number in range(300):
        run.progress.step = number // 2
        decisions.append(Counted(run.progress.step))
        plugin._write_decisions(board, run)
    plugin._write_decisions(board, run, ended=True)
    fresh = TensorBoard(tmp_path)
    fresh._write_decisions(board, run)
    assert len(looked) < 300 * 8
    assert tables == dict.fromkeys(range(150), 2)
