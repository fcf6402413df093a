"""Hyperparameters in TensorBoard's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, Report, TensorBoard, TimeLimit
from tests.plugins.tensorboard.event_files import read, scalars, train

if TYPE_CHECKING:
    from pathlib import Path


def test_hyperparameters_are_those_of_the_other_plugins(tmp_path: Path) -> None:
    """Hyperparameters are the configuration, and of the plugins what is a number or not at its default.

    A plugin's paths and clocks are left out, and so is a secret. The learning rate is that at the start.
    """
    limit = TimeLimit(hours=1, clock=lambda: 1.0)
    config = {"model": {"depth": 3}, "layers": [1, 2], "api_key": "x", "none": None}
    plugins = [ReduceLROnPlateau(patience=1), Checkpoint(tmp_path / "saved"), limit]
    train([TensorBoard(tmp_path), *plugins, Report(tmp_path / "report", config=config, summary=False)], [1.0] * 3)
    ((_, start),) = read(tmp_path / "train")["_hparams_/session_start_info"]
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.session_start_info.hparams.items()}
    expected = {
        "epochs": 3,
        "learning_rate": 0.5,
        "reduce_lr_on_plateau.patience": 1,
        "reduce_lr_on_plateau.min_lr": 0,
        "time_limit.hours": 1,
        "config.model.depth": 3,
        "config.layers": "[1, 2]",
        "config.none": "None",
    }
    assert {name: value for name, value in found.items() if name in expected} == expected
    for left_out in ("config.api_key", "reduce_lr_on_plateau.mode", "checkpoint.save_best_only", "time_limit.seconds"):
        assert left_out not in found
    assert not [name for name in found if name.startswith("tensorboard.") or name.endswith((".clock", ".directory"))]


def table(root: Path) -> Context:
    """Return what TensorBoard's table reads from the runs below `root`."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
    return Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(root))))


def test_the_table_has_the_runs_that_are_there(tmp_path: Path) -> None:
    """TensorBoard's table calls each run by its directory, and leaves out those that were moved aside."""
    for directory in ("first", "first", "second/tb"):
        train([TensorBoard(tmp_path / directory), EarlyStopping(patience=3)], [1.0])
    assert (tmp_path / "first/earlier-001/train").is_dir()
    asked = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=9, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    rows = list_session_groups.Handler(RequestContext(), table(tmp_path), "", asked).run().session_groups
    assert sorted(row.name for row in rows) == ["first/train", "second/tb/train"]
    assert all(row.hparams["early_stopping.patience"].number_value == 3 for row in rows)
    assert scalars(tmp_path / "first/earlier-001/train")["epoch_loss"]


def test_columns_in_which_runs_differ_come_first(tmp_path: Path) -> None:
    """A column that is the same in all runs comes after those that differ: TensorBoard shows the first five."""
    for patience in (3, 4):
        train([TensorBoard(tmp_path / str(patience)), EarlyStopping(patience=patience)], [1.0])
    asked = api_pb2.GetExperimentRequest()
    columns = get_experiment.Handler(RequestContext(), table(tmp_path), "", asked).run().hparam_infos
    assert [column.name for column in columns if column.differs] == ["early_stopping.patience"]
    assert columns[0].differs
    assert "early_stopping.min_delta" in {column.name for column in columns}


def test_hyperparameters_can_be_left_out(tmp_path: Path) -> None:
    """Without hyperparameters, the charts for their table are left out too."""
    train([TensorBoard(tmp_path, hparams=False)], [1.0])
    assert not [tag for tag in read(tmp_path / "train") if "hparams" in tag]
