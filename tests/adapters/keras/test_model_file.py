"""A model's files in a checkpoint are those that Keras would save, are restored completely, and are refused if changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import struct
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np
import pytest

from hookcore import CheckpointError
from hookcore_adapters.keras import MODEL_FILE, KerasTrainee, model_file
from tests.adapters.keras.backends import only_on, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = ["down", "left", "right", "up"]
layers = keras.layers


@keras.saving.register_keras_serializable("hookcore")
class Registered(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A user's model, with layers in a list."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stack = [layers.Dense(3, activation="relu"), layers.Dropout(0.5)]
        self.out = layers.Dense(1)

    def call(self, inputs: Any, *, training: bool = False) -> Any:
        hidden = self.stack[1](self.stack[0](inputs), training=training)
        return self.out(hidden)


def stacked(*parts: Any, optimizer: Any = None) -> Any:
    model = keras.Sequential([layers.Input((3,)), *parts])
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=True)
    return model


def sequential() -> Any:
    return stacked(layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1))


def two_outputs() -> Any:
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, activation="relu")(inputs)
    model = keras.Model(inputs, {"a": layers.Dense(1, name="a")(hidden), "b": layers.Dense(1, name="b")(hidden)})
    model.compile("adam", {"a": "mse", "b": "mae"}, metrics={"a": ["mae"]}, run_eagerly=True)
    return model


def registered() -> Any:
    model = Registered()
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model(np.zeros((1, 3), "float32"))
    return model


def words() -> Any:
    inputs = keras.Input((1,), dtype="string")
    lookup, text = layers.StringLookup(), layers.TextVectorization(output_sequence_length=1)
    lookup.adapt(WORDS)
    text.adapt(WORDS)
    both = layers.Concatenate()([layers.Embedding(6, 2)(lookup(inputs)), layers.Embedding(6, 2)(text(inputs))])
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(both)))
    model.compile("adam", "mse", run_eagerly=True)
    return model


def mixed_float16() -> Any:
    policy = keras.DTypePolicy("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0)
    return stacked(layers.Dense(4, dtype=policy), layers.Dense(1, dtype="float32"), optimizer=optimizer)


def bfloat16() -> Any:
    return stacked(layers.Dense(4, dtype="bfloat16"), layers.Dense(1, dtype="float16"), optimizer="sgd")


def averaged() -> Any:
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2)
    return stacked(layers.Dense(4), layers.Dense(1), optimizer=optimizer)


def low_rank() -> Any:
    model = keras.Sequential([layers.Input((3,)), layers.Dense(4), layers.Dense(1)])
    model.layers[0].enable_lora(2)
    model.compile("adam", "mse", run_eagerly=True)
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "Sequential": sequential,
    "Functional with two outputs": two_outputs,
    "a registered subclass": registered,
    "vocabularies and embeddings": words,
    "mixed_float16 with scaled losses": mixed_float16,
    "bfloat16 and float16": bfloat16,
    "averaged weights": averaged,
    "low-rank updates": low_rank,
}


def batches(kind: str, data: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the training data for this kind of model."""
    x, y = data
    if kind == "vocabularies and embeddings":
        return tensor([[WORDS[i % 4]] for i in range(len(x))]), y
    return x, {"a": y, "b": 1 - y} if kind == "Functional with two outputs" else y


def made(kind: str) -> Any:
    keras.utils.set_random_seed(5)
    return MODELS[kind]()


def train(model: Any, kind: str, data: tuple[Any, Any]) -> None:
    model.fit(*batches(kind, data), batch_size=12, verbose=0)


