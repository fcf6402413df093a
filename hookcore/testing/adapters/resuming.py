"""Cases about runs that are interrupted or saved, and resumed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from hookcore import Outcome, state, store
from hookcore.testing.adapters import new_process
from hookcore.testing.adapters.cases import Check, case
from hookcore.testing.adapters.catalogue import TO_DECIDE_ON, deciding, make
from hookcore.testing.adapters.harness import Feature
from hookcore.testing.adapters.lives import about, at, ends_with, fail, same, same_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hookcore import Resume
    from hookcore.testing.adapters.harness import Scenario
    from hookcore.testing.adapters.lives import Life, Trial


def _scenario(trial: Trial, **changes: Any) -> Scenario:
    return trial.scenario(**{"epochs": 5, "batches": 2, "series": {trial.reported: TO_DECIDE_ON}} | changes)


def _saving(trial: Trial, directory: Path) -> list[object]:
    """Return plugins that save after each epoch and, if the loop can resume there, after each batch.

    They save into different directories, because checkpoints of an epoch's last batch and of its end have the same name.
    """
    by_epoch = ("by_epoch", make("checkpoint", directory=directory / "epochs", keep_last=None))
    by_step = ("by_step", make("checkpoint", directory=directory / "steps", every_n_epochs=None, every_n_steps=1, keep_last=None))
    return [by_epoch, by_step] if trial.harness.resumes == "batch" and trial.has(Feature.BATCHES) else [by_epoch]


def _saved(directory: Path) -> list[Path]:
    return [saved.path for kind in ("epochs", "steps") for saved in store.available(directory / kind)]


def _check_resumed(whole: Life, left: str, within: Sequence[str], trained: int, path: Path) -> None:
    with about(f"resumed from {path.parent.name}/{path.name}"):
        same_text(whole.left, left, "what the run leaves")
        ends_with(whole.within(), within, "the events")
        ended = [event for event in within if event.startswith("('on_batch_end'")]
        if ended:
            same(len(ended), trained, "the batches that the loop trained, compared with the events on_batch_end")


def _whole_life(trial: Trial, scenario: Scenario) -> tuple[Life, list[Path]]:
    directory = trial.fresh_directory()
    life = trial.life(*_saving(trial, directory), *deciding(trial), scenario=scenario).ends()
    saved = _saved(directory)
    least = {"epochs": life.hooks.count("on_epoch_end")}  # and one for each evaluation by steps
    if len(_saving(trial, directory)) > 1:
        least["steps"] = life.run.progress.step
    for kind, number in least.items():
        if sum(path.parent.name == kind for path in saved) < number:
            fail(f"There are fewer than {number} checkpoints of {kind}.")
    # The others have a case of their own.
    return life, [path for path in saved if not _is_stopped_within_epoch(path)]


def _is_stopped_within_epoch(path: Path) -> bool:
    record = state.loads(store.verify(path).record_text())
    return bool(record["stop_reasons"]) and bool(record["position"]["begun"])


def _check_each_cut(trial: Trial, scenario: Scenario) -> None:
    whole, saved = _whole_life(trial, scenario)
    for path in saved:
        with about(f"resumed from {path.parent.name}/{path.name}"):
            life = trial.life(*deciding(trial), scenario=scenario, resume=path).ends()
        _check_resumed(whole, life.left, life.within(), life.job.trained, path)


@case(Check.RESUME, Feature.RESUME)
def from_each_cut(trial: Trial) -> None:
    """Check that a run resumed from any batch or the end of any epoch has the weights, events and decisions of the whole run."""
    scenario = _scenario(trial)
    _check_each_cut(trial, scenario)


@case(Check.RESUME, Feature.RESUME)
def in_a_new_process(trial: Trial) -> None:
    """Check that a new process resumes from any batch or the end of any epoch to the weights, events and decisions of the run."""
    scenario = _scenario(trial)
    whole, saved = _whole_life(trial, scenario)
    arguments = {"scenario": new_process.as_json(scenario), "checkpoints": list(map(str, saved))}
    lives = new_process.ask("resume", trial.harness, trial.directory, **arguments)
    for path, life in zip(saved, lives, strict=True):
        _check_resumed(whole, life["left"], life["within"], life["trained"], path)


@case(Check.RESUME, Feature.RESUME, Feature.EVALUATION_BY_STEPS)
def of_evaluations_by_steps(trial: Trial) -> None:
    """Check that a run that evaluates by steps can be resumed from any batch or the end of any epoch."""
    _check_each_cut(trial, _scenario(trial, epochs=2, batches=5, evaluate_every_steps=2))


@case(Check.RESUME, Feature.RESUME, Feature.BATCHES, Feature.STOPPED_WITHIN_EPOCH)
def from_a_stop_within_an_epoch(trial: Trial) -> None:
    """Check that a run saved between a vote to stop and the end of the epoch ends like the whole run when it is resumed."""
    directory, scenario = trial.fresh_directory(), _scenario(trial)

    def voter() -> object:
        return at("on_batch_end", lambda run: run.stop("asked to"), 4, name="voter")

    whole = trial.life(*_saving(trial, directory), voter(), scenario=scenario).completes(Outcome.STOPPED)
    cuts = [path for path in _saved(directory) if _is_stopped_within_epoch(path)]
    if trial.harness.resumes == "batch" and not cuts:
        fail("There is no checkpoint of the batch after which the plugin voted.")
    for path in cuts:
        life = trial.life(voter(), scenario=scenario, resume=path).completes(Outcome.STOPPED)
        _check_resumed(whole, life.left, life.within(), life.job.trained, path)


@case(Check.ACCUMULATION, Feature.ACCUMULATION, Feature.RESUME)
def from_each_update(trial: Trial) -> None:
    """Check that a run that accumulates gradients ends with the same weights after each resumption, and after Ctrl-C."""
    scenario = _scenario(trial, epochs=2, batches=5, accumulate=2)
    _check_each_cut(trial, scenario)
    if trial.has(Feature.INTERRUPTS):
        whole = trial.life(*deciding(trial), scenario=scenario).completes()
        for batch in (1, 2, 5):
            with about(f"Ctrl-C in batch {batch}"):
                _check_interrupted(trial, whole, signal.SIGINT, batch=batch)


@case(Check.OWN_CHECKPOINT, Feature.OWN_CHECKPOINT)
def in_either_order(trial: Trial) -> None:
    """Check that a run resumed from the framework's own checkpoint ends like the whole run, in either order of the callbacks."""
    for order in ("before", "after"):
        scenario = _scenario(trial, own_checkpoints=order)
        with about(f"its callback is listed {order} the adapter"):
            whole = trial.life(*deciding(trial, holds_weights=False), scenario=scenario).ends()
            saved = whole.harness.own_checkpoints()
            same(whole.hooks.count("on_epoch_end"), len(saved), "the checkpoints")
            for path in saved[:-1]:
                resumed = trial.life(*deciding(trial, holds_weights=False), scenario=scenario, own_checkpoint=path).ends()
                if resumed.run.resumed_from is None:
                    fail(f"{path.name} does not hold the run's record: the run began again.")
                _check_resumed(whole, resumed.left, resumed.within(), resumed.job.trained, path)


