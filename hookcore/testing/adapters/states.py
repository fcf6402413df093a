"""Cases about what is trained: its learning rate, its snapshots, and the best of its weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hookcore import Outcome, Run, store
from hookcore.testing.adapters.cases import Check, case
from hookcore.testing.adapters.catalogue import make
from hookcore.testing.adapters.harness import Feature
from hookcore.testing.adapters.lives import at, fail, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcore.testing.adapters.harness import Scenario
    from hookcore.testing.adapters.lives import Life, Trial


def _setting(rate: float) -> Any:
    return lambda run: run.set_learning_rate(rate, "asked to")


def _watching_rates(trial: Trial, *plugins: object, **given: Any) -> tuple[Life, list[tuple[float, ...]]]:
    """Return a life, and a list to which its training will append the learning rates at each batch."""
    rates: list[tuple[float, ...]] = []
    life: Life
    life = trial.life(*plugins, within=lambda _: rates.append(tuple(life.harness.rates())), **given)
    return life, rates


def _same_rates(expected: Sequence[float], found: Sequence[tuple[float, ...]], what: str) -> None:
    same(len(expected), len(found), f"{what}: the number of batches")
    for number, (rate, own) in enumerate(zip(expected, found, strict=True)):
        if not all(math.isclose(rate, one, rel_tol=1e-6) for one in own):
            fail(f"{what}: at batch {number} the framework's learning rate should be {rate}, but is {own}.")


@case(Check.LEARNING_RATE, Feature.LEARNING_RATE)
def stays_set(trial: Trial) -> None:
    """Check that a rate that a plugin sets after a batch or an epoch holds for all later batches, and in a resumed run."""
    scenario = trial.scenario()
    batches, first = scenario.batches, scenario.learning_rate or 0.0
    by_batches = trial.has(Feature.BATCHES)
    directory = trial.fresh_directory()
    setters: list[object] = [at("on_epoch_end", _setting(0.03125), 0, name="after_an_epoch", needs=("learning_rate",))]
    if by_batches:
        setters.append(at("on_batch_end", _setting(0.0625), 1, name="after_a_batch", needs=("learning_rate",)))
    saves = [make("checkpoint", directory=directory, keep_last=None)] if trial.has(Feature.RESUME) else []
    life, rates = _watching_rates(trial, *setters, *saves)
    life.completes()
    own = [first] * 2 + [0.0625] * (batches - 2) if by_batches else [first] * batches
    later = [0.03125] * batches * (scenario.epochs - 1)
    _same_rates([*own, *later], rates, "in a run")
    if saves:
        saved = store.available(directory)[0]
        resumed, rates = _watching_rates(trial, resume=saved.path)
        resumed.completes()
        _same_rates(later, rates, "in a run that is resumed")


@case(Check.LEARNING_RATE, Feature.LEARNING_RATE, Feature.RATE_GROUPS)
def of_groups(trial: Trial) -> None:
    """Check that setting the rate changes the rates of all groups in proportion, for all later batches."""
    halved = at("on_epoch_end", lambda run: run.set_learning_rate(run.learning_rate / 2, "asked to"), 0, needs=("learning_rate",))
    scenario = trial.scenario(groups=(0.125, 0.03125))
    life, rates = _watching_rates(trial, halved, scenario=scenario)
    life.completes()
    for number, own in enumerate(rates):
        expected = scenario.groups if number < scenario.batches else tuple(rate / 2 for rate in scenario.groups)
        if len(own) != len(expected) or not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(expected, own, strict=True)):
            fail(f"At batch {number} the groups' learning rates should be {expected}, but are {own}.")


@case(Check.LEARNING_RATE, Feature.SCHEDULE)
def under_a_schedule(trial: Trial) -> None:
    """Check that a plugin that sets the rate under the framework's own schedule is refused by name."""
    del trial  # a declared refusal is checked instead of this case
    fail("A schedule must be refused: declare the words of the error in `refuses`, or in `lacks` why there is no schedule.")


