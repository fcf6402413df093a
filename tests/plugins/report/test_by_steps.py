"""The report of a loop that evaluates by steps, and of one that names its metrics otherwise."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

from hookcore import MetricNames, Run, hookimpl, state
from hookcore.cli.main import main
from hookcore.driver import Driver
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, Report, RunReport
from hookcore_plugins.report.items import Best
from hookcore_plugins.report.picture import COLOURS, curves
from tests.plugins.report.reporting import Clock, by_steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def steering() -> list[Any]:
    """Return plugins that stop the run of `by_steps` at step 20, and change its rate after step 16."""
    return [EarlyStopping(patience=3), ReduceLROnPlateau(patience=2, factor=0.5)]


def summed_up(directory: Path) -> dict[str, str]:
    """Return what the terminal shows, by its labels."""
    lines = CliRunner().invoke(main, ["report", str(directory)]).output.splitlines()
    return {line[:13].strip(): line[14:] for line in lines[1:] if line[:13].strip()}


def page_text(report: RunReport) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", report.page(), flags=re.DOTALL))


def paths(svg: str, colour: str) -> list[list[tuple[str, float]]]:
    """Return the lines of `colour` in a chart: M for the beginning of each stretch and L for what it leads to, with the x."""
    drawn = re.findall(r'<path d="([^"]*)"[^>]*style="[^"]*stroke: ' + COLOURS[colour], svg)
    return [[(kind, float(x)) for kind, x in re.findall(r"([ML]) ([\d.]+)", path)] for path in drawn]


def lines_at(svg: str, colour: str) -> list[float]:
    """Return the places of the vertical lines of `colour` in a chart, as they are drawn."""
    return [path[0][1] for path in paths(svg, colour) if len(path) == 2 and path[0][1] == path[1][1]]


def test_a_row_for_each_observation(tmp_path: Path) -> None:
    """The rows are those of the history, and each has the time since the one before it or since its epoch began."""
    clock = Clock()

    class Slow:
        @hookimpl(trylast=True)
        def on_epoch_end(self) -> None:
            clock.now += 100

        @hookimpl
        def on_epoch_begin(self) -> None:
            clock.now += 1000

    report = by_steps(tmp_path, [Slow()], clock=clock)
    assert report.history.steps == [4, 5, 8, 10, 12, 15, 16, 20, 24, 25]
    assert report.history.by_steps == [True, False, True, False, True, False, True, True, True, False]
    # The fourth epoch ends with an evaluation, so its end is no row.
    assert report.history.epochs == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert report.seconds == [4.0, 1.0, 3.0, 2.0, 2.0, 3.0, 1.0, 4.0, 4.0, 1.0]


def test_the_summary_tells_steps(tmp_path: Path) -> None:
    """It counts epochs and observations apart, and says at which step the run was stopped and the best was observed."""
    report = by_steps(tmp_path, steering())
    rows = summed_up(tmp_path)
    assert rows["why"].startswith("early_stopping, at step 20: val_loss has not improved for 3 observations")
    assert rows["epochs"].startswith("4 of 5, 8 observations, 20 steps, 20.0s")
    assert rows["best"] == "val_loss 0.5000 at step 8"
    assert rows["learning rate"] == "0.1, 0.05 after step 16"
    assert report.best("loss") == Best("loss", "min", epoch=3, value=report.last("loss"), step=20, by_steps=True)


def test_the_change_of_the_rate_agrees_with_its_decision(tmp_path: Path) -> None:
    """A rate that a plugin changed at an observation changed after the step of that decision."""
    report = by_steps(tmp_path, steering())
    first = next(decision for decision in report.decisions if decision.kind == "learning_rate")
    assert report.rate_changes() == [(first.step, first.value)]


def test_the_best_at_an_epochs_end(tmp_path: Path) -> None:
    """A value of an epoch's end is told by its epoch, and marked at its step."""

    class Logs:
        @hookimpl
        def on_epoch_end(self, run: Run, epoch: int) -> None:
            run.log(score=float(epoch == 2))

    report = by_steps(tmp_path, [Logs()], monitor="score", mode="max")
    assert summed_up(tmp_path)["best"] == "score 1.0000 in epoch 3"
    best = report.best("score")
    assert best is not None
    assert report.place_of(best) == 15
    text = page_text(report)
    assert "Best score 1.0000 in epoch 3, larger is better" in text
    assert "score 0.0000 1.0000 in epoch 3 larger" in text


