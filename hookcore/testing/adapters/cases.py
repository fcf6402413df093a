"""The contract of every adapter: its clauses, their cases, and the results."""

from __future__ import annotations

import contextlib
import enum
import functools
import re
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from hookcore import HookcoreError, Run
from hookcore.testing.adapters.harness import Feature, Harness, Scenario
from hookcore.testing.adapters.lives import Trial, at, chain, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hookcore.trainee import Capability


class Check(enum.StrEnum):
    """The clauses of the contract."""

    SEQUENCE = "the events are legal, and every epoch that began has ended unless an exception ended the run"
    PLUGIN_ERROR = "a plugin's error in any hook ends the run for every plugin, and reaches the caller"
    OWN_ERROR = "an error in the loop's own code reaches the caller, and ends the run at the moment that the harness declares"
    OWN_STOP = "a stop that no plugin asked for leaves the last epoch complete, and names who stopped"
    VOTES = "after a vote to stop, as many batches are trained as the harness declares"
    MIN_EPOCHS = "a minimum number of epochs overrules votes, and an overruled vote never takes effect later"
    METRICS = "each metric is in the observation that it was produced for, and in no other"
    ACCUMULATION = "steps count updates, and positions count batches"
    EVALUATIONS = "every validation set is reported, and a sanity check is not"
    LEARNING_RATE = "a learning rate that was set stays set"
    SNAPSHOT = "training does not change a snapshot, and one that is read from disk equals the one that was written"
    RESUME = "a run that is interrupted and resumed ends like one that was never interrupted"
    OWN_CHECKPOINT = "the framework's own checkpoint includes every decision of the epoch after which it is saved"
    OWN_LOADER = "the framework's own loader opens a checkpoint, and the model predicts the same"
    BEST = "the restored best weights predict as in the best epoch, and the framework's own best iteration is that epoch"
    INTERRUPTS = "after Ctrl-C or SIGTERM, the resumed run ends like one that was never interrupted"
    RUNS = "two runs on one adapter and a run of no epochs work, and metric names are the framework's"
    PLUGINS = "the same metrics lead every shipped plugin to the same decisions"


class Refused(Exception):  # noqa: N818 - it is not an error
    """A case raises it if the adapter rightly refuses what the case asks for; the text is the reason."""


class Inapplicable(Exception):  # noqa: N818 - it is not an error
    """A case raises it if something that it needs is not installed; the text is the reason."""


@attrs.frozen
class Result:
    """The result of one case without a breach."""

    adapter: str
    check: Check
    case: str
    """The name of the case within the check."""
    verdict: Literal["works", "refused", "not applicable"]
    reason: str = ""
    """Why it is refused or does not apply; empty if it works."""


@attrs.frozen(eq=False)
class Case:
    """One case of a clause, for every adapter that has the features in `needs`."""

    check: Check
    needs: tuple[Feature, ...]
    run: Callable[[Trial], None]
    name: str

    @property
    def description(self) -> str:
        """What the case does."""
        return self.run.__doc__ or ""


def case(check: Check, *needs: Feature) -> Callable[[Callable[[Trial], None]], Case]:
    """Make a function a case of `check`. It raises `AssertionError` for a breach."""

    def made(function: Callable[[Trial], None]) -> Case:
        return Case(check, needs, function, function.__name__)

    return made


@attrs.frozen(eq=False)
class AdapterCheck:
    """One case of the contract for one adapter. Call it to run the case, and use its `name` as a test's id."""

    harness: type[Harness]
    check: Check
    """The clause that it is a case of."""
    case: str
    """The name of the case within the clause."""
    description: str
    """What is checked, as a sentence."""
    _run: Callable[[], Result]

    @property
    def name(self) -> str:
        """The names of the clause and of the case, as in `"resume-from_each_cut"`."""
        return f"{self.check.name.lower()}-{self.case}"

    def __call__(self) -> Result:
        """Run the case, in a temporary directory. Raises `AssertionError`, which names the adapter and the `Check`."""
        return self._run()


def check_of(harness: type[Harness], case: Case) -> AdapterCheck:
    """Return `case` for one adapter."""
    return AdapterCheck(harness, case.check, case.name, case.description, functools.partial(_result, harness, case))


