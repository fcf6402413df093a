"""What an adapter holds: it tells the driver what it hears, in whatever order, and plugins get a legal sequence of events.

The driver joins the sequence (which events), the session (who is called, and the position) and the policy: which checkpoint
is resumed, when a loop is told to stop, and how a run ends. It ends wherever anything raises.
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
    from hookcore.run import Position
    from hookcore.sequence import Events
    from hookcore.session import Session
    from hookcore.trainee import Trainee

logger = logging.getLogger("hookcore")


class Driver:
    """One adapter's engine, and the runs that it drives one after the other.

    `plugins` is what `Engine` takes, an `Engine`, or a configuration. `resume` is what each run resumes from, as in `Loop`.
    `host` is the loop.
    `always_ends` tells whether `end` is called for each run, whatever is raised, so that no other can begin on the engine before.
    By default it may not be: a run is taken for abandoned, and ends, when another begins.
    The methods named for facts may be called in any order: see `hookcore.sequence`. Whatever one of them raises has ended the run
    for the plugins first; so has `end(error)`, which the adapter calls for what its framework raises. Outside of a run, a fact of
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
        """How many votes the loop was told of."""
        self._is_over = False
        """Whether training is over, so that no vote is passed on."""
        self._is_prepared = False
        """Whether the run is prepared and has not started."""
        self._loop: CodeType | None = None
        """The code of the function that runs the loop, if exceptions may leave that without the driver being told."""
        self._left: Callable[[], str | None] | None = None
        """Returns why such a loop stopped if it was left by no exception."""

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
        """The latest epoch that began, counted from zero; one less than the first before that."""
        return self._sequence.epoch

    def find(self, trainee: Trainee) -> SavedCheckpoint | None:
        """Return the checkpoint that the next run resumes, or None: for a framework that must build its model first."""
        self.end_abandoned()  # what it still writes may be the checkpoint
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
    ) -> None:
        """Begin `run`, from the checkpoint that it has or one that is found: `prepare` it, then `start` it.

        `record` is what `record()` returned, if a checkpoint of the framework's own has it, and `path` is that checkpoint, for
        people. With either none of ours is looked for, and the trainee is left to the framework to restore. `loop` is the code
        of the framework's function that runs the loop, if exceptions may leave that without being told: then Ctrl-C is delayed
        only while that is being executed, and `end_left` ends the run. `left`, called when a run is ended that was not told to
        end, returns why the loop itself stopped, or None if it failed. `stops_by` is the reason for which the loop itself may
        stop in this run: see `stops`.

        An earlier run that its framework abandoned ends first, as failed; one that is going on is a `HookcoreError`: see
        `Engine.check_free`. Votes to stop before `min_epochs` epochs are over, or `min_steps` steps are done, are overruled and
        logged; they count later only if the plugin votes again. With `capture` the run continues that instead, and
        `run.resumed_from` is what the caller has set.
        """
        self.prepare(
            run,
            initial_epoch=initial_epoch,
            min_epochs=min_epochs,
            min_steps=min_steps,
            capture=capture,
            record=record,
            path=path,
            loop=loop,
            left=left,
            stops_by=stops_by,
        )
        self.start()

    def prepare(
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
    ) -> None:
        """Restore `run` and tell the host: the first half of `begin`, for what the framework does with a restored trainee."""
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
        self._is_prepared = True
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

    def start(self) -> None:
        """Call `on_train_begin`: the second half of `begin`. If `end` comes before it, no plugin hears of the run."""
        session, self._is_prepared = self._running("start"), False
        try:
            session.train_begin()
            self._obey()
        except BaseException as error:
            self.end(error)
            raise

    def record(self, *, held: bool = False, quiet: bool = False) -> str:
        """Return the record of the run, as JSON text, for a checkpoint of the framework's own; `begin` takes it.

        It holds what a checkpoint of ours does, except the trainee and the snapshots that plugins hold, which the log names. If
        `quiet`, for a record that may never be saved, the log names them only when a run is resumed from it.
        Raises `HookcoreError` outside of a run, and while the moment is not settled: within a hook, a batch, an accumulation or
        an evaluation, or while a batch or the end of an epoch is held. With `held`, a batch that is held and not evaluated has
        the record of one that is settled, for a framework that saves then, and leaves the evaluation out when it resumes.
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
        """Prepare for an evaluation or a prediction by itself, unless a run is going on. It leaves the latest run as it is."""
        if self._session is None or self._outside or self._session.is_over:
            run = Run.of(trainee, model=model)
            self._session = self.engine.start(run, training=False, host=self._host)
            self._sequence, self._outside = Sequence(), True

    def end(self, error: BaseException | None = None, *, by: str | None = None) -> None:
        """End the run, by `error` if one is given; else what is open ends first. A second call does nothing.

        `by` says why the run is stopped if no plugin voted: recorded under the host's name.
        """
        session, outside = self._session, self._outside
        if session is None:
            return
        if self._is_prepared:
            self._is_prepared = False
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
        """End the run that was not told to end, if there is one, by `error`; within one of its own hooks do nothing.

        Without an `error` it is stopped if `left`, which `begin` was given, returns a reason, and has failed otherwise.
        """
        if self._session is not None and not self._outside and not self._session.is_calling:
            by = None if error is not None or self._left is None else self._left()
            if by is None and error is None:
                error = HookcoreError(f"An earlier run of {self._host.name} ended by an exception that it did not tell of.")
            self.end(error, by=by)

    def end_left(self) -> None:
        """End the run as `end_abandoned` does if its `loop`, which `begin` was given, is no longer being executed."""
        if self._loop is not None and self.is_running and not runs(self._loop):
            self.end_abandoned()

    def batches(self) -> tuple[Callable[[int], None], Callable[[int, Mapping[str, Any] | None], None]]:
        """Return the session's own methods for the beginning and the end of a batch: the shortest way, for each batch.

        To be called with the batch's number, in an open epoch, if each batch is one update and nothing is held. What they
        raise, the adapter must hand to `end`. This tells too that the open epoch is trained by batches, so that what was trained
        before its first one is whole.
        """
        session = self._running("batches")
        session.trains_by_batches()
        return session.batch_begin, session.batch_end

    # Facts of training

    def epoch_begin(self, epoch: int | None = None) -> None:
        """Tell that an epoch begins. `epoch` is the number of a run's first, if it was not known to `begin`."""
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
        """Tell the same, if evaluations that belong to the batch may follow. `begun`: a method of `batches` has begun it."""
        updates, batches = self._counts("batch_held", updates, batches)
        events = self._sequence.batch_held(metrics, updates=updates, batches=batches, begun=begun)
        self._deliver("batch_held", events, metrics)

    def settled(self, fresh: Mapping[str, Any] | None = None) -> None:
        """Tell that the evaluations of the held batch or epoch are done, or did not come.

        If there was one of a batch, this is an observation. It has what was told since the latest one, by `log` and by
        evaluations, and `fresh`, such as the means since then.
        """
        self._deliver("settled", self._sequence.settled(fresh), fresh)

    def update(self, updates: int) -> None:
        """Tell of `updates` of batches that were told of with fewer: those of an optimizer that the adapter does not know."""
        updates, _ = self._counts("update", updates, 1)
        self._deliver("update", iter([("update", updates)]))

    def batch_dropped(self) -> None:
        """Tell that the batch that began turned out to have no data: it was not trained."""
        self._deliver("batch_dropped", self._sequence.batch_dropped())

    def batch_skipped(self) -> None:
        """Tell that the loop is at a batch that was trained before the run was cut, so that a Ctrl-C may take effect."""
        self._deliver("batch_skipped", iter([("settle",)]))

    def begin_again(self) -> None:
        """Tell that the loop cannot skip the batches of the open epoch that were trained before the run was cut."""
        self._deliver("begin_again", iter([("begin_again",)]))

    def epoch_ends(self) -> None:
        """Tell that an epoch's end will be told next, before others may change the learning rate that it was trained with."""
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
        """Tell that the epoch is over, with its own metrics, except for `hold` evaluations that are still to come.

        `fresh` are its metrics since the latest observation, by default the same. `exhausted` is whether it had all of its data,
        so that its batches are the length of an epoch if that was unknown.
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
        """Tell that the loop leaves the open epoch in the middle: if `end` follows, it has no end."""
        self._deliver("leave", self._sequence.leave())

    # Facts of evaluations and predictions

    def evaluate_begin(self, prefix: str = "") -> None:
        """Tell that an evaluation begins. `prefix` is how the epoch calls its metrics, if `run.metric_names` may lack it."""
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
        """Tell that an evaluation ended with `metrics`, under their plain names; `named` is what the epoch calls them."""
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
        """Return what Ctrl-C waits for, for people."""
        session = self._session
        if session is None or self._is_over:
            return "the end of the run"
        if "evaluate" in self._sequence.open:
            return "a batch of the evaluation" if session.is_whole else "the evaluation"
        return session.waits_for

    # Delivery and policy

    def _running(self, fact: str, *, anywhere: bool = False) -> Session:
        """Return the session that `fact` is about: a run's, or with `anywhere` one that `outside` made."""
        if self._session is None or (self._outside and not anywhere):
            outside = ", or Driver.outside for an evaluation or a prediction by itself" if anywhere else ""
            raise HookcoreError(f"{self._host.name} told of {fact} outside of a run. Call Driver.begin first{outside}.")
        if self._session.is_over:
            session = self._session
            self.end()
            session.refuse_fact()
        return self._session

    def _counts(self, fact: str, updates: int, batches: int) -> tuple[int, int]:
        """Return both as Python's numbers. Ends the run by a `ParameterError` for others."""
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
                # The first two are almost all, and cheap.
                if not (metrics is None or type(metrics) is dict or isinstance(metrics, Mapping)):
                    raise MetricError(  # noqa: TRY301 - it ends the run as any other
                        f"{self._host.name} told of {fact} with metrics that do not map names to numbers: {metrics!r}."
                    )
            for name, *arguments in events:
                getattr(session, name)(*arguments)
        except BaseException as error:
            self.end(error)
            raise

    def _obey(self) -> None:
        """Tell the loop to stop, unless it does not have its least number of epochs or steps yet."""
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
    """Return a function that calls `method` as long as its object lives: a run does not keep its driver."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        living = reference()
        if living is not None:
            living()

    return call
