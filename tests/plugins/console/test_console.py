"""Console in real runs, with streams that say whether they are a terminal, and a clock that the test moves."""

from __future__ import annotations

import contextlib
import io
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest

from hookcore import Engine, ParameterError, Progress, Run, SavedCheckpoint, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, Console, EarlyStopping, ReduceLROnPlateau
from tests.plugins.checkpoint.checkpointing import SlowTrainee, on_a_slow_disk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@attrs.define
class Clock:
    """Seconds that pass when the test lets them, from an arbitrary beginning."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@attrs.define
class OnDevice:
    """A number that counts how often it is read."""

    value: float
    reads: int = 0

    def __radd__(self, other: float) -> float:
        return other + self.value

    def item(self) -> float:
        self.reads += 1
        return self.value


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal as rich sees it, whatever the tests run in."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def train(
    plugins: Sequence[object] | Engine,
    clock: Clock,
    epochs: Sequence[Mapping[str, Any]],
    *,
    known: bool = True,
    batches: int = 4,
    rate: float | None = 0.01,
) -> Run:
    """A run of batches of a second each that log a loss, and then each of `epochs`."""
    with Loop(
        plugins,
        epochs=len(epochs) if known else None,
        steps_per_epoch=batches if known else None,
        trainee=None if rate is None else ScriptedTrainee(learning_rate=rate),
    ) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(batches)):
                clock.now += 1
                loop.log(loss=1 / (1 + epoch * batches + batch))
            loop.log(epochs[epoch])
    return loop.run


def plain(text: str) -> str:
    """`text` without colours and cursor movements, and with one line for each picture of the bar."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.replace("\r", "\n"))


