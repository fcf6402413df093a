"""The state machine that drives instances of a plugin through events, and compares them."""

from __future__ import annotations

import inspect
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import hookcore
from hookcore import Engine
from hookcore.testing._subject import Subject, WatchedTrainee, WatchingHost, unsaved
from hookcore.testing.contract import BreachError, Clause, Contract
from hookcore.testing.doubles import ScriptedTrainee
from hookcore.testing.events import Event
from hookcore.testing.playing import NEIGHBOUR, Player, obeying
from hookcore.testing.sequences import Epochs, between
from hookcore.text import format_count
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hookcore import Capture
    from hookcore.testing.playing import Stop


_logger = logging.getLogger("hookcore")
_PACKAGE: Final = f"{Path(hookcore.__file__).parent}{os.sep}"
"""The directory of hookcore's own code."""


def _is_from_outside(record: logging.LogRecord) -> bool:
    """Return whether hookcore itself did not log `record`: what it logs of the many runs here would fill the log of a test."""
    return not record.pathname.startswith(_PACKAGE)


def machine_of(contract: Contract) -> type[PluginMachine]:
    """Return the state machine that looks for a breach of `contract`."""
    name = f"{type(contract.factory()).__name__}Machine"
    return type(name, (PluginMachine,), {"contract": contract, "__doc__": PluginMachine.__doc__})


@attrs.frozen
class _RunChoice:
    """The form of a run. `before` happens before it begins; with `lacking`, its trainee has only what the plugin needs."""

    before: str
    first: int
    epochs: int | None
    at_once: int
    batches: int | None
    by_steps: bool
    same_engine: bool
    lacking: bool


_BETWEEN: Final = st.sampled_from(["", "", "", "evaluate", "predict"])
_RUNS: Final = st.builds(
    _RunChoice,
    before=_BETWEEN,
    first=st.sampled_from([0, 0, 2]),
    epochs=st.sampled_from([None, None, 12, 3, 0]),
    at_once=st.sampled_from([1, 1, 2]),
    batches=st.sampled_from([None, None, 1, 2]),
    by_steps=st.booleans(),
    same_engine=st.booleans(),
    lacking=st.booleans(),
)


_COMPARED: Final = {
    Clause.RESUME: ("The run that never stopped", "The run that was resumed"),
    Clause.FRESH_STATE: ("A plugin that served earlier runs", "A new plugin"),
    Clause.DETERMINISM: ("One plugin", "Another plugin with the same events"),
}
"""What a breach calls the two instances that differed."""


