"""Play a sequence of events to plugins, through a real engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hookcore import Engine, Metrics, Run, SavedCheckpoint, Session
from hookcore.testing.doubles import ScriptedTrainee
from hookcore.testing.events import Event, check_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hookcore import Capture, Trainee

Stop: TypeAlias = Literal["batch", "epoch"]
"""When a loop obeys a vote to stop: before the next batch, or once its epoch is done."""

NEIGHBOUR: Final = "neighbour"
"""The plugin's name under which the events `stop` and `on_checkpoint` of a sequence are recorded."""

_ENDS: Final = frozenset({"on_exception", "on_train_end"})


def start(
    engine: Engine, trainee: Trainee, saved: Capture | None = None, *, epochs: int | None = None, training: bool = True
) -> Session:
    """Return a session of `engine` for a new run, or for one that is resumed from `saved`. No hook is called yet."""
    resumed_from = None if saved is None else SavedCheckpoint(Path(f"step-{saved.step:08d}"), saved.epoch, saved.step)
    session = engine.start(Run.of(trainee, resumed_from=resumed_from), training=training)
    session.shared.epochs = epochs
    if saved is not None:
        session.restore(saved)
    return session


def deliver(session: Session, event: Event) -> None:
    """Deliver one event to the plugins of `session`, as an adapter does. After `on_exception` the session has ended."""
    arguments = event.arguments
    match event.hook:
        case "on_train_begin":
            session.train_begin()
        case "on_epoch_begin":
            session.epoch_begin(*arguments)
        case "on_batch_begin":
            session.batch_begin(*arguments)
        case "on_batch_end":
            batch, metrics = arguments
            session.batches_end(metrics, batch + 1 - session.batch, batch + 1 - session.batch)
            session.settled()
        case "on_epoch_end":
            epoch, metrics = arguments
            session.epoch_end(epoch, Metrics(metrics))
        case "on_checkpoint":
            session.run.as_plugin(NEIGHBOUR).checkpoint_saved(arguments[0])
        case "stop":
            session.run.as_plugin(NEIGHBOUR).stop(*arguments)
        case "on_exception":
            session.end(arguments[0])
        case "on_train_end":
            session.end()
        case hook:
            getattr(session.hooks, hook)(
                *(Metrics(argument) if isinstance(argument, dict) else argument for argument in arguments)
            )


def obeying(events: Iterable[Event], stopping: Callable[[], bool], stop: Stop) -> Iterator[Event]:
    """Yield `events` without the batches and epochs that a vote to stop prevents."""
    prevented = {"on_epoch_begin": _ENDS}
    if stop == "batch":
        prevented["on_batch_begin"] = _ENDS | {"on_batch_end", "on_epoch_end"}
    until: frozenset[str] = frozenset()
    for event in events:
        if until:
            if event.hook not in until:
                continue
            until = frozenset()
            if event.hook == "on_batch_end":
                continue
        if event.hook in prevented and stopping():
            until = prevented[event.hook]
        else:
            yield event


def play(
    events: Iterable[Event], plugins: Iterable[object] | Engine = (), *, trainee: Trainee | None = None, stop: Stop = "batch"
) -> list[Run]:
    """Deliver `events`, a legal sequence, to `plugins` through an engine; return the runs, without evaluations outside of a run.

    * `trainee`: a new `ScriptedTrainee` by default.
    * `stop`: how a vote to stop is obeyed. After it, `"batch"`, the default, begins no batch, and `"epoch"` finishes the epoch;
      neither begins another epoch. A run that resumes from an epoch which was not reached for that reason is left out.

    An exception in the sequence ends its run. An exception of a plugin ends it too, and is raised. Raises `AssertionError` for an
    illegal sequence.
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
        training = part[resumes].hook == "on_train_begin"
        session = start(engine, trainee, saved[part[0].arguments[0]] if resumes else None, training=training)
        if training:
            runs.append(session.run)
            saved = {}
        with _ending(session if training else None):
            for event in obeying(part[resumes:], lambda session=session: session.stopping, stop):  # type: ignore[misc]
                deliver(session, event)
                if event.hook == "on_epoch_end":
                    saved[event.arguments[0]] = session.capture()
    return runs


def _parts(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield the events of each session: of a run, or of an evaluation or prediction outside of one."""
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


@contextlib.contextmanager
def _ending(session: Session | None) -> Iterator[None]:
    """End `session` with the exception that is raised in the context, as a loop does."""
    try:
        yield
    except BaseException as error:
        if session is not None:
            session.end(error)
        raise
