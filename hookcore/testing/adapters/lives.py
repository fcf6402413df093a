"""A life: one instance of a harness, the plugins that watch it train, and what its run leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from hookcore import Engine, Outcome, Run, hookimpl
from hookcore.testing.adapters.harness import Feature, Harness, Job, Scenario
from hookcore.testing.doubles import RecordingPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hookcore import Resume
    from hookcore.trainee import Capability


class Planted(RuntimeError):  # noqa: N818 - as it reads in a traceback
    """The error that the suite raises in a plugin or in the loop's own code."""


def at(
    event: str,
    action: Callable[[Run], object],
    number: int | None = None,
    *,
    name: str = "at",
    needs: tuple[Capability, ...] = (),
) -> types.SimpleNamespace:
    """Return a plugin that calls `action(run)` at the `number`-th event of a kind, counted from zero, or at each."""
    seen = itertools.count()

    def act(run: Run) -> None:
        here = next(seen)
        if number is None or here == number:
            action(run)

    return types.SimpleNamespace(name=name, needs=needs, **{event: hookimpl(act)})


@attrs.define(eq=False)
class Life:
    """One instance of a harness, with the plugins it trains with; `train` may be called again for a second run."""

    made: Callable[[Job], Harness]
    job: Job
    error: BaseException | None = None
    """What the latest `train` raised."""
    _harness: Harness | None = None
    _left: str | None = None

    @property
    def engine(self) -> Engine:
        """The plugins."""
        return self.job.plugins

    @property
    def harness(self) -> Harness:
        """The instance of the harness, which is made on first use."""
        if self._harness is None:
            self._harness = self.made(self.job)
        return self._harness

    @property
    def run(self) -> Run:
        """The latest run."""
        if self.engine.run is None:
            raise AssertionError(f"No run began; {self.error!r} was raised.") from self.error
        return self.engine.run

    @property
    def events(self) -> list[Any]:
        """The events of all runs, as the first plugin recorded them."""
        events: list[Any] = self.engine["recording"].events
        return events

    @property
    def hooks(self) -> list[str]:
        """The names of the hooks of these events."""
        return [event[0] for event in self.events]

    @property
    def observations(self) -> list[dict[str, float]]:
        """The metrics of each observation among these events."""
        return [event[1] for event in self.events if event[0] == "on_metrics"]

    def train(self) -> Life:
        """Train, and keep the exception that is raised."""
        self.error = None
        try:
            self.harness.train()
        except BaseException as error:  # noqa: BLE001 - the checks examine it
            self.error = error
        self._left = self._what_is_left() if self.error is None else None
        return self

    def completes(self, outcome: Outcome = Outcome.COMPLETED) -> Life:
        """Train, and check that no error is raised and that the run ends with `outcome`."""
        self.ends()
        if self.run.outcome is not outcome:
            fail(f"The run ended as {self.run.outcome}, not as {outcome}; votes to stop: {self.run.stop_reasons}.")
        return self

    def ends(self) -> Life:
        """Train, and check that no error is raised."""
        self.train()
        if self.error is not None:
            raise AssertionError(f"Training raised {self.error!r}.") from self.error
        return self

    @property
    def left(self) -> str:
        """All that the latest run left behind, as text, in which NaN equals NaN."""
        if self._left is None:
            raise AssertionError(f"Training raised {self.error!r}.") from self.error
        return self._left

    def _what_is_left(self) -> str:
        run = self.run
        ended = {
            "weights and optimizer": self.harness.digest(),
            "outcome": str(run.outcome),
            "step": run.progress.step,
            "epoch": run.progress.epoch,
            "history": run.history.state_dict(),
            "decisions": [decision for decision in run.decisions if decision.kind != "checkpoint"],
            "votes": run.stop_reasons,
        }
        return "\n".join(f"{name}: {value!r}" for name, value in ended.items())

    def within(self) -> list[str]:
        """Return the events between the beginning and the end of training, as texts, except those of checkpoints."""
        left_out = {"on_train_begin", "on_train_end", "on_exception", "on_checkpoint"}
        return [repr(event) for event in self.events if event[0] not in left_out]


@attrs.define(eq=False)
class Trial:
    """What a case trains with: one harness, and directories of its own."""

    harness: type[Harness]
    directory: Path
    _lives: int = 0

    def has(self, *features: Feature) -> bool:
        """Return whether the harness has all of `features`."""
        return not any(feature in {**self.harness.lacks, **self.harness.refuses} for feature in features)

    def fresh_directory(self) -> Path:
        """Return a new directory, which does not exist yet."""
        self._lives += 1
        return self.directory / str(self._lives)

    def scenario(self, **changes: Any) -> Scenario:
        """Return the scenario with these changes, as far as the harness has what it asks for by default."""
        scenario = Scenario(**changes)
        if not self.has(Feature.BATCHES):
            scenario = attrs.evolve(scenario, batches=1)
        if not self.has(Feature.EVALUATION):
            scenario = attrs.evolve(scenario, evaluate_every_epochs=None)
        if not self.has(Feature.LEARNING_RATE):
            scenario = attrs.evolve(scenario, learning_rate=None)
        return scenario

    def life(
        self,
        *plugins: object,
        scenario: Scenario | None = None,
        within: Callable[[int], None] = lambda _: None,
        resume: Resume = False,
        own_checkpoint: Path | None = None,
    ) -> Life:
        """Return a life that has not been trained. `within` is called in the loop's own code, with the number of the batch."""
        directory = self.fresh_directory()
        directory.mkdir()
        engine = Engine([RecordingPlugin(), *plugins], autoload=False)
        job = Job(
            scenario or self.scenario(),
            engine,
            directory,
            resume,
            own_checkpoint,
            within=within,
            columns={"score": self.harness.score, "val_score": self.harness.val_score},
        )
        return Life(self.harness, job)

    @property
    def monitor(self) -> str:
        """The metric that plugins decide on: that of validation, if there is any."""
        return self.harness.val_score if self.has(Feature.EVALUATION) else self.harness.score

    @property
    def reported(self) -> str:
        """The name under which a job reports it."""
        return "val_score" if self.has(Feature.EVALUATION) else "score"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and the errors that led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def same(expected: Any, found: Any, what: str) -> None:
    """Raise `AssertionError` unless both are equal."""
    if expected != found:
        texts = repr(expected), repr(found)
        first = next((place for place, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
        shown = [_shortened(text, first) for text in texts]
        raise AssertionError(f"{what}: expected {shown[0]}, got {shown[1]}.")


def _shortened(text: str, place: int) -> str:
    """Return `text`, or if it is long, the part around `place`."""
    begin, end = max(0, place - 60), place + 120
    if len(text) < end - begin:
        return text
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"


def same_text(expected: str, found: str, what: str) -> None:
    """Raise `AssertionError` with the first line in which two texts differ."""
    for line, other in zip(expected.splitlines(), found.splitlines(), strict=True):
        same(line, other, what)


def ends_with(whole: Sequence[str], part: Sequence[str], what: str) -> None:
    """Raise `AssertionError` unless `part` is the end of `whole`."""
    expected = whole[len(whole) - len(part) :]
    for number, (event, other) in enumerate(zip(expected, part, strict=False)):
        same(event, other, f"{what}, event {number}")
    if len(part) > len(whole):
        fail(f"{what}: there are {len(part)} events, and only {len(whole)} in the whole run.")


def fail(detail: str) -> NoReturn:
    """Raise the `AssertionError` of a breach."""
    raise AssertionError(detail)


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Begin the message of a breach within with `what`."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