def test_charts_are_by_step(tmp_path: Path) -> None:
    """The axis is the step, and the best, the stop and the change of the rate are marked at theirs."""
    report = by_steps(tmp_path, steering())
    ((_, svg), (_, rate)) = curves(report)
    assert re.findall(r"<text[^>]*>(step|epoch)</text>", svg + rate) == ["step", "step"]
    (best,), (changed,), (stopped,) = (lines_at(svg, colour) for colour in ("best", "rate", "stop"))
    # The steps 8, 16 and 20.
    assert changed - best == pytest.approx(2 * (stopped - changed))
    # The rate drops at its change too, from step 4 to 20.
    (_, first), *_, (_, drop), (_, last) = max(paths(rate, "soft"), key=len)
    assert (drop - first) / (last - first) == pytest.approx(12 / 16)
    assert "stopped after 20 steps; best val_loss 0.5 at step 8" in report.picture("svg").decode()


def test_long_steps_are_short_on_the_axis(tmp_path: Path) -> None:
    """From 10,000 on the axis has thousands, as numbers of six digits would run into each other."""
    report = by_steps(tmp_path)
    report.history.steps[:] = [step * 10_000 for step in report.history.steps if step is not None]
    assert "150k" in re.findall(r"<text[^>]*>([^<]*)</text>", curves(report)[0][1])


def test_the_page_tells_steps(tmp_path: Path) -> None:
    """The facts, the legend, the table, the time and the words for screen readers are by step."""
    report = by_steps(tmp_path, steering())
    text = page_text(report)
    for part in (
        "early_stopping, at step 20: val_loss has not improved",
        "Epochs 4 of 5 8 observations, 20 steps",
        "Best val_loss 0.5000 at step 8, smaller is better",
        "training validation best step stopped learning rate changed",
        "metric last best observed better is",
        "val_loss 0.8000 0.5000 at step 8 smaller 3 observations without a number",
        "From one observation to the next it took 2.5s on average, from 1.0s to 4.0s.",
    ):
        assert part in text
    assert re.findall('role="img" aria-label="(.*? by .*?)[:,]', report.page()) == ["loss by step", "learning rate by step"]


def test_it_is_written_at_observations(tmp_path: Path) -> None:
    """An observation within an epoch writes the file, with what the plugins decided on it, if `interval` has passed."""
    seen: list[tuple[int, int, int]] = []

    class Looks:
        @hookimpl
        def on_batch_begin(self, run: Run) -> None:
            recorded = RunReport.read(tmp_path)
            seen.append((run.progress.step, len(recorded.history), len(recorded.decisions)))

        @hookimpl
        def on_metrics(self, run: Run) -> None:
            run.decide("learning_rate", "less", 0.0)

    by_steps(tmp_path, [Looks()], interval=4.0)
    # The row of step 5 comes a second after that of step 4, and the one of step 10 two seconds after that of step 8.
    assert seen[2:6] == [(2, 0, 0), (3, 0, 0), (4, 1, 1), (5, 1, 1)]
    assert seen[7:12] == [(7, 1, 1), (8, 3, 3), (9, 3, 3), (10, 3, 3), (11, 3, 3)]


def test_a_picture_of_the_model_is_drawn_at_an_observation(tmp_path: Path) -> None:
    """The report has it before the first epoch has ended."""
    seen: list[str | None] = []

    class Looks:
        @hookimpl
        def on_epoch_end(self) -> None:
            seen.append(RunReport.read(tmp_path).graph_hint)

    by_steps(tmp_path, [Looks()], graph="png")
    assert (seen[0] or "").startswith("there is no picture of the model")


@pytest.mark.parametrize("cut", [*range(1, 25)])
def test_a_resumed_run_continues_its_rows(tmp_path: Path, cut: int) -> None:
    """Wherever it was cut, each row has the duration and the rate that it has in a run that was never cut."""

    def saving(name: str) -> Sequence[object]:
        checkpoint = Checkpoint(tmp_path / name / "checkpoints", every_n_steps=1, asynchronous=False, missing="skip")
        return [checkpoint, *steering()[1:]]

    clock = Clock()
    by_steps(tmp_path / "cut", saving("cut"), clock=clock, cut=cut)
    clock.now += 1000
    resumed = by_steps(tmp_path / "cut", saving("cut"), clock=clock, resume="auto")
    whole = by_steps(tmp_path / "whole", saving("whole"))
    assert resumed.history.steps == whole.history.steps
    assert resumed.seconds == whole.seconds
    assert resumed.learning_rates == whole.learning_rates


def test_a_plugin_that_captures_within_an_observation(tmp_path: Path) -> None:
    """A state that was taken before the report was notified of a row lacks the duration of that row alone."""
    captured = []

    class Captures:
        @hookimpl(tryfirst=True)
        def on_metrics(self, run: Run) -> None:
            captured.append(run.capture().record)

    by_steps(tmp_path, [("captures", Captures())])
    held = [state.loads(record)["plugins"]["report"]["state"]["seconds"] for record in captured[:3]]
    assert held == [[None], [4.0, None], [4.0, 1.0, None]]


