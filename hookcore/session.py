"""A session: one run being driven. Only adapters call it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from hookcore.active_hooks import ActiveHooks
from hookcore.captures import Captures
from hookcore.dispatch import raise_first
from hookcore.ending import tell_of_end
from hookcore.error_policy import ErrorPolicy
from hookcore.errors import CapabilityError, HookcoreError, Preempted
from hookcore.host import NoHost
from hookcore.metrics import Metrics
from hookcore.observations import Observations
from hookcore.registry.discovery import warn_left_out
from hookcore.registry.inspection import show_progress
from hookcore.run_state import Position
from hookcore.stacks import is_executing
from hookcore.timing import Timing
from hookcore.trainee import reason_lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hookcore.capture import Capture
    from hookcore.error_policy import OnError
    from hookcore.host import Host
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run
    from hookcore.run_state import Shared
    from hookcore.store import SavedCheckpoint

logger = logging.getLogger("hookcore")

_NO_METRICS: Final = Metrics()


class Session:
    """Drives one run over its plugins: counts, keeps the history, calls the hooks and applies the error policy.

    Only adapters use it: they call the methods for events that are counted, and `hooks` for the others. `clock` returns seconds,
    and times the plugins and the captures.
    """

    __slots__ = (
        "__weakref__",
        "_accumulates",
        "_active",
        "_asked",
        "_batch",
        "_begun",
        "_captures",
        "_continues_epoch",
        "_cuts",
        "_drops_latest",
        "_ended",
        "_epoch",
        "_epoch_metrics",
        "_fresh_metrics",
        "_host",
        "_host_stops",
        "_is_copy",
        "_observations",
        "_plugins",
        "_policy",
        "_progress",
        "_thread",
        "_voted",
        "always_ends",
        "hooks",
        "latest",
        "resumed_fresh",
        "resumed_loop_state",
        "resumed_metrics",
        "run",
        "shared",
    )

    def __init__(
        self,
        run: Run,
        plugins: Sequence[Registered],
        on_error: Mapping[str, OnError],
        *,
        host: Host | None = None,
        on_vote: Callable[[], None] | None = None,
        epoch_metrics: Callable[[], Mapping[str, Any]] = dict,
        fresh_metrics: Callable[[], Mapping[str, Any]] = dict,
        always_ends: bool = False,
        is_training: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.run = run
        self._progress = run.progress
        self.shared: Shared = run.shared
        """The state that the run's handles share."""
        self._host: Host = NoHost() if host is None else host
        self._epoch, self._batch, self._begun = 0, 0, False
        """Where training continues: the epoch, how many of its batches are done, and whether plugins had its `on_epoch_begin`."""
        self._cuts: Literal["", "batch", "held", "epoch"] = ""
        """What an exception would cut now: "batch" for an open batch, "held" for the events after a batch's end, and "epoch" for
        an epoch that may be trained without events of batches. Empty if every plugin has had every event of what was trained."""
        self._accumulates = False
        self.resumed_loop_state: Mapping[str, Any] = {}
        """The host's state in the checkpoint that this run resumes."""
        self.resumed_metrics: Mapping[str, Any] = {}
        """The metrics so far of the epoch in which that checkpoint was taken."""
        self.resumed_fresh: Mapping[str, Any] = {}
        """Those of them since the latest observation."""
        self.latest: Mapping[str, Any] | None = None
        """The metrics of this epoch's latest trained batch, as the framework has them."""
        # Freeing a framework's values takes time, which should not count as the session's, so they are dropped early. They are
        # kept if the length of the data is unknown, because the loop may then begin a batch that never ends.
        self._drops_latest = run.steps_per_epoch is not None
        self._continues_epoch = False
        self._plugins = plugins
        handles = {registered.name: run.as_plugin(registered.name) for registered in self._plugins}
        run.shared.parameters, run.shared.shows_progress = {}, show_progress(plugins)
        self._policy = ErrorPolicy(run.failures, plugins, on_error, self._host.ends_of_data, self._compile)
        self._captures = Captures(run, plugins, self._policy, self._record, clock)
        self._asked = self._captures.asked
        """The list of `_captures` with the plugins that want a capture of this moment, kept here because every batch reads it."""
        self._ended = False
        run.shared.plugin_seconds = dict.fromkeys(handles, 0.0)
        self._active = ActiveHooks(handles, self._policy, Timing(run.shared.plugin_seconds, clock))
        self.hooks = self._active.hooks
        self._compile()
        run.shared.parameters = {
            registered.name: self._policy.ask(registered, "a parameter", registered.parameters, {}) for registered in plugins
        }
        run.shared.chosen_parameters = {
            registered.name: self._policy.ask(registered, "a default", registered.chosen_parameters, []) for registered in plugins
        }
        self._voted = on_vote
        self._host_stops: str | None = None
        """Why the loop itself stops, if it does and no plugin has voted."""
        self._epoch_metrics = epoch_metrics
        """Returns the metrics of the open epoch so far that no host has, as the framework has them."""
        self._fresh_metrics = fresh_metrics
        """Returns those of them since the latest observation."""
        self._observations = Observations(run) if is_training else None
        """None in an evaluation or a prediction by itself."""
        self.always_ends = always_ends
        """Whether the loop ends every run that it begins; see `Driver`."""
        self._thread, self._is_copy = threading.current_thread(), False
        """The thread that trains, and whether this is the copy in a forked child."""
        run.shared.session = weakref.ref(self)
        _driven.add(self)

    def _compile(self) -> None:
        self._active.compile(self._policy.active)

    @property
    def position(self) -> Position:
        """Where training continues if the run is cut now."""
        return Position(self._epoch, self._batch, self._begun)

    @property
    def is_over(self) -> bool:
        """Whether every plugin has had the end of the run, or the run was refused, or another process drives it."""
        return self.shared.is_released or self._is_copy

    @property
    def loop(self) -> str:
        """The name of the loop that is driven."""
        return self._host.name

    @property
    def is_calling(self) -> bool:
        """Whether a plugin is being called now, on any thread. Searches the stacks: setting a flag would slow every batch."""
        return is_executing(self, besides={"is_calling", "may_go_on"})

    @property
    def may_go_on(self) -> bool:
        """Whether the loop may still drive the run. This is a guess if the loop does not report exceptions."""
        if self.is_over or self.always_ends or self.is_calling:
            return not self.is_over
        return self._thread.is_alive() and self._thread is not threading.current_thread()

    @property
    def is_whole(self) -> bool:
        """Whether what was trained is whole, and every plugin has had every event of it."""
        return not self._cuts

    @property
    def accumulates(self) -> bool:
        """Whether the latest batch was no update, so that gradients wait for one."""
        return self._accumulates

    @property
    def waits_for(self) -> str:
        """What will settle this moment, in words. A signal handler reads it, between any two lines of this class."""
        epoch = self._progress.epoch + 1
        if not self._begun:
            return f"the plugins in epoch {epoch}" if self._cuts else "the next epoch, or the end of the run"
        if self._accumulates:
            return f"the next update in epoch {epoch}"
        if self._cuts == "epoch":
            return f"the first batch of epoch {epoch}, or its end"
        if self._cuts == "held":
            return f"the events after batch {self._batch} in epoch {epoch}"
        return f"the end of batch {self._batch + 1} in epoch {epoch}"

    @property
    def stopping(self) -> bool:
        """Whether some plugin has voted to stop."""
        return bool(self.shared.stop_reasons)

    def reset_plugins(self) -> None:
        """Put each plugin into its state before its first run. Raises an actor's error."""
        try:
            for registered in self._plugins:
                self._policy.ask(registered, "load_state_dict", registered.reset, None)
        except BaseException:
            self.refuse()
            raise

    def train_begin(self) -> None:
        """Refuse plugins whose needs the trainee cannot meet, then call `on_train_begin`. Raises `CapabilityError`.

        An observer that takes part by itself is left out instead.
        """
        for registered in self._plugins:
            reasons = {need: reason_lacking(self.run.trainee, need) for need in registered.needs}
            lacking = [f"{need.replace('_', ' ')}, but {reason}." for need, reason in reasons.items() if reason is not None]
            if lacking:
                error = CapabilityError(f"Plugin {registered.name!r} needs the trainee's {lacking[0]}")
                if not (registered.autoloaded and registered.is_observer):
                    self.refuse()
                    raise error
                warn_left_out(registered.name, registered.origin, error)
                self._policy.leave_out(registered)
        self.hooks.on_train_begin()
        if self._asked:
            self._captures.hand_out()
        self._active.begin_timing()

    def epoch_begin(self, epoch: int) -> None:
        """Begin `epoch` with `on_epoch_begin`, unless it began in the run that this one resumes."""
        if self._continues_epoch and epoch == self._epoch:
            self.epoch_continues()
            return
        self._epoch, self._batch, self._begun, self._continues_epoch, self.latest = epoch, 0, False, False, None
        self.run.progress.epoch, self.run.progress.batch = epoch, 0
        self._cuts = "epoch"
        self.hooks.on_epoch_begin(epoch)
        self._begun = True
        self.settle()
        self._cuts = "epoch"  # until a batch begins: an epoch may be trained without batches

    def epoch_continues(self) -> None:
        """Continue the epoch in which the resumed run was cut."""
        self._continues_epoch = False
        self.settle()
        self._cuts = "" if self._batch else "epoch"

    def trains_by_batches(self) -> None:
        """Note that each batch of the open epoch is one update, and that nothing else is trained in it."""
        self._progress.accumulated, self._accumulates = 0, False
        if self._begun and self._cuts == "epoch":
            self._cuts = ""

    def begin_again(self) -> None:
        """Count the batches of the open epoch from zero again: the loop cannot skip those that were trained."""
        self._batch = 0

    def batch_begin(self, batch: int | None = None) -> None:
        """Begin a batch, by default the next one, with `on_batch_begin`."""
        if batch is None:
            batch = self._batch
        self._progress.batch = batch
        self._cuts = "batch"
        begin = self._active.on_batch_begin
        if begin is not None:
            begin(batch)
        if self._drops_latest:
            self.latest = None

    def batch_dropped(self) -> None:
        """Note that the open batch has no data, and was not trained."""
        if self._cuts == "batch":
            self._cuts = "held" if self._accumulates else ""

    def batch_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        """End one batch, which was one update, with `on_batch_end`. `metrics` are as the framework has them: see `Metrics`."""
        self.latest = metrics
        progress = self._progress
        progress.batch = batch
        progress.step += 1
        self._batch += 1
        active = self._active
        if active.on_batch_end is not None:
            active.on_batch_end(batch, Metrics(metrics) if active.reads_metrics else _NO_METRICS)
            active.window_left -= 1
            if not active.window_left:
                active.begin_window()
        self._cuts = ""
        if self._asked or self.shared.interruption is not None:
            self.settle()

    def batches_end(self, metrics: Mapping[str, Any] | None, updates: int, batches: int) -> None:
        """End `batches` batches, which were `updates` updates, with one `on_batch_end`. The caller calls `settled` later."""
        self.latest = metrics
        self._progress.step += updates
        self._progress.accumulated = 0 if updates else self._progress.accumulated + batches
        self._batch += batches
        batch = self._progress.batch = self._batch - 1
        self._accumulates, self._cuts = not updates, "held"
        active = self._active
        if active.on_batch_end is not None:
            active.on_batch_end(batch, Metrics(metrics) if active.reads_metrics else _NO_METRICS)
            active.window_left -= 1
            if not active.window_left:
                active.begin_window()

    def update(self, updates: int) -> None:
        """Count updates that `batches_end` was not told of."""
        if updates:
            self._progress.step += updates
            self._progress.accumulated, self._accumulates = 0, False

    def epoch_end(
        self,
        epoch: int,
        metrics: Mapping[str, Any],
        fresh: Mapping[str, Any] | Literal["all"] | None = "all",
        exhausted: bool = False,  # noqa: FBT001, FBT002 - an event
    ) -> None:
        """End an epoch with `on_epoch_end`, then `on_metrics` with what is `fresh`: by default all, None if it is no observation.

        An epoch without batches counts as one step. If its data are `exhausted`, the length of an epoch is known now.
        """
        own = metrics if type(metrics) is Metrics else Metrics(metrics)
        new = own if fresh is metrics or isinstance(fresh, str) else None if fresh is None else Metrics(fresh)
        self._progress.step += self._cuts == "epoch"  # else the steps were counted by batches
        self._cuts, self._accumulates = "epoch", False
        if exhausted and self.shared.steps_per_epoch is None:
            self.shared.steps_per_epoch = self._batch
        self._open_observation(new, own)
        self._epoch, self._batch, self._begun, self._continues_epoch = epoch + 1, 0, False, False
        self.hooks.on_epoch_end(epoch, own)
        self._observe()
        self.settle()

    def note_learning_rate(self) -> None:
        """Note the learning rate for the next observation, before a plugin or the framework changes it."""
        if self._observations is not None:
            self._observations.note_learning_rate()

    def observed(self, fresh: Mapping[str, Any]) -> None:
        """Call `on_metrics` for an observation by steps. The caller calls `settled` later."""
        self._open_observation(Metrics(fresh), None)
        self._observe()

    def _open_observation(self, fresh: Metrics | None, own: Metrics | None) -> None:
        """Add a row to the history, with what plugins have logged for it. Do nothing if nothing is fresh."""
        if self._observations is not None:
            refused = self._observations.open(fresh, own)
            if refused:
                raise_first([self._policy(plugin, "log", error) for plugin, error in refused])

    def _observe(self) -> None:
        metrics = None if self._observations is None else self._observations.opened()
        if metrics is not None:
            self.hooks.on_metrics(metrics)

    def log(self, plugin: str, metrics: Mapping[str, Any]) -> None:
        """Add `metrics` of `plugin` to the observation that they belong to; see `Run.log`."""
        if self._observations is not None:
            self._observations.log(plugin, metrics)

    def settled(self) -> None:
        """Note that every event after the latest batch was delivered. Within an accumulation this settles only an observation."""
        if self._observations is not None:
            self._observations.close()
        if not self._accumulates:
            self.settle()
        elif self.shared.interruption is not None:
            self._cut_if_late(self.shared.interruption)

    def settle(self) -> None:
        """Settle this moment: take the capture that was asked for, then raise what `Run.interrupt` was given."""
        self._cuts = ""
        if self._observations is not None:
            self._observations.close()
        if self._host_stops is not None:
            self._vote_of_host()
        if self._asked:
            self._captures.hand_out()
        if self.shared.interruption is not None:
            interruption, self.shared.interruption = self.shared.interruption, None
            raise interruption

    def evaluate_begin(self) -> None:
        """Begin an evaluation with `on_evaluate_begin`."""
        self.hooks.on_evaluate_begin()

    def evaluate_batch_begin(self, batch: int) -> None:
        """Begin a batch of an evaluation with `on_evaluate_batch_begin`."""
        self.hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        """End a batch of an evaluation with `on_evaluate_batch_end`. `metrics` are as the framework has them."""
        self.hooks.on_evaluate_batch_end(batch, Metrics(metrics))
        self._active.window_left -= 1
        if not self._active.window_left:
            self._active.begin_window()
        if self.shared.interruption is not None:
            if not self._cuts:
                self.settle()
            else:
                self._cut_if_late(self.shared.interruption)

    def _cut_if_late(self, interruption: BaseException) -> None:
        """Raise an interruption before this moment is settled, if the process is about to be killed. No capture is taken."""
        if not isinstance(interruption, Preempted):
            return
        left = interruption.remaining()
        if left is not None and left < interruption.reserve:
            self.shared.interruption = None
            logger.warning("%s: not waiting for %s: %.3g s are left", interruption, self.waits_for, left)
            raise interruption

    def evaluate_end(self, metrics: Mapping[str, Any] | None) -> None:
        """End an evaluation with `on_evaluate_end`."""
        self.hooks.on_evaluate_end(Metrics(metrics))

    def predict_begin(self) -> None:
        """Begin a prediction with `on_predict_begin`."""
        self.hooks.on_predict_begin()

    def predict_batch_begin(self, batch: int) -> None:
        """Begin a batch of a prediction with `on_predict_batch_begin`."""
        self.hooks.on_predict_batch_begin(batch)

    def predict_batch_end(self, batch: int) -> None:
        """End a batch of a prediction with `on_predict_batch_end`."""
        self.hooks.on_predict_batch_end(batch)

    def predict_end(self) -> None:
        """End a prediction with `on_predict_end`."""
        self.hooks.on_predict_end()

    def end(self, exception: BaseException | None = None) -> None:
        """Set the outcome, call `on_exception` if there is an exception, then `on_train_end`. Afterwards the run is data.

        A second call does nothing. An error that a plugin raises here propagates to the caller; if there is an `exception`, it
        becomes a note on the exception instead.
        """
        if self._ended:
            return
        if exception is None:
            self._vote_of_host()
        self._ended = True
        try:
            tell_of_end(self.run, self.hooks, self._captures, exception, self._cut_in_words())
            if self._observations is not None:
                self._observations.warn_of_rest()
            self._policy.warn_of_disabled()
        finally:
            self.shared.release()
            self._active.refuse_batches(self.refuse_fact)

    def leave_to_parent(self) -> None:
        """Stop calling plugins, in a forked child: only the parent drives the run, and the child may end at any time.

        If the child was forked within a hook, the plugins after the one that forked are not called in the child either.
        """
        self._is_copy = self._ended = True
        self._active.turn_off(self.refuse_fact)
        self._asked.clear()

    def refuse_fact(self, *_: object) -> None:
        """Raise `HookcoreError`: the run has ended before its loop, or another process drives it."""
        if self._is_copy:
            raise HookcoreError(
                f"This run of {self.loop} is driven by the process that forked this one, and its plugins write there. "
                "End the forked child with os._exit, or train in it with plugins of its own."
            )
        raise HookcoreError(
            f"This run of {self.loop} has ended. If that was because another run began on the same engine, "
            "give each its own Engine, with plugins of its own."
        )

    def _cut_in_words(self) -> str:
        """Return what the end of the run cuts, as a clause, or an empty string if it cuts nothing."""
        if not self._cuts:
            return ""
        if self._cuts == "held":
            return f"the events after batch {self._batch} were cut"
        number = (self._progress.epoch if self._cuts == "epoch" else self._batch) + 1
        return f"{self._cuts} {number} was cut, so weights and record differ"

    def when_settled(self, plugin: str, then: Callable[[Capture], None]) -> None:
        """Have `then(capture)` called for `plugin`; see `Run.when_settled`."""
        self._captures.asked.append((plugin, then))

    def voted(self) -> None:
        """Tell the loop of a vote to stop."""
        if self._voted is not None:
            self._voted()

    def host_stops(self, reason: str) -> None:
        """Have the loop itself vote to stop, once this moment is settled or the run ends, unless a plugin has voted by then."""
        self._host_stops = reason

    def _vote_of_host(self) -> None:
        reason, self._host_stops = self._host_stops, None
        if reason is not None and not self.stopping:
            self.run.as_plugin(self._host.name).stop(reason)

    def capture(self) -> Capture:
        """Return what a checkpoint holds; see `Run.capture`."""
        return self._captures.take()

    def record(self, *, quiet: bool = False) -> str:
        """Return the record of a capture, without the snapshots. Unless `quiet`, the log names those that plugins hold, once."""
        return self._captures.record_alone(quiet=quiet)

    def _record(self, held: Iterable[tuple[str, str]]) -> str:
        from hookcore import record

        states = {
            registered.name: self._policy.ask(registered, "state_dict", registered.saved_state, None)
            for registered in self._plugins
        }
        return record.record_of(
            self.run,
            self.position,
            {registered.name: (registered.type_name, states[registered.name]) for registered in self._plugins},
            list(held),
            metrics=Metrics(self._epoch_metrics()),
            fresh=Metrics(self._fresh_metrics()),
            loop=self._host.state_dict(),
            logged={} if self._observations is None else self._observations.state_dict(),
        )

    def resume(self, capture: Capture | None = None, *, stops_by: str | None = None) -> None:
        """Restore `capture`, by default that of `run.resumed_from`; do nothing if both are None.

        The trainee must be ready to be restored. A vote of the loop itself is kept if its reason is `stops_by`. Raises
        `CheckpointError`, and then no plugin is called.
        """
        try:
            if capture is None and self.run.resumed_from is not None:
                from hookcore.capture import Capture

                capture = Capture.read(self.run.resumed_from, self.run.trainee)
            if capture is not None:
                self.restore(capture, stops_by=stops_by)
        except BaseException:
            self.refuse()
            raise

    def restore(self, capture: Capture, *, stops_by: str | None = None) -> None:
        """Put the run, its plugins and the trainee into the state of `capture`. Call it before `train_begin`."""
        from hookcore import record

        restored = record.restore(capture, self.run, self._plugins, self._policy, host=(self._host.name, stops_by))
        self.resumed_loop_state, self.resumed_metrics, self.resumed_fresh = restored.loop, restored.metrics, restored.fresh
        if self._observations is not None:
            self._observations.load_state_dict(restored.logged)
        self._epoch, self._batch, self._begun = attrs.astuple(restored.position)
        self._continues_epoch = self._begun

    def refuse(self) -> None:
        """Fail the run before it begins: no plugin is called."""
        self._ended = True  # no plugin had on_train_begin, so none may get on_train_end
        self.shared.fail()

    def announce_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Call `on_checkpoint`."""
        # Looked up at each call: disabling a plugin replaces the hook.
        self.hooks.on_checkpoint(checkpoint)


_driven: Final[weakref.WeakSet[Session]] = weakref.WeakSet()
"""The sessions of this process. A forked child drives none of them."""


def _leave_to_parent() -> None:
    for session in list(_driven):
        session.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
