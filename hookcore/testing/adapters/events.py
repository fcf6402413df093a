"""Cases about events: their order, and the metrics that come with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore import Outcome, Run
from hookcore.testing.adapters.cases import Check, case
from hookcore.testing.adapters.catalogue import make
from hookcore.testing.adapters.harness import Feature
from hookcore.testing.adapters.lives import about, at, fail, same
from hookcore.testing.events import check_events

if TYPE_CHECKING:
    from hookcore.testing.adapters.lives import Life, Trial


def check_sequence(life: Life) -> None:
    """Check the events of a run that no exception has ended."""
    check_events(life.events)
    begun, ended = life.hooks.count("on_epoch_begin"), life.hooks.count("on_epoch_end")
    same(begun, ended, f"of {begun} epochs that began, those that ended")


def check_batches(life: Life) -> None:
    """Check that each batch that the loop trained has one on_batch_end."""
    batches = [event[1] for event in life.events if event[0] == "on_batch_end"]
    same(life.job.trained, len(batches), "the batches that ended")


@case(Check.SEQUENCE)
def of_a_whole_run(trial: Trial) -> None:
    """Check that a run of some epochs has each event in its place, and each epoch and batch once."""
    life = trial.life().completes()
    check_sequence(life)
    scenario = life.job.scenario
    same(list(range(scenario.epochs)), [event[1] for event in life.events if event[0] == "on_epoch_end"], "the epochs that ended")
    if trial.has(Feature.BATCHES):
        same(scenario.epochs * scenario.batches, life.job.trained, "how often the harness called job.trains")
        check_batches(life)
        same(life.job.trained, life.run.progress.step, "the steps of the run")
    if trial.has(Feature.EVALUATION):
        same(scenario.epochs, life.hooks.count("on_evaluate_end"), "the evaluations")


@case(Check.SEQUENCE, Feature.EVALUATION_BY_STEPS)
def by_steps(trial: Trial) -> None:
    """Check that a run that evaluates by steps has each event in its place."""
    life = trial.life(scenario=trial.scenario(epochs=2, batches=5, evaluate_every_steps=2)).completes()
    check_sequence(life)
    check_batches(life)
    same(5, life.hooks.count("on_evaluate_end"), "the evaluations, one every 2 of 10 updates")


@case(Check.SEQUENCE)
def of_a_stopped_run(trial: Trial) -> None:
    """Check that all that began has ended in a run that a plugin stops, in the middle of an epoch if it can."""
    event, number = ("on_batch_end", 5) if trial.has(Feature.BATCHES) else ("on_epoch_end", 1)
    life = trial.life(at(event, lambda run: run.stop("asked to"), number, name="voter"))
    life.completes(Outcome.STOPPED)
    check_sequence(life)
    same(["voter"], [vote.plugin for vote in life.run.stop_reasons], "who stopped")


@case(Check.METRICS)
def of_each_epoch(trial: Trial) -> None:
    """Check that each epoch's observation has what was reported for it."""
    _check_columns(trial.life().completes(), trial, evaluated=range(3))


@case(Check.METRICS, Feature.EVALUATION, Feature.SPARSE_EVALUATION)
def of_every_second_epoch(trial: Trial) -> None:
    """Check that an epoch without an evaluation has no validation metric, even if the framework keeps the last one."""
    life = trial.life(scenario=trial.scenario(epochs=5, evaluate_every_epochs=2)).completes()
    _check_columns(life, trial, evaluated=(1, 3))


def _check_columns(life: Life, trial: Trial, evaluated: range | tuple[int, ...]) -> None:
    """Check the columns of a loop that is observed at the ends of its epochs."""
    epochs = life.job.scenario.epochs
    same(epochs, len(life.observations), "the number of observations")
    expected: dict[str, dict[int, float]] = {}
    if trial.has(Feature.TRAINING_METRICS):
        expected["score"] = dict(zip(range(epochs), life.job.reported.get("score", ()), strict=False))
        same(epochs, len(expected["score"]), "how often the harness called job.report('score')")
    if trial.has(Feature.EVALUATION):
        expected["val_score"] = dict(zip(evaluated, life.job.reported.get("val_score", ()), strict=False))
        same(len(evaluated), len(life.job.reported.get("val_score", ())), "how often the harness called job.report('val_score')")
    names = {"score": trial.harness.score, "val_score": trial.harness.val_score}
    for kind, values in expected.items():
        name = names[kind]
        found = {epoch: metrics[name] for epoch, metrics in enumerate(life.observations) if name in metrics}
        same(values, found, f"{name} by epoch, in the observations")
    for event in life.events:
        if event[0] == "on_epoch_end" and trial.has(Feature.TRAINING_METRICS):
            same(expected["score"][event[1]], event[2].get(trial.harness.score), f"{trial.harness.score} in on_epoch_end")


@case(Check.METRICS, Feature.EVALUATION_BY_STEPS)
def of_evaluations_by_steps(trial: Trial) -> None:
    """Check that each evaluation by steps is an observation of its own, in order, and that the history has its step."""
    life = trial.life(scenario=trial.scenario(epochs=2, batches=5, evaluate_every_steps=2)).completes()
    name, reported = trial.harness.val_score, life.job.reported.get("val_score", [])
    same(5, len(reported), "how often the harness called job.report('val_score')")
    same(reported, [metrics[name] for metrics in life.observations if name in metrics], f"{name} in the observations")
    history = life.run.history
    steps = [step for step, value in zip(history.steps, history[name], strict=True) if value == value]  # noqa: PLR0124
    same([2, 4, 6, 8, 10], steps, f"the steps at which the history has {name}")