def test_lines_if_the_stream_is_no_terminal() -> None:
    """One line per epoch and one for the end, without control characters, however long."""
    out, clock = io.StringIO(), Clock()
    train([Console(stream=out, clock=clock)], clock, [{f"metric_{i}": i / 8 for i in range(8)}, {"val_loss": 0.00001234}])
    assert out.getvalue().split("\n") == [
        "epoch 1/2  loss 0.5208  " + "".join(f"metric_{i} {i / 8:.4f}  " for i in range(8)) + "lr 0.01  4.0s  *",
        "epoch 2/2  loss 0.1586  val_loss 1.23e-05  lr 0.01  4.0s  *",
        "completed:  2 epochs  8 steps  8.0s  * best val_loss 1.23e-05 in epoch 2",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (0.00123456, "0.0012"),
        (-0.5, "-0.5000"),
        (999.99, "999.9900"),
        (152344.0, "152344"),
        (1e12, "1e+12"),
        (3.2e-7, "3.2e-07"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_are_short_and_say_enough(value: float, shown: str) -> None:
    """Four decimals, more digits for large numbers, an exponent for small ones."""
    out = io.StringIO()
    train([Console(stream=out)], Clock(), [{"m": value}])
    assert f"  m {shown}  " in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0s"), (59.0, "59.0s"), (61.0, "1m01s"), (3599.9, "59m59s"), (7380.0, "2h03m")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    """Seconds, minutes, hours."""
    out, clock = io.StringIO(), Clock()
    with Loop([Console(stream=out, clock=clock)], epochs=1) as loop:
        for _ in loop.epochs():
            clock.now += seconds
    assert out.getvalue() == f"epoch 1/1  {shown}\ncompleted:  1 epoch  1 step  {shown}\n"


def test_a_loop_that_knows_neither_its_end_nor_its_length() -> None:
    """No total is made up, and no learning rate is shown if the trainee has no such thing."""
    out, clock = Terminal(), Clock()
    train([Console(stream=out, clock=clock), Talks("enough")], clock, [{}], known=False, rate=None)
    shown = plain(out.getvalue())
    assert "epoch 1  3 batches  loss 0.3333  3.0s" in shown
    lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
    assert lines[lines.index("epoch    loss    time") + 1] == "    1  0.5208    4.0s  *"
    assert "/" not in shown
    assert "lr" not in shown


def test_decisions_stand_beneath_their_epoch(tmp_path: Path) -> None:
    """With the plugin's name and reason, wherever the console is listed; checkpoints are counted at the end."""
    wanted = """\
epoch 1/9  loss 0.5208  val_loss 1.0000  lr 0.01  4.0s  *
epoch 2/9  loss 0.1586  val_loss 1.0000  lr 0.01  4.0s
  reduce_lr_on_plateau: learning rate 0.01 -> 0.001: REASON
epoch 3/9  loss 0.0963  val_loss 1.0000  lr 0.001  4.0s
  reduce_lr_on_plateau: learning rate 0.001 -> 0.0001: REASON
  early_stopping: stop, REASON
stopped by early_stopping:  3 epochs  12 steps  12.0s  * best val_loss 1.0000 in epoch 1  3 checkpoints, the last step-00000012
"""
    for number, place in enumerate((0, 3)):
        out, clock, path = io.StringIO(), Clock(), tmp_path / str(number)
        plugins: list[object] = [ReduceLROnPlateau(patience=1), EarlyStopping(patience=2), Checkpoint(path)]
        plugins.insert(place, Console(stream=out, clock=clock))
        train(plugins, clock, [{"val_loss": 1.0}] * 9)
        assert re.sub("val_loss has not improved.*", "REASON", out.getvalue()) == wanted


def test_a_decision_within_an_epoch_is_shown_at_once_and_says_where() -> None:
    """It stands beneath the line of the epoch before, to which it does not belong."""

    class Halves:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            if run.progress.step % 3 == 0:
                run.set_learning_rate(run.learning_rate / 2, "every 3 steps")

    out, clock = io.StringIO(), Clock()
    train([Halves(), Console(stream=out, clock=clock)], clock, [{}] * 2)
    assert out.getvalue().split("\n") == [
        "  halves in epoch 1, step 3: learning rate 0.01 -> 0.005: every 3 steps",
        "epoch 1/2  loss 0.5208  lr 0.005  4.0s  *",
        "  halves in epoch 2, step 6: learning rate 0.005 -> 0.0025: every 3 steps",
        "epoch 2/2  loss 0.1586  lr 0.0025  4.0s  *",
        "completed:  2 epochs  8 steps  8.0s  * best loss 0.1586 in epoch 2",
        "",
    ]


def test_checkpoints_are_counted_and_not_told_one_by_one(tmp_path: Path) -> None:
    """A save is not news, at whatever step: the last line has their number and the name of the latest."""
    out, clock = io.StringIO(), Clock()
    plugins = [Checkpoint(tmp_path, every_n_steps=1, every_n_epochs=None), Console(stream=out, clock=clock)]
    train(plugins, clock, [{}] * 2)
    assert out.getvalue().split("\n") == [
        "epoch 1/2  loss 0.5208  lr 0.01  4.0s  *",
        "epoch 2/2  loss 0.1586  lr 0.01  4.0s  *",
        "completed:  2 epochs  8 steps  8.0s  * best loss 0.1586 in epoch 2  8 checkpoints, the last step-00000008",
        "",
    ]


def test_a_checkpoint_that_is_on_disk_when_the_run_is_over_is_counted(tmp_path: Path) -> None:
    """However late that is, and wherever the console is listed."""
    out, clock, trainee = io.StringIO(), Clock(), SlowTrainee(learning_rate=0.01)
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_epochs=2), trainee)
    with Loop([Console(stream=out, clock=clock), plugin], epochs=4, trainee=trainee) as loop:
        for _ in loop.epochs():
            pass
    assert out.getvalue().splitlines()[-1].endswith("  2 checkpoints, the last step-00000004")


def test_a_resumed_run_shows_only_what_is_new(tmp_path: Path) -> None:
    """Neither what was decided before the cut nor the time before it; what was best before the cut is still the best."""
    clock, texts = Clock(), list[str]()
    for resume in (False, "auto"):
        out = io.StringIO()
        plugins = [Console(stream=out, clock=clock), Checkpoint(tmp_path, every_n_steps=1), ReduceLROnPlateau("loss", patience=1)]
        with contextlib.suppress(RuntimeError), Loop(plugins, epochs=3, trainee=ScriptedTrainee(), resume=resume) as loop:
            for epoch in loop.epochs():
                for batch in loop.batches(range(2)):
                    if (resume, epoch, batch) == (False, 2, 1):
                        raise RuntimeError
                    clock.now += 1
                    loop.log(loss=1.0)
        texts.append(out.getvalue().replace(str(tmp_path), ""))
    assert "learning rate 0.1 -> 0.01" in texts[0]
    lines = texts[1].splitlines()
    assert [*lines[:2], lines[-1]] == [
        "resumed from /step-00000005, step 5",
        "epoch 3/3  loss 1.0000  lr 0.01  1.0s",
        "completed:  3 epochs  6 steps  1.0s  * best loss 1.0000 in epoch 1  1 checkpoint, the last step-00000006",
    ]
    assert "learning rate 0.1 -> 0.01" not in texts[1]


