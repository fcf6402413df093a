"""A trainee lacks what it does not define."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import CapabilityError, Engine, Outcome, Run, Trainee
from hookcore.authoring import direction_of, framework_of, reason_lacking
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, JSONLog, ReduceLROnPlateau, Report, TensorBoard

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.trainee import Capability

BASES: list[type] = [object, Trainee]
bases = pytest.mark.parametrize("base", BASES, ids=["alone", "inheriting"])


def saving(base: type) -> Any:
    """Return a trainee of four methods, which has one weight."""

    class Saving(base):  # type: ignore[misc]  # it is given
        def __init__(self) -> None:
            self.weight = 1.0

        def snapshot(self, *, optimizer: bool = True) -> float:
            del optimizer
            return self.weight

        def restore(self, snapshot: float) -> None:
            self.weight = snapshot

        def write(self, snapshot: float, directory: Path) -> None:
            (directory / "weight.json").write_text(json.dumps(snapshot))

        def read(self, directory: Path) -> float:
            return float(json.loads((directory / "weight.json").read_text()))

    return Saving()


def rated(base: type) -> Any:
    """Return a trainee that has only a learning rate."""

    class Rated(base):  # type: ignore[misc]  # it is given
        framework = "tiny"

        def __init__(self) -> None:
            self.learning_rate = 0.5

    return Rated()


def bare(base: type) -> Any:
    """Return a trainee that can do nothing; it names a framework, because an object without any member is taken for a mistake."""
    return type("Bare", (base,), {"framework": "custom"})()


def train(trainee: Any, *plugins: object, losses: tuple[float, ...] = (2.0, 3.0, 4.0), **options: Any) -> Run:
    with Loop(Engine(plugins, autoload=False), epochs=len(losses), trainee=trainee, **options) as loop:
        for epoch in loop.epochs():
            if hasattr(trainee, "weight"):
                trainee.weight *= 2
            loop.log(loss=losses[epoch])
    return loop.run


@bases
def test_a_trainee_of_four_methods_is_saved_and_restored(base: type, tmp_path: Path) -> None:
    """With four methods a trainee has snapshots and checkpoints: the best weights come back, and a second run resumes."""
    trainee = saving(base)
    run = train(trainee, EarlyStopping("loss", patience=1, restore_best_weights=True), Checkpoint(tmp_path))
    assert (run.outcome, trainee.weight) == (Outcome.STOPPED, 2.0)
    again = saving(base)
    train(again, Checkpoint(tmp_path), losses=(2.0, 3.0, 4.0), resume="auto")
    assert again.weight == 8.0


@bases
def test_a_trainee_without_a_learning_rate_lacks_it(base: type) -> None:
    """A plugin that sets a missing learning rate is refused by name, and setting it adds no attribute."""
    trainee = saving(base)
    with pytest.raises(
        CapabilityError, match=r"'reduce_lr_on_plateau' needs .* learning rate, but a custom trainee does not provide"
    ):
        train(trainee, ReduceLROnPlateau())
    run = Run.of(trainee).as_plugin("steward")
    with pytest.raises(
        AttributeError, match=r"steward: the learning rate cannot be set to 0\.1: a custom trainee does not provide"
    ):
        run.learning_rate = 0.1
    assert not hasattr(trainee, "learning_rate")


@bases
def test_a_trainee_that_has_only_a_learning_rate_lacks_the_rest(base: type, tmp_path: Path) -> None:
    """Its rate can be set, and plugins that copy or save it are refused by name, with the missing methods."""
    trainee = rated(base)
    train(trainee, ReduceLROnPlateau("loss", patience=1, factor=0.1))
    assert trainee.learning_rate == pytest.approx(0.005)
    with pytest.raises(CapabilityError, match=r"needs .* snapshot, but a tiny trainee does not provide snapshot, restore"):
        train(trainee, EarlyStopping("loss", restore_best_weights=True))
    with pytest.raises(CapabilityError, match=r"needs .* checkpoint, but a tiny trainee does not provide snapshot, restore,"):
        train(trainee, Checkpoint(tmp_path))
    with pytest.raises(CapabilityError, match=r"resume='auto' needs .*, but a tiny trainee does not provide"):
        train(trainee, Checkpoint(tmp_path), resume="auto")


@bases
def test_plugins_that_need_nothing_work_with_a_trainee_that_has_nothing(base: type, tmp_path: Path) -> None:
    """Loggers leave out what the trainee lacks, and the table decides on directions."""
    trainee = bare(base)
    plugins = [CSVLog(tmp_path / "a.csv"), JSONLog(tmp_path / "b.jsonl"), Report(tmp_path / "c"), TensorBoard(tmp_path / "d")]
    run = train(trainee, *plugins, EarlyStopping("loss", patience=1))
    assert (run.outcome, run.failures) == (Outcome.STOPPED, [])
    assert framework_of(trainee) == "custom"
    assert direction_of(Run.of(trainee), "val_accuracy", "auto") == "max"


@bases
@pytest.mark.parametrize("capability", ["learning_rate", "snapshot", "checkpoint", "weights", "graph"])
def test_a_capability_that_is_not_defined_is_lacking(base: type, capability: Capability) -> None:
    """The reason names the missing members, and is the same whether the trainee inherits from `Trainee` or not."""
    trainee = bare(base)
    first = "snapshot" if capability == "checkpoint" else capability
    assert str(reason_lacking(trainee, capability)).startswith(f"a custom trainee does not provide {first}")
    if base is Trainee:
        assert trainee.lacks(capability) == reason_lacking(trainee, capability)


@bases
def test_a_trainee_that_forgets_a_method_lacks_the_capability(base: type) -> None:
    """Without `restore` a trainee has no snapshots, whatever `lacks` returns, so no useless checkpoint is saved."""

    class Forgetful(base):  # type: ignore[misc]  # it is given
        def snapshot(self, *, optimizer: bool = True) -> None:
            del optimizer

        def lacks(self, capability: Capability) -> None:
            del capability

    assert reason_lacking(Forgetful(), "snapshot") == "a custom trainee does not provide restore"
    assert reason_lacking(Forgetful(), "checkpoint") == "a custom trainee does not provide restore, write, read"


def test_what_an_inherited_method_cannot_do_is_an_error(tmp_path: Path) -> None:
    """A method that the class does not define raises an error that names the class, and saves no empty checkpoint."""
    trainee = bare(Trainee)
    uses = [
        trainee.snapshot,
        lambda: trainee.restore(None),
        lambda: trainee.write(None, tmp_path),
        lambda: trainee.read(tmp_path),
    ]
    for use in uses:
        with pytest.raises(CapabilityError, match=r"^Bare: a custom trainee does not provide snapshot, restore"):
            use()