@case(Check.EVALUATIONS, Feature.EVALUATION, Feature.SEVERAL_SETS)
def of_several_sets(trial: Trial) -> None:
    """Check that the batches of each validation set are reported, and its metrics in the observation of their epoch."""
    life = trial.life(scenario=trial.scenario(epochs=2, sets=2)).completes()
    check_sequence(life)
    scenario = life.job.scenario
    evaluations = scenario.epochs * scenario.sets
    if trial.has(Feature.BATCHES):
        batches = evaluations * scenario.evaluation_batches
        same(batches, life.hooks.count("on_evaluate_batch_end"), "the batches that were evaluated")
    else:
        same(evaluations, life.hooks.count("on_evaluate_end"), "the evaluations")
    for name in ("val_score", "val_score_2"):
        reported = life.job.reported.get(name, [])
        same(scenario.epochs, len(reported), f"how often the harness called job.report({name!r})")
        for epoch, metrics in enumerate(life.observations):
            if reported[epoch] not in metrics.values():
                fail(f"The observation of epoch {epoch} lacks {name}, {reported[epoch]}: {metrics}.")


@case(Check.EVALUATIONS, Feature.EVALUATION, Feature.SANITY_CHECK)
def of_a_sanity_check(trial: Trial) -> None:
    """Check that the framework's sanity check before training is not reported."""
    life = trial.life(scenario=trial.scenario(epochs=2, sanity_check=True)).completes()
    check_sequence(life)
    same("on_epoch_begin", life.hooks[1], "the first event after on_train_begin")
    same(life.job.scenario.epochs, life.hooks.count("on_evaluate_end"), "the evaluations")
    observed = [metrics[trial.harness.val_score] for metrics in life.observations]
    same(life.job.reported["val_score"][-2:], observed, f"{trial.harness.val_score} in the observations")


@case(Check.ACCUMULATION, Feature.ACCUMULATION)
def of_steps(trial: Trial) -> None:
    """Check that after each batch the run has as many steps as the optimizer has made updates."""
    seen: list[tuple[int, int]] = []
    life: Life

    def watch(run: Run) -> None:
        _ = run.model  # puts into the model what the loop holds elsewhere
        seen.append((run.progress.step, life.harness.updates()))

    life = trial.life(at("on_batch_end", watch, name="watch"), scenario=trial.scenario(epochs=2, batches=5, accumulate=2))
    life.completes()
    check_sequence(life)
    check_batches(life)
    for number, (step, updates) in enumerate(seen):
        same(updates, step, f"the steps after batch {number}, compared with the optimizer's updates")
    if not 2 * 5 // 2 <= life.run.progress.step < 2 * 5:
        fail(f"The harness does not accumulate: {life.run.progress.step} updates in 10 batches.")


@case(Check.RUNS, Feature.TWO_RUNS)
def two_on_one_adapter(trial: Trial) -> None:
    """Check that a second run on the same adapter is legal and complete, and that plugins begin it from the start."""
    series = (2.0, 3.0, 4.0, 3.0, 2.5, 2.25, 2.125)  # the second run would stop only if it began with what the first observed
    stopping = make("early_stopping", monitor=trial.monitor, mode="min", patience=2)
    life = trial.life(stopping, scenario=trial.scenario(epochs=4, series={trial.reported: series}))
    life.completes(Outcome.STOPPED)
    first = life.run
    life.completes()
    check_events(life.events)
    if life.run is first:
        fail("The second run is the same object as the first.")
    same([3, 4], [len(run.history) for run in (first, life.run)], "the rows of their histories")


@case(Check.RUNS, Feature.ZERO_EPOCHS)
def of_zero_epochs(trial: Trial) -> None:
    """Check that a run of no epochs begins and ends."""
    life = trial.life(scenario=trial.scenario(epochs=0)).completes()
    same(["on_train_begin", "on_train_end"], life.hooks, "the events")
    same(0, life.job.trained, "the batches that were trained")


@case(Check.RUNS)
def metric_names(trial: Trial) -> None:
    """Check that the validation metrics, and the directions of the framework's metrics, are those that the harness declares."""
    found: dict[str, object] = {}
    known: set[str] = set()

    def ask(run: Run) -> None:
        known.update(run.history)
        found.update({name: getattr(run.trainee, "direction", lambda _: None)(name) for name in trial.harness.directions})
        for name, expected in ((trial.harness.score, False), (trial.harness.val_score, True)):
            if name in run.history:
                same(expected, run.metric_names.is_validation(name), f"whether {name} is a metric of validation")

    trial.life(at("on_train_end", ask, name="ask")).completes()
    with about("the directions of the framework's metrics"):
        same(dict(trial.harness.directions), found, "by name")
        for name in trial.harness.directions:
            if name not in known:
                fail(f"Plugins see no metric {name!r}, but these: {', '.join(sorted(known))}.")
