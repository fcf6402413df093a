"""Report in real runs that write real files."""

from __future__ import annotations

import contextlib
import getpass
import io
import itertools
import json
import math
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from hookcore import Engine, HookcoreError, ParameterError, Run, hookimpl, state
from hookcore.authoring import reason_lacking
from hookcore.errors import Preempted
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, Console, EarlyStopping, ReduceLROnPlateau, Report, RunReport
from hookcore_plugins.report.items import Best
from tests.plugins.report.reporting import ODD, Clock, Epochs, Stops, recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

LOSSES = [{"loss": 1.0, "val_loss": value} for value in (0.9, 0.5, 0.7, 0.6, 0.8)]


def saved(directory: Path) -> dict[str, Any]:
    """Return the content of the file, which must be standard JSON."""
    found: dict[str, Any] = json.loads((directory / "run.json").read_text(), parse_constant=pytest.fail)
    return found


@pytest.mark.parametrize("epochs", ODD.values(), ids=ODD)
def test_what_is_read_is_what_was_written(tmp_path: Path, epochs: Epochs) -> None:
    """For any metrics with any names, the file is standard JSON and reads back exactly."""
    report = recorded(tmp_path, epochs, asked=len(epochs) + 1)
    assert report.outcome == "failed"
    assert len(report.history) == len(epochs)
    for name in report.history:
        values = [repr(value) for value in report.history[name]]
        assert values == [repr(float(epoch.get(name, math.nan))) for epoch in epochs]
    assert report.dumps() == (tmp_path / "run.json").read_text()
    assert saved(tmp_path)["report"] == 2


def test_the_outcome_and_every_decision(tmp_path: Path) -> None:
    """The report has each vote to stop with plugin and reason, each change of the learning rate, and the rate before it."""
    plugins = [EarlyStopping(patience=3), ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.0)]
    report = recorded(tmp_path, LOSSES, plugins, asked=20)
    assert report.outcome == "stopped"
    assert report.epochs == 20
    assert [vote.plugin for vote in report.stop_reasons] == ["early_stopping"]
    assert report.why() == [f"early_stopping, in epoch 5: {report.stop_reasons[0].message}"]
    assert [(decision.plugin, decision.kind, decision.epoch) for decision in report.decisions] == [
        ("reduce_lr_on_plateau", "learning_rate", 2),
        ("reduce_lr_on_plateau", "learning_rate", 3),
        ("early_stopping", "stop", 4),
        ("reduce_lr_on_plateau", "learning_rate", 4),
    ]
    assert report.learning_rates == [0.1, 0.1, 0.1, 0.05, 0.025]
    assert report.rate_changes() == [(3, 0.05), (4, 0.025)]
    assert report.progress.step == 5


def test_the_best_epoch_is_that_of_the_monitor(tmp_path: Path) -> None:
    """The monitor is val_loss by default; the earliest of equal values is best, and NaN never; `mode` overrides the direction."""
    epochs = [{"loss": -value, "val_loss": value, "gain": value} for value in (math.nan, 2.0, 1.0, 1.0, 3.0)]
    best = recorded(tmp_path / "1", epochs).best("val_loss")
    assert best is not None
    assert best == Best("val_loss", "min", epoch=2, value=1.0, step=3, by_steps=False)
    assert saved(tmp_path / "1")["best"] == attrs.asdict(best)
    assert recorded(tmp_path / "2", [{"loss": 1.0}]).monitor == "loss"
    assert recorded(tmp_path / "3", epochs, monitor="gain").best("gain") is None
    assert saved(tmp_path / "3")["best"] is None
    said = recorded(tmp_path / "4", epochs, monitor="gain", mode="max")
    assert said.best("gain") == attrs.evolve(best, metric="gain", mode="max", epoch=4, value=3.0, step=5)
    assert said.best("val_loss") == best


def test_time_of_epochs_and_of_plugins(tmp_path: Path) -> None:
    """The report has the duration of each epoch, the parts of the run, and the time of every plugin."""
    clock = Clock()

    class Works:
        @hookimpl
        def on_epoch_begin(self, epoch: int) -> None:
            clock.now += epoch + 1

        @hookimpl
        def on_train_end(self) -> None:
            clock.now += 10

    report = recorded(tmp_path, LOSSES[:3], [("works", Works())], clock=clock, now=lambda: 5.0)
    # The clock moves in the begin hook of a plugin that is called before.
    assert report.seconds == [0.0, 0.0, 0.0]
    assert report.total_seconds == 16.0
    assert [(part.began, part.step) for part in report.parts] == [(5.0, 0)]
    assert set(report.plugin_seconds) == {"works", "report"}
    assert all(seconds > 0 for seconds in report.plugin_seconds.values())
    shares = {name: seconds for name, seconds, _ in report.time_shares()}
    assert shares[None] == pytest.approx(16.0 - sum(report.plugin_seconds.values()))