def contents(path: Path) -> dict[str, Any]:
    """Return every dataset of the weights, and every other member of a `.keras` file except its date."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".h5"):
                with h5py.File(archive.open(name)) as weights:
                    weights.visititems(lambda key, item: found.update({key: note(item)}))
            elif name != "metadata.json":
                found[name] = archive.read(name)
    return found


def note(item: Any) -> Any:
    attributes = dict(item.attrs)
    return (attributes, item.dtype.str, item.shape, item[()].tobytes()) if isinstance(item, h5py.Dataset) else attributes


def values(model: Any) -> list[bytes]:
    return [np.array(variable.numpy()).tobytes() for variable in [*model.variables, *model.optimizer.variables]]


LOOKUP = only_on("tensorflow", what="text in a model")


@pytest.fixture(params=[pytest.param(name, marks=LOOKUP) if MODELS[name] is words else name for name in MODELS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_file_is_the_one_that_keras_would_have_saved(kind: str, data: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A snapshot that another thread writes during training equals the file that `model.save` wrote at that time."""
    model = made(kind)
    train(model, kind, data)
    trainee = KerasTrainee(model)
    model.save(tmp_path / "then.keras")
    snapshot = trainee.snapshot()
    train(model, kind, data)
    (tmp_path / "written").mkdir()
    monkeypatch.chdir(tmp_path)  # Keras loses the assets of a relative path
    written = Path("written")
    writer = threading.Thread(target=trainee.write, args=(snapshot, written))
    writer.start()
    train(model, kind, data)
    writer.join()
    expected = contents(tmp_path / "then.keras")
    assert contents(tmp_path / "written" / MODEL_FILE) == expected
    if kind == "vocabularies and embeddings":
        assert any(name.startswith("assets/") for name in expected)
    assert [path.name for path in sorted(written.iterdir())] == ["arrays.h5", MODEL_FILE, "random.json"]


def _two_datasets(file: Any) -> set[int]:
    with h5py.File(file, "w") as opened:
        opened["first"], opened["second"] = np.arange(5000), np.arange(3000)
    return set()


@pytest.mark.parametrize("at_once", [1, 1000])
def test_a_file_is_whole_even_if_the_system_writes_less_at_once_than_it_is_given(
    at_once: int, tmp_path: Path, monkeypatch: Any
) -> None:
    """Linux writes at most 2 GiB at once, and h5py does not look whether it wrote all; the file holds all, as does its hash."""
    write, path = os.write, tmp_path / "model.keras"
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: write(descriptor, memoryview(content)[:at_once]))
        _, hashes = model_file.pack({"config.json": b"{}"}, path, _two_datasets)
    with model_file.unpacked(path) as (weights, _), h5py.File(weights) as opened:
        np.testing.assert_array_equal(opened["first"], np.arange(5000))
        np.testing.assert_array_equal(opened["second"], np.arange(3000))
    assert hashes["model.keras"].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes["model.keras"].is_of(path)


@pytest.mark.parametrize("at", range(0, 60_000, 5000))
def test_the_error_of_a_write_is_that_of_the_system(at: int, tmp_path: Path, monkeypatch: Any) -> None:
    """If the disk is full anywhere in the file, that is the error, even if h5py stumbles over it and raises another one."""
    write = os.write

    def write_until_full(descriptor: int, content: Any) -> int:
        if os.lseek(descriptor, 0, os.SEEK_CUR) + len(content) > at:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_until_full)
        with pytest.raises(OSError, match="full"):
            model_file.pack({"config.json": b"{}"}, tmp_path / "model.keras", _two_datasets)


def test_keras_opens_it(kind: str, data: Any, tmp_path: Path) -> None:
    """`keras.models.load_model` opens the file, with the same weights, predictions and optimizer state."""
    model = made(kind)
    train(model, kind, data)
    KerasTrainee(model).write(KerasTrainee(model).snapshot(), tmp_path)
    loaded = keras.models.load_model(tmp_path / MODEL_FILE)
    x, _ = batches(kind, data)
    keras.tree.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    if kind != "low-rank updates":  # Keras merges them into the weights
        assert [variable.numpy().tobytes() for variable in loaded.optimizer.variables] == [
            variable.numpy().tobytes() for variable in model.optimizer.variables
        ]


def test_what_was_written_is_read_back(kind: str, data: Any, tmp_path: Path) -> None:
    """A new model that restores the snapshot continues like the first, and only reading it changes neither."""
    model = made(kind)
    train(model, kind, data)
    snapshot = KerasTrainee(model).snapshot()
    KerasTrainee(model).write(snapshot, tmp_path)
    train(model, kind, data)
    end = values(model)
    fresh = made(kind)
    trainee = KerasTrainee(fresh)
    before = values(fresh)[: len(fresh.variables)]
    read = trainee.read(tmp_path)
    assert values(fresh)[: len(fresh.variables)] == before
    assert [np.array(value).tobytes() for value in read.values] == [np.array(value).tobytes() for value in snapshot.values]
    trainee.restore(read)
    train(fresh, kind, data)
    assert values(fresh) == end