def train_by_steps(plugins: Sequence[object], clock: Clock, epochs: int = 2) -> Run:
    """A run of three batches an epoch, of a second each, that evaluates for half a second after steps 2, 4 and so on."""
    with Loop(plugins, epochs=epochs, steps_per_epoch=3, trainee=ScriptedTrainee(learning_rate=0.01)) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(3)):
                clock.now += 1
                loop.log(loss=1 / (1 + loop.run.progress.step))
                if loop.every(2):
                    with loop.evaluation():
                        clock.now += 0.5
                        loop.log(loss=1.0)
    return loop.run


@pytest.mark.parametrize("place", [0, 3])
def test_each_observation_by_steps_has_a_line_with_what_was_decided_on_it(tmp_path: Path, place: int) -> None:
    """The line tells the step and the time since the line before; an epoch's end has a line only if something is new then.

    A decision stands beneath the line of its step, wherever the console is listed.
    """
    out, clock = io.StringIO(), Clock()
    plugins = [
        ReduceLROnPlateau(patience=1),
        EarlyStopping(patience=4),
        Checkpoint(tmp_path, every_n_steps=4, every_n_epochs=None),
    ]
    plugins.insert(place, Console(stream=out, clock=clock))
    train_by_steps(plugins, clock, epochs=9)
    lines = [re.sub("val_loss has not improved.*", "REASON", line) for line in out.getvalue().splitlines()]
    assert lines.pop().endswith("12.5s  * best val_loss 1.0000 at step 2  2 checkpoints, the last step-00000008")
    assert lines == [
        "epoch 1/9  step 2  loss 0.7500  val_loss 1.0000  lr 0.01  2.5s  *",
        "epoch 1/9  step 3  loss 0.3333  lr 0.01  1.0s",
        "epoch 2/9  step 4  loss 0.2500  val_loss 1.0000  lr 0.01  1.5s",
        "  reduce_lr_on_plateau: learning rate 0.01 -> 0.001: REASON",
        "epoch 2/9  step 6  loss 0.1833  val_loss 1.0000  lr 0.001  2.5s",
        "  reduce_lr_on_plateau: learning rate 0.001 -> 0.0001: REASON",
        "epoch 3/9  step 8  loss 0.1339  val_loss 1.0000  lr 0.0001  2.5s",
        "  reduce_lr_on_plateau: learning rate 0.0001 -> 1e-05: REASON",
        "epoch 3/9  step 9  loss 0.1111  lr 1e-05  1.0s",
        "epoch 4/9  step 10  loss 0.1000  val_loss 1.0000  lr 1e-05  1.5s",
        "  reduce_lr_on_plateau: learning rate 1e-05 -> 1e-06: REASON",
        "  early_stopping: stop, REASON",
    ]


def test_a_decision_after_the_last_step_of_an_epoch_was_observed_stands_beneath_its_line() -> None:
    """The epoch's end has no line then, and the decision is of the same step; one at another step says where."""

    class Decides:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.decide("learning_rate", "as it was")

        @hookimpl
        def on_batch_begin(self, run: Run) -> None:
            if run.progress.step == 5:
                run.decide("stop", "no vote")

    out, clock = io.StringIO(), Clock()
    train_by_steps([Decides(), Console(stream=out, clock=clock)], clock)
    assert out.getvalue().splitlines()[1:] == [
        "epoch 1/2  step 3  loss 0.3333  lr 0.01  1.0s",
        "  decides: as it was",
        "epoch 2/2  step 4  loss 0.2500  val_loss 1.0000  lr 0.01  1.5s",
        "  decides in epoch 2, step 5: stop, no vote",
        "epoch 2/2  step 6  loss 0.1833  val_loss 1.0000  lr 0.01  2.5s",
        "  decides: as it was",
        "completed:  2 epochs  6 steps  7.5s  * best val_loss 1.0000 at step 2",
    ]


def test_the_line_of_an_evaluation_is_printed_before_the_next_batch() -> None:
    """The next batch may take long."""
    out, seen = io.StringIO(), list[int]()

    class Looks:
        @hookimpl
        def on_batch_begin(self) -> None:
            seen.append(out.getvalue().count("step"))

    train_by_steps([Looks(), Console(stream=out, clock=Clock())], Clock(), epochs=1)
    assert seen == [0, 0, 1]


