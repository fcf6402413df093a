"""A replay of a recorded PyTorch run stops like a real run with the same setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hookcore_adapters.loop import Loop
from hookcore_adapters.replay import replay
from hookcore_adapters.torch import TorchTrainee
from hookcore_plugins import CSVLog, EarlyStopping, JSONLog, ReduceLROnPlateau, Report
from hookcore_plugins.report.recorded import read_run
from tests.adapters.replaying import EPOCHS, check_same, settings

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore import Run, StopReason


def train(plugins: list[object], every: int | None = None) -> Run:
    """Train a small model whose loss oscillates, the same each time; with `every`, evaluate every N steps."""
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
    data, validation = torch.randn(2, 3, 4, 3).unbind()

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        return ((model(batch[:, :2]) - batch[:, 2:]) ** 2).mean()

    with Loop(plugins, epochs=EPOCHS, trainee=TorchTrainee(model, optimizer)) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(data):
                optimizer.zero_grad()
                loss = loss_of(batch)
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
                if every is not None and loop.every(every):
                    with loop.evaluation(), torch.no_grad():
                        loop.log(loss=loss_of(validation[0]))
            if every is None:
                with loop.evaluation(), torch.no_grad():
                    loop.log(loss=sum(map(loss_of, validation)) / len(validation))
    return loop.run


def where(vote: StopReason) -> tuple[object, ...]:
    return vote.epoch, vote.step, vote.value, vote.best, vote.best_step


def test_the_replay_of_a_recorded_run_stops_like_a_real_one(tmp_path: Path) -> None:
    """With 160 random settings of early stopping, a replay of each log stops like a real run."""
    real = train([CSVLog(tmp_path / "a.csv"), JSONLog(tmp_path / "a.jsonl"), Report(tmp_path, summary=False)])
    recorded = [read_run(path) for path in sorted(tmp_path.iterdir())]
    assert [one.format for one in recorded] == ["CSVLog", "JSONLog", "run.json"]
    stopped = [check_same(recorded, setting, train) for setting in settings(160, real.history["val_loss"])]
    assert 40 < sum(stopped) < 160


def test_a_run_that_was_evaluated_by_steps_is_replayed_by_steps(tmp_path: Path) -> None:
    """A replay of a run that evaluates by steps stops at the step of the real one, with the same changes of the rate."""
    train([CSVLog(tmp_path / "a.csv"), JSONLog(tmp_path / "a.jsonl")], every=2)
    within = 0
    for setting in settings(20, [1.0, 1.1]):
        plugin = {**setting, "monitor": "val_loss", "start_from_step": 4 * setting["start_from_epoch"], "start_from_epoch": 0}
        real = train([EarlyStopping(**plugin)], every=2)
        for log in sorted(tmp_path.iterdir()):
            again = replay(log, [EarlyStopping(**plugin), ReduceLROnPlateau(patience=1)])
            assert [where(vote) for vote in again.stop_reasons] == [where(vote) for vote in real.stop_reasons], (log, plugin)
            if log.suffix == ".jsonl":  # in a CSV, an evaluation of an epoch's last batch looks like the epoch's end
                assert again.stop_reasons == real.stop_reasons
            assert (again.history.epochs, again.history.steps) == (real.history.epochs, real.history.steps), (log, plugin)
        within += real.history.by_steps[-1]
    assert within > 3