def test_seconds_of_an_epoch(tmp_path: Path) -> None:
    """An epoch lasts from its begin event to its end event."""
    clock = Clock()

    class Works:
        @hookimpl
        def on_batch_end(self) -> None:
            clock.now += 2

    assert recorded(tmp_path, LOSSES[:2], [Works()], clock=clock).seconds == [2.0, 2.0]


def test_checkpoints_that_are_kept_and_why(tmp_path: Path) -> None:
    """The report lists the checkpoints that exist at the end, and why their retention keeps them."""
    checkpoint = Checkpoint(tmp_path / "checkpoints", keep_last=2)
    report = recorded(tmp_path / "report", LOSSES, [checkpoint])
    assert [(kept.epoch, kept.value, kept.reasons) for kept in report.checkpoints] == [
        (1, 0.5, "best val_loss"),
        (3, 0.6, "one of the last 2"),
        (4, 0.8, "newest"),
    ]
    assert [Path(kept.path).name for kept in report.checkpoints] == ["step-00000002", "step-00000004", "step-00000005"]


def test_errors_of_plugins_with_their_tracebacks(tmp_path: Path) -> None:
    """The report has the error of an observer, and is written to the end of the run."""

    class Broken:
        role: ClassVar[str] = "observer"

        @hookimpl
        def on_epoch_end(self) -> None:
            raise OSError("no disk")

    (failure,) = recorded(tmp_path, LOSSES, [("broken", Broken())]).failures
    assert (failure.plugin, failure.hook, failure.error, failure.disabled) == ("broken", "on_epoch_end", "OSError: no disk", True)
    assert 'raise OSError("no disk")' in failure.traceback


@pytest.mark.parametrize(
    ("error", "outcome", "exception", "has_traceback"),
    [
        (ZeroDivisionError("bad\nluck"), "failed", "ZeroDivisionError: bad luck", True),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt", False),
        (Preempted("SIGTERM came", 143), "preempted", "Preempted: SIGTERM came", False),
    ],
)
def test_what_ended_the_run(tmp_path: Path, *, error: BaseException, outcome: str, exception: str, has_traceback: bool) -> None:
    """The report of a run that an exception ended names the exception, with a traceback if there is an error to fix."""
    with contextlib.suppress(type(error)), Loop([Report(tmp_path, stream=io.StringIO())], epochs=3) as loop:
        for _ in loop.epochs():
            raise error
    report = RunReport.read(tmp_path)
    assert (report.outcome, report.exception, report.why()) == (outcome, exception, [exception])
    assert (report.traceback is not None and "raise error" in report.traceback) == has_traceback


def test_an_actor_that_fails_at_the_end(tmp_path: Path) -> None:
    """An error in on_train_end fails the run, and the report has the error."""

    class Fails:
        @hookimpl
        def on_train_end(self) -> None:
            raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        recorded(tmp_path, LOSSES, [Fails()])
    report = RunReport.read(tmp_path)
    assert (report.outcome, report.exception) == ("failed", "ValueError: too late")


def test_a_run_that_is_killed_has_one(tmp_path: Path) -> None:
    """A complete report exists from the start of the run. It shows the run as running while its lock is held, then as killed."""
    clock = Clock()
    seen = []

    class Looks:
        @hookimpl
        def on_batch_end(self) -> None:
            seen.append(RunReport.read(tmp_path))

    recorded(tmp_path, LOSSES, [Looks()], clock=clock)
    assert [(report.outcome, report.status) for report in seen] == [("running", "running")] * 5
    # The clock stands still, so no other epoch is written.
    assert [len(report.history) for report in seen] == [0, 1, 1, 1, 1]
    assert "it is still training; this" in seen[0].why()[0]
    (tmp_path / "run.json").write_text(seen[1].dumps())
    killed = RunReport.read(tmp_path)
    assert (killed.outcome, killed.status) == ("running", "killed")
    assert "it was killed" in killed.why()[0]
    assert "or was killed" in attrs.evolve(killed, is_alive=None).why()[0]


