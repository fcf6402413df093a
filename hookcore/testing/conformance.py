"""`check_plugin`: a search for a sequence of events under which a plugin breaks its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import hypothesis
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from hookcore import ParameterError
from hookcore.testing.contract import BreachError, Clause, Contract
from hookcore.testing.machine import machine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hypothesis.stateful import RuleBasedStateMachine

SETTINGS: Final = hypothesis.settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    stateful_step_count=8,
    # Without Phase.explain, which takes minutes here and explains little.
    phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
"""The settings of `check_plugin`: the same examples every time, in a few seconds."""


def check_plugin(
    factory: Callable[[], Any],
    *,
    metrics: Iterable[str] = ("loss", "val_loss"),
    raises: tuple[type[Exception], ...] = (),
    tick: Callable[[], object] | None = None,
    settings: hypothesis.settings | None = None,
    **series: Any,
) -> None:
    """Look for a legal sequence of events under which the plugin that `factory` makes breaks its contract.

    * `factory`: returns a new plugin at each call, with the same parameters. If the plugin writes files, give each a new
      directory.
    * `metrics`: the names of the metrics in each observation. Batches and evaluations have those that do not begin with `val_`.
      `metric_series(**series)` makes the values, by default with NaN and infinities. Some runs have observations by steps: if
      such an epoch ends without a new evaluation, the observation at its end lacks the metrics that begin with `val_`.
    * `raises`: errors that the plugin is documented to raise, such as `MetricError` for a missing metric; none by default.
    * `tick`: is called before each event, to advance a clock that all plugins made by `factory` read.
    * `settings`: Hypothesis's settings. By default the examples are the same every time and take a few seconds.

    Raises `AssertionError`, which names the plugin and the `Clause`, and ends with the shortest sequence of events found.
    """
    __tracebackhide__ = True  # pytest then shows the test, and not the calls of Hypothesis
    contract = _contract(factory, metrics, raises, tick, series)
    try:
        _search(contract, settings or SETTINGS)
    except BreachError as breach:
        text = str(breach)
        if breach.sequence:
            text += "\nThe shortest sequence of events that was found for it:" + "".join(
                f"\n  {line}" for line in breach.sequence
            )
        raise AssertionError(text) from breach.__cause__


def _search(contract: Contract, settings: hypothesis.settings) -> None:
    contract.check_registration()
    # One breach is enough; it is raised by itself, not in an exception group.
    thorough = hypothesis.settings(settings, report_multiple_bugs=False)
    # Short sequences first: if one of them shows a breach, Hypothesis has less to shrink.
    short = hypothesis.settings(thorough, stateful_step_count=1, max_examples=2 * thorough.max_examples)
    try:
        run_state_machine_as_test(machine_of(contract), settings=short)
        run_state_machine_as_test(machine_of(contract), settings=thorough)
    except Flaky as error:
        contract.breach(Clause.DETERMINISM, f"the same events had another effect the second time: {error}", error)


def plugin_machine(
    factory: Callable[[], Any],
    *,
    metrics: Iterable[str] = ("loss", "val_loss"),
    raises: tuple[type[Exception], ...] = (),
    tick: Callable[[], object] | None = None,
    **series: Any,
) -> type[RuleBasedStateMachine]:
    """Return the state machine behind `check_plugin`; the arguments are the same, without `settings`.

    Use it for settings of your own: `TestMine = plugin_machine(Mine).TestCase`. Raises `AssertionError` if the plugin cannot be
    registered.
    """
    contract = _contract(factory, metrics, raises, tick, series)
    contract.check_registration()
    return machine_of(contract)


def _contract(
    factory: Callable[[], Any],
    metrics: Iterable[str],
    raises: tuple[type[Exception], ...],
    tick: Callable[[], object] | None,
    series: Mapping[str, Any],
) -> Contract:
    given: Any = factory
    if not callable(given):
        raise ParameterError(
            f"check_plugin needs a function that makes a new plugin at each call, got {given!r}. "
            f"Write check_plugin(lambda: {type(given).__name__}(...))."
        )
    return Contract(factory, tuple(metrics), raises, tick, {"nan": True, "infinity": True, **series})
