"""How a run ends: its outcome, and the last events of its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore.raised import describe, interrupts, note

if TYPE_CHECKING:
    from hookcore.captures import Captures
    from hookcore.dispatch import Hooks
    from hookcore.run import Run


def tell_of_end(run: Run, hooks: Hooks, captures: Captures, exception: BaseException | None, cut: str) -> None:
    """Set the outcome, and call `on_exception` if there is an `exception`, then `on_train_end`.

    Captures that were asked for are taken, unless `cut` is not empty: it names what the end of the run cuts. An error that a
    plugin raises becomes a note on the exception, or is raised if there is no exception.
    """
    shared = run.shared
    shared.ends(exception)
    if exception is not None:
        at_once = "the run had to end at once" if shared.interruption is not None else ""  # its moment was never settled
        try:
            try:
                hooks.on_exception(exception)
            finally:  # before `on_train_end`, in which plugins close
                captures.hand_out_last(cut or at_once)
        except BaseException as error:  # noqa: BLE001 - the first exception is the one to raise, a second Ctrl-C included
            note(exception, f"Then, in on_exception: {describe(error)}")
    try:
        hooks.on_train_end()
        captures.hand_out_last(cut)
    except BaseException as error:
        if interrupts(error):
            raise
        if exception is None:
            shared.ends(error)
            raise
        note(exception, f"Then, in on_train_end: {describe(error)}")
