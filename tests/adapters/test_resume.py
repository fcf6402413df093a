"""In the reference adapter, a run that is interrupted and resumed equals an uninterrupted one."""

from __future__ import annotations

import contextlib
import itertools
import math
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import hypothesis
from hypothesis import strategies as st

from hookcore import Engine, Outcome, Run, hookimpl, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee, metric_series
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, NaNGuard, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

# Hypothesis draws from the constants of all imported modules, so the runs, and the number of their checkpoints, depend on the
# tests that ran before in the same process.
EXAMPLES = 2 * hypothesis.settings().max_examples
CASES = 5 * hypothesis.settings().max_examples
counted: Counter[str] = Counter()


@attrs.define(eq=False)
class Trylast:
    """Votes to stop after nine batches, counted after all other plugins."""

    batches: int = attrs.field(init=False, default=0)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        self.count(run)

    def count(self, run: Run) -> None:
        self.batches += 1
        if self.batches == 9:
            run.stop("nine batches")

    def state_dict(self) -> dict[str, int]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches = state["batches"]


class Wrapper(Trylast):
    """Votes in the same way, around all other plugins."""

    @hookimpl(wrapper=True, specname="on_batch_end")
    def around(self, run: Run) -> Iterator[None]:
        yield
        self.count(run)

    on_batch_end = None  # type: ignore[assignment]  # only the wrapper


@attrs.define(eq=False)
class Logging:
    """Logs a metric at one kind of event, for that observation or the next."""

    at: str
    count: int = attrs.field(init=False, default=0)

    def log(self, run: Run) -> None:
        self.count += 1
        run.log(counted=self.count)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        if self.at == "on_batch_end":
            self.log(run)

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        if self.at == "on_epoch_end":
            self.log(run)

    @hookimpl
    def on_metrics(self, run: Run) -> None:
        if self.at == "on_metrics":
            self.log(run)

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


LATE = {"trylast": Trylast, "wrapper": Wrapper}


@attrs.frozen
class Script:
    """One run: its data, what validation gives, and the parameters of its plugins."""

    data: list[float]
    validation: list[float]
    series: list[float | None]
    stopping: dict[str, Any]
    plateau: dict[str, Any]
    schedule: bool
    checkpoint: dict[str, Any]
    accumulate: int
    by_steps: int | None
    """The number of steps between evaluations, or None for one at the end of each epoch."""
    logging: str | None
    """The event at which a plugin logs a metric, or None."""
    late: str | None
    """How a plugin that is listed before `Checkpoint` is called after it: `"trylast"`, `"wrapper"` or not at all."""
    cut: tuple[str, int]
    """The kind of event at which the run is interrupted, and its number."""

    def plugins(self, directory: Path) -> list[object]:
        """Return new plugin objects, as in a new process."""
        schedule = [LearningRateSchedule(lambda epoch, rate: rate * (0.9 if epoch % 2 else 1.0))] if self.schedule else []
        return [
            RecordingPlugin(),
            *schedule,
            NaNGuard("loss"),
            EarlyStopping("val_score", mode="max", missing="skip", **self.stopping),
            ReduceLROnPlateau("val_score", mode="max", missing="skip", **self.plateau),
            *([Logging(self.logging)] if self.logging is not None else []),
            *([LATE[self.late]()] if self.late is not None else []),
            Checkpoint(directory, "val_score", mode="max", missing="skip", keep_last=None, keep_best=None, **self.checkpoint),
        ]


@st.composite
def scripts(draw: DrawFn) -> Script:
    """Draw runs of up to five epochs of up to four batches."""
    value = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1.0, 3.0])
    loss = value | st.just(math.nan) if draw(st.integers(0, 9)) == 0 else value
    return Script(
        data=draw(st.lists(loss, min_size=1, max_size=4)),
        validation=draw(st.lists(value, min_size=1, max_size=2)),
        series=draw(metric_series(max_size=5, nan=True, missing=True)),
        stopping={
            "patience": draw(st.integers(0, 3)),
            "min_delta": draw(st.sampled_from([0.0, 0.5])),
            "start_from_epoch": draw(st.integers(0, 1)),
            "start_from_step": draw(st.sampled_from([0, 0, 3])),
            "restore_best_weights": draw(st.booleans()),
        },
        plateau={
            "factor": 0.5,
            "patience": draw(st.integers(0, 2)),
            "cooldown": draw(st.integers(0, 2)),
            "min_lr": draw(st.sampled_from([0.0, 0.04])),
        },
        schedule=draw(st.booleans()),
        checkpoint={
            "every_n_epochs": draw(st.sampled_from([1, 1, 2, None])),
            "every_n_steps": draw(st.sampled_from([None, 1, 2, 3])),
            "save_best_only": draw(st.sampled_from([False, False, True])),
            "asynchronous": draw(st.booleans()),
        },
        accumulate=draw(st.sampled_from([1, 1, 2, 3])),
        by_steps=draw(st.sampled_from([None, 1, 2, 3])),
        logging=draw(st.sampled_from([None, "on_batch_end", "on_epoch_end", "on_metrics"])),
        late=draw(st.sampled_from([None, "trylast", "wrapper"])),
        cut=draw(
            st.tuples(
                st.sampled_from(["on_batch_end", "on_evaluate_batch_end", "on_epoch_begin", "on_epoch_end", "on_metrics"]),
                st.integers(0, 12),
            )
        ),
    )


