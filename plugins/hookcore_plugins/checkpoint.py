"""Save whole, durable checkpoints, and keep the right ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from hookcore import Monitor, ParameterError, Run, SavedCheckpoint, hookimpl, store
from hookcore.cadence import due
from hookcore.metrics import Missing, direction_of, observe
from hookcore.run import logger
from hookcore.trainee import Capability
from hookcore.validators import boolean, integer, one_of, reject, text

if TYPE_CHECKING:
    from collections.abc import Mapping


_MONITOR = "val_loss"


def _directory(value: str | os.PathLike[str]) -> Path:
    try:
        given = os.fspath(value)
    except TypeError:
        given = ""
    if not given:
        msg = f"Checkpoint: directory must be a path, got {value!r}."
        raise ParameterError(msg)
    return Path(given)


@attrs.define(eq=False)
class Checkpoint:
    """Save the trainee, the progress and every plugin's state into `directory`, one subdirectory a checkpoint.

    A checkpoint is written aside, synced and renamed: under its name it is whole or not there (`hookcore.store`). The
    checkpoints of an earlier run in the same directory are moved into `earlier-001` and so on, never overwritten.

    * `monitor`, `mode`: the metric that ranks checkpoints, and its direction, as in `EarlyStopping`.
    * `save_best_only`: save only where the metric improved.
    * `every_n_epochs`: save after every so many epochs; None for no saves at epoch ends.
    * `every_n_steps`: save after every so many steps too; None for none. Has no effect on `save_best_only`, which looks at
      epochs.
    * `keep_last`, `keep_best`: how many of the newest and of the best to keep; None keeps all. What either keeps stays.
    * `missing`: what to do where the metric is not there; by default an error where something depends on it
      (`save_best_only`, or a `monitor` that you gave), else nothing, and there is no best.

    On Ctrl-C it saves once more, so that an interrupted run has a checkpoint. Raises `ParameterError` for a value outside its
    range or a directory that is a file, and `CheckpointError` before the first batch where the directory cannot be written
    to, and where a save fails: then the earlier checkpoints are untouched.
    """

    needs: ClassVar[tuple[Capability, ...]] = ("checkpoint",)

    directory: Path = attrs.field(converter=_directory)
    monitor: str = attrs.field(default=_MONITOR, validator=text())
    mode: Literal["auto", "min", "max"] = attrs.field(default="auto", validator=one_of("auto", "min", "max"))
    save_best_only: bool = attrs.field(default=False, validator=boolean(), kw_only=True)
    every_n_epochs: int | None = attrs.field(default=1, validator=integer(at_least=1, optional=True), kw_only=True)
    every_n_steps: int | None = attrs.field(default=None, validator=integer(at_least=1, optional=True), kw_only=True)
    keep_last: int | None = attrs.field(default=3, validator=integer(at_least=1, optional=True), kw_only=True)
    keep_best: int | None = attrs.field(default=1, validator=integer(at_least=0, optional=True), kw_only=True)
    missing: Missing | None = attrs.field(default=None, kw_only=True)
    watch: Monitor = attrs.field(init=False, factory=lambda: Monitor("min"))
    """What was best so far, and how long ago."""
    _last_step: int = attrs.field(init=False, default=0)
    _saved: bool = attrs.field(init=False, default=False)

    @directory.validator
    def _no_file(self, attribute: Any, value: Path) -> None:
        del attribute
        if os.path.exists(value) and not os.path.isdir(value):  # noqa: PTH110, PTH112 - Path's raise where they may not look
            reject(self, "directory", str(value), "a directory, and this is a file")

    @missing.validator
    def _known(self, attribute: Any, value: Missing | None) -> None:
        if value is not None:
            one_of("error", "warn", "skip")(self, attribute, value)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Make the directory ready and settle the direction, before anything is trained."""
        self.watch = attrs.evolve(self.watch, mode=direction_of(run, self.monitor, self.mode))
        store.open_directory(self.directory)
        self._saved = False

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        """Save where a multiple of `every_n_steps` was reached."""
        n = self.every_n_steps
        if n is not None and due(n, run.progress.step, self._last_step):
            self._save(run, None, f"every {n} steps")

    @hookimpl(trylast=True)
    def on_epoch_end(self, run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
        """Save where the metric improved, or where an epoch's save is due."""
        asked = self.save_best_only or self.monitor != _MONITOR
        value = observe(run, metrics, self.monitor, self.missing or ("error" if asked else "skip"))
        if value is not None:
            self.watch = self.watch.observe(value, epoch)
        if self.save_best_only:
            if value is not None and self.watch.waited == 0:
                self._save(run, value, f"{self.monitor} improved to {value:.6g}")
        elif self.every_n_epochs is not None and (epoch + 1) % self.every_n_epochs == 0:
            self._save(run, value, f"end of epoch {epoch + 1}")

    @hookimpl(trylast=True)
    def on_exception(self, run: Run, exception: BaseException) -> None:
        """Save what there is when the run is interrupted; after any other error the state may be bad."""
        # A checkpoint of this very step is as good, and may have a value that ranks it.
        if isinstance(exception, KeyboardInterrupt) and not (self._saved and self._last_step == run.progress.step):
            self._save(run, None, "interrupted")

    def _save(self, run: Run, value: float | None, reason: str) -> None:
        if not self._saved:  # not before: a run that fails at its start leaves the earlier one's where they are
            aside = store.set_aside(self.directory)
            if aside is not None:
                logger.info("%s: the checkpoints of an earlier run are now in %s", run.plugin, aside)
            self._saved = True
        progress = run.progress
        snapshot = run.trainee.snapshot()
        self._last_step = progress.step
        saved = store.write(
            self.directory,
            epoch=progress.epoch,
            step=progress.step,
            metric=self.monitor,
            value=value,
            mode=self.watch.mode,
            run=run.state_dict(),
            files=lambda directory: run.trainee.write(snapshot, directory),
        )
        run.checkpoint_saved(saved, reason)
        store.prune(self.directory, self._kept(saved))

    def _kept(self, saved: SavedCheckpoint) -> list[SavedCheckpoint]:
        there = store.available(self.directory)
        best = store.ranked(there)
        return [
            saved,
            *(there if self.keep_last is None else there[-self.keep_last :]),
            *(best if self.keep_best is None else best[: self.keep_best]),
        ]

    def best(self) -> SavedCheckpoint:
        """The best checkpoint of the latest run that verifies; `CheckpointError` where there is none."""
        return store.best(self.directory)

    def newest(self) -> SavedCheckpoint:
        """The newest checkpoint of the latest run that verifies; `CheckpointError` where there is none."""
        return store.newest(self.directory)

    def state_dict(self) -> dict[str, Any]:
        """The observations so far, and the step of the latest save."""
        return {**self.watch.state_dict(), "last_step": self._last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the observations of `state`."""
        observed = dict(state)
        self._last_step = observed.pop("last_step")
        self.watch = self.watch.load_state_dict(observed)
