"""Play a sequence of events to plugins, through a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from hookcore import Engine, Run, SavedCheckpoint, store
from hookcore.driver import Driver
from hookcore.testing.doubles import ScriptedTrainee
from hookcore.testing.events import Event, check_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hookcore import Capture, Trainee  # noqa: TC004 - the annotations are never evaluated
    from hookcore.host import Host

Stop: TypeAlias = Literal["batch", "epoch"]
"""When a loop obeys a vote to stop: before the next batch, or when its epoch has ended."""

NEIGHBOUR: Final = "neighbour"
"""The plugin's name under which the events `stop` and `on_checkpoint` of a sequence are recorded."""

_ENDS: Final = frozenset({"on_exception", "on_train_end"})


@attrs.define(eq=False)
class Player:
    """Reports the facts of a legal sequence of events to a driver: one run, or one evaluation or prediction outside a run.

    * `run`: the run that `on_train_begin` begins; what happens before is outside the run.
    * `first`: the number of its first epoch.
    * `saved`: the capture that it resumes from, or None.
    """

    driver: Driver
    run: Run
    first: int = 0
    saved: Capture | None = None
    _begun: dict[str, int] = attrs.field(factory=dict)
    """The number of the latest batch that began, by kind."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        trainee: Trainee,
        saved: Capture | None = None,
        *,
        first: int = 0,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        validation_freq: int | None = 1,
        host: Host | None = None,
    ) -> Player:
        """Return a player of `engine` for a new run, or for one that resumes from `saved`. No hook is called yet.

        `validation_freq` is None for a run that is observed by steps.
        """
        resumed_from = None
        if saved is not None:
            name = store.name_of(saved.step, saved.accumulated)
            resumed_from = SavedCheckpoint(Path(name), saved.epoch, saved.step, accumulated=saved.accumulated)
        run = Run.of(
            trainee,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            validation_freq=validation_freq,
            resumed_from=resumed_from,
        )
        return cls(Driver(engine, host=host), run, first, saved)

    def deliver(self, event: Event, fresh: Mapping[str, Any] | None = None) -> None:
        """Deliver one event to the plugins. After `on_exception` the run has ended.

        `fresh` is what `obeying` yields with the event: at the end of a batch the driver must know whether an observation
        follows, and at the end of an epoch it makes the observation itself.
        """
        fact, arguments = event.hook.removeprefix("on_"), event.arguments
        match fact:
            case "train_begin":
                self.driver.begin(self.run, initial_epoch=self.first, capture=self.saved)
            case "train_end":
                if self.driver.is_running:  # no exception has ended it
                    self.driver.leave()
                    self.driver.end()
            case "exception":
                self.driver.end(arguments[0])
            case "checkpoint":
                self.run.as_plugin(NEIGHBOUR).checkpoint_saved(arguments[0])
            case "stop":
                self.run.as_plugin(NEIGHBOUR).stop(*arguments)
            case "batch_end" if fresh is not None:
                self._tell("batch_held", *arguments)
            case "epoch_end":
                self.driver.epoch_end(arguments[-1], fresh=fresh or {})
            case "metrics":
                self.driver.settled(*arguments)  # which does nothing after an epoch: then no batch is held
            case _:
                self._tell(fact, *arguments)

    def _tell(self, fact: str, *arguments: Any) -> None:
        tell = getattr(self.driver, fact)
        scope, _, moment = fact.rpartition("_")
        if moment == "begin":
            if scope in {"evaluate", "predict"}:
                self.driver.outside(self.run.trainee)  # which does nothing within a run
            self._begun[scope] = arguments[0] if arguments else 0
            tell()
        elif scope.endswith("batch"):
            batches = arguments[0] - self._begun[scope] + 1
            tell(*arguments[1:], batches=batches, **({"updates": batches} if scope == "batch" else {}))
        else:
            tell(*arguments[-1:])


def obeying(
    events: Sequence[Event], stopping: Callable[[], bool], stop: Stop
) -> Iterator[tuple[Event, Mapping[str, Any] | None]]:
    """Yield `events` without the batches and epochs that a vote to stop prevents.

    With the end of a batch or an epoch that is observed, yield the metrics of its `on_metrics`; with every other event, None. The
    observations of prevented batches are left out too; an epoch that would have no other is observed at its end.
    """
    prevented = {"on_epoch_begin": _ENDS}
    if stop == "batch":
        prevented["on_batch_begin"] = _ENDS | {"on_batch_end", "on_epoch_end"}
    until: frozenset[str] = frozenset()
    observed, left_out = False, False  # whether observations within the epoch were made, and prevented
    for event, fresh in _with_observations(events):
        if until:
            if event.hook not in until:
                continue
            until = frozenset()
            if event.hook == "on_batch_end" and fresh is not None:
                left_out, until = True, _ENDS | {"on_metrics"}
            if event.hook in {"on_batch_end", "on_metrics"}:
                continue
        if event.hook in prevented and stopping():
            until = prevented[event.hook]
        else:
            if event.hook == "on_epoch_begin":
                observed = left_out = False
            observed = observed or event.hook == "on_metrics"
            if event.hook == "on_epoch_end" and left_out and not observed:
                fresh = event.arguments[-1]  # noqa: PLW2901 - none of it has been observed
            yield event, fresh


def _with_observations(events: Sequence[Event]) -> list[tuple[Event, Mapping[str, Any] | None]]:
    paired: list[tuple[Event, Mapping[str, Any] | None]] = []
    fresh = None
    for event in reversed(events):
        if event.hook in {"on_batch_end", "on_epoch_end"}:
            paired.append((event, fresh))
            fresh = None
        else:
            paired.append((event, None))
            fresh = event.arguments[0] if event.hook == "on_metrics" else fresh
    return paired[::-1]


def play(
    events: Iterable[Event], plugins: Iterable[object] | Engine = (), *, trainee: Trainee | None = None, stop: Stop = "batch"
) -> list[Run]:
    """Deliver a legal sequence of events to `plugins` through an engine; return its runs.

    * `trainee`: a new `ScriptedTrainee` by default.
    * `stop`: when a vote to stop takes effect. After it, `"batch"`, the default, begins no batch, and `"epoch"` finishes the
      epoch; neither begins another epoch. A run that would resume from an epoch that a vote prevented is left out.

    `on_metrics` follows `on_epoch_end` at once: what the sequence has between them comes afterwards. Evaluations and predictions
    outside a run are delivered too. An exception in the sequence ends its run. A plugin's exception also ends the run, and is
    raised. Raises `AssertionError` for an illegal sequence.
    """
    events = list(events)
    check_events(events)
    engine = plugins if isinstance(plugins, Engine) else Engine(plugins, autoload=False)
    trainee = ScriptedTrainee() if trainee is None else trainee
    runs: list[Run] = []
    saved: dict[int, Capture] = {}
    for part in _parts(events):
        resumes = part[0].hook == "resume"
        if resumes and part[0].arguments[0] not in saved:
            saved = {}
            continue
        first = next((event.arguments[0] for event in part if event.hook == "on_epoch_begin"), 0)
        player = Player.of(engine, trainee, saved[part[0].arguments[0]] if resumes else None, first=first)
        if part[resumes].hook == "on_train_begin":
            runs.append(player.run)
            saved = {}
        for event, fresh in obeying(part[resumes:], lambda player=player: player.driver.stopping, stop):  # type: ignore[misc]
            player.deliver(event, fresh)
            if event.hook == "on_epoch_end":  # and its observation has been delivered
                saved[event.arguments[0]] = player.run.capture()
    return runs


def _parts(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield the events of each run, and of each evaluation or prediction outside a run."""
    part: list[Event] = []
    training = False
    for event in events:
        begins = event.hook in {"resume", "on_train_begin"} or (
            not training and event.hook in {"on_evaluate_begin", "on_predict_begin"}
        )
        if part and begins and part[-1].hook != "resume":
            yield part
            part = []
        training = event.hook == "on_train_begin" or (training and event.hook != "on_train_end")
        part.append(event)
    if part:
        yield part
