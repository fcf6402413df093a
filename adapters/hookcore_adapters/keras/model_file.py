"""A model's files in a checkpoint: written from copies of the model's values, and checked before they are read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore.store import Hashed, disk
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.plain_files import compare, errors_of, plain_shapes, refuse
from hookcore_adapters.keras.saveables import stored_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hookcore_adapters.keras.snapshot import Saved

_WEIGHTS: Final = "model.weights.h5"
_CONFIGURATION: Final = ("config.json", "metadata.json")
_CHUNK_SIZE: Final = 1 << 18


def configuration(model: Any) -> dict[str, bytes]:
    """Return the files from which `keras.models.load_model` makes `model`. Raises any error of a layer's `get_config`."""
    texts = internals.model_as_json(model)
    return {name: text.encode() for name, text in zip(_CONFIGURATION, texts, strict=True)}


def write_weights(saved: Iterable[Saved], values: Mapping[int, Any], file: Path | io.BytesIO) -> set[int]:
    """Write the content of `saved` into `file` in Keras's layout, with these `values` of the variables, by identity.

    Return the identities of the variables whose values are in the file unchanged.

    Call it within a `keras.StatelessScope` with the values, because Keras's code computes some of the content from them.
    """
    written = set()
    with contextlib.closing(internals.weights_store(file, "w")) as store:
        for one in saved:
            if not hasattr(one.owner, "save_own_variables"):
                continue
            name = getattr(one.owner, "name", None)
            entry = store.make(one.path, metadata={"name": name} if isinstance(name, str) else None)
            for key, value in (stored_by(one.owner) if one.own is None else one.own).items():
                if isinstance(value, keras.Variable):
                    written.add(id(value))
                    value = values[id(value)]  # noqa: PLW2901 - the snapshot's value, not the present one
                entry[key] = value
    return written


def pack(
    files: Mapping[str, bytes], path: Path, write: Callable[[io.BytesIO], set[int]] | None = None
) -> tuple[set[int], dict[str, Hashed]]:
    """Write `files` and the weights into one archive. Return what `write` returned, and the archive's hash, by its name.

    `write` writes the weights into the file that it gets: once, directly in their place. The archive then only reads them for its
    checksum and the hash.
    """
    returned = set[int]()
    with _Archive(path) as file, zipfile.ZipFile(file, "w") as archive:  # not compressed, because weights hardly compress
        for name, content in files.items():
            archive.writestr(name, content)
        if write is not None:
            with (
                archive.open(_WEIGHTS, "w", force_zip64=True) as packed,
                contextlib.closing(_Within(path, file.tell())) as within,
            ):
                returned = within.filled_by(write)
                file.written = range(within.start, within.end)
                with path.open("rb") as written:
                    written.seek(within.start)
                    shutil.copyfileobj(written, packed, _CHUNK_SIZE)
    return returned, {path.name: Hashed.of(path, file.hash.hexdigest())}