def test_weights_alone_are_read_back(kind: str, data: Any, tmp_path: Path) -> None:
    """A snapshot of only weights, such as the best ones, is restored with its types."""
    model = made(kind)
    train(model, kind, data)
    snapshot = KerasTrainee(model).snapshot(optimizer=False)
    KerasTrainee(model).write(snapshot, tmp_path)
    read = KerasTrainee(made(kind)).read(tmp_path)
    assert read.weights_only
    assert [np.array(value).tobytes() for value in read.values] == [weight.tobytes() for weight in model.get_weights()]
    KerasTrainee(model).restore(read)


def test_a_snapshot_says_what_disk_space_it_takes(data: Any, tmp_path: Path) -> None:
    """`nbytes` is the disk space, also at its peak, because weights are written once, in their place in the archive."""
    model = keras.Sequential([layers.Input((300,)), layers.Dense(200), layers.Dense(1, dtype="bfloat16")])
    model.compile("adam", "mse")
    del data
    trainee = KerasTrainee(model)
    whole, weights = trainee.snapshot(), trainee.snapshot(optimizer=False)
    trainee.write(whole, tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size == pytest.approx(whole.nbytes, rel=0.1)
    assert weights.nbytes == sum(weight.nbytes for weight in model.get_weights())


def test_writing_changes_nothing_if_it_fails(data: Any, tmp_path: Path) -> None:
    """If writing fails, the error is raised, and the model in training is not changed."""
    model = made("Sequential")
    trainee = KerasTrainee(model)
    snapshot = trainee.snapshot()
    train(model, "Sequential", data)
    now = values(model)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        trainee.write(snapshot, tmp_path / "file")
    assert values(model) == now


@pytest.fixture(scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written")
    trainee = KerasTrainee(made("Sequential"))
    trainee.write(trainee.snapshot(), path)
    return path


@pytest.fixture
def written(_written: Path, tmp_path: Path) -> Path:
    """Write the checkpoint of a model, for damaging, and return its directory."""
    return shutil.copytree(_written, tmp_path / "written")


def refused(directory: Path, match: str, kind: str = "Sequential") -> None:
    """Check that reading `directory` raises an error with the text `match`, and does not change the model."""
    model = made(kind)
    trainee = KerasTrainee(model)
    before = [value.tobytes() for value in model.get_weights()]
    with pytest.raises(CheckpointError, match=match):
        trainee.read(directory)
    assert [value.tobytes() for value in model.get_weights()] == before


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None] = lambda _: None, **options: Any) -> None:
    """Write the archive again, with members that `change` has changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


NOT_OURS = ["evil.py", "assets/../../evil", "/assets/evil", "assets\\..\\evil", "model.weights.h5/", "assets"]


@pytest.mark.parametrize("name", NOT_OURS)
def test_an_archive_with_anything_else_in_it_is_refused(written: Path, name: str) -> None:
    """A member that is not part of a model, or whose name leads out of the archive, is named, and nothing is read."""
    rewritten(written / MODEL_FILE, lambda members: members.update({name: b"x"}))
    refused(written, "not part of a model")


def test_a_model_configuration_is_not_looked_at(written: Path) -> None:
    """Resuming does not read config.json, so it cannot run code from it."""
    rewritten(written / MODEL_FILE, lambda members: members.update({"config.json": b"{'no': JSON", "assets/note": b"x"}))
    KerasTrainee(made("Sequential")).read(written)


def test_a_compressed_archive_is_refused(written: Path) -> None:
    """Compressed members, which may have any size, are refused before they are read."""
    rewritten(written / MODEL_FILE, compression=zipfile.ZIP_DEFLATED)
    refused(written, "compressed or encrypted")


def patched(path: Path, member: bytes, offset: int, value: bytes) -> None:
    """Overwrite bytes in a member's entry in the archive's directory."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(member) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(content)


def test_an_archive_that_declares_more_than_it_holds_is_refused(written: Path) -> None:
    """An archive whose declared sizes exceed the file is refused before it is read."""
    patched(written / MODEL_FILE, b"config.json", 20, struct.pack("<II", 2**31, 2**31))
    refused(written, "declares more than it holds")


def test_an_encrypted_archive_is_refused(written: Path) -> None:
    """An encrypted member is refused."""
    patched(written / MODEL_FILE, b"config.json", 8, b"\x01")
    refused(written, "compressed or encrypted")


