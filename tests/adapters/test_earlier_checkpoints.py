"""A run resumes from checkpoints that were written before plugins moved to other modules.

`checkpoint_before_packages` was written when Checkpoint, Console, Report and TensorBoard were single modules, in the fifth epoch
of `train` with `plugins`.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from hookcore import Run, hookimpl, store
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import (
    Checkpoint,
    Console,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    NaNGuard,
    Preemption,
    ReduceLROnPlateau,
    Report,
    TensorBoard,
    TimeLimit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hookcore.resume import Resume

EARLIER = Path(__file__).parent / "checkpoint_before_packages" / "step-00000009"
VALUES = [1.0, 0.5, 0.6, 0.7, 0.55, 0.65, 0.8, 0.9]

# The paths are relative, so that the parameters equal those in the checkpoint.
RUN = Path("run")


def plugins() -> dict[str, object]:
    """Return the plugins of the run, by name."""
    return {
        "learning_rate_schedule": LearningRateSchedule(lambda epoch, rate: rate),  # noqa: ARG005 - the schedule gets both
        "nan_guard": NaNGuard("loss"),
        "early_stopping": EarlyStopping("val_loss", patience=4, restore_best_weights=True),
        "reduce_lr_on_plateau": ReduceLROnPlateau("val_loss", factor=0.5, patience=2, cooldown=1),
        "time_limit": TimeLimit(hours=1),
        "preemption": Preemption(deadline=None),
        "csv_log": CSVLog(RUN / "log.csv"),
        "json_log": JSONLog(RUN / "log.jsonl", clock=lambda: 0.0),
        "tensorboard": TensorBoard(RUN / "logs", clock=lambda: 0.0),
        "console": Console(verbose="lines", clock=lambda: 0.0),
        "report": Report(RUN / "report", summary=False, clock=lambda: 0.0, now=lambda: 0.0),
        "checkpoint": Checkpoint(RUN / "checkpoints", every_n_steps=3, keep_last=None),
    }


@attrs.frozen
class Trained:
    """A run, with its trainee and the learning rate of each of its steps."""

    run: Run
    trainee: ScriptedTrainee
    rates: Mapping[int, float]


def train(given: Iterable[object], *, resume: Resume = False) -> Trained:
    """Train two steps per epoch, until a plugin votes to stop."""
    trainee, rates = ScriptedTrainee(), dict[int, float]()
    with Loop(given, epochs=len(VALUES), trainee=trainee, resume=resume) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(2)):
                step = loop.run.progress.step
                rates[step] = trainee.learning_rate
                trainee.weights = [step + 1.0]
                loop.log(loss=1.0 / (1 + step))
            loop.log(val_loss=VALUES[epoch])
    return Trained(loop.run, trainee, rates)


def decided(run: Run, names: Mapping[str, str] | None = None) -> list[tuple[object, ...]]:
    """Return the decisions and votes of `run`, without messages and under the names before plugins were renamed by `names`."""
    names = names or {}
    decisions = [(names.get(made.plugin, made.plugin), made.kind, made.epoch, made.step, made.value) for made in run.decisions]
    votes = [(names.get(vote.plugin, vote.plugin), vote.metric, vote.value, vote.best) for vote in run.stop_reasons]
    return [*decisions, *votes]


@pytest.fixture(autouse=True)
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """Return the path of a copy of the checkpoint, in the directory in which the plugins look for it."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "hookcore")
    return Path(shutil.copytree(EARLIER, RUN / "checkpoints" / EARLIER.name))


def assert_same_end(resumed: Trained, recorded: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """Compare `resumed` with an uninterrupted run; `names` maps the names of its plugins to those of the earlier run."""
    shutil.rmtree(RUN)
    uncut = train(plugins().values())
    assert uncut.run.outcome == "stopped"
    assert resumed.run.outcome == uncut.run.outcome
    assert decided(resumed.run, names) == decided(uncut.run)
    before = len(recorded["decisions"])
    assert [attrs.asdict(decision) for decision in resumed.run.decisions[:before]] == recorded["decisions"]
    later = [[decision.message for decision in each.run.decisions[before:]] for each in (resumed, uncut)]
    assert later[0] == later[1] != []
    rows = len(recorded["history"]["epochs"])
    expected = uncut.run.history.state_dict()
    expected["steps"][:rows] = [None] * rows  # the earlier version did not record steps
    assert resumed.run.history.state_dict() == expected
    assert resumed.rates == {step: rate for step, rate in uncut.rates.items() if step >= recorded["progress"]["step"]}
    assert resumed.trainee.snapshot() == uncut.trainee.snapshot()


def test_a_run_resumed_from_an_earlier_checkpoint_ends_as_an_uninterrupted_run(
    earlier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The resumed run takes the same decisions, and earlier records are kept word for word."""
    recorded = store.verify(earlier).record()
    resumed = train(plugins().values(), resume="auto")
    assert resumed.run.resumed_from is not None
    assert resumed.run.resumed_from.path == earlier
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []
    assert_same_end(resumed, recorded)


def test_plugins_under_other_names_are_recognised_by_their_class(earlier: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Plugins under other names are recognised by their class, also if it has moved, and keep their state."""
    recorded = store.verify(earlier).record()
    renamed = {f"our_{name}": plugin for name, plugin in plugins().items()}
    resumed = train(renamed.items(), resume=earlier)
    for name in plugins():
        assert f"resumed: plugin 'our_{name}' was called {name!r}, has the same class and keeps its state" in caplog.text
    assert_same_end(resumed, recorded, {name: name.removeprefix("our_") for name in renamed})


@attrs.define(eq=False)
class Counting:
    """The base of the third party's plugins, which count epochs."""

    epochs: int = 0

    @hookimpl
    def on_epoch_end(self) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epochs = state["epochs"]


class Counter(Counting):
    """The class before it moved."""


class Moved(Counting):
    """The class after it moved, with its earlier name."""

    type_name: ClassVar[str] = f"{__name__}.Counter"


class Undeclared(Counting):
    """The class after it moved, without its earlier name."""


class Special(Moved):
    """A subclass of the moved class."""


class Other(Counting):
    """A class with an unrelated `type_name`."""

    @property
    def type_name(self) -> str:
        return f"{__name__}.Counter"


@pytest.mark.parametrize(("kind", "epochs"), [(Moved, 3), (Undeclared, 1), (Special, 1), (Other, 1)])
def test_a_third_partys_class_that_moved_is_recognised_if_it_declares_its_name(
    kind: type[Counting], epochs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A moved class keeps its state only if it declares its earlier name itself; otherwise it starts with fresh state."""

    def count(counter: Counting, name: str, *, until: int, resume: Resume = False) -> int:
        saving = Checkpoint("counts")
        with Loop([(name, counter), saving], epochs=until, trainee=ScriptedTrainee(), resume=resume) as loop:
            for _ in loop.epochs():
                pass
        return counter.epochs

    assert count(Counter(), "before", until=2) == 2
    assert count(kind(), "after", until=3, resume="auto") == epochs
    assert ("'after' was called 'before', has the same class" in caplog.text) == (kind is Moved)
    assert ("'after' is new and begins with fresh state" in caplog.text) == (kind is not Moved)