@pytest.mark.parametrize("first", [True, False])
def test_a_line_has_what_other_plugins_log_and_stands_whatever_they_raise(*, first: bool) -> None:
    """A metric that is logged at the observation is in its line, wherever the console is listed; an error costs no line."""

    class Logs:
        @hookimpl(trylast=True)
        def on_metrics(self, run: Run) -> None:
            run.log(val_f1=0.5)
            raise ValueError

    out, clock = io.StringIO(), Clock()
    plugins: list[object] = [Logs(), Console(stream=out, clock=clock)]
    with pytest.raises(ValueError):  # noqa: PT011 - its own
        train_by_steps(plugins if first else plugins[::-1], clock)
    assert out.getvalue().splitlines()[0] == "epoch 1/2  step 2  loss 0.7500  val_loss 1.0000  val_f1 0.5000  lr 0.01  2.5s  *"


def test_a_learning_rate_among_the_metrics_is_shown_once() -> None:
    """Keras's own callbacks add one; without a trainee that has a rate it is all that there is."""
    for rate, shown in ((0.01, "loss 0.5208  lr 0.01  4.0s  *"), (None, "loss 0.5208  learning_rate 9.0000  4.0s  *")):
        out, clock = io.StringIO(), Clock()
        train([Console(stream=out, clock=clock)], clock, [{"learning_rate": 9.0}], rate=rate)
        assert out.getvalue().splitlines()[0] == f"epoch 1/1  {shown}"


class Talks:
    """Votes to stop at the end of the first epoch."""

    def __init__(self, message: str) -> None:
        self.message = message

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        run.stop(self.message)