def test_an_archive_with_two_members_of_one_name_is_refused(written: Path) -> None:
    """Two members of one name are refused, because another reader might read the other."""
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(written / MODEL_FILE, "a") as archive:
        archive.writestr("model.weights.h5", b"x")
    refused(written, "two members of one name")


def test_an_archive_without_weights_is_refused(written: Path) -> None:
    """An archive without weights is refused."""
    rewritten(written / MODEL_FILE, lambda members: members.pop("model.weights.h5"))  # type: ignore[arg-type]
    refused(written, "no item named 'model.weights.h5'")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w')",)


@pytest.mark.parametrize("name", [MODEL_FILE, "arrays.h5", "random.json"])
def test_a_pickle_is_refused(written: Path, tmp_path: Path, name: str) -> None:
    """A pickle instead of any file is an error, and is not loaded."""
    (written / name).write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
    refused(written, name)
    assert not (tmp_path / "evil").exists()


def soft_link(file: Any, name: str) -> None:
    file[name] = h5py.SoftLink("/layers/dense_1/vars/0")


def external_link(file: Any, name: str) -> None:
    file[name] = h5py.ExternalLink("other.h5", "/weights")


def virtual(file: Any, name: str) -> None:
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "weights", (3, 4))
    file.create_virtual_dataset(name, layout)


def external(file: Any, name: str) -> None:
    file.create_dataset(name, (3, 4), "f4", external=[("/etc/passwd", 0, 48)])


def filtered(file: Any, name: str) -> None:
    file.create_dataset(name, data=np.zeros((3, 4), "f4"), compression="gzip")


def chunked(file: Any, name: str) -> None:
    file.create_dataset(name, (3, 4), "f4", chunks=(3, 4))


def gigantic(file: Any, name: str) -> None:
    file.create_dataset(name, (2**40, 4), "f4")


def objects(file: Any, name: str) -> None:
    file.create_dataset(name, data=["text"], dtype=h5py.string_dtype())


def compound(file: Any, name: str) -> None:
    file.create_dataset(name, data=np.zeros((3, 4), [("a", "f4")]))


def null(file: Any, name: str) -> None:
    file[name] = h5py.Empty("f4")


def a_type(file: Any, name: str) -> None:
    file[name] = np.dtype("f4")


def cycle(file: Any, name: str) -> None:
    file[name] = file["layers"]


HOSTILE: dict[Callable[[Any, str], None], str] = {
    soft_link: "is a link",
    external_link: "is a link",
    virtual: "not stored as plain numbers",
    external: "not stored as plain numbers",
    filtered: "not stored as plain numbers",
    chunked: "not stored as plain numbers",
    gigantic: "bytes that it does not hold",
    objects: "not stored as plain numbers",
    compound: "not stored as plain numbers",
    null: "not stored as plain numbers",
    a_type: "neither data nor a new group",
    cycle: "neither data nor a new group",
}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda function: function.__name__)
@pytest.mark.parametrize("where", ["the model's weights", "arrays"])
def test_weights_that_are_not_simply_there_are_refused(
    written: Path, tmp_path: Path, hostile: Callable[[Any, str], None], where: str
) -> None:
    """Links, data in other files, computed data, and shapes without data are refused by name before they are read."""
    path, name = written / "arrays.h5", "arrays/vars/0"
    if where != "arrays":
        path, name = tmp_path / "weights.h5", "layers/dense/vars/0"
        with zipfile.ZipFile(written / MODEL_FILE) as archive:
            path.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(path, "a") as file:
        file.require_group("layers")
        del file[name]
        hostile(file, name)
    if where != "arrays":
        rewritten(written / MODEL_FILE, lambda members: members.update({"model.weights.h5": path.read_bytes()}))
    refused(written, HOSTILE[hostile])


def test_truncated_weights_are_refused(written: Path) -> None:
    """Truncated weights in a complete archive are a `CheckpointError`."""
    rewritten(written / MODEL_FILE, lambda members: members.update({"model.weights.h5": members["model.weights.h5"][:-999]}))
    refused(written, "cannot be read")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("python"),
        lambda state: state.update(python=[3, [1, 2], None]),
        lambda state: state.update(python=[3, [-1] * 625, None]),
        lambda state: state.update(numpy=7),
        lambda state: state["numpy"].update(bit_generator="PCG64"),
        lambda state: state["numpy"]["state"].update(pos=10**9),
        lambda state: state["numpy"]["state"].update(key=[-1] * 624),
        lambda state: state["numpy"]["state"].update(key=[1]),
        lambda state: state.update(padding="x" * 10**6),
    ],
)
def test_random_numbers_that_are_none_are_refused(written: Path, change: Callable[[Any], None]) -> None:
    """An invalid random state is refused, with which NumPy would read past the end of its memory."""
    state = json.loads((written / "random.json").read_text())
    change(state)
    (written / "random.json").write_text(json.dumps(state))
    refused(written, "random.json")


