"""Check HDF5 files before they are read: they may contain only plain numbers of the expected shapes."""

from __future__ import annotations

import contextlib
import math
import zipfile
from typing import TYPE_CHECKING, Any, Final, NoReturn

import h5py

from hookcore import CheckpointError
from hookcore.text import join_some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PLAIN_LAYOUTS: Final = {h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT}


def plain_shapes(file: Path, path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each dataset in `file`, without reading data. Refuses all but plain numbers within the file.

    Messages name `path`, which is `file` or the archive from which it was unpacked.
    """
    size = file.stat().st_size
    with h5py.File(file, "r") as opened:
        return {name: _plain_shape(dataset, size, path) for name, dataset in _datasets(opened, path)}


def compare(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[str, tuple[int, ...]]], free: tuple[str, ...], path: Path
) -> None:
    """Refuse datasets that differ from those `expected`, which has the path and the shape of each variable.

    Names that begin with one of `free` may exist or not, because their layer's own code reads them.
    """
    differences = [
        f"{variable} has shape {found[name]} in the file and {shape} in the model"
        if name in found
        else f"{variable}, of shape {shape}, is not in the file"
        for name, (variable, shape) in expected.items()
        if found.get(name) != shape
    ]
    differences += [
        f"{name}, of shape {shape}, is not in the model"
        for name, shape in found.items()
        if name not in expected and not name.startswith(free)
    ]
    if differences:
        named = join_some(differences)
        others = {name for name, shape in found.items() if name not in expected and not name.startswith(free)}
        others |= {name for name, (_, shape) in expected.items() if found.get(name) != shape}
        if all(name.startswith("optimizer/") for name in others):
            refuse(
                path,
                f"is of this model, compiled with another optimizer, or with other layers frozen: {named}. If this is the next "
                "phase of training, give its Checkpoint another directory, or leave out resume",
            )
        refuse(path, f"is of another model: {named}")


def _datasets(file: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every dataset in an HDF5 file with its name, without reading it. Refuses links, and a group in itself."""
    waiting, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
    while waiting:
        prefix, group = waiting.pop()
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                refuse(path, f"holds {name!r}, which is a link")
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield name, item
                continue
            address = h5py.h5o.get_info(item.id).addr
            if not isinstance(item, h5py.Group) or address in seen:
                refuse(path, f"holds {name!r}, which is neither data nor a new group")
            seen.add(address)
            waiting.append((f"{name}/", item))


def _plain_shape(dataset: Any, size: int, path: Path) -> tuple[int, ...]:
    """Return the shape of a dataset. Refuses all but plain numbers within the file, which has `size` bytes."""
    properties = dataset.id.get_create_plist()
    shape = dataset.shape
    plain = (
        shape is not None
        and properties.get_layout() in _PLAIN_LAYOUTS
        and not properties.get_external_count()
        and not properties.get_nfilters()
        # HDF5 stores types such as bfloat16 as raw bytes.
        and (dataset.dtype.kind in "biufc" or dataset.dtype.str in {"|V1", "|V2"})
    )
    if not plain:
        refuse(path, f"holds {dataset.name!r}, which is not stored as plain numbers")
    declared = math.prod(shape) * dataset.dtype.itemsize
    if declared > size or declared != dataset.id.get_storage_size():
        refuse(path, f"holds {dataset.name!r}, which declares {declared} bytes that it does not hold")
    return tuple(shape)


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Raise `CheckpointError` instead of the libraries' errors for a file that they cannot read."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def refuse(path: Path, problem: str) -> NoReturn:
    """Raise `CheckpointError` with this `problem` of the file at `path`."""
    raise CheckpointError(f"{path} {problem}.")