def test_a_state_of_an_earlier_version(tmp_path: Path) -> None:
    """Its rates go into the history, which lacks them; rows from before the plugin was added have no duration."""

    def trained(directory: Path, record: str | None) -> str:
        driver, trainee = Driver([Report(directory, summary=False, clock=Clock())]), ScriptedTrainee(learning_rate=0.1)
        driver.begin(Run.of(trainee, epochs=4), record=record)
        for _ in range(3 if record is None else 1):
            driver.epoch_begin()
            driver.batch_begin()
            driver.batch_end({})
            driver.epoch_end({"loss": 1.0})
        text = driver.record()
        driver.end()
        return text

    earlier = state.loads(trained(tmp_path / "first", None))
    earlier["history"] = {name: earlier["history"][name] for name in ("epochs", "metrics")}
    earlier["plugins"]["report"]["state"] |= {"rates": [0.3, None], "seconds": [2.0, 3.0]}
    later = state.loads(trained(tmp_path / "second", state.dumps(earlier)))
    report = RunReport.read(tmp_path / "second")
    assert report.learning_rates == later["history"]["learning_rates"] == [None, 0.3, None, 0.1]
    assert report.seconds == [None, 2.0, 3.0, 0.0]
    assert "rates" not in later["plugins"]["report"]["state"]


def test_rows_that_have_no_step(tmp_path: Path) -> None:
    """Rows of an earlier version, which recorded no step, are left out of charts by step, and the page says how many."""
    report = by_steps(tmp_path)
    report.history.steps[1] = None
    report = attrs.evolve(report, monitor="loss", directions={"loss": "max"})
    report.history.put({"loss": -1.0})
    assert "1 observation without a step" in page_text(report)
    curve = max(paths(curves(report)[0][1], "training"), key=len)
    assert [kind for kind, _ in curve] == ["M", *"L" * 8]
    report = attrs.evolve(report, directions={"loss": "min"})
    report.history.by_steps[-1], report.history.steps[-1] = False, None
    assert "2 observations without a step" in page_text(report)
    # Their best has no place on the axis, so it is no key of the legend either.
    assert "best step" not in page_text(report)
    assert report.picture("png")


def test_other_names_of_validation_metrics(tmp_path: Path) -> None:
    """Curves are paired by the names of the run, and the metric whose best counts is its loss of validation."""
    report = by_steps(tmp_path, prefix="eval_")
    assert report.monitor == "eval_loss"
    assert report.directions["eval_loss"] == "min"
    assert [(chart.metric, chart.training, chart.validation) for chart in report.charts()] == [("loss", "loss", "eval_loss")]
    assert "eval_" in json.loads((tmp_path / "run.json").read_text())["metric_names"]["validation"]


NAMES = MetricNames(validation=("test-", "dev-"), training=("train-",))


@pytest.mark.parametrize(
    ("names", "logged", "charts", "monitor"),
    [
        (NAMES, ["train-loss", "test-loss"], [("loss", "train-loss", "test-loss")], "test-loss"),
        (NAMES, ["loss", "train-loss"], [("loss", "loss", None), ("train-loss", "train-loss", None)], "loss"),
        (NAMES, ["val_loss", "train-loss"], [("loss", "train-loss", None), ("val_loss", "val_loss", None)], "train-loss"),
        (
            NAMES,
            ["loss", "acc", "dev-loss", "test-loss"],
            [("loss", "loss", "test-loss"), ("acc", "acc", None), ("dev-loss", None, "dev-loss")],
            "test-loss",
        ),
        (None, ["test-loss", "loss", "val_loss"], [("loss", "loss", "val_loss"), ("test-loss", "test-loss", None)], "val_loss"),
    ],
)
def test_pairs_of_curves(
    tmp_path: Path, names: MetricNames | None, logged: list[str], charts: list[tuple[str, str, str]], monitor: str
) -> None:
    """The first data set of validation makes the pair, and each other has a chart under its own name."""
    with Loop([Report(tmp_path, summary=False)], epochs=2, metric_names=names) as loop:
        for _ in loop.epochs():
            loop.log(dict.fromkeys(logged, 1.0))
    report = RunReport.read(tmp_path)
    assert report.monitor == monitor
    assert [(chart.metric, chart.training, chart.validation) for chart in report.charts()] == charts


def test_a_vote_with_its_best(tmp_path: Path) -> None:
    """A vote reads back with the epoch and the step of the best value, as numbers."""
    (vote,) = by_steps(tmp_path, steering()).stop_reasons
    assert (vote.best_epoch, vote.best_step) == (1, 8)
