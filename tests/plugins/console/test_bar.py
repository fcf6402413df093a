"""The bar of Console: what it shows, how often, and when it makes room for lines."""

from __future__ import annotations

import io
import re
import sys

import pytest

from hookcore import Run, hookimpl
from hookcore_adapters.loop import Loop
from hookcore_plugins import Console
from tests.plugins.console.showing import ERASE, HIDE, SHOW, Clock, OnDevice, Terminal, plain, train, train_by_steps


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
    """Plain lines read no metric within an epoch."""
    clock = Clock()
    loss = OnDevice(0.5)
    with Loop([Console(stream=io.StringIO(), clock=clock)], epochs=1) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(5)):
                clock.now += 1
                loop.log(loss=loss)
            assert loss.reads == 0


def test_the_bar_says_when_it_validates() -> None:
    """During validation the bar shows that the model is being validated."""
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
    """After an evaluation by steps the bar is drawn again beneath the evaluation's line."""
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
    """If the console fails, it gives the cursor back, and the run continues without it."""

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
    """Output of the loop appears above the bar, and standard output is restored after the run."""
    out, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stdout", out)
    with Loop([Console(clock=clock)], epochs=1, steps_per_epoch=2) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(2)):
                clock.now += 1
                print("hello from the loop")  # noqa: T201 - what is tested
    assert sys.stdout is out
    assert [line for line in plain(out.getvalue()).split("\n") if "hello" in line] == ["hello from the loop"] * 2