class _Archive(io.FileIO):
    """The file of an archive, in which the bytes in the range `written` are already in their places.

    It is written in order, so that it can be hashed meanwhile: where zipfile cannot seek, it puts a checksum behind its member.
    Programs that read an archive from a pipe may refuse that; those that read its directory, as Keras does, see no difference.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.written = range(0)
        self.hash = hashlib.sha256()

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        del offset, whence
        raise io.UnsupportedOperation("seek")

    def write(self, content: Any) -> int:
        """Write `content`, or skip it if it is already `written`."""
        self.hash.update(content)
        length = memoryview(content).nbytes
        if self.tell() in self.written:
            super().seek(length, os.SEEK_CUR)
        else:
            disk.write_all(self.fileno(), content)
        return length


class _Within(io.BytesIO):
    """The rest of a file as a file of its own, so that Keras writes directly into place.

    Keras accepts a path or an `io.BytesIO`.
    """

    def __init__(self, path: Path, start: int) -> None:
        super().__init__()
        self.start, self._file = start, path.open("r+b", buffering=0)
        self._file.seek(start)
        self._error: OSError | None = None

    def filled_by(self, write: Callable[[io.BytesIO], set[int]]) -> set[int]:
        """Return what `write` returns for this file. Raises the system's first error.

        HDF5 is not told of it, and its later writes do nothing: it could not close the file, and would crash as the process ends.
        """
        try:
            returned = write(self)
        except Exception as error:
            if self._error is not None:
                raise self._error from error
            raise
        if self._error is not None:
            raise self._error
        return returned

    @property
    def end(self) -> int:
        """The position of the end of the file."""
        return self._file.seek(0, os.SEEK_END)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset + (self.start if whence == os.SEEK_SET else 0), whence) - self.start

    def tell(self) -> int:
        return self._file.tell() - self.start

    def truncate(self, size: int | None = None) -> int:
        end = self._file.tell() if size is None else self.start + size
        self._note_error_of(self._file.truncate, end)
        return end - self.start

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def write(self, content: Any) -> int:
        self._note_error_of(disk.write_all, self._file.fileno(), content)  # all, because h5py does not look how much was written
        return memoryview(content).nbytes

    def _note_error_of(self, call: Callable[..., object], *arguments: Any) -> None:
        if self._error is None:
            try:
                call(*arguments)
            except OSError as error:
                self._error = error

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[tuple[Path, dict[str, bytes]]]:
    """Yield the assets in the archive at `path`, and its file of weights, which does not exist in an archive of only assets.

    Raises `CheckpointError` for an archive that `pack` could not have written.
    """
    # Unpacked, because each seek in an archive reads it again from the beginning.
    with tempfile.TemporaryDirectory() as directory:
        with errors_of(path), zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path)
            names = [member.filename for member in members if not member.is_dir()]
            assets = {name.removeprefix("assets/"): archive.read(name) for name in names if name.startswith("assets/")}
            weights = Path(directory, _WEIGHTS)
            if path.suffix == ".keras":
                with archive.open(_WEIGHTS) as packed, weights.open("wb") as file:
                    shutil.copyfileobj(packed, file)
        yield weights, assets


def _check_members(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    if len({member.filename for member in members}) < len(members):
        refuse(path, "holds two members of one name")
    for member in members:
        parts = member.filename.split("/")
        asset = len(parts) > 1 and parts[0] == "assets" and ".." not in parts and "\\" not in member.filename
        if not (member.filename in {*_CONFIGURATION, _WEIGHTS} or asset):
            refuse(path, f"holds {member.filename!r}, which is not part of a model")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
            refuse(path, f"holds {member.filename!r} compressed or encrypted, which is not how it was written")
    if sum(member.file_size for member in members) > path.stat().st_size:
        refuse(path, "declares more than it holds")


class WeightsFile:
    """The weights in a Keras file that `open_weights` has compared with a model."""

    def __init__(self, store: Any, names: Iterable[str]) -> None:
        self._store, self._names = store, list(names)

    def read(self, path: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
        """Return what the object at `path` has stored under `keys`, or under all keys for None."""
        if keys is None:
            start = dataset_name(path, "")
            keys = [name.removeprefix(start) for name in self._names if name.startswith(start)]
        entry = self._store.get(path)
        return {key: entry[key] for key in keys}


@contextlib.contextmanager
def open_weights(
    file: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]], free: tuple[str, ...], path: Path
) -> Iterator[WeightsFile]:
    """Open the weights in `file`, which is `path` or unpacked from it.

    Raises `CheckpointError` for datasets that `compare` refuses.
    """
    with errors_of(path):
        found = plain_shapes(file, path)
        compare(found, expected, free, path)
        with contextlib.closing(internals.weights_store(file, "r")) as store:
            yield WeightsFile(store, found)


def dataset_name(path: str, key: str) -> str:
    """Return the name of the dataset in which the object at `path` stores `key`."""
    return f"{PurePosixPath(path, 'vars')}/{key}"


def write_arrays(groups: Mapping[str, Iterable[Any]], path: Path) -> None:
    """Write the tensors or arrays of each group into `path`, in order."""
    with contextlib.closing(internals.weights_store(path, "w")) as store:
        for group, values in groups.items():
            entry = store.make(group)
            for number, value in enumerate(values):
                entry[str(number)] = value


def read_arrays(groups: Mapping[str, Sequence[Any]], path: Path, *, optional: str = "") -> dict[str, list[Any]]:
    """Return the values that `write_arrays` wrote. `groups` has variables, or arrays, of the expected shapes.

    The group `optional` may be missing from the file, and is then missing from the result. Raises `CheckpointError`.
    """
    with errors_of(path):
        found = plain_shapes(path, path)
        there = {
            group: variables
            for group, variables in groups.items()
            if group != optional or any(name.startswith(f"{group}/") for name in found)
        }
        expected = {
            (name := dataset_name(group, str(number))): path_and_shape(name, variable)
            for group, variables in there.items()
            for number, variable in enumerate(variables)
        }
        compare(found, expected, (), path)
        with contextlib.closing(internals.weights_store(path, "r")) as store:
            return {
                group: [store.get(group)[str(number)] for number in range(len(variables))] for group, variables in there.items()
            }


def path_and_shape(name: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """Return the path and shape that `compare` expects for a variable, or for an array called `name`."""
    return getattr(value, "path", name), tuple(value.shape)
