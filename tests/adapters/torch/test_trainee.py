"""TorchTrainee: learning rate, snapshots, files that load without hookcore, and refusals."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hookcore import CapabilityError, CheckpointError, HookcoreError, ParameterError, Run
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import TorchTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def network(width: int = 4) -> Any:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def trained(model: Any, optimizer: Any, *, steps: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 3, dtype=next(model.parameters()).dtype)).square().mean().backward()
        optimizer.step()


def made(optimizer: Any = torch.optim.Adam, **arguments: Any) -> TorchTrainee:
    """Return a trained trainee."""
    model = network()
    own = optimizer(model.parameters(), **arguments)
    trained(model, own)
    return TorchTrainee(model, own)


def grouped(*rates: float) -> tuple[TorchTrainee, list[dict[str, Any]]]:
    groups: list[dict[str, Any]] = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.SGD(groups)
    return TorchTrainee(nn.ParameterList(group["params"][0] for group in groups), optimizer), optimizer.param_groups


# The learning rate


def test_a_first_group_that_is_frozen_stays_so() -> None:
    """If the first group's rate is 0, the rate is the next group's, and halving it keeps the first at 0."""
    trainee, groups = grouped(0.0, 0.1, 0.4)
    assert trainee.learning_rate == 0.1
    for rate in (0.05, 0.0, 0.2):
        trainee.learning_rate = rate
        assert trainee.learning_rate == rate
        assert [group["lr"] for group in groups] == pytest.approx([0.0, rate, 4 * rate])


def test_the_rate_is_the_first_groups_and_the_others_keep_their_ratios() -> None:
    """Setting the rate scales each group's rate, repeatedly, and also after the rate was 0."""
    trainee, groups = grouped(0.1, 0.01, 0.5)
    assert trainee.learning_rate == 0.1
    for rate in (0.01, 0.0, 0.2):
        trainee.learning_rate = rate
        assert trainee.learning_rate == rate
        assert [group["lr"] for group in groups] == pytest.approx([rate, rate / 10, rate * 5])


def test_ratios_survive_a_checkpoint_at_a_rate_of_zero(tmp_path: Path) -> None:
    """A run that is resumed while the rate is 0 keeps the ratios."""
    trainee, _ = grouped(0.1, 0.01)
    trainee.learning_rate = 0.0
    trainee.write(trainee.snapshot(), tmp_path)
    again, _ = grouped(0.3, 0.3)
    again.restore(again.read(tmp_path))
    again.learning_rate = 1.0
    assert [group["lr"] for group in again.optimizer.param_groups] == pytest.approx([1.0, 0.1])


def test_a_rate_in_a_tensor_stays_in_it() -> None:
    """A rate in a tensor is written into that tensor, which compiled code reads, also when a snapshot is restored."""
    trainee = made(lr=torch.tensor(0.25))
    tensor = trainee.optimizer.param_groups[0]["lr"]
    trainee.learning_rate = 0.5
    assert trainee.optimizer.param_groups[0]["lr"] is tensor
    assert float(tensor) == trainee.learning_rate == 0.5
    snapshot = trainee.snapshot()
    trainee.learning_rate = 0.125
    trainee.restore(snapshot)
    assert trainee.optimizer.param_groups[0]["lr"] is tensor
    assert float(tensor) == 0.5


def test_a_group_that_is_added_later_keeps_its_ratio() -> None:
    """A group that is added during a run keeps its ratio."""
    trainee, groups = grouped(0.1, 0.1)
    trainee.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.4})
    trainee.learning_rate = 0.2
    assert [group["lr"] for group in groups] == pytest.approx([0.2, 0.2, 0.8])


@pytest.mark.parametrize("plugin", [ReduceLROnPlateau("loss"), LearningRateSchedule(lambda _: 0.1)])
def test_a_scheduler_owns_the_rate(plugin: object) -> None:
    """With a scheduler, a plugin that sets the rate is refused before the first batch, and both are named."""
    trainee = made()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(trainee.optimizer, 10)
    trainee = TorchTrainee(trainee.model, trainee.optimizer, scheduler)
    with (
        pytest.raises(CapabilityError, match=r"learning rate, but.*comes from a scheduler, CosineAnnealingLR"),
        Loop([plugin], trainee=trainee),
    ):
        pass
    assert trainee.learning_rate == 0.001  # logs still have it
    with pytest.raises(AttributeError, match="CosineAnnealingLR"):
        trainee.learning_rate = 0.1