def _result(harness: type[Harness], case: Case) -> Result:
    reason = harness.why_not(*case.needs)
    if reason is not None:
        return Result(harness.name, case.check, case.name, "not applicable", reason)
    refused = next((feature for feature in case.needs if feature in harness.refuses), None)
    with _pythons_ctrl_c(), tempfile.TemporaryDirectory(prefix="hookcore-check-") as directory:
        trial = Trial(harness, Path(directory))
        try:
            if refused is not None:
                check_refusal(trial, refused)
                return Result(harness.name, case.check, case.name, "refused", harness.refuses[refused])
            case.run(trial)
        except Inapplicable as missing:
            return Result(harness.name, case.check, case.name, "not applicable", str(missing))
        except Refused as refusal:
            return Result(harness.name, case.check, case.name, "refused", str(refusal))
        except AssertionError as error:
            raise AssertionError(f"{harness.name} breaks its contract: {case.check} ({case.name}). {error}") from error
    return Result(harness.name, case.check, case.name, "works")


@contextlib.contextmanager
def _pythons_ctrl_c() -> Iterator[None]:
    """Install Python's own handler of Ctrl-C: the program may have another one, or an earlier run may have left one."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


ASKING: Final[Mapping[Feature, Scenario]] = {
    Feature.ACCUMULATION: Scenario(accumulate=2),
    Feature.SPARSE_EVALUATION: Scenario(evaluate_every_epochs=2),
    Feature.EVALUATION_BY_STEPS: Scenario(evaluate_every_steps=2),
    Feature.SEVERAL_SETS: Scenario(sets=2),
    Feature.SANITY_CHECK: Scenario(sanity_check=True),
    Feature.MIN_EPOCHS: Scenario(min_epochs=2),
    Feature.OWN_STOP: Scenario(own_stop_after=1),
    Feature.NO_LEARNING_RATE: Scenario(learning_rate=None),
    Feature.RATE_GROUPS: Scenario(groups=(0.5, 0.125)),
    Feature.SCHEDULE: Scenario(schedule=True),
    Feature.SCALAR_WEIGHTS: Scenario(scalar=True),
    Feature.BFLOAT16: Scenario(bfloat16=True),
    Feature.OWN_CHECKPOINT: Scenario(own_checkpoints="after"),
    Feature.ZERO_EPOCHS: Scenario(epochs=0),
}
"""The scenario that asks for each feature."""

CAPABILITY: Final[Mapping[Feature, Capability]] = {
    Feature.LEARNING_RATE: "learning_rate",
    Feature.NO_LEARNING_RATE: "learning_rate",
    Feature.RATE_GROUPS: "learning_rate",
    Feature.SCHEDULE: "learning_rate",
    Feature.SNAPSHOT: "snapshot",
    Feature.SCALAR_WEIGHTS: "checkpoint",
    Feature.BFLOAT16: "checkpoint",
    Feature.RESUME: "checkpoint",
}
"""The capability that a plugin must need, so that the feature is refused."""


def check_refusal(trial: Trial, feature: Feature) -> None:
    """Check that asking for `feature` raises the error that the harness declares, before the first batch."""
    needs: tuple[Capability, ...] = (CAPABILITY[feature],) if feature in CAPABILITY else ()

    def use(run: Run) -> None:
        if "learning_rate" in needs:
            run.learning_rate = 0.0625

    asking = at("on_train_begin", use, name="asking", needs=needs)
    saved = trial.directory / "missing-checkpoint"
    life = trial.life(asking, scenario=ASKING.get(feature), resume=saved if feature is Feature.RESUME else False).train()
    reason = trial.harness.refuses[feature]
    if life.error is None:
        fail(f"{feature} should be refused because {reason}, but the run ended as {life.run.outcome}.")
    ours = [error for error in chain(life.error) if isinstance(error, HookcoreError)]
    if not any(reason in str(error) for error in ours):
        raise AssertionError(
            f"{feature} should be refused by a HookcoreError with the text {reason!r}, but {life.error!r} was raised."
        ) from life.error
    if needs and not any(re.search(r"\basking\b", str(error)) for error in ours):
        fail(f"The refusal of {feature} should name the plugin 'asking', but its text is: {life.error}")
    if life.job.trained:
        fail(f"{feature} should be refused before the first batch, but is refused after {life.job.trained}.")