def test_a_stop_by_the_loop_itself_has_a_name() -> None:
    """Its handle on the run belongs to no plugin."""
    out = io.StringIO()
    with Loop([Console(stream=out, clock=Clock())], epochs=2) as loop:
        for _ in loop.epochs():
            loop.run.stop("enough")
    assert out.getvalue().split("\n")[:-1] == [
        "epoch 1/2  0.0s",
        "  loop: stop, enough",
        "stopped by loop:  1 epoch  1 step  0.0s",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """A number ends beneath its name, on the same line of the row as of the header; a sentence is wrapped and indented."""
    monkeypatch.setenv("COLUMNS", str(width))
    out, clock = Terminal(), Clock()
    metrics = {f"head_{i}_precision": i / 10 for i in range(10)}
    console = Console("lines", stream=out, clock=clock)
    train([console, Talks("it was said at great length " * 12 + "why")], clock, [metrics])
    lines = out.getvalue().split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) > 5
    notes, end = (next(i for i, line in enumerate(lines) if line.startswith(head)) for head in ("  talks", "stopped"))
    table, said = lines[:notes], lines[notes:end]
    header, row = table[: notes // 2], table[notes // 2 :]
    for name, value in metrics.items():
        line, ends = next((i, line.index(name) + len(name)) for i, line in enumerate(header) if name in line)
        assert row[line][:ends].endswith(f"  {value:.4f}")
    assert [len(line) - len(line.lstrip()) for line in said] == [2] + [4] * (len(said) - 1)


def shown_in_table(metrics: Mapping[str, float], epochs: int = 2) -> list[str]:
    out, clock = Terminal(), Clock()
    train([Console("lines", stream=out, clock=clock)], clock, [metrics] * epochs, rate=0.001)
    return out.getvalue().splitlines()


def test_four_metrics_and_the_rate_fit_into_eighty_columns() -> None:
    """The names stand in a header, once; those of training come first."""
    lines = shown_in_table({"val_accuracy": 0.25, "accuracy": 0.5, "val_loss": 1.0})
    assert lines == [
        "epoch    loss  accuracy  val_accuracy  val_loss      lr    time",
        "  1/2  0.5208    0.5000        0.2500    1.0000   0.001    4.0s  *",
        "  2/2  0.1586    0.5000        0.2500    1.0000   0.001    4.0s",
        "completed:  2 epochs  8 steps  8.0s  * best val_loss 1.0000 in epoch 1",
    ]


def test_ten_metrics_fit_into_two_lines_of_eighty_columns() -> None:
    """Validation's numbers stand beneath those of training, and the time beneath the rate."""
    names = ["accuracy", "precision", "recall", "auc"]
    metrics = {**dict.fromkeys(names, 0.5), "val_loss": 0.3, **dict.fromkeys([f"val_{name}" for name in names], 0.25)}
    assert shown_in_table(metrics)[:4] == [
        "epoch      loss      accuracy      precision      recall      auc      lr",
        "       val_loss  val_accuracy  val_precision  val_recall  val_auc    time",
        "  1/2    0.5208        0.5000         0.5000      0.5000   0.5000   0.001  *",
        "         0.3000        0.2500         0.2500      0.2500   0.2500    4.0s",
    ]


def test_the_header_is_printed_again_when_it_has_left_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """And when there is a new metric, or a number that is wider than its column."""
    monkeypatch.setenv("LINES", "10")
    lines = shown_in_table({"val_loss": 1.0}, 20)
    headers = [number for number, line in enumerate(lines) if line.startswith("epoch")]
    assert headers == [0, 9, 18]
    out, clock = Terminal(), Clock()
    console = Console("lines", stream=out, clock=clock)
    train([console], clock, [{}, {"val_loss": 1.0}, {}, {"val_loss": 123456789.0}, {"val_loss": 0.5}])
    assert out.getvalue().splitlines()[:-1] == [
        "epoch    loss      lr    time",
        "  1/5  0.5208    0.01    4.0s  *",
        "epoch    loss  val_loss      lr    time",
        "  2/5  0.1586    1.0000    0.01    4.0s  *",
        "  3/5  0.0963              0.01    4.0s",
        "epoch    loss     val_loss      lr    time",
        "  4/5  0.0694  1.23457e+08    0.01    4.0s",
        "  5/5  0.0543       0.5000    0.01    4.0s  *",
    ]


def test_a_metric_of_the_name_of_a_column_has_a_place_of_its_own() -> None:
    """Neither of the two numbers is lost."""
    for out in (io.StringIO(), Terminal()):
        train([Console("lines", stream=out, clock=Clock())], Clock(), [{"time": 7.0, "lr": 3.0}])
        for shown in ("time (metric)", "7.0000", "lr (metric)", "3.0000", "0.01", "0.0s"):
            assert shown in out.getvalue()


@pytest.mark.parametrize(
    ("plugins", "given", "marked", "best"),
    [
        ([], {}, [1, 3], "val_loss 0.3000 in epoch 3"),
        ([EarlyStopping("val_acc", patience=9)], {}, [1, 2], "val_acc 0.9000 in epoch 2"),
        ([EarlyStopping("score", mode="max", patience=9)], {}, [1, 2, 3], "score 3.0000 in epoch 3"),
        ([EarlyStopping("val_acc", patience=9)], {"monitor": "loss"}, [1, 2, 3], "loss 0.0963 in epoch 3"),
        ([], {"monitor": "score", "mode": "min"}, [1], "score 1.0000 in epoch 1"),
        ([], {"monitor": "score"}, [], None),
    ],
)
def test_the_best_observation_is_marked(
    plugins: list[object], given: dict[str, Any], marked: list[int], best: str | None
) -> None:
    """By what is asked for, else by what another plugin monitors, else by the loss of validation; the last line has it."""
    out, clock = io.StringIO(), Clock()
    observed = [(0.5, 0.6), (0.8, 0.9), (0.3, 0.7)]
    epochs = [{"score": i + 1.0, "val_acc": acc, "val_loss": loss} for i, (loss, acc) in enumerate(observed)]
    train([Console(stream=out, clock=clock, **given), *plugins], clock, epochs)
    *lines, last = out.getvalue().splitlines()
    assert [number for number, line in enumerate(lines, 1) if line.endswith("*")] == marked
    assert last.partition("* best ")[2] == (best or "")


def test_nan_is_never_the_best() -> None:
    """A run that has only NaN has no best, and one that recovers has a later one."""
    for values, best in (([math.nan, math.nan], ""), ([math.nan, 1.0], "  * best val_loss 1.0000 in epoch 2")):
        out, clock = io.StringIO(), Clock()
        train([Console(stream=out, clock=clock)], clock, [{"val_loss": value} for value in values])
        assert out.getvalue().splitlines()[-1] == f"completed:  2 epochs  8 steps  8.0s{best}"


def test_colours_carry_meaning() -> None:
    """Green is the best, red what is not finite and a failure, yellow what ends a run early; and nothing depends on them."""
    out, clock = Terminal(), Clock()
    train([Console(stream=out, clock=clock), Talks("enough")], clock, [{"val_loss": 1.5, "val_acc": math.nan}])
    for coloured in (
        "\x1b[1;32m1.5000\x1b[0m",
        "\x1b[31mnan\x1b[0m",
        "\x1b[1;33mtalks\x1b[0m: stop, enough",
        "\x1b[1;33mstopped by talks:",
        "\x1b[1;32m* best val_loss 1.5000",
    ):
        assert coloured in out.getvalue()


@pytest.mark.parametrize("verbose", ["lines", "bar"])
def test_a_long_path_stays_whole(verbose: Literal["lines", "bar"]) -> None:
    """So that it can be copied from the terminal."""
    out, path = Terminal(), "/long" * 30
    train([Console(verbose, stream=out), Talks(f"see {path}")], Clock(), [{}])
    assert path in out.getvalue()


def test_a_message_cannot_move_the_cursor() -> None:
    """Line ends and escape sequences of somebody's message become spaces."""
    out = io.StringIO()
    train([Console(stream=out), Talks("two\nlines\x1b[2J\r[bold]")], Clock(), [{"loss": 1.0}])
    assert "  talks: stop, two lines [2J [bold]\n" in out.getvalue()


def test_what_the_stream_cannot_encode_is_escaped(tmp_path: Path) -> None:
    """A log in ASCII, and a path that is no UTF-8, do not cost the console."""
    with (tmp_path / "log").open("w", encoding="ascii") as out:
        run = train([Console(stream=out), Talks("\N{GREEK SMALL LETTER ALPHA}\udcff")], Clock(), [{}])
    assert "talks: stop, \\u03b1\\udcff\n" in (tmp_path / "log").read_text()
    assert run.failures == []


def test_the_bar_shows_the_epoch_the_batches_the_metrics_and_the_time_left() -> None:
    """It is drawn after each batch of a second, and gone at the end."""
    out, clock = Terminal(), Clock()
    train([Console(stream=out, clock=clock)], clock, [{}] * 2)
    shown = plain(out.getvalue())
    assert re.search(r"epoch 1/2  ━+╺━+  1/4  loss 1.0000  3.0s left, run 7.0s", shown)
    assert re.search(r"epoch 2/2  ━+╺━+  3/4  loss 0.1429  1.0s left *\n", shown)
    assert re.search(r"epoch 2/2  ━+  4/4  loss 0.1250  4.0s *\n", shown)
    last = out.getvalue().rpartition(ERASE)[2]
    assert plain(last).rstrip() == "completed:  2 epochs  8 steps  8.0s  * best loss 0.1586 in epoch 2"


@pytest.mark.parametrize("width", [1, 10, 30, 80, 200])
def test_the_bar_stays_on_one_line(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """As many metrics as fit are shown whole; more would garble the terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    out, clock = Terminal(), Clock()
    with Loop([Console(stream=out, clock=clock)], epochs=1, steps_per_epoch=2) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(2)):
                clock.now += 1
                loop.log({f"metric_{i}": 0.5 for i in range(20)})
            pictures = [line.rstrip() for line in plain(out.getvalue()).split("\n") if "━" in line]
            assert all(len(line) <= width for line in pictures)
            assert "\n" not in out.getvalue()
    if width >= 80:
        whole = r"epoch 1/1  [━╺╸]+  \d/2(  metric_\d+ 0\.5000)*  \d\.\ds( left)?"
        assert all(re.fullmatch(whole, line) for line in pictures)
        # One more would not have fitted.
        assert width - len("  metric_0 0.5000") < len(pictures[-1]) <= width


def test_the_bar_reads_metrics_ten_times_a_second() -> None:
    """Reading one may wait for a device, so the batches between two pictures read none."""
    clock = Clock()
    loss = OnDevice(0.5)
    with Loop([Console(stream=Terminal(), clock=clock)], epochs=1, steps_per_epoch=1000) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(1000)):
                clock.now += 1 / 512
                loop.log(loss=loss)
            assert 18 <= loss.reads <= 20


def test_plain_lines_read_no_metric_within_an_epoch() -> None:
    """Nothing is drawn there."""
    clock = Clock()
    loss = OnDevice(0.5)
    with Loop([Console(stream=io.StringIO(), clock=clock)], epochs=1) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(5)):
                clock.now += 1
                loop.log(loss=loss)
            assert loss.reads == 0


def test_the_bar_says_when_it_validates() -> None:
    """Batches stand still then."""
    out = Terminal()
    with Loop([Console(stream=out)], epochs=1, steps_per_epoch=1) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches([0]):
                pass
            assert "validating" not in out.getvalue()
            with loop.evaluation():
                assert re.search(r"1/1 +validating", plain(out.getvalue()))
                loop.log(loss=1.0)


def test_after_an_evaluation_by_steps_the_bar_is_back_at_the_batches() -> None:
    """Beneath the evaluation's line, until the next batch moves it."""
    out, clock, seen = Terminal(), Clock(), list[str]()

    class Looks:
        @hookimpl
        def on_batch_begin(self) -> None:
            seen.append(plain(out.getvalue()))

    train_by_steps([Looks(), Console(stream=out, clock=clock)], clock, epochs=1)
    lines = [line.rstrip() for line in seen[-1].split("\n") if line.strip()]
    assert re.fullmatch(r"epoch 1/1  ━+╸━+  2/3  loss 0.5000  validating", lines[-4])
    assert lines[-3:-1] == ["epoch  step    loss  val_loss      lr    time", "  1/1     2  0.7500    1.0000    0.01    2.5s  *"]
    assert re.fullmatch(r"epoch 1/1  ━+╸━+  2/3  loss 0.5000  1.2s left", lines[-1])


def test_when_an_epoch_has_ended_its_line_and_its_decisions_stand_alone() -> None:
    """Before the first batch of the next epoch both are printed, and no bar of the epoch that is over stands between them."""

    class Looks:
        seen = ""

        @hookimpl
        def on_batch_begin(self, run: Run) -> None:
            if run.progress.epoch == 1 and not self.seen:
                self.seen = out.getvalue()

    class Reduces:
        @hookimpl
        def on_epoch_end(self, run: Run) -> None:
            run.set_learning_rate(0.5, "why not")

    out, clock, looks = Terminal(), Clock(), Looks()
    train([looks, Console(stream=out, clock=clock), Reduces()], clock, [{}] * 2)
    wanted = ["  1/2  0.5208    0.01    4.0s  *", "  reduces: learning rate 0.01 -> 0.5: why not"]
    lines = [line.rstrip() for line in plain(looks.seen).split("\n") if line.strip()]
    assert lines[lines.index(wanted[0]) :][:2] == wanted


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_cursor_comes_back_after_an_exception(error: type[BaseException]) -> None:
    """The bar is gone and the last line says how the run ended."""
    out, clock = Terminal(), Clock()

    def fail() -> None:
        with Loop([Console(stream=out, clock=clock)], epochs=2, steps_per_epoch=2) as loop:
            for _ in loop.epochs():
                for _batch in loop.batches(range(2)):
                    clock.now += 1
                    if clock.now > 1003:
                        raise error

    with pytest.raises(error):
        fail()
    assert out.getvalue().count(HIDE) == out.getvalue().count(SHOW) == 1
    outcome = "interrupted" if error is KeyboardInterrupt else "failed"
    assert plain(out.getvalue().rpartition(ERASE)[2]).rstrip() == f"{outcome}:  1 epoch  3 steps  4.0s"


def test_the_cursor_comes_back_when_the_console_itself_fails() -> None:
    """The engine no longer calls it then, and the run continues without it."""

    class Broken:
        def __radd__(self, other: float) -> float:
            return other

        shape = ()

        def item(self) -> float:
            raise ValueError("no number")

    out, clock = Terminal(), Clock()
    with Loop([Console(stream=out, clock=clock)], epochs=1, steps_per_epoch=3) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(3)):
                clock.now += 1
                loop.log(loss=Broken())
            assert out.getvalue().count(HIDE) == out.getvalue().count(SHOW) == 1
            assert [(failure.plugin, failure.hook) for failure in loop.run.failures] == [("console", "on_batch_end")]
    assert len(loop.run.history) == 1


def test_what_the_loop_prints_appears_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """And standard output is what it was, after the run."""
    out, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stdout", out)
    with Loop([Console(clock=clock)], epochs=1, steps_per_epoch=2) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(2)):
                clock.now += 1
                print("hello from the loop")  # noqa: T201 - what is tested
    assert sys.stdout is out
    assert [line for line in plain(out.getvalue()).split("\n") if "hello" in line] == ["hello from the loop"] * 2


