"""Measure what a save costs training, how long until it is durable, and its memory, beside other ways to save a Keras model.

The floor is a copy of the same arrays into memory that is already allocated; it is in the table twice: how far the second is
from 1 is noise. The disk is synced before each sample. *Stall* is the time that a save by `Checkpoint` takes on the training
thread. *Until durable* ends when `on_checkpoint` is called: written, hashed, synced and renamed. The other candidates sync only
if their names say "synced". `save_weights` leaves out the optimizer's state; safetensors and the plain file get arrays that are
already in memory. If a snapshot holds references instead of copies, the next training step copies what it changes, as the third
table shows. Memory is by how much the peak of a save and the training step after it exceeds that of a step alone, each measured
in its own process (Linux).

At the end each candidate saves once more, and the files are read back and compared.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import click
import keras
import numpy as np

from hookcore_adapters.keras.trainee import KerasTrainee
from saves import Saves
from side_by_side import Gate, Table, benchmark, is_there, measure, seconds, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Arrays = Sequence[Any]

LAYERS: Final = 4
COPY, STALL, DURABLE, KERAS = "memory copy", "Checkpoint: stall", "Checkpoint: until durable", "ModelCheckpoint"
WEIGHTS, PLAIN, STEP = "save_weights", "one plain file, synced", "training step"
SAFETENSORS, SYNCED = "safetensors", "safetensors, synced"
WAITED: Final = (COPY, "memory copy again", STALL, KERAS, WEIGHTS, SAFETENSORS)
WRITTEN: Final = (PLAIN, DURABLE, KERAS, WEIGHTS, SAFETENSORS, SYNCED)
STEPS: Final = (STEP, f"{STEP}, snapshot held", f"{STEP}, while writing")
LIMIT: Final = "A durable checkpoint is also hashed and synced; ModelCheckpoint's file is not."
GATED_FROM: Final = 50
"""Megabytes of weights. With less, fixed costs dominate, so nothing is gated."""
BUFFERS: Final = 16e6
"""Bytes that writing takes at any size: for HDF5, the hash and a thread."""


def build(megabytes: float, optimizer: str) -> Any:
    """Return dense layers with `megabytes` of weights, trained for one step, so that the optimizer has its state."""
    width = round((megabytes * 1e6 / 4 / LAYERS) ** 0.5)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width, use_bias=False) for _ in range(LAYERS))])
    model.compile(optimizer, "mse")
    step(model)
    return model


def step(model: Any) -> None:
    """Train one step, on one sample."""
    sample = np.zeros((1, model.input_shape[1]), "float32")
    model.train_on_batch(sample, sample)


def values(model: Any, *, optimizer: bool = True) -> Arrays:
    """Return copies of what a save must hold: weights and optimizer state."""
    variables = [*model.variables, *model.optimizer.variables] if optimizer else model.variables
    return [np.array(variable.numpy()) for variable in variables]


def model_checkpoint(model: Any, directory: Path) -> Callable[[], object]:
    """Return a function that saves with Keras's own callback, into `model.keras`."""
    callback: Any = keras.callbacks.ModelCheckpoint(str(directory / "model.keras"))
    callback.set_model(model)
    return lambda: callback.on_epoch_end(0, {})


def write_plain(arrays: Arrays, path: Path) -> None:
    """Write the same bytes into one file and sync it, to measure the disk."""
    with path.open("wb") as file:
        for array in arrays:
            file.write(array)
        file.flush()
        os.fsync(file.fileno())


