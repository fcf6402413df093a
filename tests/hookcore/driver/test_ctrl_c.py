"""The handler of Ctrl-C: what it writes, and when the earlier handler is back."""

from __future__ import annotations

import gc
import signal
import threading

import pytest

from hookcore import Outcome
from tests.hookcore.driver.driving import begun, driver_of, plugin, pressing, run_of, train


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ([], "the next epoch, or the end of the run"),
        (["epoch_begin"], "the first batch of epoch 1, or its end"),
        (["epoch_begin", "batches"], "the end of batch 1 in epoch 1"),
        (["batch_begin"], "the end of batch 1 in epoch 1"),
        (["batch_end"], "the end of batch 2 in epoch 1"),
        (["batch_end", "evaluate_begin"], "a batch of the evaluation"),
        (["batch_held", "evaluate_begin"], "the evaluation"),
        (["batch_end", "epoch_end", "epoch_begin"], "the first batch of epoch 2, or its end"),
    ],
)
def test_the_first_ctrl_c_tells_what_it_waits_for(facts: list[str], what: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The first Ctrl-C writes one line to the standard error at once, in case the data set hangs."""
    driver = begun()
    for fact in facts:
        getattr(driver, fact)()
    expected = f"\nCtrl-C: waiting for {what}. A second Ctrl-C stops at once, without a checkpoint.\n"
    assert pressing(driver, capfd) == expected


def test_ctrl_c_tells_of_an_update_and_of_the_plugins(capfd: pytest.CaptureFixture[str]) -> None:
    """Within an accumulation Ctrl-C waits for the update, and within an epoch's end for the plugins."""
    driver = begun()
    driver.batch_end(updates=0)
    assert "waiting for the next update in epoch 1." in pressing(driver, capfd)
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(plugin("presses", on_epoch_end=lambda: signal.raise_signal(signal.SIGINT))))
    assert "waiting for the plugins in epoch 1." in capfd.readouterr().err


def test_ctrl_c_does_not_need_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a standard error, such as a service, is interrupted like any other."""
    monkeypatch.setattr("sys.__stderr__", None)
    driver = begun()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        driver.epoch_begin()


def test_a_run_that_is_dropped_without_an_end_gives_ctrl_c_back() -> None:
    """When the driver is freed, the earlier handler is back, and the run can still be read."""
    driver = begun(plugin("votes", on_batch_end=lambda run: run.stop("enough")))
    driver.batch_end()
    run = run_of(driver)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    del driver
    gc.collect()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run.stop("nothing to stop")


def test_a_driver_that_goes_on_another_thread_gives_ctrl_c_back_when_it_is_pressed() -> None:
    """If the driver is freed on another thread, the next Ctrl-C is raised at once and puts the earlier handler back."""
    drivers = [begun()]
    thread = threading.Thread(target=drivers.clear)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runs_that_end_in_the_order_in_which_they_began_give_ctrl_c_back() -> None:
    """The last of several runs to end puts back the handler from before the first one."""
    drivers = [begun() for _ in range(3)]
    for driver in drivers:
        driver.end()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_that_ends_on_another_thread_gives_ctrl_c_back_when_it_is_pressed() -> None:
    """A run can end on another thread, and the next Ctrl-C is raised at once."""
    driver = begun()
    thread = threading.Thread(target=driver.end)
    thread.start()
    thread.join()
    assert run_of(driver).outcome is Outcome.COMPLETED
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