def test_beneath_another_live_display_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a run trains other runs: two bars on one terminal would overwrite each other."""
    out, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stdout", out)
    with Loop([Console(clock=clock)], epochs=1) as loop:
        for _ in loop.epochs():
            train([Console(clock=clock)], clock, [{"inner": 1.0}])
    assert out.getvalue().count(HIDE) == 1
    lines = [line.rstrip() for line in plain(out.getvalue()).split("\n")]
    assert {"epoch    loss   inner      lr    time", "  1/1  0.5208  1.0000    0.01    4.0s  *"} <= set(lines)


def test_a_notebook_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its output says that it is a terminal."""

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    out = Terminal()
    train([Console(stream=out)], Clock(), [{"loss": 1.0}])
    assert "\x1b" not in out.getvalue()
    assert "\n  1/1  1.0000 " in out.getvalue()


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    train([Console(stream=out, clock=Clock())], Clock(), [{"loss": 1.0}])
    assert out.getvalue().splitlines()[1:] == [
        "  1/1  1.0000    0.01    0.0s  *",
        "completed:  1 epoch  4 steps  0.0s  * best loss 1.0000 in epoch 1",
    ]


def test_a_bar_that_was_asked_for_comes_with_wrapped_lines() -> None:
    """As in a development environment that shows colours but does not say that it is a terminal."""
    out = io.StringIO()
    train([Console("bar", stream=out)], Clock(), [{f"metric_{i}": 0.5 for i in range(20)}])
    assert max(map(len, plain(out.getvalue()).split("\n"))) <= 80