def test_a_scheduler_that_was_not_given_owns_the_rate_too() -> None:
    """A plugin that sets the rate is also refused if the scheduler was not given."""
    trainee = made()
    torch.optim.lr_scheduler.LambdaLR(trainee.optimizer, lambda _: 1.0)
    with (
        pytest.raises(CapabilityError, match="comes from a scheduler that TorchTrainee was not given"),
        Loop([ReduceLROnPlateau("loss")], trainee=trainee),
    ):
        pass


def test_a_restored_mark_of_a_scheduler_does_not_count(tmp_path: Path) -> None:
    """If a resumed script no longer has the scheduler, its plugins can set the rate."""
    trainee = made()
    torch.optim.lr_scheduler.StepLR(trainee.optimizer, 1)
    trainee.write(trainee.snapshot(), tmp_path)
    again = made()
    assert again.lacks("learning_rate") is None
    again.restore(again.read(tmp_path))
    again.learning_rate = 0.5
    assert again.learning_rate == 0.5


def test_several_optimizers_have_no_rate() -> None:
    """With several optimizers, plugins that set the rate are refused, and logs leave it out."""
    one, two = made(), made()
    trainee = TorchTrainee({"a": one.model, "b": two.model}, {"a": one.optimizer, "b": two.optimizer})
    assert trainee.lacks("learning_rate") == "there are 2 optimizers, and a plugin sets the rate of one"
    with pytest.raises(AttributeError, match="2 optimizers"):
        _ = trainee.learning_rate


# Snapshots