def test_how_often_it_is_written(tmp_path: Path) -> None:
    """The end of an epoch writes the file if the latest write was at least `interval` ago."""
    clock = Clock()
    seen = []

    class Looks:
        @hookimpl
        def on_epoch_begin(self) -> None:
            clock.now += 2.0
            seen.append(len(RunReport.read(tmp_path).history) if (tmp_path / "run.json").exists() else None)

    recorded(tmp_path, LOSSES, [Looks()], clock=clock, interval=4.0)
    assert seen == [0, 1, 1, 3, 3]


def test_parameters_of_every_plugin(tmp_path: Path) -> None:
    """The report has the parameters of each plugin, by its name."""
    report = recorded(tmp_path, LOSSES, [("patient", EarlyStopping(patience=40))])
    assert list(report.plugins) == ["patient", "report"]
    assert report.plugins["patient"]["patience"] == 40
    assert report.plugins["report"]["interval"] == 5.0


def test_no_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has no user, host or environment variable, and `~` for the home directory."""
    monkeypatch.setenv("SECRET_TOKEN", "tok-en-0815")
    home = tmp_path / "ada"
    monkeypatch.setenv("HOME", str(home))
    recorded(home / "runs", LOSSES, [Checkpoint(home / "checkpoints")])
    text = (home / "runs" / "run.json").read_text()
    assert str(home) not in text
    assert '"~/runs"' in text
    assert '"~/checkpoints/step-' in text
    for secret in ("tok-en-0815", "SECRET_TOKEN", platform.node() or "no node"):
        assert secret not in text
    if getpass.getuser() != "root":
        assert getpass.getuser() not in text
    environment = RunReport.read(home / "runs").environment
    assert environment["python"] == platform.python_version()
    assert {"platform", "hookcore", "trained by"} <= set(environment)


def test_a_directory_that_only_begins_like_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory whose name begins with that of the home directory keeps its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    recorded(tmp_path / "adam", LOSSES)
    assert f'"{tmp_path / "adam"}"' in (tmp_path / "adam" / "run.json").read_text()


def test_an_earlier_report_is_moved_aside(tmp_path: Path) -> None:
    """A new run in the same directory does not overwrite the report of an earlier one."""
    recorded(tmp_path, LOSSES)
    first = (tmp_path / "run.json").read_text()
    recorded(tmp_path, LOSSES[:1])
    assert (tmp_path / "run.1.json").read_text() == first
    assert len(RunReport.read(tmp_path).history) == 1
    assert len(RunReport.read(tmp_path / "run.1.json").history) == 5


def test_what_was_decided_on_an_epoch_is_in_it(tmp_path: Path) -> None:
    """A decision is in the file before the next epoch, also if the plugin that decided is listed after the report."""
    seen = []

    class Decides:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.set_learning_rate(0.01, "it is time")

        @hookimpl
        def on_epoch_begin(self) -> None:
            seen.append(len(RunReport.read(tmp_path).decisions))

    plugins = [Report(tmp_path, interval=0, summary=False), Decides()]
    with Loop(plugins, epochs=3, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            pass
    assert seen == [0, 1, 2]


class FailsOnce:
    """An observer that fails in the first epoch, so that a run which is resumed later has no new error."""

    role: ClassVar[str] = "observer"

    @hookimpl
    def on_epoch_end(self, epoch: int) -> None:
        if epoch == 0:
            raise OSError


def run_with_checkpoints(directory: Path, clock: Clock, *, cut: bool, resume: Any = False) -> RunReport:
    """Train four epochs of two batches, a second each; `cut` is an error in the second batch of the third epoch."""
    plugins = [
        Checkpoint(directory / "checkpoints", every_n_steps=1, monitor="loss", asynchronous=False),
        ReduceLROnPlateau("loss", patience=1, factor=0.5),
        ("fails_once", FailsOnce()),
        Report(directory, clock=clock, now=clock, summary=False),
    ]
    trainee = ScriptedTrainee(learning_rate=0.1)
    with contextlib.suppress(ZeroDivisionError), Loop(plugins, epochs=4, trainee=trainee, resume=resume) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(2)):
                clock.now += 1
                if cut and (epoch, batch) == (2, 1):
                    raise ZeroDivisionError
                loop.log(loss=1.0)
    return RunReport.read(directory)


def test_a_resumed_run_continues_its_report(tmp_path: Path) -> None:
    """A resumed report has the rates, durations and errors of a run that was never cut, and the parts of the run."""
    clock, whole_clock = Clock(), Clock()
    cut = run_with_checkpoints(tmp_path / "cut", clock, cut=True)
    assert cut.outcome == "failed"
    clock.now += 1000
    resumed = run_with_checkpoints(tmp_path / "cut", clock, cut=False, resume="auto")
    whole = run_with_checkpoints(tmp_path / "whole", whole_clock, cut=False)
    assert resumed.outcome == "completed"
    assert resumed.learning_rates == whole.learning_rates
    assert len(resumed.decisions) == len(whole.decisions)
    # The second that the cut batch had taken was lost, and the batch was done again.
    assert resumed.seconds == whole.seconds == [2.0, 2.0, 2.0, 2.0]
    assert [(part.seconds, part.step) for part in resumed.parts] == [(5.0, 0), (3.0, 5)]
    assert [failure.plugin for failure in resumed.failures] == ["fails_once"]
    assert not list((tmp_path / "cut").glob("run.1.json"))


def test_a_run_that_had_no_report_before(tmp_path: Path) -> None:
    """Epochs from before the plugin was added have no duration, and later ones have one; the rates are in the history."""
    checkpoint = Checkpoint(tmp_path / "checkpoints")
    with Loop([checkpoint], epochs=2, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            loop.log(val_loss=1.0)
    where = tmp_path / "checkpoints"
    with Loop([Report(tmp_path, summary=False)], epochs=3, trainee=ScriptedTrainee(), resume=where) as loop:
        for _ in loop.epochs():
            loop.log(val_loss=1.0)
    report = RunReport.read(tmp_path)
    assert report.history.epochs == [0, 1, 2]
    assert report.learning_rates == [0.1, 0.1, 0.1]
    assert report.seconds[:2] == [None, None]
    assert report.seconds[2] is not None
    # The checkpoints that the run resumed from are its own, although it saves none.
    assert [kept.epoch for kept in report.checkpoints] == [0, 1]


@attrs.define(eq=False)
class Draws(ScriptedTrainee):
    """A trainee that draws a picture or raises."""

    drawn: bytes | Exception = b"\x89PNG\r\n\x1a\nmodel"
    times: int = 0

    def picture(self) -> bytes:
        self.times += 1
        if isinstance(self.drawn, Exception):
            raise self.drawn
        return self.drawn


def test_the_picture_of_the_model(tmp_path: Path) -> None:
    """With graph='png' the picture is drawn once and saved beside the report, which names it."""
    trainee = Draws()
    report = recorded(tmp_path, LOSSES, trainee=trainee, graph="png", interval=0)
    assert report.graph is not None
    assert (tmp_path / report.graph).read_bytes() == trainee.drawn
    assert trainee.times == 1
    assert recorded(tmp_path, LOSSES, trainee=trainee).graph is None
    assert trainee.times == 1


@pytest.mark.parametrize(
    ("trainee", "hint"),
    [
        (Draws(drawn=HookcoreError("Install graphviz.")), "Install graphviz."),
        (Draws(drawn=OSError("no dot")), "OSError: no dot"),
        (ScriptedTrainee(), f"there is no picture of the model, as {reason_lacking(ScriptedTrainee(), 'picture')}"),
    ],
)
def test_a_picture_that_cannot_be_drawn(tmp_path: Path, trainee: ScriptedTrainee, hint: str) -> None:
    """The report has the reason, and the run continues."""
    report = recorded(tmp_path, LOSSES, trainee=trainee, graph="png")
    assert (report.graph, report.graph_hint, report.outcome, report.failures) == (None, hint, "completed", [])


def test_one_plugin_serves_many_runs(tmp_path: Path) -> None:
    """Each run of an engine begins its own report."""
    engine = Engine([Report(tmp_path, summary=False)])
    for _ in range(2):
        with Loop(engine, epochs=2) as loop:
            for _ in loop.epochs():
                loop.log(loss=1.0)
    report = RunReport.read(tmp_path)
    assert len(report.parts) == 1
    assert len(report.seconds) == 2


def test_the_summary_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary is printed when the run is over; beside a console, without what the console printed."""
    with Loop([Report(tmp_path)], epochs=1) as loop:
        for _ in loop.epochs():
            loop.log(loss=0.5)
    alone = capsys.readouterr().out
    assert f"{tmp_path}: completed" in alone
    assert "best          loss 0.5000 in epoch 1" in alone
    for plugins in itertools.permutations([Report(tmp_path), Console("lines")]):
        with Loop(plugins, epochs=1) as loop:
            for _ in loop.epochs():
                loop.log(loss=0.5)
        lines = capsys.readouterr().out.splitlines()
        end = next(number for number, line in enumerate(lines) if line.startswith("completed:"))
        assert not any(line.startswith(("best", "epochs", "last", "why")) for line in lines)
        assert lines[-1] == f"report        {tmp_path / 'run.json'}"
        assert end < len(lines) - 1


