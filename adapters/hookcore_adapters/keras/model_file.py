"""A model's files in a checkpoint: written from copies of the model's values, and read without trust in the file."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NoReturn

import h5py
import keras
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib

from hookcore import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_WEIGHTS: Final = "model.weights.h5"
_MEMBERS: Final = {"config.json", "metadata.json", _WEIGHTS}
_PLAIN_LAYOUTS: Final = {h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT}
_CHUNK_SIZE: Final = 1 << 18
_MAX_DIFFERENCES: Final = 5
"""How many differences an error message names."""


def write_model(model: Any, values: Iterable[tuple[Any, Any]], path: Path) -> None:
    """Write `model` with these values of its variables to `path`, a `.keras` file, from any thread. The model stays as it is."""
    # Unzipped at first, as Keras would make the whole file in memory. Absolute, as it loses the assets of a relative path.
    unzipped = path.absolute().with_suffix("")
    _cache_optimizer_attributes()
    # The CPU, as another copy of the values may be more than a GPU has room for.
    with keras.device("cpu"), keras.StatelessScope(list(values)):
        model.save(unzipped, zipped=False)
    with zipfile.ZipFile(path, "w") as archive:  # stored: weights do not compress
        for file in sorted(unzipped.rglob("*")):
            if file.is_file():
                # Not by `archive.write`, which copies 8 KiB at a time and takes half as long again.
                member = zipfile.ZipInfo.from_file(file, file.relative_to(unzipped).as_posix())
                with file.open("rb") as content, archive.open(member, "w") as packed:
                    shutil.copyfileobj(content, packed, _CHUNK_SIZE)
    shutil.rmtree(unzipped)


def read_model(model: Any, variables: Iterable[Any], path: Path) -> list[Any]:
    """Return the values that `write_model` wrote for `variables`. The model must have all its variables, and stays as it is.

    Raises `CheckpointError` for a file of another model, or one that holds what `write_model` does not write.
    """
    with _errors_of(path), tempfile.TemporaryDirectory() as directory:
        # Out of the archive, in which a read at another place starts again from the beginning.
        weights = Path(directory, _WEIGHTS)
        _extract_weights(path, weights)
        _check_datasets(weights, _layout(model), path)
        _cache_optimizer_attributes()
        with keras.device("cpu"), keras.StatelessScope() as scope:
            model.load_weights(weights)
    values = [scope.get_current_value(variable) for variable in variables]
    missing = [variable.path for variable, value in zip(variables, values, strict=True) if value is None]
    if missing:
        _refuse(path, f"gives no value for {', '.join(missing)}")
    return values


def write_arrays(values: Iterable[Any], path: Path) -> None:
    """Write tensors or arrays into `path`, in order."""
    with contextlib.closing(saving_lib.H5IOStore(path, mode="w")) as store:
        entry = store.make("arrays")
        for number, value in enumerate(values):
            entry[str(number)] = value


def read_arrays(variables: Sequence[Any], path: Path) -> list[Any]:
    """Return the values that `write_arrays` wrote, for `variables` or arrays of their shapes. Raises `CheckpointError`."""
    names = [f"arrays/vars/{number}" for number in range(len(variables))]
    with _errors_of(path):
        expected = {name: _path_and_shape(name, variable) for name, variable in zip(names, variables, strict=True)}
        _check_datasets(path, expected, path)
        with contextlib.closing(saving_lib.H5IOStore(path, mode="r")) as store:
            entry = store.get("arrays")
            return [entry[str(number)] for number in range(len(variables))]


def _cache_optimizer_attributes() -> None:
    # At each save and load Keras makes an optimizer to see what attributes it has, since it keeps what it found under another key
    # than it looks under. A StatelessScope allows no new variables, so this puts the attributes under the key that Keras looks
    # under. Each thread has its own keys.
    global_state.set_global_attribute("saving_attr_skiplist_Optimizer", saving_lib.get_attr_skipset("Optimizer"))


class _Layout(saving_lib.H5IOStore):  # type: ignore[misc]  # Keras ships no types
    """Stands in for the file into which Keras writes a model's variables, and notes their names and shapes."""

    def __init__(self) -> None:  # unlike its base, it opens no file
        self.found: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._path = ""

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Any = None) -> _Layout:
        del metadata
        self._path = path
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        name = str(PurePosixPath(self._path, "vars", key))
        self.found[name] = _path_and_shape(name, value)