def equal(one: Any, other: Any) -> bool:
    """Return whether two nested states are equal, with tensors of the same type and bits."""
    if torch.is_tensor(one):
        return bool(torch.is_tensor(other) and one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def state_of(trainee: TorchTrainee) -> Any:
    snapshot = trainee.snapshot()
    assert snapshot.random is not None
    return {"weights": snapshot.weights, "rest": snapshot.rest.copy(), "random": snapshot.random.state_dict()}


@pytest.mark.parametrize("optimizer", [True, False])
def test_training_does_not_change_a_snapshot(*, optimizer: bool) -> None:
    """A snapshot restores its values after further training, repeatedly."""
    trainee = made()
    before, snapshot = state_of(trainee), trainee.snapshot(optimizer=optimizer)
    for _ in range(2):
        trained(trainee.model, trainee.optimizer)
        assert not equal(state_of(trainee)["weights"], before["weights"])
        trainee.restore(snapshot)
        assert equal(state_of(trainee)["weights"], before["weights"])
        assert equal(state_of(trainee), before) == optimizer


def test_the_memory_of_a_snapshot_is_used_again_only_when_it_is_gone() -> None:
    """A snapshot's memory is used again only after the snapshot, and each tensor that refers to it, is deleted."""
    trainee = made()
    trained(trainee.model, trainee.optimizer)
    first = trainee.snapshot()
    kept = first.weights["model"]["0.weight"]
    expected = kept.clone()
    second = trainee.snapshot()
    place = second.weights["model"]["0.weight"].data_ptr()
    del first, second
    trained(trainee.model, trainee.optimizer)
    third = trainee.snapshot()
    assert third.weights["model"]["0.weight"].data_ptr() == place
    assert torch.equal(kept, expected)
    del third, kept
    assert len(trainee._memory._free) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_read_is_what_was_written(tmp_path: Path, dtype: Any) -> None:
    """A trainee with other weights reads the same weights, buffers, state and random numbers that were written."""
    torch.manual_seed(0)
    model = network().to(dtype)
    model.register_buffer("scalar", torch.tensor(3.5))
    model.register_buffer("empty", torch.zeros(0, 2))
    model.register_buffer("strided", torch.arange(12.0).reshape(3, 4).T)
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    trained(model, optimizer)
    trainee = TorchTrainee(model, optimizer)
    before = state_of(trainee)
    trainee.write(trainee.snapshot(), tmp_path)
    trained(model, optimizer)
    model.scalar.zero_()
    torch.rand(3)
    trainee.restore(trainee.read(tmp_path))
    assert equal(state_of(trainee), before)
    assert trainee.snapshot().nbytes == pytest.approx(sum(path.stat().st_size for path in tmp_path.iterdir()), abs=40_000)


def test_state_of_a_wider_type_than_its_parameter_keeps_it(tmp_path: Path) -> None:
    """An optimizer's float32 state of a bfloat16 parameter, which load_state_dict would round, is restored exactly."""

    class Exact(torch.optim.SGD):  # type: ignore[misc]  # Any if PyTorch is not installed
        def step(self, closure: Any = None) -> Any:
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["sum"] = self.state[parameter].get("sum", 0) + parameter.grad.float() / 3
            return super().step(closure)

    model = nn.Linear(3, 1).bfloat16()
    optimizer = Exact(model.parameters(), 0.1)
    trained(model, optimizer)
    trainee = TorchTrainee(model, optimizer)
    before = state_of(trainee)
    trainee.write(trainee.snapshot(), tmp_path)
    trainee.restore(trainee.read(tmp_path))
    assert equal(state_of(trainee), before)
    assert optimizer.state[model.weight]["sum"].dtype == torch.float32


def test_gradients_that_wait_are_saved_and_those_left_over_are_not(tmp_path: Path) -> None:
    """Gradients since the latest update, dense or sparse, are restored; applied ones are not, whether set to zero or not."""
    model = nn.ModuleDict({"dense": nn.Linear(3, 1), "sparse": nn.Embedding(5, 3, sparse=True)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainee = TorchTrainee(model, optimizer)

    def accumulate() -> None:
        model["dense"](model["sparse"](torch.tensor([1, 3, 3]))).sum().backward()

    def gradients() -> list[Any]:
        return [None if parameter.grad is None else parameter.grad.to_dense() for parameter in model.parameters()]

    accumulate()
    expected = [gradient.clone() for gradient in gradients()]
    trainee.write(trainee.snapshot(), tmp_path)
    accumulate()
    trainee.restore(trainee.read(tmp_path))
    assert equal(gradients(), expected)
    assert model["sparse"].weight.grad.is_sparse
    optimizer.step()
    left_over = trainee.snapshot()
    assert left_over.rest.copy()["optimizer"]["optimizer"]["gradients"] == {}
    accumulate()
    assert len(trainee.snapshot().rest.copy()["optimizer"]["optimizer"]["gradients"]) == 3
    trainee.restore(left_over)
    assert gradients() == [None, None, None]


# Files


def tied() -> Any:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    return model


LOADS = """
import sys, torch
from safetensors.torch import load_file
from torch import nn
assert not any(name.startswith("hookcore") for name in sys.modules)
model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3, bias=False))
model[2].weight = model[0].weight
model.load_state_dict(load_file(sys.argv[1]))
print(model(torch.ones(1, 3)).tolist())
"""


@pytest.mark.parametrize("form", ["plain", "compiled", "compiled within", "parallel"])
def test_weights_are_loaded_without_us(tmp_path: Path, form: str) -> None:
    """A new process loads the weights with safetensors, also tied ones, and of wrapped models and layers."""
    model: Any = tied()
    optimizer = torch.optim.Adam(model.parameters())
    whole = {"compiled": lambda: torch.compile(model, backend="eager"), "parallel": lambda: nn.DataParallel(model)}.get(
        form, lambda: model
    )()
    if form == "compiled within":
        model[0] = torch.compile(model[0], backend="eager")
    trainee = TorchTrainee(whole, optimizer)
    trainee.write(trainee.snapshot(), tmp_path)
    file = tmp_path / "model.safetensors"
    assert sorted(load_file(file)) == ["0.bias", "0.weight", "2.weight"]
    done = subprocess.run([sys.executable, "-c", LOADS, file], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0] == pytest.approx(nn.Sequential.forward(model, torch.ones(1, 3)).tolist()[0])
    held = trainee.snapshot().weights["model"]
    assert held["0.weight"].data_ptr() == held["2.weight"].data_ptr()  # one tensor in memory
    other = TorchTrainee(again := tied(), torch.optim.Adam(again.parameters()))
    other.restore(other.read(tmp_path))
    assert again[2].weight is again[0].weight
    assert torch.equal(again[2].weight, model[2].weight)


def test_models_by_name_have_a_file_each(tmp_path: Path) -> None:
    """A model and its moving average have a weights file each."""
    trainee = made()
    average = AveragedModel(trainee.model)
    trainee = TorchTrainee({"model": trainee.model, "average": average}, trainee.optimizer)
    trainee.write(trainee.snapshot(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "average.safetensors",
        "model.safetensors",
        "state.json",
        "state.safetensors",
    ]
    assert "n_averaged" in load_file(tmp_path / "average.safetensors")
    assert trainee.lacks("weights") is None  # views of the trained model


def test_a_layers_own_state_is_saved(tmp_path: Path) -> None:
    """The result of get_extra_state, with numbers, lists and tensors, is restored by set_extra_state."""

    class Counting(nn.Module):  # type: ignore[misc]  # Any if PyTorch is not installed
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.seen: dict[str, Any] = {"count": 3, "last": torch.ones(2)}

        def get_extra_state(self) -> Any:
            return self.seen

        def set_extra_state(self, state: Any) -> None:
            self.seen = state

    model = nn.Sequential(Counting())
    trainee = TorchTrainee(model, torch.optim.SGD(model.parameters()))
    for optimizer in (True, False):
        model[0].seen = {"count": 3, "last": torch.ones(2)}
        (tmp_path / str(optimizer)).mkdir()
        trainee.write(trainee.snapshot(optimizer=optimizer), tmp_path / str(optimizer))
        model[0].seen = {}
        trainee.restore(trainee.read(tmp_path / str(optimizer)))
        assert equal(model[0].seen, {"count": 3, "last": torch.ones(2)})


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    """All files are safetensors or JSON."""
    trainee = made()
    trainee.write(trainee.snapshot(), tmp_path)
    for path in tmp_path.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            load_file(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "another's": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "state.safetensors"])
def test_a_damaged_file_is_an_error_and_changes_nothing(tmp_path: Path, name: str, damage: str) -> None:
    """A truncated, missing or invalid file is a CheckpointError that names it, and changes nothing."""
    trainee = made()
    trainee.write(trainee.snapshot(), tmp_path)
    DAMAGES[damage](tmp_path / name)
    before = state_of(trainee)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        trainee.read(tmp_path)
    assert equal(state_of(trainee), before)


def test_a_checkpoint_of_another_model_is_refused_with_the_differences(tmp_path: Path) -> None:
    """A checkpoint of another model is an error with the differing names, shapes and types, and changes nothing."""
    trainee = made()
    trainee.write(trainee.snapshot(), tmp_path)
    wider = network(5).bfloat16()
    other = TorchTrainee(wider, torch.optim.Adam(wider.parameters()))
    before = state_of(other)
    with pytest.raises(CheckpointError) as refused:
        other.read(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} is of another model: 0.weight is float32[4, 3] in it and bfloat16[5, 3] in the model; 0.bias is float32[4] "
        "in it and bfloat16[5] in the model; 1.weight is float32[4] in it and bfloat16[5] in the model; 1.bias is float32[4] in "
        "it and bfloat16[5] in the model; 1.running_mean is float32[4] in it and bfloat16[5] in the model; and 3 more."
    )
    assert equal(state_of(other), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: torch.optim.SGD(model.parameters()), "optimizer was Adam and is now SGD"),
        (lambda model: torch.optim.Adam(model[0].parameters()), "groups of 6 parameters, and now has groups of 2"),
        (
            lambda model: {"a": torch.optim.Adam(model.parameters())},
            "saved with optimizer optimizer, and TorchTrainee was given a",
        ),
    ],
)
def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    """A checkpoint of an optimizer of another class, name or number of parameters is refused, and changes nothing."""
    trainee = made()
    trainee.write(trainee.snapshot(), tmp_path)
    other = TorchTrainee(trainee.model, change(trainee.model))
    with pytest.raises(CheckpointError, match=message):
        other.read(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        other.restore(trainee.snapshot())


def test_weights_written_by_others_are_read(tmp_path: Path) -> None:
    """Weights that safetensors itself has written are read."""
    trainee = made()
    trainee.write(trainee.snapshot(optimizer=False), tmp_path)
    save_file(
        {name: torch.ones_like(tensor) for name, tensor in trainee.model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    trainee.restore(trainee.read(tmp_path))
    assert all(bool((tensor == 1).all()) for tensor in trainee.model.state_dict().values())


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None), r"TorchTrainee: model must be a torch.nn.Module, or a dict of them by names"),
        (({}, None), "model must be"),
        (({"a.b": nn.Linear(1, 1)}, None), "model must be"),
        (
            ({"state": nn.Linear(1, 1), "policy": nn.Linear(1, 1)}, None),
            "model must be a dict of modules by other names than 'state'",
        ),
        ((nn.Linear(1, 1), nn.Linear(1, 1)), "optimizer must be a torch.optim.Optimizer"),
        ((nn.Linear(1, 1), torch.optim.SGD([nn.Parameter(torch.ones(1))]), 0.1), "scheduler must be a scheduler"),
    ],
)
def test_what_is_no_model_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    """Invalid arguments are errors that name the parameter and what was expected."""
    with pytest.raises(ParameterError, match=message):
        TorchTrainee(*arguments)