def other_width() -> Any:
    return stacked(layers.Dense(5), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1))


def one_more() -> Any:
    return stacked(*sequential().layers[:-1], layers.Dense(2), layers.Dense(1))


def other_optimizer() -> Any:
    model = sequential()
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (other_width, r"dense\w*/kernel has shape \(3, 4\) in the file and \(3, 5\) in the model; .* and \d+ more"),
        (one_more, r"dense\w*/kernel has shape \(4, 1\) in the file and \(4, 2\) in the model; .*is not in the file"),
        (other_optimizer, r"optimizer/vars/2, of shape \(3, 4\), is not in the model"),
    ],
)
def test_the_checkpoint_of_another_model_is_refused(written: Path, make: Callable[[], Any], match: str) -> None:
    """The error names the differing variables with their shapes in the file and in the model, which is not changed."""
    model = make()
    before = [value.tobytes() for value in model.get_weights()]
    with pytest.raises(CheckpointError, match=match):
        KerasTrainee(model).read(written)
    assert [value.tobytes() for value in model.get_weights()] == before


def test_a_model_that_is_not_built_cannot_read(written: Path) -> None:
    """A model that is not built, and so cannot be compared with the file, is an error that says what to do."""
    model = keras.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(CheckpointError, match="cannot be resumed before it is built"):
        KerasTrainee(model).read(written)


def test_the_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """A snapshot of only weights of another model is refused too."""
    trainee = KerasTrainee(sequential())
    trainee.write(trainee.snapshot(optimizer=False), tmp_path)
    with pytest.raises(CheckpointError, match=r"dense\w*/kernel has shape \(3, 4\) in the file and \(3, 5\) in the model"):
        KerasTrainee(other_width()).read(tmp_path)


@keras.saving.register_keras_serializable("hookcore")
class Forgetful(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """A layer that saves its weight and does not load it."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(shape[-1],))

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale

    def load_own_variables(self, store: Any) -> None:
        del store


def test_a_value_that_no_layer_loads_is_restored_anyway(tmp_path: Path) -> None:
    """A variable whose layer does not load it is restored anyway.

    Checkpoints of such layers were once refused.
    """
    model = keras.Sequential([layers.Input((3,)), Forgetful(), layers.Dense(1)])
    model.compile("sgd", "mse")
    trainee = KerasTrainee(model)
    model.layers[0].scale.assign([1.0, 2.0, 3.0])
    trainee.write(trainee.snapshot(), tmp_path)
    model.layers[0].scale.assign([0.0, 0.0, 0.0])
    trainee.restore(trainee.read(tmp_path))
    assert model.layers[0].scale.numpy().tolist() == [1.0, 2.0, 3.0]


@keras.saving.register_keras_serializable("hookcore")
class Secretive(keras.layers.Dense):  # type: ignore[misc]
    """A layer that saves nothing, and loads nothing."""

    def save_own_variables(self, store: Any) -> None:
        del store

    load_own_variables = save_own_variables


def test_what_a_layer_does_not_save_is_saved_beside_the_model(tmp_path: Path) -> None:
    """A variable that the layer does not save is in `arrays.h5`; the error names one that is in neither file."""
    model = keras.Sequential([layers.Input((3,)), Secretive(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    trainee = KerasTrainee(model)
    before = values(model)
    trainee.write(trainee.snapshot(), tmp_path)
    for variable in model.variables:
        variable.assign(variable + 1.0)
    trainee.restore(trainee.read(tmp_path))
    assert values(model) == before
    with h5py.File(tmp_path / "arrays.h5", "a") as file:
        del file["others/vars/0"]
    with pytest.raises(CheckpointError, match=r"secretive\w*/kernel, of shape \(3, 2\), is not in the file"):
        trainee.read(tmp_path)