def _path_and_shape(name: str, value: Any) -> tuple[str, tuple[int, ...]]:
    return getattr(value, "path", name), tuple(value.shape)


def _layout(model: Any) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Return, for each dataset of the model's file, the path and the shape of its variable."""
    layout = _Layout()
    saving_lib._save_state(  # noqa: SLF001 - nothing public tells how Keras names what it saves
        model, weights_store=layout, assets_store=None, inner_path="", visited_saveables=set()
    )
    return layout.found


def _extract_weights(path: Path, weights: Path) -> None:
    """Take the weights out of the archive at `path`, if it is one that `write_model` could have written."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            _refuse(path, "holds two members of one name")
        for member in members:
            parts = member.filename.split("/")
            asset = len(parts) > 1 and parts[0] == "assets" and ".." not in parts and "\\" not in member.filename
            if not (member.filename in _MEMBERS or asset):
                _refuse(path, f"holds {member.filename!r}, which is no part of a model")
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
                _refuse(path, f"holds {member.filename!r} compressed or encrypted, which is not how it was written")
        if sum(member.file_size for member in members) > path.stat().st_size:
            _refuse(path, "declares more than it holds")
        with archive.open(_WEIGHTS) as packed, weights.open("wb") as file:
            shutil.copyfileobj(packed, file)


def _check_datasets(file: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]], path: Path) -> None:
    """Refuse an HDF5 file that holds other datasets than those `expected`, or any that is not plain numbers."""
    size = file.stat().st_size
    with h5py.File(file, "r") as opened:
        found = {name: _plain_shape(dataset, size, path) for name, dataset in _datasets(opened, path)}
    differences = [
        f"{variable} has shape {found[name]} in the file and {shape} in the model"
        if name in found
        else f"{variable}, of shape {shape}, is not in the file"
        for name, (variable, shape) in expected.items()
        if found.get(name) != shape
    ]
    differences += [f"{name}, of shape {shape}, is not in the model" for name, shape in found.items() if name not in expected]
    if differences:
        more = f"; and {len(differences) - _MAX_DIFFERENCES} more" if len(differences) > _MAX_DIFFERENCES else ""
        named = f"{'; '.join(differences[:_MAX_DIFFERENCES])}{more}"
        others = {name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name, ("", None))[1]}
        if all(name.startswith("optimizer/") for name in others):
            _refuse(
                path,
                f"is of this model, compiled with another optimizer, or with other layers frozen: {named}. If this is the next "
                "phase of training, give its Checkpoint another directory, or leave out resume",
            )
        _refuse(path, f"is of another model: {named}")


def _datasets(file: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every dataset in an HDF5 file with its name, unread. Refuses links, and a group that contains itself."""
    waiting, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
    while waiting:
        prefix, group = waiting.pop()
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                _refuse(path, f"holds {name!r}, which is a link")
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield name, item
                continue
            address = h5py.h5o.get_info(item.id).addr
            if not isinstance(item, h5py.Group) or address in seen:
                _refuse(path, f"holds {name!r}, which is neither data nor a new group")
            seen.add(address)
            waiting.append((f"{name}/", item))


def _plain_shape(dataset: Any, size: int, path: Path) -> tuple[int, ...]:
    """Return the shape of a dataset. Refuses one that is not plain numbers, all of them in the file itself, of `size` bytes."""
    properties = dataset.id.get_create_plist()
    shape = dataset.shape
    plain = (
        shape is not None
        and properties.get_layout() in _PLAIN_LAYOUTS
        and not properties.get_external_count()
        and not properties.get_nfilters()
        # bfloat16 and its like are raw bytes to HDF5.
        and (dataset.dtype.kind in "biufc" or dataset.dtype.str in {"|V1", "|V2"})
    )
    if not plain:
        _refuse(path, f"holds {dataset.name!r}, which is not stored as plain numbers")
    declared = math.prod(shape) * dataset.dtype.itemsize
    if declared > size or declared != dataset.id.get_storage_size():
        _refuse(path, f"holds {dataset.name!r}, which declares {declared} bytes that it does not hold")
    return tuple(shape)


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn what the libraries raise for a file that they cannot read into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _refuse(path: Path, problem: str) -> NoReturn:
    raise CheckpointError(f"{path} {problem}.")
