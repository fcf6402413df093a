"""Cases about the plugins of this distribution: the same metrics lead each to the same decisions, whatever reports them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hookcore import Engine, HookcoreError, LoadError, Outcome, Run
from hookcore.driver import Driver
from hookcore.testing.adapters.cases import Case, Check, Inapplicable, Refused
from hookcore.testing.adapters.catalogue import make, shipped_entries
from hookcore.testing.adapters.harness import Feature
from hookcore.testing.adapters.lives import at, chain, fail, same
from hookcore.testing.doubles import ScriptedTrainee
from hookcore.trainee import reason_lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hookcore.testing.adapters.lives import Life, Trial

EPOCHS: Final = 7
SERIES: Final = (8.0, 4.0, 5.0, 4.0, 4.5, 3.5, 6.0)
"""A metric that improves, has plateaus and a tie, improves again and gets worse. Exact in float16."""


def _recipes(trial: Trial, path: Path, clock: Callable[[], float]) -> dict[str, dict[str, Any]]:
    """Return parameters for each plugin, by its name, with which it has something to decide."""
    monitor = {"monitor": trial.monitor, "mode": "min"}
    return {
        "activations": {"directory": path},
        "checkpoint": {"directory": path, **monitor, "save_best_only": True, "asynchronous": False},
        "console": {"verbose": "lines", "stream": io.StringIO()},
        "csv_log": {"path": path / "log.csv"},
        "early_stopping": {**monitor, "patience": 2, "min_delta": 0.25},
        "json_log": {"path": path / "log.jsonl"},
        "learning_rate_schedule": {"schedule": lambda epoch, rate: rate / 2 if epoch % 2 else rate},
        "nan_guard": {"monitor": trial.monitor},
        "preemption": {"signals": "SIGTERM"},
        "reduce_lr_on_plateau": {**monitor, "factor": 0.25, "patience": 1, "cooldown": 1, "min_lr": 0.01},
        "report": {"directory": path, "summary": False},
        "tensorboard": {"log_dir": path},
        "time_limit": {"seconds": 4, "clock": clock},
    }


TOGETHER: Final = ("reduce_lr_on_plateau", "early_stopping", "nan_guard", "time_limit")
"""Plugins that are also checked together."""
SERIES_FOR: Final = {"nan_guard": (8.0, 4.0, math.nan, 4.0)}
"""The values for a plugin that has nothing to decide on `SERIES`."""


def cases() -> list[Case]:
    """Return a case for each plugin of this distribution."""
    alone = [Case(Check.PLUGINS, (), _decides_alike(entry.name), entry.name) for entry in shipped_entries()]
    return [*alone, Case(Check.PLUGINS, (Feature.LEARNING_RATE,), _decides_alike(*TOGETHER), "together")]


def _decides_alike(*names: str) -> Callable[[Trial], None]:
    name = " and ".join(names)

    def decides_alike(trial: Trial) -> None:
        series = SERIES_FOR.get(names[0], SERIES)
        scenario = trial.scenario(epochs=EPOCHS, batches=2, series={"score": series, "val_score": series})
        life: Life
        plugins = _plugins(trial, names, _epochs_of(lambda: life.engine.run))
        life = trial.life(*plugins, scenario=scenario)
        life.train()
        if life.error is not None:
            _check_refusal(trial, names, life.error)
        for name in set(names) & trial.harness.refuses_plugins.keys():
            reason = trial.harness.refuses_plugins[name]
            fail(f"{name} should be refused because {reason}, but the run ended as {life.run.outcome}.")
        same([], [failure.plugin for failure in life.run.failures], "the plugins that raised an error")
        expected = _decided(_reference(trial, names, life))
        for what, value in _decided(life.run).items():
            same(expected[what], value, f"{what}, compared with those of a driver that gets the same metrics")

    decides_alike.__doc__ = f"Check that the same metrics lead `{name}` to the same decisions, votes and rates as elsewhere."
    return decides_alike


def _check_refusal(trial: Trial, names: Sequence[str], error: BaseException) -> NoReturn:
    """Raise `Refused` if `error` refuses a plugin by name, for a reason of the harness or the trainee; else `AssertionError`."""
    lacking = [reason for name, reason in trial.harness.refuses_plugins.items() if name in names]

    def ask(run: Run) -> None:
        plugins = _plugins(trial, names, lambda: 0.0)
        needs = [need for plugin in plugins for need in getattr(plugin, "needs", ())]
        lacking.extend(reason for need in needs if (reason := reason_lacking(run.trainee, need)) is not None)

    trial.life(at("on_train_begin", ask)).completes()
    texts = [str(one) for one in chain(error) if isinstance(one, HookcoreError)]
    for reason in lacking:
        if any(name in text and reason in text for text in texts for name in names):
            raise Refused(reason)
    if lacking:
        fail(f"{names[0]} should be refused by name because {lacking[0]}, but {error!r} was raised.")
    raise AssertionError(f"Training raised {error!r}.") from error


def _plugins(trial: Trial, names: Sequence[str], clock: Callable[[], float]) -> list[object]:
    recipes = _recipes(trial, trial.fresh_directory(), clock)
    for name in names:
        if name not in recipes:
            fail(f"{__name__} has no parameters for the plugin {name!r}: add them.")
    try:
        return [make(name, **recipes[name]) for name in names]
    except (ImportError, LoadError) as error:  # a library that it needs is not installed here
        raise Inapplicable(str(error)) from error


def _epochs_of(engine: Callable[[], Run | None]) -> Callable[[], float]:
    """Return a clock that each epoch of a run advances by one second."""

    def now() -> float:
        run = engine()
        return 0.0 if run is None else float(len(run.history))

    return now


def _reference(trial: Trial, names: Sequence[str], life: Life) -> Run:
    """Return the run of a driver that gets the metrics, batches and epochs of the loop in `life`."""
    scenario, given = life.job.scenario, life.run
    trainee = ScriptedTrainee(learning_rate=scenario.learning_rate or 0.1)
    if scenario.learning_rate is None:
        trainee.cannot = {"learning_rate": "the loop's trainee has no learning rate"}
    engine: Engine
    plugins = _plugins(trial, names, _epochs_of(lambda: engine.run))
    # Plugins that need views decide nothing.
    lacking = [need for plugin in plugins for need in getattr(plugin, "needs", ()) if reason_lacking(trainee, need) is not None]
    engine = Engine([] if lacking else plugins, autoload=False)
    run = Run.of(trainee, epochs=scenario.epochs, metric_names=given.metric_names)
    driver = Driver(engine)
    driver.begin(run)
    columns = {column: given.history[column] for column in given.history}
    for epoch in range(scenario.epochs):
        if driver.stopping or epoch == len(given.history):
            break
        driver.epoch_begin()
        for _ in range(scenario.batches):
            driver.batch_end()
        row = {column: values[epoch] for column, values in columns.items()}
        evaluated = {column: value for column, value in row.items() if run.metric_names.is_validation(column)}
        if evaluated:
            driver.evaluate_end({}, named=evaluated)
        driver.epoch_end({column: value for column, value in row.items() if column not in evaluated})
    driver.end()
    return run


def _decided(run: Run) -> dict[str, Any]:
    def rounded(value: float | None) -> str:
        return "None" if value is None else f"{value:.6g}"  # frameworks keep rates in float32

    return {
        "decisions": [
            (
                made.plugin,
                made.kind,
                made.epoch,
                made.step,
                rounded(made.value),
                "" if made.kind == "checkpoint" else made.message,
            )
            for made in run.decisions
        ],
        "votes": [
            (
                vote.plugin,
                vote.message,
                vote.epoch,
                vote.step,
                vote.metric,
                rounded(vote.value),
                rounded(vote.best),
                vote.best_epoch,
            )
            for vote in run.stop_reasons
        ],
        "outcome": Outcome(run.outcome),
        "the last learning rate": rounded(run.shared.last_learning_rate),
        "epochs": list(run.history.epochs),
        "steps": list(run.history.steps),
        "learning rates": [rounded(rate) for rate in run.history.state_dict()["learning_rates"]],
        "metrics": sorted((name, repr(run.history[name])) for name in run.history),
    }
