"""Write what each layer makes of the first validation samples to a file, every N epochs."""

from __future__ import annotations

import functools
import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from hookcore import HookcoreError, Run, hookimpl, store
from hookcore.authoring import Capability, format_size, schema, validators
from hookcore.store import disk

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("hookcore")

_FILE_NAME: Final = re.compile(r"activations-epoch-(\d+)\.npz", re.ASCII)
_STATE: Final = schema.fields({"began": schema.truth})
_MEGABYTE: Final = 1_000_000


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class Activations:
    """Write each layer's activations on the first validation samples into `directory`, one file per epoch.

    `activations-epoch-0001.npz` has the activations at the end of the first epoch. `numpy.load` opens it without pickle: one
    array per layer, under the layer's name, which in Keras is `encoder/dense` for a layer within another. A file is whole or
    absent.

    * `every_n_epochs`: write after every N epochs; evaluations within an epoch write nothing.
    * `samples`: how many of the first validation samples; fewer if there are fewer.
    * `max_megabytes`: the limit for the arrays of one file, in millions of bytes. A layer that would exceed it is left out, and
      the log names that layer once.

    A resumed run keeps its files, without those that were written after the checkpoint. Files of an earlier run are moved into
    `earlier-001` and so on. Training waits while a file is written, so the file exists when the epoch has ended.

    Needs the trainee's activations and validation data: give the loop its `validation_data`, and `KerasAdapter` too. Raises
    `ParameterError` for a value outside its range or a directory that is a file, and `HookcoreError` at the beginning of a run
    without validation data; like any error of an observer, that disables the plugin, and the run continues.
    """

    role: ClassVar[str] = "observer"
    needs: ClassVar[tuple[Capability, ...]] = ("activations",)

    directory: Path = attrs.field(converter=validators.as_path, validator=validators.directory())
    every_n_epochs: int = attrs.field(default=1, validator=validators.integer(at_least=1), kw_only=True)
    samples: int = attrs.field(default=1, validator=validators.integer(at_least=1), kw_only=True)
    max_megabytes: float = attrs.field(default=100, validator=validators.number(above=0), kw_only=True)
    _has_files: bool = attrs.field(init=False, default=False)
    """Whether this run has files in the directory, or may have."""
    _left_out: set[str] = attrs.field(init=False, factory=set)
    """The layers that the log has named."""

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Drop the files past the resume point, or move an earlier run's aside."""
        if run.validation_data is None:
            raise HookcoreError(
                "There is no validation data to take samples from. Give the loop validation_data, and give it to a callback too: "
                "KerasAdapter(plugins, validation_data=...)."
            )
        self._left_out.clear()
        files = self._files()
        if run.resumed_from is not None and self._has_files:
            done = max(run.history.epochs, default=-1) + 1
            for epoch, path in files.items():
                if epoch > done:
                    disk.unlink(path)
        elif files:
            aside = store.move_aside(self.directory, {path: path.name for path in files.values()})
            logger.info("%s: the files of an earlier run are now in %s", run.plugin, aside)
        self._has_files = True

    # First: before another plugin restores weights, and before a checkpoint of this moment is saved.
    @hookimpl(tryfirst=True)
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        """Write the epoch's file if one is due."""
        if (epoch + 1) % self.every_n_epochs:
            return
        trainee: Any = run.trainee
        arrays = self._within_limit(run, trainee.activations(run.validation_data, self.samples))
        path = self.directory / f"activations-epoch-{epoch + 1:04d}.npz"
        store.write_file(path, functools.partial(_write, arrays))

    def _within_limit(self, run: Run, arrays: Mapping[str, Any]) -> dict[str, Any]:
        room = self.max_megabytes * _MEGABYTE
        kept = {}
        for name, array in arrays.items():
            if array.nbytes <= room:
                kept[name] = array
                room -= array.nbytes
            elif name not in self._left_out:
                self._left_out.add(name)
                msg = "%s: the activations of %s are left out: they take %s, and max_megabytes=%g leaves %s"
                logger.warning(msg, run.plugin, name, format_size(array.nbytes), self.max_megabytes, format_size(int(room)))
        return kept

    def _files(self) -> dict[int, Path]:
        """Return the files in the directory, by the epoch in their names."""
        if not self.directory.is_dir():
            return {}
        found = {path: _FILE_NAME.fullmatch(path.name) for path in self.directory.iterdir()}
        return {int(match[1]): path for path, match in found.items() if match is not None}

    def state_dict(self) -> dict[str, Any]:
        """Return whether the files are this run's, so that a resumed run keeps them."""
        return {"began": self._has_files}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self._has_files = _STATE(state)["began"]


def _write(arrays: Mapping[str, Any], path: Path) -> None:
    """Write the file that `numpy.savez` writes, but accept every layer name, even `file`, and never write a pickle."""
    from numpy.lib import format as npy

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