def test_verbose_overrides_what_the_stream_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar in a pipe, lines on a terminal; and no colours for FORCE_COLOR in a file."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for verbose, stream, has_bar in [("bar", io.StringIO(), True), ("lines", Terminal(), False), ("auto", io.StringIO(), False)]:
        train([Console(verbose, stream=stream)], Clock(), [{"loss": 1.0}])  # type: ignore[arg-type]  # a loop over literals
        assert ("\x1b" in stream.getvalue()) is has_bar


def test_one_console_shows_two_runs() -> None:
    """The second starts from zero: its decisions, its time, its bar."""
    clock, stream = Clock(), Terminal()
    engine = Engine([Console(stream=stream, clock=clock), Talks("enough")])
    for _ in range(2):
        train(engine, clock, [{}] * 3)
    shown = plain(stream.getvalue())
    assert shown.count("talks: stop, enough") == 2
    assert shown.count("stopped by talks:  1 epoch  4 steps  4.0s") == 2
    assert stream.getvalue().count(HIDE) == stream.getvalue().count(SHOW) == 2


def test_a_run_that_never_said_that_it_was_over_is_cleared_by_the_next() -> None:
    """Keras calls no end hook after an exception if the adapter is a plain callback."""
    clock, stream = Clock(), Terminal()
    engine = Engine([Console(stream=stream, clock=clock)])
    lost = engine.start(Run())
    lost.train_begin()
    lost.epoch_begin(0)
    train(engine, clock, [{}])
    assert stream.getvalue().count(HIDE) == stream.getvalue().count(SHOW) == 2