@case(Check.OWN_LOADER, Feature.OWN_LOADER)
def predicts_in_a_new_process(trial: Trial) -> None:
    """Check that a new process opens the newest checkpoint with the framework's own loader, and predicts the same."""
    directory = trial.fresh_directory()
    life = trial.life(make("checkpoint", directory=directory)).completes()
    path = store.newest(directory).path
    found = new_process.ask("predict", trial.harness, trial.directory, checkpoint=str(path))
    same(life.harness.predict(), found, "what the model predicts")


def _check_interrupted(
    trial: Trial, whole: Life, number: signal.Signals, *, batch: int = 0, event: str = "", at_: int = 0
) -> None:
    """Check that a run that a signal interrupts, in a batch's own code or at an event, ends like `whole` when it is resumed."""
    directory, scenario = trial.fresh_directory(), whole.job.scenario
    preempted = number == signal.SIGTERM

    def plugins() -> list[object]:
        own: list[object] = [make("preemption", signals="SIGTERM")] if preempted else []
        return [*own, *deciding(trial), make("checkpoint", directory=directory, keep_last=None)]

    def within(trained: int) -> None:
        if trained == batch:
            signal.raise_signal(number)

    def life(*pressing: object, resume: Resume, **given: Any) -> Life:
        return trial.life(*pressing, *plugins(), scenario=scenario, resume=resume, **given)

    pressing = [at(event, lambda _: signal.raise_signal(number), at_, name="pressing")] if event else []
    cut = life(*pressing, resume=False, within=within).train()
    expected = (SystemExit,) if preempted else trial.harness.interrupts
    if not isinstance(cut.error, expected):
        raise AssertionError(f"The caller should get {expected}, but gets {cut.error!r}.") from cut.error  # noqa: TRY004
    same(Outcome.PREEMPTED if preempted else Outcome.INTERRUPTED, cut.run.outcome, "the outcome")
    same("on_train_end", cut.hooks[-1], "the last event")
    same(signal.default_int_handler, signal.getsignal(signal.SIGINT), "the handler of Ctrl-C afterwards")
    with about("the run that resumes"):
        resumed = life(resume="auto").ends()
    same_text(whole.left, resumed.left, "what the resumed run leaves")
    ends_with(whole.within(), resumed.within(), "the events of the resumed run")
    if trial.harness.resumes == "batch":
        same(whole.job.trained, cut.job.trained + resumed.job.trained, "the batches that both parts trained")


@case(Check.INTERRUPTS, Feature.INTERRUPTS, Feature.RESUME)
def by_ctrl_c(trial: Trial) -> None:
    """Check that after Ctrl-C in the loop's own code or in a hook, the resumed run ends like one that was never interrupted."""
    whole = trial.life(*deciding(trial), scenario=_scenario(trial, epochs=2, batches=3)).completes()
    for batch in dict.fromkeys((1, 2, whole.job.scenario.batches, whole.job.scenario.batches + 1)):
        with about(f"Ctrl-C in batch {batch}, in the loop's own code"):
            _check_interrupted(trial, whole, signal.SIGINT, batch=batch)
    for event, number in (
        ("on_train_begin", 0),
        ("on_epoch_begin", 1),
        ("on_batch_end", 1),
        ("on_evaluate_batch_end", 1),
        ("on_epoch_end", 0),
    ):
        if event in whole.hooks:
            with about(f"Ctrl-C in {event}"):
                _check_interrupted(trial, whole, signal.SIGINT, event=event, at_=number)


@case(Check.INTERRUPTS, Feature.INTERRUPTS, Feature.RESUME)
def by_sigterm(trial: Trial) -> None:
    """Check that after SIGTERM, which `Preemption` handles, the resumed run ends like one that was never interrupted."""
    whole = trial.life(*deciding(trial), scenario=_scenario(trial, epochs=2, batches=3)).completes()
    with about("SIGTERM in batch 2, in the loop's own code"):
        _check_interrupted(trial, whole, signal.SIGTERM, batch=2)
    with about("SIGTERM in on_epoch_end"):
        _check_interrupted(trial, whole, signal.SIGTERM, event="on_epoch_end", at_=0)