def test_the_summary_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a summary the file is still written."""
    with Loop([Report(tmp_path, summary=False)], epochs=1) as loop:
        for _ in loop.epochs():
            pass
    assert capsys.readouterr().out == ""
    assert RunReport.read(tmp_path).outcome == "completed"


def test_state_is_json(tmp_path: Path) -> None:
    """The state that a checkpoint holds reads back equal, also in the middle of an epoch."""
    clock = Clock()
    states: list[Mapping[str, Any]] = []
    report = Report(tmp_path, clock=clock, now=clock, summary=False)

    class Looks:
        @hookimpl
        def on_batch_end(self) -> None:
            clock.now += 1
            states.append(report.state_dict())

    with Loop([report, Looks(), Stops(at=1)], epochs=3, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    other = Report(tmp_path / "other", clock=clock, now=clock)
    for held in states:
        other.load_state_dict(state.loads(state.dumps(held)))
        assert other.state_dict() == held
    assert states[-1]["within"] == 2.0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"interval": -1}, "interval must be a finite number of at least 0"),
        ({"graph": "svg"}, "graph must be 'png' or None, got 'svg'"),
        ({"mode": "maxx"}, "Did you mean 'max'"),
        ({"summary": 1}, "summary must be True or False"),
        ({"monitor": " "}, "monitor must be a non-empty string or None"),
    ],
)
def test_wrong_parameters(tmp_path: Path, parameters: dict[str, Any], message: str) -> None:
    """A wrong parameter is refused with what was expected."""
    with pytest.raises(ParameterError, match=re.escape(message)):
        Report(tmp_path, **parameters)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    """A file in place of the directory is refused before the run."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="directory must be the path of a directory, not of a file"):
        Report(tmp_path / "file")