class PluginMachine(RuleBasedStateMachine):
    """Drives several instances of a plugin through the same events; their decisions must be equal.

    `used` is one object for all runs. `new` and `twin` are made for each run. `resumed` is made at the end of a batch or epoch,
    after its observation, from the state of one of the others.
    """

    contract: ClassVar[Contract]

    def __init__(self) -> None:
        super().__init__()
        self.used = self.contract.factory()
        self.parameters = _parameters(self.used)
        self.engine: Engine | None = None
        self.subjects: dict[str, Subject] = {}
        self.runs = 0
        self.epoch = 0
        self.epochs: int | None = None
        self.kind = Epochs(self.contract.metrics)
        self.lacking = False
        self.happened: list[str] = []
        """What happened so far, for the message of a breach."""
        _logger.addFilter(_is_from_outside)

    def running(self) -> bool:
        """Return whether a run is open."""
        return bool(self.subjects)

    def stopping(self) -> bool:
        """Return whether there was a vote to stop."""
        return self.subjects["used"].player.driver.stopping

    def teardown(self) -> None:
        """End an open run, so that a plugin releases its files and signal handlers."""
        self._abort(*self.subjects)
        _logger.removeFilter(_is_from_outside)

    # There is only one rule. If there were several, Hypothesis would leave some out of each example, and an example without
    # epochs shows little.
    @rule(
        data=st.data(),
        before=_BETWEEN,
        count=st.integers(0, 6),
        cuts=st.lists(st.sampled_from([False, False, True]), min_size=12, max_size=12),
        stop=st.sampled_from(["batch", "epoch"]),
    )
    def train(self, data: st.DataObject, before: str, count: int, cuts: list[bool], stop: Stop) -> None:
        """Train some epochs, save and resume after some batches and epochs, and perhaps end the run; begin one if necessary."""
        try:
            self._train(data, before, count, cuts, stop)
        except BreachError as breach:
            breach.sequence = tuple(self.happened)
            raise

    def _train(self, data: st.DataObject, before: str, count: int, cuts: list[bool], stop: Stop) -> None:
        if not self.running() and not self._begin(data.draw(_RUNS)):
            return
        if self.epochs is not None:
            count = min(count, self.epochs - self.epoch)
        if self.stopping():
            count = 0
        endings = ["end", "exception"] + (["open"] * 5 + ["left"] if count else [])
        cut = iter(cuts)
        events = data.draw(self.kind.events(self.epoch, count, endings, self._between(before)))
        for event, fresh in obeying(events, self.stopping, stop):
            self._send_one(event, fresh)
            if not self.running():
                return
            if event.hook == "on_epoch_end":
                self.epoch = event.arguments[0] + 1
            is_whole = event.hook in {"on_batch_end", "on_epoch_end", "on_metrics"} and fresh is None
            if is_whole and next(cut, False) and not self.stopping():
                self._cut(event)

    def _begin(self, run: _RunChoice) -> bool:
        self.epoch, self.epochs = run.first, None if run.epochs is None else run.first + run.epochs
        self.kind = Epochs(
            self.contract.metrics,
            at_once=run.at_once,
            batches=run.batches,
            by_steps=run.by_steps,
            series=self.contract.series,
        )
        self.lacking = run.lacking
        if run.before:
            self._open()
            if self._send(*self._between(run.before)):
                self._close()
        if not run.same_engine:
            self.engine = None
        self._open()
        self.happened += [f"-- {line}" for line in self._about(run)]
        return self._send(Event("on_train_begin"))

    def _about(self, run: _RunChoice) -> Iterator[str]:
        """Yield a description of each unusual property of a run."""
        if self.runs:
            yield f"another run, in {'the same' if run.same_engine else 'a new'} engine"
        if self.epochs is not None:
            yield f"a run of {format_count(self.epochs - self.epoch, 'epoch')}"
        if run.at_once > 1:
            yield f"{run.at_once} batches at a time"
        if run.lacking:
            yield "the trainee can do only what the plugin needs"

    def _between(self, what: str) -> list[Event]:
        return between(what, self.epoch, lambda: dict.fromkeys(self.kind.trained, 1.0))

    def _open(self) -> None:
        self.subjects = {
            "used": self._subject(self.used, self.engine),
            "new": self._subject(self.contract.factory()),
            "twin": self._subject(self.contract.factory()),
        }
        self.engine = self.subjects["used"].engine

    def _subject(self, plugin: Any, engine: Engine | None = None, saved: Capture | None = None) -> Subject:
        engine = engine or Engine([plugin], autoload=False)
        unneeded = set(get_args(Capability)).difference(getattr(plugin, "needs", ())) if self.lacking else ()
        trainee = WatchedTrainee(ScriptedTrainee(cannot=dict.fromkeys(unneeded, "this one was made without")), plugin)
        player = Player.of(
            engine,
            trainee,
            saved,
            first=self.epoch,
            epochs=self.epochs,
            steps_per_epoch=None if self.kind.batches is None else self.kind.batches * self.kind.at_once,
            validation_freq=None if self.kind.by_steps else 1,  # a vote may come before the first of them
            host=WatchingHost(trainee=trainee),
        )
        return Subject(plugin, engine, player, trainee)

    def _send(self, *events: Event) -> bool:
        """Deliver events to every instance, and compare the instances after each. Return whether the run is still open."""
        for event in events:
            self._send_one(event)
            if not self.running():
                return False
        return True

    def _send_one(self, event: Event, fresh: Mapping[str, Any] | None = None) -> None:
        self.happened.append(str(event))
        if self.contract.tick is not None:
            self.contract.tick()
        errors = [self._deliver(subject, event, fresh) for subject in self.subjects.values()]
        error = next((error for error in errors if error is not None), None)
        if error is not None:  # a documented error of an actor, which ends the run
            for subject in self.subjects.values():
                subject.player.driver.end(error)
        self._compare(event, failed=error is not None or event.hook == "on_exception")
        if event.hook in {"on_batch_end", "on_epoch_end", "on_metrics", "on_exception"}:
            self.contract.check_state(self.used)
        if error is not None or event.hook in {"on_exception", "on_train_end"}:
            self._close()

    def _deliver(self, subject: Subject, event: Event, fresh: Mapping[str, Any] | None = None) -> Exception | None:
        """Deliver an event to one instance; return the documented error that it raised, or None."""
        if event.hook == "on_batch_end":
            subject.trainee.inner.weights = [weight + 1 for weight in subject.trainee.inner.weights]
        failed = len(subject.run.failures)
        error: BaseException | None = None
        try:
            subject.player.deliver(event, fresh)
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - whatever the plugin raises is checked below
            error = raised
        # The engine does not raise an observer's errors, nor errors during on_exception: they are in run.failures.
        errors = [*([] if error is None else [error]), *(failure.error for failure in subject.run.failures[failed:])]
        used = subject.trainee.undeclared + ["learning_rate" for error in errors if error in subject.trainee.refusals]
        if used:
            self.contract.breach(Clause.NEEDS, f"At {event} it used the trainee's {used[0]}, which its `needs` does not list.")
        for error in errors:
            if not isinstance(error, self.contract.raises):
                self.contract.breach(Clause.NO_EXCEPTION, f"At {event} it raised {error!r}.", error)
        return error if isinstance(error, Exception) else None

    def _compare(self, event: Event, *, failed: bool) -> None:
        for subject in self.subjects.values():
            self._check_votes(subject)
        self._same(event, "new", "twin", Clause.DETERMINISM)
        self._same(event, "used", "new", Clause.FRESH_STATE if self.runs else Clause.DETERMINISM)
        if "resumed" in self.subjects:
            # Weights may differ: a snapshot is not part of the state, and a plugin may restore one from before the save. Whether
            # a failing run is saved may differ too: that depends on files, some of which the resumed plugin did not write.
            self._same(event, "used", "resumed", Clause.RESUME, "weights", *(["decisions"] if failed else []))

    def _check_votes(self, subject: Subject) -> None:
        (name,) = subject.engine.names
        for vote in subject.run.stop_reasons:
            if vote.plugin == NEIGHBOUR:
                continue
            if vote.plugin != name:
                self.contract.breach(Clause.VOTES, f"It voted to stop under the name {vote.plugin!r}: {vote.message!r}.")
            message: Any = vote.message
            if not isinstance(message, str) or not message.strip():
                self.contract.breach(Clause.VOTES, f"It voted to stop with the message {message!r}.")

    def _same(self, event: Event, first: str, second: str, clause: Clause, *ignored: str) -> None:
        reference, compared = self.subjects[first], self.subjects[second]
        decided, expected = compared.decided(compared.own_decisions), reference.decided(compared.others_decisions)
        for what in decided:
            if what not in ignored and decided[what] != expected[what]:
                one, other = _COMPARED[clause]
                text = f"At {event} the {what} differed. {one}: {expected[what]}. {other}: {decided[what]}."
                names = [] if clause is Clause.DETERMINISM else unsaved(self.used, self.contract.factory())
                hint = f" A run changed these attributes, and its state_dict does not return them: {', '.join(names)}."
                self.contract.breach(clause, text + (hint if names else ""))

    def _cut(self, event: Event) -> None:
        """Save the run, and add an instance that loads its state."""
        source = self.subjects.get("resumed", self.subjects["used"])
        if source.run.failures:  # a plugin that failed is disabled, and a new one is not
            return
        self.happened.append("-- saved here, and resumed by a new instance beside the others")
        undeclared = list(source.trainee.undeclared)
        saved = source.run.capture()
        source.trainee.undeclared[:] = undeclared  # the save used the trainee, not the plugin
        resumed = self._subject(self.contract.factory(), saved=saved)
        self._deliver(resumed, Event("on_train_begin"))
        resumed.own_decisions = len(resumed.run.decisions)
        resumed.others_decisions = len(self.subjects["used"].run.decisions)
        self._abort("resumed")
        self.subjects["resumed"] = resumed
        self._same(event, "used", "resumed", Clause.RESUME, "weights")

    def _abort(self, *names: str) -> None:
        for name in names:
            if name in self.subjects:
                self.subjects[name].player.driver.end(KeyboardInterrupt())

    def _close(self) -> None:
        """Check that the run has not changed the parameters, and forget its instances."""
        for name, value in _parameters(self.used).items():
            before = self.parameters[name]
            if before is not value and not (isinstance(value, str) and before == value):
                self.contract.breach(Clause.PARAMETERS, f"{name} was {before} before the run, and is {value} after it.")
        self.subjects = {}
        self.runs += 1


def _parameters(plugin: Any) -> dict[str, Any]:
    """Return a plugin's parameters by name: the `repr` of a built-in value, else the object itself."""
    if attrs.has(type(plugin)):
        names = [attribute.name for attribute in attrs.fields(type(plugin)) if attribute.init]
    else:
        names = [name for name in inspect.signature(type(plugin)).parameters if hasattr(plugin, name)]
    values = {name: getattr(plugin, name) for name in names}
    return {name: repr(value) if type(value).__module__ == "builtins" else value for name, value in values.items()}
