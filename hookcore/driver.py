"""What an adapter uses: it tells the driver facts, in whatever order, and plugins get a legal sequence of events.

The driver joins the sequence, which decides on events, and the session, which calls plugins and keeps the position. It decides
which checkpoint is resumed, when the loop is told to stop, and how a run ends. If anything raises, the run ends.
"""

from __future__ import annotations

import logging
import operator
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcore.capture import Capture
from hookcore.engine import Engine, Plugins
from hookcore.errors import CheckpointError, HookcoreError, MetricError, ParameterError
from hookcore.host import Host, NoHost
from hookcore.interrupt import DelayedInterrupt
from hookcore.numeric import integer_of
from hookcore.raised import describe
from hookcore.resume import find, trained, warn_of_nothing_left
from hookcore.run import Run
from hookcore.sequence import Sequence
from hookcore.stacks import runs
from hookcore.store import SavedCheckpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import CodeType

    from hookcore.resume import Resume
    from hookcore.run_state import Position
    from hookcore.sequence import Events
    from hookcore.session import Session
    from hookcore.trainee import Trainee

logger = logging.getLogger("hookcore")


class Driver:
    """One adapter's engine, and the runs that it drives one after the other.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration.
    * `resume`: what each run resumes from, as in `Loop`.
    * `host`: the loop.
    * `always_ends`: whether the adapter calls `end` for each run, whatever is raised, so that another run on the same engine is
      refused until then. False by default: a run that has not ended counts as abandoned when another begins, and ends then.

    The methods named for facts may be called in any order: see `hookcore.sequence`. If one of them raises, the run has ended for
    the plugins before that. For what the framework itself raises, the adapter calls `end(error)`. Outside of a run, a fact of
    training is a `HookcoreError` that names the loop and the fact; evaluations and predictions need `outside` first.
    """

    def __init__(
        self,
        plugins: Plugins = (),
        *,
        resume: Resume = False,
        host: Host | None = None,
        always_ends: bool = False,
    ) -> None:
        self.engine = Engine.of(plugins)
        self._resume = resume
        self._always_ends = always_ends
        self._host: Host = NoHost() if host is None else host
        self._session: Session | None = None
        self._outside = False
        self._sequence = Sequence()
        self._interrupt: DelayedInterrupt | None = None
        self._min_epochs = self._min_steps = 0
        self._trained_before = (0, 0, 0)
        """What the run had trained when it was resumed."""
        self._votes = 0
        """The number of votes that were passed on to the loop."""
        self._is_over = False
        """Whether training is over, so that no vote is passed on."""
        self._waits_for_start = False
        """Whether the run is restored and not started."""
        self._loop: CodeType | None = None
        """The code of the function that runs the loop, if exceptions may leave it without being reported."""
        self._left: Callable[[], str | None] | None = None
        """Returns why such a loop stopped if no exception ended it."""

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self.engine.run

    @property
    def stopping(self) -> bool:
        """Whether some plugin has voted to stop."""
        return self._session is not None and not self._outside and self._session.stopping

    @property
    def is_running(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._session is not None and not self._outside and not self._session.is_over

    @property
    def position(self) -> Position:
        """Where training continues if the run is cut now. Raises `HookcoreError` outside of a run."""
        return self._running("position").position

    @property
    def latest(self) -> Mapping[str, Any] | None:
        """The metrics of the epoch's latest batch, as the framework has them, if any. Raises `HookcoreError` outside of a run."""
        return self._running("latest").latest

    @property
    def epoch(self) -> int:
        """The latest epoch that began, counted from zero; before the first epoch, its number minus one."""
        return self._sequence.epoch

    def find(self, trainee: Trainee) -> SavedCheckpoint | None:
        """Return the checkpoint that the next run resumes, or None: for a framework that must build its model first."""
        self.end_abandoned()  # it may still be writing the newest checkpoint
        return find(self._resume, self.engine.plugins, trainee, self.engine.on_error)

    def begin(
        self,
        run: Run,
        *,
        initial_epoch: int = 0,
        min_epochs: int = 0,
        min_steps: int = 0,
        capture: Capture | None = None,
        record: str | None = None,
        path: str | os.PathLike[str] | None = None,
        loop: CodeType | None = None,
        left: Callable[[], str | None] | None = None,
        stops_by: str | None = None,
        start: bool = True,
    ) -> None:
        """Begin `run`, from the checkpoint that it has or one that is found: restore it and the host, then `start` it.

        * `initial_epoch`: the first epoch, counted from zero, unless the run is resumed.
        * `min_epochs`, `min_steps`: votes to stop before these are over are overruled and logged; they count later only if the
          plugin votes again. Both are 0 by default.
        * `capture`: what the run continues, instead of a checkpoint; `run.resumed_from` stays what the caller has set.
        * `record`: what `record()` returned, from a checkpoint of the framework, and `path`: that checkpoint, for messages. If
          one of them is given, no checkpoint of ours is looked for, and the framework restores the trainee.
        * `loop`: the code of the framework's function that runs the loop, if exceptions may leave it without being reported. Then
          Ctrl-C is delayed only while that function is being executed, and `end_left` ends the run.
        * `left`: called when a run ends whose end was not reported; returns why the loop itself stopped, or None if it failed.
        * `stops_by`: the reason for which the loop itself may stop in this run: see `stops`.
        * `start`: whether to call `start` now, which is the default. If not, the adapter calls it once the framework is done with
          the restored trainee.

        An earlier run that its framework abandoned ends first, as failed. Raises `HookcoreError` if an earlier run is still in
        progress: see `Engine.check_free`.
        """
        self.end_abandoned()
        self.engine.check_free(self._host.name)
        if record is not None:
            capture = Capture.of_record(record, run.trainee)
            place = Path(f"the checkpoint of {self._host.name}" if path is None else path)
            run.resumed_from = SavedCheckpoint(place, capture.epoch, capture.step, accumulated=capture.accumulated)
        elif capture is None and path is None and run.resumed_from is None:
            run.resumed_from = self.find(run.trainee)
        self._sequence = sequence = Sequence(operator.index(initial_epoch) - 1)
        session = self.engine.start(
            run,
            host=self._host,
            on_vote=_weakly(self._obey),
            epoch_metrics=lambda: sequence.metrics,
            fresh_metrics=lambda: sequence.fresh,
            always_ends=self._always_ends,
        )
        session.resume(capture, stops_by=stops_by)
        position = session.position
        self._trained_before = trained(run)
        if run.resumed_from is not None or capture is not None:
            sequence.epoch = position.epoch - 1
            if position.begun:
                sequence.epoch, sequence.is_new, sequence.continues = position.epoch, False, True
                sequence.open, sequence.metrics, sequence.fresh = ["epoch"], session.resumed_metrics, session.resumed_fresh
                sequence.observed = run.history.epochs[-1:] == [position.epoch]
        self._session, self._outside, self._votes, self._is_over = session, False, 0, False
        self._min_epochs, self._min_steps, self._loop, self._left = min_epochs, min_steps, loop, left
        self._interrupt = DelayedInterrupt(self._interrupt_run, self._waits_for, loop)
        self._interrupt.install()
        self._waits_for_start = True
        try:
            try:
                self._host.load_state_dict(session.resumed_loop_state, position)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                if not session.resumed_loop_state:
                    raise
                raise CheckpointError(
                    f"{self._host.name} cannot continue from the field loop of the record: {describe(error)}."
                ) from error
        except BaseException as error:
            self.end(error)
            raise
        if start:
            self.start()

    def start(self) -> None:
        """Call `on_train_begin`, after a `begin` with `start=False`. If `end` is called before it, no plugin is called."""
        session, self._waits_for_start = self._running("start"), False
        try:
            session.train_begin()
            self._obey()
        except BaseException as error:
            self.end(error)
            raise

    def record(self, *, held: bool = False, quiet: bool = False) -> str:
        """Return the record of the run, as JSON text, for the framework's own checkpoint; `begin` takes it.

        It holds what a checkpoint of ours does, except the trainee and the snapshots that plugins hold. The log names these
        snapshots; if `quiet`, for a record that may never be saved, only when a run is resumed from the record.

        Raises `HookcoreError` outside of a run, and while the moment is not settled: within a hook, a batch, an accumulation or
        an evaluation, or while a batch or the end of an epoch is held. With `held`, a batch that is held and not evaluated has
        the record of a settled batch, for a framework that saves then and skips the evaluation when it resumes.
        """
        session, sequence = self._running("record"), self._sequence
        is_held = held and sequence.held == "batch" and not sequence.evaluated and not session.accumulates
        is_settled = sequence.held is None and session.is_whole
        if session.is_calling or not (is_settled or is_held) or sequence.open not in ([], ["epoch"]):
            waits_for = "the hook that is being called" if session.is_calling else self._waits_for()
            raise HookcoreError(
                f"{self._host.name} asked for a record within a moment that is not settled, so plugins and weights would be of "
                f"different ones. Ask again after {waits_for}."
            )
        return session.record(quiet=quiet)

    def outside(self, trainee: Trainee, model: Any = None) -> None:
        """Prepare for an evaluation or a prediction outside of a run. Do nothing within a run. The latest run does not change."""
        if self._session is None or self._outside or self._session.is_over:
            run = Run.of(trainee, model=model)
            self._session = self.engine.start(run, training=False, host=self._host)
            self._sequence, self._outside = Sequence(), True

    def end(self, error: BaseException | None = None, *, by: str | None = None) -> None:
        """End the run, with `error` if it is given; otherwise what is open ends first. A second call does nothing.

        `by` is the reason to stop if no plugin has voted; it is recorded under the host's name.
        """
        session, outside = self._session, self._outside
        if session is None:
            return
        if self._waits_for_start:
            self._waits_for_start = False
            session.refuse()
        if error is None and not outside and not session.is_over:
            self._deliver("end", self._sequence.finish())  # which ends the run if something raises
        if self._interrupt is not None and isinstance(error, KeyboardInterrupt | SystemExit):
            self._interrupt.let_through()  # the next one is the second
        self._is_over = True
        try:
            if not outside:
                if error is None and by is not None:
                    session.host_stops(by)
                nothing = not session.is_over and error is None and by is None and trained(session.run) == self._trained_before
                session.end(error)
                if nothing:
                    warn_of_nothing_left(session.run, self._host.name)
        finally:  # not before: a plugin may capture in on_exception
            self._session, self._outside, self._sequence, self._loop, self._left = None, False, Sequence(), None, None
            interrupt, self._interrupt = self._interrupt, None
            if interrupt is not None:
                interrupt.uninstall()
                interrupt.raise_pending(error)

    def end_abandoned(self, error: HookcoreError | None = None) -> None:
        """End a run whose end was not reported, with `error`. Do nothing within a hook of the run.

        Without an `error` the run is stopped if `left`, which `begin` was given, returns a reason, and has failed otherwise.
        """
        if self._session is not None and not self._outside and not self._session.is_calling:
            by = None if error is not None or self._left is None else self._left()
            if by is None and error is None:
                error = HookcoreError(f"An earlier run of {self._host.name} ended with an exception that was not reported.")
            self.end(error, by=by)

    def end_left(self) -> None:
        """End the run as `end_abandoned` does if its `loop`, which `begin` was given, is no longer being executed."""
        if self._loop is not None and self.is_running and not runs(self._loop):
            self.end_abandoned()

    def batches(self) -> tuple[Callable[[int], None], Callable[[int, Mapping[str, Any] | None], None]]:
        """Return the session's own methods for the beginning and the end of a batch, which cost less than the driver's.

        Call them with the batch's number, in an open epoch, if each batch is one update and no batch is held. The adapter must
        give what they raise to `end`. This call also tells that the open epoch is trained by batches only, so that a capture
        before its first batch is whole.
        """
        session = self._running("batches")
        session.trains_by_batches()
        return session.batch_begin, session.batch_end

    # Facts of training

    def epoch_begin(self, epoch: int | None = None) -> None:
        """Tell that an epoch begins. `epoch` is the number of the run's first epoch, if the adapter could not tell `begin`."""
        self._deliver("epoch_begin", self._sequence.epoch_begin(None if epoch is None else operator.index(epoch)))
        self._obey()

    def batch_begin(self) -> None:
        """Tell that a batch is about to be trained."""
        self._deliver("batch_begin", self._sequence.batch_begin())

    def batch_end(self, metrics: Mapping[str, Any] | None = None, *, updates: int = 1, batches: int = 1) -> None:
        """Tell that `batches` batches were trained by `updates` updates of the optimizer."""
        updates, batches = self._counts("batch_end", updates, batches)
        self._deliver("batch_end", self._sequence.batch_end(metrics, updates=updates, batches=batches), metrics)

    def batch_held(
        self, metrics: Mapping[str, Any] | None = None, *, updates: int = 1, batches: int = 1, begun: bool = False
    ) -> None:
        """Tell the same, if evaluations of this batch may follow. `begun` is whether a method of `batches` has begun it."""
        updates, batches = self._counts("batch_held", updates, batches)
        events = self._sequence.batch_held(metrics, updates=updates, batches=batches, begun=begun)
        self._deliver("batch_held", events, metrics)

    def settled(self, fresh: Mapping[str, Any] | None = None) -> None:
        """Tell that the evaluations of the held batch or epoch are over, or that there is no evaluation.

        If a held batch was evaluated, this is an observation. It has the metrics that `log` and evaluations gave since the latest
        observation, and `fresh`, such as the means since then.
        """
        self._deliver("settled", self._sequence.settled(fresh), fresh)

    def update(self, updates: int) -> None:
        """Tell of `updates` more of batches whose end was told before: those of an optimizer that the adapter does not know."""
        updates, _ = self._counts("update", updates, 1)
        self._deliver("update", iter([("update", updates)]))

    def batch_dropped(self) -> None:
        """Tell that the open batch has no data, and was not trained."""
        self._deliver("batch_dropped", self._sequence.batch_dropped())

    def batch_skipped(self) -> None:
        """Tell that the loop skips a batch that was trained before the run was cut, so that Ctrl-C may take effect."""
        self._deliver("batch_skipped", iter([("settle",)]))

    def begin_again(self) -> None:
        """Tell that the loop cannot skip the batches of the open epoch that were trained before the run was cut."""
        self._deliver("begin_again", iter([("begin_again",)]))

    def epoch_ends(self) -> None:
        """Tell that an epoch's end comes next, before the framework may change the learning rate of that epoch."""
        self._deliver("epoch_ends", iter([("note_learning_rate",)]))

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Tell metrics of the open epoch."""
        self._deliver("log", self._sequence.log(metrics), metrics)

    def epoch_end(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        fresh: Mapping[str, Any] | None = None,
        hold: int = 0,
        exhausted: bool = False,
    ) -> None:
        """Tell that the epoch is over, with its own metrics, except for `hold` evaluations that will follow.

        `fresh` are its metrics since the latest observation, by default the same. `exhausted` is whether it used all of its data,
        so that its number of batches is the length of an epoch, if that is unknown.
        """
        events = self._sequence.epoch_end(metrics, fresh=fresh, hold=hold, exhausted=exhausted)
        self._deliver("epoch_end", events, metrics, fresh)

    def stops(self, by: str) -> None:
        """Tell that the loop itself stops at the end of the open epoch, for the reason `by`, unless a plugin votes until then.

        It is a vote under the host's name, and in the record of that moment. So a run that is resumed from it stays stopped, if
        `begin` is given the same reason as `stops_by`.
        """
        self._is_over = True
        self._running("stops").host_stops(by)

    def leave(self) -> None:
        """Tell that the loop leaves the open epoch in the middle. If `end` follows, the epoch has no end event."""
        self._deliver("leave", self._sequence.leave())

    # Facts of evaluations and predictions

    def evaluate_begin(self, prefix: str = "") -> None:
        """Tell that an evaluation begins. `prefix` begins its metrics' names in the epoch, if `run.metric_names` may lack it."""
        if self.is_running:
            shared = self._running("evaluate_begin").shared
            shared.metric_names = shared.metric_names.adding(prefix)
        self._deliver("evaluate_begin", self._sequence.evaluate_begin(), anywhere=True)

    def evaluate_batch_begin(self) -> None:
        """Tell that a batch is about to be evaluated."""
        self._deliver("evaluate_batch_begin", self._sequence.evaluate_batch_begin(), anywhere=True)

    def evaluate_batch_end(self, metrics: Mapping[str, Any] | None = None, *, batches: int = 1) -> None:
        """Tell that `batches` batches were evaluated."""
        _, batches = self._counts("evaluate_batch_end", 0, batches)
        self._deliver("evaluate_batch_end", self._sequence.evaluate_batch_end(metrics, batches), metrics, anywhere=True)

    def evaluate_end(self, metrics: Mapping[str, Any] | None = None, *, named: Mapping[str, Any] | None = None) -> None:
        """Tell that an evaluation ended with `metrics`, under their plain names; `named` has them under the epoch's names."""
        self._deliver("evaluate_end", self._sequence.evaluate_end(metrics, named), metrics, named, anywhere=True)

    def predict_begin(self) -> None:
        """Tell that a prediction begins."""
        self._deliver("predict_begin", self._sequence.predict_begin(), anywhere=True)

    def predict_batch_begin(self) -> None:
        """Tell that a batch is about to be predicted."""
        self._deliver("predict_batch_begin", self._sequence.predict_batch_begin(), anywhere=True)

    def predict_batch_end(self, *, batches: int = 1) -> None:
        """Tell that `batches` batches were predicted."""
        _, batches = self._counts("predict_batch_end", 0, batches)
        self._deliver("predict_batch_end", self._sequence.predict_batch_end(batches), anywhere=True)

    def predict_end(self) -> None:
        """Tell that a prediction ended."""
        self._deliver("predict_end", self._sequence.predict_end(), anywhere=True)

    # Ctrl-C

    def _interrupt_run(self, exception: BaseException) -> BaseException:
        return exception if self._session is None else self._session.run.interrupt(exception)

    def _waits_for(self) -> str:
        """Return what Ctrl-C waits for, in words."""
        session = self._session
        if session is None or self._is_over:
            return "the end of the run"
        if "evaluate" in self._sequence.open:
            return "a batch of the evaluation" if session.is_whole else "the evaluation"
        return session.waits_for

    # Delivery and policy

    def _running(self, fact: str, *, anywhere: bool = False) -> Session:
        """Return the session that `fact` is about: that of the run, or with `anywhere` also one that `outside` made."""
        if self._session is None or (self._outside and not anywhere):
            outside = ", or Driver.outside for an evaluation or a prediction by itself" if anywhere else ""
            raise HookcoreError(f"{self._host.name} told of {fact} outside of a run. Call Driver.begin first{outside}.")
        if self._session.is_over:
            session = self._session
            self.end()
            session.refuse_fact()
        return self._session

    def _counts(self, fact: str, updates: int, batches: int) -> tuple[int, int]:
        """Return both as Python's ints. For anything else, end the run with a `ParameterError` and raise it."""
        if type(updates) is int and type(batches) is int and updates >= 0 and batches >= 1:  # almost always, and cheap
            return updates, batches
        known = integer_of(updates), integer_of(batches)
        if known[0] is None or known[1] is None or known[0] < 0 or known[1] < 1:
            self._running(fact, anywhere=True)
            error = ParameterError(
                f"{self._host.name} told of {fact} with updates={updates!r} and batches={batches!r}; these are whole numbers, "
                "of at least 0 and 1."
            )
            self.end(error)
            raise error
        return known[0], known[1]

    def _deliver(self, fact: str, events: Events, *given: Mapping[str, Any] | None, anywhere: bool = False) -> None:
        session = self._running(fact, anywhere=anywhere)
        try:
            for metrics in given:
                # Almost always one of the first two, which are cheap to check.
                if not (metrics is None or type(metrics) is dict or isinstance(metrics, Mapping)):
                    raise MetricError(  # noqa: TRY301 - it ends the run as any other error does
                        f"{self._host.name} told of {fact} with metrics that do not map names to numbers: {metrics!r}."
                    )
            for name, *arguments in events:
                getattr(session, name)(*arguments)
        except BaseException as error:
            self.end(error)
            raise

    def _obey(self) -> None:
        """Tell the loop to stop if a plugin has voted, unless the minimum of epochs or steps is not reached."""
        session = self._session
        if session is None or self._is_over or not session.stopping or self._sequence.continues:
            return  # an epoch that was cut is finished first
        votes, least = session.run.stop_reasons, ""
        if self._sequence.epoch + ("epoch" not in self._sequence.open) < self._min_epochs:
            least = f"{self._min_epochs} epochs"
        elif session.run.progress.step < self._min_steps:
            least = f"{self._min_steps} steps"
        if least:
            for vote in votes:
                logger.info("%s: overruled: %s does %s at least: %s", vote.plugin, self._host.name, least, vote.message)
            votes.clear()
        elif len(votes) > self._votes:
            self._votes = len(votes)
            self._host.stop()


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `method` as long as its object lives, so that a run does not keep its driver alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        living = reference()
        if living is not None:
            living()

    return call