def write_safetensors(arrays: Arrays, path: Path, *, sync: bool) -> None:
    """Save with the library's own function for NumPy."""
    from safetensors.numpy import save_file

    save_file({str(number): array for number, array in enumerate(arrays)}, path)
    if sync:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def writers(model: Any, saves: Saves, arrays: Arrays, directory: Path) -> dict[str, Callable[[], object]]:
    """Return the functions that save, each into its own file."""

    def save() -> None:
        saves.begin()
        saves.finish()

    found = {
        PLAIN: lambda: write_plain(arrays, directory / "plain"),
        DURABLE: save,
        KERAS: model_checkpoint(model, directory),
        WEIGHTS: lambda: model.save_weights(directory / "model.weights.h5"),
    }
    if is_there("safetensors"):
        found[SAFETENSORS] = lambda: write_safetensors(arrays, directory / "safetensors", sync=False)
        found[SYNCED] = lambda: write_safetensors(arrays, directory / "safetensors-synced", sync=True)
    return found


def candidates(model: Any, saves: Saves, arrays: Arrays, writes: Mapping[str, Callable[[], object]]) -> dict[str, Any]:
    """Return all candidates, each of which returns its seconds."""
    copies = [np.empty_like(array) for array in arrays]

    def copy_all() -> None:
        for copied, array in zip(copies, arrays, strict=True):
            np.copyto(copied, array)

    def copy() -> float:
        return seconds(copy_all)

    def stall() -> float:
        taken = seconds(saves.begin)
        saves.finish()
        return taken

    def step_with_snapshot() -> float:
        held = saves.run.trainee.snapshot()
        taken = seconds(lambda: step(model))
        del held
        return taken

    def step_while_writing() -> float:
        saves.begin()
        taken = seconds(lambda: step(model))
        saves.finish()
        return taken

    def quiet(sample: Callable[[], float]) -> Callable[[], float]:
        def call() -> float:
            gc.collect()
            os.sync()
            return sample()

        return call

    own = {WAITED[0]: copy, WAITED[1]: copy, STALL: stall}
    own |= dict(zip(STEPS, (lambda: seconds(lambda: step(model)), step_with_snapshot, step_while_writing), strict=True))
    saving = {name: (lambda write=write: seconds(write)) for name, write in writes.items()}
    return {name: quiet(sample) for name, sample in (own | saving).items()}


def check(model: Any, saves: Saves, arrays: Arrays, writes: Mapping[str, Callable[[], object]], directory: Path) -> None:
    """Save with each candidate and read back. Raises `AssertionError` if the values differ from those that were saved."""
    for write in writes.values():
        write()
    fresh = keras.models.clone_model(model)
    fresh.load_weights(directory / "model.weights.h5")
    plain = np.split(np.fromfile(directory / "plain", "uint8"), np.cumsum([array.nbytes for array in arrays])[:-1])
    live = values(model)
    found = {
        DURABLE: (values(keras.models.load_model(saves.plugin.newest().path / "model.keras")), live),
        KERAS: (values(keras.models.load_model(directory / "model.keras")), live),
        WEIGHTS: (values(fresh, optimizer=False), values(model, optimizer=False)),
        PLAIN: (plain, [array.reshape(-1).view("uint8") for array in arrays]),
    }
    if SYNCED in writes:
        from safetensors.numpy import load_file

        for name, file in ((SAFETENSORS, "safetensors"), (SYNCED, "safetensors-synced")):
            read = load_file(directory / file)
            found[name] = [read[str(number)] for number in range(len(arrays))], arrays
    assert found.keys() == writes.keys()  # noqa: S101 - the check
    for name, (there, expected) in found.items():
        equal = [np.array_equal(one, other) for one, other in zip(there, expected, strict=True)]
        assert all(equal), f"{name}: what was read back differs from what was saved"  # noqa: S101 - the check