@attrs.define(eq=False)
class Learner(ScriptedTrainee):
    """A trainee whose updates depend on all earlier ones, and on the learning rate."""

    rates: list[float] = attrs.field(factory=list)

    gradient: float = 0.0
    """The gradient since the latest update, which is in no snapshot."""

    def train(self, value: float, *, update: bool) -> float:
        """Add a batch's gradient, make the update if it is due, and return the loss."""
        self.gradient += self.weights[0] - value
        if update:
            self.rates.append(self.learning_rate)
            momentum = 0.9 * self.optimizer_state[0] + self.gradient
            self.gradient = 0.0
            self.optimizer_state = [momentum]
            self.weights = [self.weights[0] - self.learning_rate * momentum]
        return (self.weights[0] - value) ** 2


def cutting(event: str, number: int) -> SimpleNamespace:
    """Return a plugin that ends the run like Ctrl-C, at the `number`-th event of a kind."""
    seen = itertools.count()

    def count(run: Run) -> None:
        if next(seen) == number:
            run.interrupt(KeyboardInterrupt())

    return SimpleNamespace(name="cut", **{event: hookimpl(count)})


def train(script: Script, plugins: list[object], resume: Any = None) -> tuple[Run, list[Any], Learner]:
    """Run the script to its end or interruption, and return the run, the events and the trainee."""
    learner = Learner()
    engine = Engine(plugins, autoload=False)
    loop = Loop(engine, epochs=len(script.series), trainee=learner, resume=resume)
    with contextlib.suppress(KeyboardInterrupt), loop:
        for epoch in loop.epochs():
            for number, value in loop.batches(list(enumerate(script.data, 1)), accumulate=script.accumulate):
                update = number % script.accumulate == 0 or number == len(script.data)
                loop.log(loss=learner.train(value, update=update))
                if script.by_steps is not None and loop.every(script.by_steps):
                    evaluate(script, loop, learner, loop.run.progress.step)
            if script.by_steps is None:
                evaluate(script, loop, learner, epoch)
            elif epoch % 2:
                loop.log(seen=len(learner.weights))  # otherwise no metric may be fresh at the epoch's end
    return loop.run, engine["recording"].events, learner


def evaluate(script: Script, loop: Loop, learner: Learner, number: int) -> None:
    """Evaluate the learner, and log the script's score for the evaluation of this number."""
    with loop.evaluation():
        for value in loop.batches(script.validation):
            loop.log(loss=(learner.weights[0] - value) ** 2)
    loop.log(seen=len(learner.weights))
    score = script.series[number % len(script.series)]
    if score is not None:
        loop.log(val_score=score)


def outcome(run: Run, learner: Learner) -> str:
    """Return all results of a run, in a form in which NaN equals NaN."""
    return repr(
        {
            "outcome": run.outcome,
            "progress": run.progress,
            "history": run.history.state_dict(),
            "decisions": run.decisions,
            "stop reasons": run.stop_reasons,
            "weights": learner.weights,
            "optimizer": learner.optimizer_state,
            "learning rate": learner.learning_rate,
        }
    )


def within(events: list[Any]) -> list[Any]:
    """Return the events between the beginning and the end of training, except those of completed writes."""
    left_out = {"on_train_begin", "on_train_end", "on_exception", "on_checkpoint"}
    return [repr(event) for event in events if event[0] not in left_out]


@hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@hypothesis.given(script=scripts())
def test_a_run_resumed_from_any_checkpoint_ends_as_an_uninterrupted_run(script: Script) -> None:
    """Resumed from any checkpoint of a step or an epoch, a run has the same events, decisions, rates, history and weights."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        run, events, learner = train(script, script.plugins(directory / "whole"))
        expected = outcome(run, learner)
        for number, saved in enumerate(store.available(directory / "whole")):
            again, rest, resumed = train(script, script.plugins(directory / str(number)), resume=saved.path)
            assert outcome(again, resumed) == expected
            assert within(events)[len(within(events)) - len(within(rest)) :] == within(rest)
            assert resumed.rates == learner.rates[saved.step :]
            counted["checkpoint"] += 1


@hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@hypothesis.given(script=scripts())
def test_a_run_that_is_interrupted_anywhere_and_resumed_equals_an_uninterrupted_run(script: Script) -> None:
    """A run that is interrupted at any event and resumed by `"auto"` has the same results, and the events of both cover it."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        run, events, learner = train(script, script.plugins(directory / "whole"))
        first, before, cut = train(script, [cutting(*script.cut), *script.plugins(directory / "cut")])
        hypothesis.assume(first.outcome is Outcome.INTERRUPTED)
        second, after, resumed = train(script, script.plugins(directory / "cut"), resume="auto")
        whole, first_part, second_part = within(events), within(before), within(after)
        assert whole[: len(first_part)] == first_part
        assert whole[len(whole) - len(second_part) :] == second_part
        assert len(first_part) + len(second_part) >= len(whole)
        assert cut.rates + resumed.rates == learner.rates
        kept = [
            decision for decision in second.decisions if not (decision.kind == "checkpoint" and "interrupted" in decision.message)
        ]
        second.decisions[:] = kept
        assert outcome(second, resumed) == outcome(run, learner)
        counted["cut"] += 1


def test_the_law_was_tried_often_enough() -> None:
    """The two properties above compared at least a thousand resumed runs."""
    assert counted["checkpoint"] + counted["cut"] >= CASES, counted
