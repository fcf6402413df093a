"""The files that layers save beside their variables, such as vocabularies, held in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define(eq=False)
class Assets:
    """Collects the files of layers. Those of a lookup layer are kept until its vocabulary changes, because saving takes long."""

    _known: dict[int, tuple[Any, dict[str, bytes]]] = attrs.field(factory=dict, repr=False)
    """The table of each lookup layer, which a new vocabulary replaces, and its files."""

    def of(self, owner: Any) -> Mapping[str, bytes]:
        """Return the files of `owner` by their paths."""
        if not hasattr(owner, "save_assets"):
            return {}
        table = internals.lookup_table(owner)
        known, files = self._known.get(id(owner), (None, {}))
        if table is None or known is not table:
            with tempfile.TemporaryDirectory() as name:
                owner.save_assets(name)
                files = files_in(Path(name))
            self._known[id(owner)] = table, files
        return files


def files_in(directory: Path) -> dict[str, bytes]:
    """Return the content of each file in `directory`, by its path."""
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def write_files(files: Mapping[str, bytes], directory: Path) -> None:
    """Write `files` into `directory`, by their paths."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def load_assets(owner: Any, files: Mapping[str, bytes]) -> None:
    """Load `files` into `owner`."""
    with tempfile.TemporaryDirectory() as name:
        write_files(files, Path(name))
        owner.load_assets(name)