def measured(megabytes: float, optimizer: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each candidate, in each round."""
    model = build(megabytes, optimizer)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        saves, arrays = Saves(KerasTrainee(model), directory / "checkpoints"), values(model)
        writes = writers(model, saves, arrays, directory)
        figures = measure(candidates(model, saves, arrays, writes), rounds)
        check(model, saves, arrays, writes, directory)
        saves.end()
    return figures


def extra_memory(megabytes: float, optimizer: str, candidate: str) -> str:
    """Return three sizes in bytes, as text: of the extra memory, of what is saved, and of the largest variable.

    The extra memory is by how much the peak of a save and the training step after it exceeds that of a step alone.
    """
    model = build(megabytes, optimizer)
    sizes = [int(value.nbytes) for value in values(model)]
    with tempfile.TemporaryDirectory() as name:
        write = model_checkpoint(model, Path(name))
        saves = Saves(KerasTrainee(model), Path(name) / "checkpoints")

        def save() -> None:
            if candidate == KERAS:
                write()
            else:
                saves.begin()
            step(model)
            saves.finish()

        alone = peak(lambda: step(model))
        return f"{peak(save) - alone} {sum(sizes)} {max(sizes)}"


def peak(call: Callable[[], object]) -> int:
    """Return the peak memory of this process in bytes while `call` runs."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    call()
    status = Path("/proc/self/status").read_text(encoding="ascii").split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def memory(megabytes: float, optimizer: str, processes: int) -> Iterator[Table | Gate]:
    """Yield the table of memory, and its gate."""
    figures: dict[str, list[float]] = {"Checkpoint": [], KERAS: []}
    size = largest = 0.0
    for _ in range(processes):
        for candidate, own in figures.items():
            command = [sys.executable, __file__, "--memory-of", candidate, "--sizes", str(megabytes), "--optimizers", optimizer]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this very file
            extra, size, largest = map(float, printed.split())
            own.append(extra / size)
    yield Table(f"{megabytes:g} MB of weights, {optimizer}: peak memory beyond training", "copies", figures, KERAS, "Checkpoint")
    room = (largest + BUFFERS) / size
    allowed = f"1, the largest variable (Keras copies it to write it) and {BUFFERS / 1e6:g} MB of buffers"
    yield Gate(f"{megabytes:g} MB, {optimizer}: peak memory in copies: {allowed}", spread(figures["Checkpoint"])[1], 1 + room)


@benchmark
@click.option("--sizes", default="1,50", show_default=True, help="Megabytes of weights, separated by commas.")
@click.option("--optimizers", default="adam", show_default=True, help="Adam's state is twice the weights; sgd has no state.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(min=2))
@click.option("--processes", default=3, show_default=True, type=click.IntRange(min=1), help="How often memory is measured.")
@click.option("--memory-of", hidden=True, help="Print the extra memory of one candidate, and nothing else.")
def main(sizes: str, optimizers: str, rounds: int, processes: int, memory_of: str | None) -> Iterator[Table | Gate | str]:
    """Print what a save costs."""
    cases = [(float(size), optimizer) for size in sizes.split(",") for optimizer in optimizers.split(",")]
    if memory_of:
        yield extra_memory(*cases[0], memory_of)
        return
    for megabytes, optimizer in cases:
        figures = measured(megabytes, optimizer, rounds)

        def table(what: str, names: Sequence[str], ours: str | None = None, of: Any = (megabytes, optimizer, figures)) -> Table:
            there = {name: of[2][name] for name in names if name in of[2]}
            return Table(f"{of[0]:g} MB of weights, {of[1]}: {what}", "ms", there, names[0], ours)

        waited, written = table("the call of a save", WAITED, STALL), table("until it is written", WRITTEN, DURABLE)
        yield from (waited, written, table("the next training step", STEPS))
        if megabytes >= GATED_FROM:
            yield from memory(megabytes, optimizer, processes)
            case = f"{megabytes:g} MB, {optimizer}"
            yield Gate(f"{case}: stall, x memory copy", waited.ratio(STALL, COPY)[1], 1.5)
            yield Gate(f"{case}: stall, x ModelCheckpoint", waited.ratio(STALL, KERAS)[1], 1 / 8)
            yield Gate(f"{case}: until durable, x ModelCheckpoint", written.ratio(DURABLE, KERAS)[1], 1.3, LIMIT)
    yield "All files were read back equal." + ("" if is_there("safetensors") else " Not installed: safetensors.")


if __name__ == "__main__":
    main()
