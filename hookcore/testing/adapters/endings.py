"""Cases about how a run ends: by errors, by the framework, and by votes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NoReturn

from hookcore import Outcome, Run
from hookcore.store.locking import lock
from hookcore.testing.adapters.cases import Check, case
from hookcore.testing.adapters.events import check_sequence
from hookcore.testing.adapters.harness import Feature
from hookcore.testing.adapters.lives import Planted, about, at, chain, fail, same
from hookcore.testing.doubles import RecordingPlugin

if TYPE_CHECKING:
    from hookcore.testing.adapters.lives import Life, Trial


def _raise(_: Any) -> NoReturn:
    raise Planted("planted")


def _check_reaches_the_caller(life: Life) -> None:
    if not any(isinstance(error, Planted) for error in chain(life.error)):
        raise AssertionError(f"The caller should get the error {Planted('planted')!r}, but gets {life.error!r}.") from life.error


def _check_nothing_left(life: Life) -> None:
    if life.run.shared.session() is not None and not life.run.shared.is_released:
        fail("The driver has not released the run.")
    same(signal.default_int_handler, signal.getsignal(signal.SIGINT), "the handler of Ctrl-C")


@case(Check.PLUGIN_ERROR)
def in_every_hook(trial: Trial) -> None:
    """Check that an actor's error in a hook ends the run as failed for every plugin, and that locks and handlers are released."""

    def life_with(*plugins: object) -> tuple[Life, Any]:
        directory = trial.fresh_directory()
        saves = [f"checkpoint:directory={directory},asynchronous=false"] if trial.has(Feature.RESUME) else []
        return trial.life(*saves, *plugins, ("last", RecordingPlugin())), directory

    whole, _ = life_with()
    whole.completes()
    for hook in dict.fromkeys(whole.hooks):
        number = min(1, whole.hooks.count(hook) - 1)
        life, directory = life_with(at(hook, _raise, number, name="broken"))
        with about(f"an error in {hook}"):
            life.train()
            _check_reaches_the_caller(life)
            same(Outcome.FAILED, life.run.outcome, "the outcome")
            for name in ("recording", "last"):
                hooks = life.engine[name].hooks
                same(
                    ["on_train_end"],
                    [*hooks[-1:], *(one for one in hooks[:-1] if one == "on_train_end")],
                    f"the events on_train_end of {name!r}",
                )
            if hook != "on_train_end":
                same(["on_exception"], [one for one in life.hooks if one == "on_exception"], "the events on_exception")
            _check_nothing_left(life)
            if directory.exists():
                lock(directory).release()  # raises if it is still held


@case(Check.OWN_ERROR)
def in_a_training_step(trial: Trial) -> None:
    """Check that an error in the loop's own code ends the run as failed, at once or when the next run begins."""
    second = 2 if not trial.has(Feature.BATCHES) else 6
    raised: list[int] = []

    def within(number: int) -> None:
        if number == second and not raised:
            raised.append(number)
            raise Planted("planted")

    life = trial.life(within=within).train()
    _check_reaches_the_caller(life)
    first = life.run
    if trial.harness.tells_errors:
        same(Outcome.FAILED, first.outcome, "the outcome")
        same(["on_exception", "on_train_end"], life.hooks[-2:], "the last events")
        _check_nothing_left(life)
    else:
        same(Outcome.RUNNING, first.outcome, "the outcome, as `tells_errors` of the harness is False")
        before = len(life.hooks)
        life.completes()
        same(Outcome.FAILED, first.outcome, "the outcome of the first run, once another has begun")
        same(["on_exception", "on_train_end", "on_train_begin"], life.hooks[before : before + 3], "the events of its end")


@case(Check.OWN_STOP, Feature.OWN_STOP)
def after_an_epoch(trial: Trial) -> None:
    """Check that a stop by the framework after the second of four epochs leaves that complete, and names the framework."""
    life = trial.life(scenario=trial.scenario(epochs=4, own_stop_after=2)).completes(Outcome.STOPPED)
    check_sequence(life)
    same([0, 1], [event[1] for event in life.events if event[0] == "on_epoch_end"], "the epochs that ended")
    same([trial.harness.host], [vote.plugin for vote in life.run.stop_reasons], "who stopped the run")


def _vote(run: Run) -> None:
    run.stop("asked to")


def _trained_after_a_vote(trial: Trial, event: str, number: int, **changes: Any) -> int:
    """Return how many batches are trained after a vote at the `number`-th event of a kind."""
    trained: list[int] = []

    def vote(run: Run) -> None:
        trained.append(life.job.trained)
        run.stop("asked to")

    life = trial.life(at(event, vote, number, name="voter"), scenario=trial.scenario(**changes))
    life.completes(Outcome.STOPPED)
    return life.job.trained - trained[0]


@case(Check.VOTES)
def in_hooks_of_training(trial: Trial) -> None:
    """Check how many batches follow a vote when training or an epoch begins, after a batch, and when an epoch ends."""
    after = trial.harness.votes
    moments = [("on_train_begin", 0, after.train_begin), ("on_epoch_begin", 1, after.epoch_begin)]
    if trial.has(Feature.BATCHES):
        moments.append(("on_batch_end", 5, after.batch_end))
    for event, number, expected in [*moments, ("on_epoch_end", 1, after.epoch_end)]:
        same(expected, _trained_after_a_vote(trial, event, number), f"batches trained after a vote in {event}")


@case(Check.VOTES, Feature.EVALUATION_BY_STEPS)
def in_an_evaluation_by_steps(trial: Trial) -> None:
    """Check how many batches follow a vote at the end of an evaluation within an epoch."""
    found = _trained_after_a_vote(trial, "on_evaluate_end", 2, evaluate_every_steps=2)
    same(trial.harness.votes.evaluate_end, found, "batches trained after a vote in on_evaluate_end")


@case(Check.MIN_EPOCHS, Feature.MIN_EPOCHS)
def stale_votes(trial: Trial) -> None:
    """Check that a vote before the minimum number of epochs is dropped, and that the same vote given later stops the run."""
    scenario = trial.scenario(epochs=5, min_epochs=3)
    once = trial.life(at("on_epoch_end", _vote, 0, name="once"), scenario=scenario)
    with about("a vote in the first epoch alone"):
        once.completes()
        same(5, once.hooks.count("on_epoch_end"), "the epochs that ended")
        same([], once.run.stop_reasons, "the votes that count")
    again = trial.life(at("on_epoch_end", _vote, name="again"), scenario=scenario)
    with about("a vote in each epoch"):
        again.completes(Outcome.STOPPED)
        same(3, again.hooks.count("on_epoch_end"), "the epochs that ended")
