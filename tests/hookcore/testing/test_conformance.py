"""`check_plugin` passes a plugin that keeps the contract, and reports a breach under the clause that is broken."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from hookcore import MetricError, ParameterError, Run, hookimpl
from hookcore.testing import Clause, RecordingPlugin, check_plugin, plugin_machine
from hookcore.testing.conformance import SETTINGS
from hookcore_plugins import TimeLimit
from tests.hookcore.testing.clock import Clock
from tests.hookcore.testing.mutants import MUTANTS, Misspelt, NoInfinity, SavesLess, Sound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.hookcore.testing.mutants import Factory

ROOT = Path(__file__).parents[3]

# These tests find breaches, and do not explain them.
QUICK = hypothesis.settings(SETTINGS, phases=[hypothesis.Phase.generate])
SHORT = hypothesis.settings(QUICK, max_examples=10)


def test_a_plugin_that_does_nothing_wrong_passes() -> None:
    """The plugin from which the mutants are made keeps the contract."""
    check_plugin(Sound)


@attrs.define(eq=False)
class Logs:
    """Logs how many batches there were, and how many of them before the latest observation."""

    batches: int = attrs.field(default=0, init=False)
    observed: int = attrs.field(default=0, init=False)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.batches += 1
        run.log(batches=self.batches)

    @hookimpl
    def on_metrics(self, run: Run) -> None:
        run.log(before=self.observed)
        self.observed = self.batches

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "observed": self.observed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches, self.observed = state["batches"], state["observed"]


def test_a_plugin_that_logs_metrics_passes() -> None:
    """A resumed run has what the plugin has logged, including what no observation has yet."""
    check_plugin(Logs)


@pytest.mark.parametrize(("clause", "factory"), MUTANTS)
def test_a_breach_is_caught_under_its_clause(clause: Clause, factory: Factory) -> None:
    """A plugin that breaks a clause fails the check, with an error that names the plugin and the clause."""
    name = type(factory()).__name__
    with pytest.raises(AssertionError, match=rf"^{name}.* breaks its contract: {re.escape(clause)}\. "):
        check_plugin(factory, settings=QUICK)


def test_every_clause_has_a_breach() -> None:
    """Each clause has a mutant that breaks it."""
    assert {clause for clause, _ in MUTANTS} == set(Clause)


def test_every_clause_is_documented() -> None:
    """docs/testing-plugins.md lists the clauses in order, word for word."""
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", (ROOT / "docs/testing-plugins.md").read_text(), re.MULTILINE)
    assert [(clause.name, str(clause)) for clause in Clause] == listed


# The arguments of `check_plugin`, and its errors.


def test_the_error_shows_the_shortest_sequence() -> None:
    """With the default settings, the error ends with a short sequence of events that leads to the breach, one per line."""
    with pytest.raises(AssertionError) as caught:
        check_plugin(NoInfinity)
    said, *events = str(caught.value).splitlines()
    assert said.startswith("NoInfinity ('no_infinity') breaks its contract: ")
    assert events[0] == "The shortest sequence of events that was found for it:"
    assert events[1] == "  on_train_begin()"
    assert len(events) <= 9
    assert events[-1].startswith("  on_batch_end(")
    assert not hasattr(caught.value, "__notes__")
    assert isinstance(caught.value.__cause__, ValueError | OverflowError)


@attrs.define(eq=False)
class Abandons:
    """Raises a documented error at the end of the third epoch."""

    metric: str = "loss"

    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        if self.metric not in metrics or len(run.history) > 2:
            raise MetricError("enough")


@attrs.define(eq=False)
class Faints(Sound):
    """Raises a documented error at NaN, after which it is disabled."""

    role: ClassVar[str] = "observer"

    @hookimpl
    def on_epoch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        if math.isnan(metrics["loss"]):
            raise MetricError("no number")
        super().on_epoch_end(run, metrics)


def test_documented_errors_are_no_breach() -> None:
    """An error in `raises` may end a run or disable an observer; if it is not in `raises`, it is a breach."""
    check_plugin(Abandons, raises=(MetricError,), settings=SHORT)
    check_plugin(Faints, raises=(MetricError,), settings=SHORT)
    with pytest.raises(AssertionError, match=f"{Clause.NO_EXCEPTION}.*MetricError"):
        check_plugin(Abandons, settings=SHORT)


@attrs.define(eq=False)
class Counts:
    """Stops at the second loss, and keeps in `saved` how many there were; `_old` is its own."""

    saved: bool
    seen: int = attrs.field(default=0, init=False)
    _old: list[int] = attrs.field(factory=list, init=False)

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        logging.getLogger("hookcore").warning("a plugin has counted")
        logging.getLogger("acme").warning("and says it")
        self.seen += 1
        self._old.append(epoch)
        if self.seen == 2:
            run.stop("seen two", metric="loss", value=2.0)

    def state_dict(self) -> dict[str, Any]:
        return {"old": list(map(str, self._old)), "seen": self.seen if self.saved else 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen, self._old = state["seen"], list(map(int, state["old"]))


def test_a_breach_says_what_each_run_decided_and_which_attribute_was_not_saved() -> None:
    """In words, and without the attributes that the state has in another form."""
    check_plugin(lambda: Counts(saved=True), settings=SHORT)
    with pytest.raises(AssertionError) as caught:
        check_plugin(lambda: Counts(saved=False))
    said = str(caught.value).splitlines()[0]
    assert re.search(
        r"the decisions differed\. The run that never stopped: counts: stop \(epoch=1, step=\d+, value=2\.0\): 'seen two'\. "
        r"The run that was resumed: none\. A run changed these attributes, and its state_dict does not return them: seen\.$",
        said,
    )


def test_what_its_runs_log_does_not_fill_the_log_of_a_test(caplog: pytest.LogCaptureFixture) -> None:
    """The log has only what a plugin logs, by whatever logger; afterwards hookcore logs as before."""
    check_plugin(lambda: Counts(saved=True), settings=SHORT)
    assert set(caplog.messages) == {"a plugin has counted", "and says it"}
    assert logging.getLogger("hookcore").filters == []


def test_metrics_are_those_named() -> None:
    """The metrics of an epoch are exactly those in `metrics`; with `missing`, some may be absent."""

    def made() -> Abandons:
        return Abandons("val_f1")

    with pytest.raises(AssertionError, match="MetricError"):
        check_plugin(made, settings=SHORT)
    check_plugin(lambda: OnlyThese({"val_f1"}), metrics=["val_f1"], settings=SHORT)
    with pytest.raises(AssertionError, match="KeyError"):
        check_plugin(lambda: OnlyThese({"val_f1"}), metrics=["val_f1"], missing=True, settings=SHORT)


@attrs.define(eq=False)
class OnlyThese:
    """Raises if the metrics of an epoch are not these."""

    names: set[str]

    @hookimpl
    def on_epoch_end(self, metrics: Mapping[str, float]) -> None:
        if self.names != set(metrics):
            raise KeyError(*metrics)


class Asks:
    """Uses what the trainee has, and lists no needs."""

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        if run.trainee.lacks("learning_rate") is None:
            run.learning_rate = 0.01
        if run.trainee.lacks("snapshot") is None:
            run.trainee.restore(run.trainee.snapshot())

    @hookimpl
    def on_epoch_end(self, run: Run) -> None:
        with contextlib.suppress(AttributeError):
            repr(run.learning_rate)


def test_what_a_plugin_asks_for_it_need_not_list() -> None:
    """A plugin need not list what it first asks the trainee for, nor a learning rate that it can do without."""
    check_plugin(Asks, settings=SHORT)


def test_nan_and_infinities_can_be_left_out() -> None:
    """A plugin that raises at NaN and infinities passes without them."""
    check_plugin(NoInfinity, nan=False, infinity=False, settings=SHORT)


def test_a_clock_that_each_event_moves() -> None:
    """`tick` is called before each event; without it, the clock of this plugin stands still and the plugin never votes."""
    clock = Clock()
    votes: list[float] = []

    @attrs.define(eq=False)
    class Late(TimeLimit):
        @hookimpl
        def on_train_end(self, run: Run) -> None:
            votes.extend(self.clock() for _ in run.stop_reasons if run.stop_reasons[0].plugin == "late")

    check_plugin(lambda: Late(seconds=5, clock=clock), settings=SHORT)
    assert votes == []
    check_plugin(lambda: Late(seconds=5, clock=clock), tick=clock.tick, settings=SHORT)
    assert votes


def test_the_machine_is_a_test_case() -> None:
    """`plugin_machine` returns the state machine, to be run as a test case or with other settings."""
    machine = plugin_machine(Sound)
    assert machine.__name__ == "SoundMachine"
    assert callable(machine.TestCase().runTest)
    with pytest.raises(AssertionError, match=f"SavesLess.*{Clause.RESUME}"):
        run_state_machine_as_test(plugin_machine(SavesLess), settings=QUICK)
    with pytest.raises(AssertionError, match=f"Misspelt breaks its contract: {Clause.REGISTRATION}.*Did you mean 'on_epoch_end'"):
        plugin_machine(Misspelt)


def test_an_instance_for_a_factory_is_refused() -> None:
    """An instance in place of a factory is refused, with an error that shows what to write."""
    plugin: Any = RecordingPlugin()
    with pytest.raises(ParameterError, match=r"got RecordingPlugin.*Write check_plugin\(lambda: RecordingPlugin\(\.\.\.\)\)\."):
        check_plugin(plugin)