@case(Check.LEARNING_RATE, Feature.NO_LEARNING_RATE)
def is_absent(trial: Trial) -> None:
    """Check that loggers work in a loop without a learning rate, and have no column for it."""
    directory = trial.fresh_directory()
    loggers = [make("csv_log", path=directory / "log.csv"), make("json_log", path=directory / "log.jsonl")]
    life = trial.life(*loggers, scenario=trial.scenario(learning_rate=None)).completes()
    same([], [failure.plugin for failure in life.run.failures], "the plugins that raised an error")
    lines = (directory / "log.csv").read_text().splitlines()
    same(1 + life.job.scenario.epochs, len(lines), "the lines of the log")
    if "learning_rate" in lines[0]:
        fail(f"The log has a column for the learning rate: {lines[0]}.")


def _check_snapshot(trial: Trial, scenario: Scenario) -> None:
    directory = trial.fresh_directory()
    directory.mkdir()
    taken: dict[str, Any] = {}
    life: Life

    def digest(run: Run) -> str:
        _ = run.model  # puts into the model what the loop holds elsewhere
        return life.harness.digest()

    def take(run: Run) -> None:
        taken["digest"], taken["snapshot"] = digest(run), run.trainee.snapshot()

    def restore(run: Run) -> None:
        last, latest = digest(run), run.trainee.snapshot()
        if taken["digest"] == last:
            fail("Training did not change the digest since the snapshot was taken.")
        run.trainee.restore(taken["snapshot"])
        same(taken["digest"], digest(run), "the digest, after the earlier snapshot was restored")
        run.trainee.restore(latest)
        same(last, digest(run), "the digest, after the latest snapshot was restored")
        if trial.has(Feature.RESUME):
            run.trainee.write(taken["snapshot"], directory)
            run.trainee.restore(run.trainee.read(directory))
            same(taken["digest"], digest(run), "the digest, after the snapshot was written, read and restored")

    event, number = ("on_batch_end", 1) if trial.has(Feature.BATCHES) else ("on_epoch_end", 0)
    needs: tuple[Any, ...] = ("checkpoint",) if trial.has(Feature.RESUME) else ("snapshot",)
    plugins = at(event, take, number, name="take", needs=needs), at("on_train_end", restore, name="restore", needs=needs)
    life = trial.life(*plugins, scenario=scenario)
    life.completes()


@case(Check.SNAPSHOT, Feature.SNAPSHOT)
def of_weights(trial: Trial) -> None:
    """Check that a snapshot restores the earlier state after more training, from memory and from disk."""
    _check_snapshot(trial, trial.scenario())


@case(Check.SNAPSHOT, Feature.SNAPSHOT, Feature.SCALAR_WEIGHTS)
def of_a_scalar(trial: Trial) -> None:
    """Check that a weight without dimensions is restored without dimensions."""
    _check_snapshot(trial, trial.scenario(scalar=True))


@case(Check.SNAPSHOT, Feature.SNAPSHOT, Feature.BFLOAT16)
def of_bfloat16(trial: Trial) -> None:
    """Check that a weight in bfloat16 is restored in bfloat16."""
    _check_snapshot(trial, trial.scenario(bfloat16=True))


@case(Check.BEST, Feature.SNAPSHOT)
def is_put_back(trial: Trial) -> None:
    """Check that the model at the end predicts as after the best epoch, which is also the framework's best iteration."""
    series = (3.0, 1.0, 2.0, 4.0, 5.0)
    seen: list[str] = []
    life: Life

    def watch(run: Run) -> None:
        _ = run.model
        seen.append(life.harness.predict())

    stopping = make("early_stopping", monitor=trial.monitor, mode="min", patience=2, restore_best_weights=True)
    scenario = trial.scenario(epochs=5, series={trial.reported: series})
    life = trial.life(at("on_epoch_end", watch, name="watch"), stopping, scenario=scenario)
    life.completes(Outcome.STOPPED)
    if seen[1] == seen[-1]:
        fail("The model predicts the same after its best epoch as after its last: there is nothing to restore.")
    same(seen[1], life.harness.predict(), "the predictions at the end, compared with those after the second epoch, the best")
    best = life.harness.best_iteration()
    if best is not None:
        same(1, best, "the framework's best iteration")