def test_a_script_that_dies_without_a_word_gives_the_cursor_back() -> None:
    """At the latest when Python ends."""
    script = (
        "from hookcore import Engine, Run; from hookcore_plugins import Console\n"
        "session = Engine([Console('bar')]).start(Run()); session.train_begin(); session.epoch_begin(0); raise SystemError\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.count(HIDE) == done.stdout.count(SHOW) == 1
    assert "SystemError" in done.stderr


def test_evaluation_and_prediction_outside_training_are_passed_over() -> None:
    """Before and after a run, and without any."""
    stream = Terminal()
    engine = Engine([Console(stream=stream)])
    session = engine.start(Run())
    session.hooks.on_evaluate_begin()
    session.hooks.on_evaluate_batch_end(0, {"loss": 1.0})
    session.hooks.on_evaluate_end({"loss": 1.0})
    session.hooks.on_predict_begin()
    session.hooks.on_predict_end()
    assert stream.getvalue() == ""
    assert session.run.failures == []


def test_a_resumed_run_says_from_where() -> None:
    """Before its first epoch."""
    out = io.StringIO()
    run = Run(resumed_from=SavedCheckpoint(Path("runs/step-00000012"), 2, 12), progress=Progress(epoch=2, step=12))
    session = Engine([Console(stream=out)]).start(run)
    session.train_begin()
    session.end()
    assert out.getvalue().startswith("resumed from runs/step-00000012, step 12\n")


def test_bad_parameters_are_refused() -> None:
    """The error names the parameter, the value and what was expected."""
    bad: list[tuple[str, Any]] = [("stream", 3), ("clock", 1.0), ("verbose", None)]
    for name, value in bad:
        with pytest.raises(ParameterError, match=f"Console: {name} must be .*, got {value!r}"):
            Console(**{name: value})
    with pytest.raises(ParameterError, match=r"got 'bars'\. Did you mean 'bar'\?"):
        Console("bars")  # type: ignore[arg-type]  # what is tested


def test_it_is_asked_for_by_name() -> None:
    """A spec string says how verbose."""
    assert Engine(["console:verbose=lines"])["console"].verbose == "lines"


def test_importing_the_plugins_imports_neither_rich_nor_numpy() -> None:
    """Who does not show progress does not wait for it."""
    script = "import sys, hookcore_plugins; print([name for name in ('rich', 'numpy', 'click') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