def test_a_scheduler_that_was_not_given_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log warns once that the state of a scheduler that was not given is lost."""
    trainee = made()
    torch.optim.lr_scheduler.StepLR(trainee.optimizer, 1)
    trainee = TorchTrainee(trainee.model, trainee.optimizer)
    with caplog.at_level(logging.WARNING), Loop([Checkpoint(tmp_path)], epochs=1, trainee=trainee):
        pass
    assert trainee.lacks("checkpoint") is None
    (told,) = [record.message for record in caplog.records if "scheduler" in record.message]
    assert told == (
        "checkpoints hold no scheduler: optimizer has one that TorchTrainee was not given, so it starts again when the run is "
        "resumed. Give it: TorchTrainee(model, optimizer, scheduler)"
    )


def test_parameters_of_no_model_are_refused(tmp_path: Path) -> None:
    """Checkpoint is refused if the optimizer trains parameters of no given model, which would be lost."""
    encoder, head = network(), nn.Linear(1, 1)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()])
    message = "the optimizer trains 2 parameters that are in no model given: give TorchTrainee all models, by name"
    with pytest.raises(CapabilityError, match=message), Loop([Checkpoint(tmp_path)], trainee=TorchTrainee(encoder, optimizer)):
        pass
    assert TorchTrainee({"encoder": encoder, "head": head}, optimizer).lacks("checkpoint") is None


def test_what_cannot_be_saved_is_found_out_before_the_first_batch(tmp_path: Path) -> None:
    """Checkpoint is refused before the first batch, with the place of a value that cannot be saved."""
    trainee = made()
    trainee.optimizer.param_groups[0]["note"] = object()
    with pytest.raises(CapabilityError, match=r"'note'.*is of type object"), Loop([Checkpoint(tmp_path)], trainee=trainee):
        pass
    with Loop([EarlyStopping("loss", restore_best_weights=True)], epochs=0, trainee=trainee):
        pass


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        (
            torch.zeros(2, dtype=torch.complex128),
            "buffer of model is a tensor of torch.complex128, which safetensors cannot hold",
        ),
        (torch.zeros(2, 2).to_sparse(), "buffer of model is a tensor of layout torch.sparse_coo, which safetensors cannot hold"),
    ],
)
def test_a_tensor_that_no_file_holds_is_found_out_before_the_first_batch(tmp_path: Path, buffer: Any, message: str) -> None:
    """Checkpoint is refused before the first batch for a tensor that safetensors cannot hold, by its name."""
    trainee = made()
    trainee.model.register_buffer("buffer", buffer)
    with pytest.raises(CapabilityError, match=message), Loop([Checkpoint(tmp_path)], trainee=trainee):
        pass


def test_a_finished_run_holds_no_model() -> None:
    """A finished run holds no model, and the trainee's hook on its optimizer is removed."""
    trainee = made()
    optimizer = trainee.optimizer
    with Loop(epochs=0, trainee=trainee) as loop:
        pass
    del trainee
    assert not optimizer._optimizer_step_post_hooks
    assert isinstance(loop.run, Run)


def test_several_models_have_no_views() -> None:
    """Several models have no views, and the reason has their number."""
    one, two = made(), made()
    trainee = TorchTrainee({"a": one.model, "b": two.model}, one.optimizer)
    assert trainee.lacks("weights") == "there are 2 models, and a view is of one"
    with pytest.raises(HookcoreError, match="2 models"):
        trainee.weights()
