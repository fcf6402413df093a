"""The lines of Console: observations, the decisions beneath them, the best, and the end of the run."""

from __future__ import annotations

import contextlib
import io
import math
import re
from typing import TYPE_CHECKING, Any, Literal

import pytest

from hookcore import Run, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, Console, EarlyStopping, ReduceLROnPlateau
from tests.plugins.checkpoint.checkpointing import SlowTrainee, on_a_slow_disk
from tests.plugins.console.showing import Clock, Talks, Terminal, plain, train, train_by_steps

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_if_the_stream_is_no_terminal() -> None:
    """A stream that is not a terminal gets a line per epoch and one for the end, of any length, without control characters."""
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
    """Totals and a learning rate that are unknown are left out."""
    out, clock = Terminal(), Clock()
    train([Console(stream=out, clock=clock), Talks("enough")], clock, [{}], known=False, rate=None)
    shown = plain(out.getvalue())
    assert "epoch 1  3 batches  loss 0.3333  3.0s" in shown
    lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
    assert lines[lines.index("epoch    loss    time") + 1] == "    1  0.5208    4.0s  *"
    assert "/" not in shown
    assert "lr" not in shown


def test_decisions_stand_beneath_their_epoch(tmp_path: Path) -> None:
    """Decisions stand beneath their epoch with plugin and reason, wherever the console is listed; checkpoints are counted."""
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
    """A decision within an epoch is shown at once, and with its place: the line above it is of the epoch before."""

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
    """Checkpoints have no lines: the last line has their number and the name of the latest."""
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
    """A checkpoint that is durable when the run ends is counted, wherever the console is listed."""
    out, clock, trainee = io.StringIO(), Clock(), SlowTrainee(learning_rate=0.01)
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_epochs=2), trainee)
    with Loop([Console(stream=out, clock=clock), plugin], epochs=4, trainee=trainee) as loop:
        for _ in loop.epochs():
            pass
    assert out.getvalue().splitlines()[-1].endswith("  2 checkpoints, the last step-00000004")


def test_a_resumed_run_shows_only_what_is_new(tmp_path: Path) -> None:
    """A resumed run shows no earlier decisions and times, but the best observation from before is still the best."""
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
    """The line of an evaluation is printed before the next batch, which may take long."""
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


def test_a_stop_by_the_loop_itself_has_a_name() -> None:
    """A stop by the code that runs the loop is shown under the name `loop`."""
    out = io.StringIO()
    with Loop([Console(stream=out, clock=Clock())], epochs=2) as loop:
        for _ in loop.epochs():
            loop.run.stop("enough")
    assert out.getvalue().split("\n")[:-1] == [
        "epoch 1/2  0.0s",
        "  loop: stop, enough",
        "stopped by loop:  1 epoch  1 step  0.0s",
    ]


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
    """The best observation is marked: of `monitor`, else of another plugin's monitor, else of the loss of validation."""
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
    """A long path is not wrapped, so that it can be copied from the terminal."""
    out, path = Terminal(), "/long" * 30
    train([Console(verbose, stream=out), Talks(f"see {path}")], Clock(), [{}])
    assert path in out.getvalue()


def test_a_message_cannot_move_the_cursor() -> None:
    """Line ends and escape sequences in a message become spaces."""
    out = io.StringIO()
    train([Console(stream=out), Talks("two\nlines\x1b[2J\r[bold]")], Clock(), [{"loss": 1.0}])
    assert "  talks: stop, two lines [2J [bold]\n" in out.getvalue()


def test_what_the_stream_cannot_encode_is_escaped(tmp_path: Path) -> None:
    """A log in ASCII, and a path that is no UTF-8, do not cost the console."""
    with (tmp_path / "log").open("w", encoding="ascii") as out:
        run = train([Console(stream=out), Talks("\N{GREEK SMALL LETTER ALPHA}\udcff")], Clock(), [{}])
    assert "talks: stop, \\u03b1\\udcff\n" in (tmp_path / "log").read_text()
    assert run.failures == []