def test_a_run_whose_directory_cannot_be_written(tmp_path: Path) -> None:
    """A run whose report cannot be written continues: an observer's error never ends it."""
    directory = tmp_path / "report"
    report = Report(directory, summary=False)
    directory.write_text("in the way")
    with Loop([report], epochs=1) as loop:
        for _ in loop.epochs():
            pass
    assert loop.run.outcome == "completed"
    assert [failure.plugin for failure in loop.run.failures] == ["report"]


def test_values_of_other_types_of_number(tmp_path: Path) -> None:
    """A decision with a number of another library is recorded as a plain number."""

    class Number:
        def __float__(self) -> float:
            return 0.25

    class Decides:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.decide("learning_rate", "less", Number())  # type: ignore[arg-type]  # what users do

    assert recorded(tmp_path, LOSSES[:1], [Decides()]).decisions[0].value == 0.25


def test_the_latest_observation(tmp_path: Path) -> None:
    """The latest observation of a metric may be from an earlier epoch; it is NaN if the metric has no observation."""
    report = recorded(tmp_path, [{"loss": 1.0, "val_loss": 0.5, "none": math.nan}, {"loss": 2.0}])
    assert (report.last("loss"), report.last("val_loss")) == (2.0, 0.5)
    assert math.isnan(report.last("none"))


def test_checkpoints_keep_the_name_of_the_class(tmp_path: Path) -> None:
    """A checkpoint has the class under the name from before it moved, so that older checkpoints match it."""
    recorded(tmp_path / "report", LOSSES[:1], [Checkpoint(tmp_path / "checkpoints")])
    (record,) = (tmp_path / "checkpoints").glob("step-*/run.json")
    assert json.loads(record.read_text())["plugins"]["report"]["type"] == "hookcore_plugins.report.Report"
