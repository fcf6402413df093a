"""Write what TensorBoard shows: metrics, decisions, weights, the graph, embeddings and hyperparameters."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

import attrs

from hookcore import CapabilityError, LoadError, Metrics, Outcome, ParameterError, Run, hookimpl
from hookcore.authoring import Capability, due, learning_rate_of, reason_lacking, validators

if TYPE_CHECKING:
    from hookcore.authoring import Views
    from hookcore_plugins.tensorboard.event_writer import EventWriter, Fill  # noqa: TC004 - importing the plugins does not import tensorboard

logger = logging.getLogger("hookcore")

_TRAIN: Final = "train"
_VALIDATION: Final = "validation"
_OF_VALIDATION: Final = "val_"
_SAMPLES: Final = 32
_PATIENCE: Final = 10.0  # seconds that a checkpoint waits for the logs
_STATUS: Final = {Outcome.COMPLETED: "SUCCESS", Outcome.STOPPED: "SUCCESS", Outcome.FAILED: "FAILURE"}
_HEAD: Final = ("| epoch | step | plugin | what |", "|---|---|---|---|")
_KINDS: Final = {"stop": "stop: "}
"""What a message does not say itself."""
_LABELS: Final = "a list of words, the path of a file of them, or a mapping of layer names to either"
_LONGEST: Final = 200  # characters
_HUGE: Final = 1e300


@attrs.define(eq=False)
class TensorBoard:
    """Write event files that `tensorboard --logdir LOG_DIR` shows, while the run goes on and after it.

    Parameters are those of `keras.callbacks.TensorBoard`, where it has them; nothing here needs TensorFlow.

    * `log_dir`: gets two runs, `train` and `validation`, which share their charts. A run that is resumed goes on with what is
      there, less what came after the resumed checkpoint was taken. Any other run moves what an earlier one left there into
      `earlier-001`, and so on, which TensorBoard shows too.
    * `update_freq`: metrics are written by epoch in any case; with `"batch"` after each batch too, with a number every so many
      steps, by step. A step is an optimizer update, counted over the whole run and the runs that it goes on from.
    * `histogram_freq`: histograms of the weights at the end of every so many epochs, beginning with the first; 0 for none.
      Values that are no finite number are left out, and counted in the chart `nonfinite/...`.
    * `activations`, `gradients`: histograms of these too, on the first 32 validation samples.
    * `images`: weights that are matrices as images too, of at most 512 pixels a side: of larger ones every n-th row or column.
    * `graph`: the graph of layers, where the trainee has one.
    * `embeddings_freq`: the vectors of each embedding layer for the projector, every so many epochs as above, and before and
      after training; 0 for none. TensorBoard finds those that came after it was started when it is started again.
    * `embeddings_metadata`: what to call the rows of the embeddings: a list of words, the path of a file with one word a line or
      with columns between tabs beneath a header, or a mapping of layer names to either. There must be one for each row.
    * `steps_per_second`: the steps per second of each epoch, its validation included.
    * `hparams`: the parameters of the plugins, the learning rate at the start, and how the run ended.
    * `clock`: seconds since 1970.

    Votes to stop, changes of the learning rate, checkpoints and the outcome are texts under `decisions`.

    A thread of its own writes, every two seconds and at the end of each epoch. Where the disk is so slow that 20,000 events wait,
    training waits for it. All is written when the run ends, also by an exception.

    Raises `LoadError` where a package of `hookcore[tensorboard]` is missing, and `ParameterError` for a value outside its range;
    before the first batch `ParameterError` where labels do not fit the rows, and `CapabilityError` where there are no validation
    samples for what looks at them.
    """

    role: ClassVar[str] = "observer"
    name: ClassVar[str] = "tensorboard"

    log_dir: Path = attrs.field(default=Path("logs"), converter=validators.as_path, validator=validators.directory())
    update_freq: Literal["epoch", "batch"] | int = attrs.field(default="epoch", kw_only=True)
    histogram_freq: int = attrs.field(default=0, validator=validators.integer(at_least=0), kw_only=True)
    graph: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    images: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    embeddings_freq: int = attrs.field(default=0, validator=validators.integer(at_least=0), kw_only=True)
    embeddings_metadata: str | Path | Sequence[str] | Mapping[str, str | Path | Sequence[str]] | None = attrs.field(
        default=None, kw_only=True
    )
    steps_per_second: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    hparams: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    activations: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    gradients: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    clock: Callable[[], float] = attrs.field(default=time.time, validator=validators.function(), kw_only=True)
    _counts: Counter[str] = attrs.field(init=False, factory=Counter)
    """How many events there are, by run."""
    _file: str | None = attrs.field(init=False, default=None)
    """The name of the first event file of training, by which a resumed run knows its own."""
    _decisions: int = attrs.field(init=False, default=0)
    """How many of the run's decisions are written."""
    _every: int = attrs.field(init=False, default=0)
    """The metrics of batches are written every so many steps; 0 for never."""
    _last_step: int = attrs.field(init=False, default=0)
    """The step of the latest batch that was looked at."""
    _has_graph: bool = attrs.field(init=False, default=False)
    """Whether the graph is written, where there is one."""
    _embeddings: list[tuple[str, str]] = attrs.field(init=False, factory=list)
    """What the projector lists: each embedding and when it was taken."""
    _label_texts: Mapping[str, str] | None = attrs.field(init=False, default=None, repr=False)
    """The content of each label file; None until there are embeddings."""
    _began: tuple[float, int] = attrs.field(init=False, default=(0.0, 0))
    """When the epoch began, and at which step."""
    _writer: EventWriter | None = attrs.field(init=False, default=None, repr=False)

    @update_freq.validator
    def _epoch_batch_or_number(self, attribute: Any, value: Any) -> None:
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not (number or (isinstance(value, str) and value in {"epoch", "batch"})):
            validators.reject(self, attribute.name, value, "'epoch', 'batch' or a number of steps of at least 1")

    @embeddings_metadata.validator
    def _labels(self, attribute: Any, value: Any) -> None:
        for labels in value.values() if isinstance(value, Mapping) else [] if value is None else [value]:
            if isinstance(labels, str | Path):
                if not Path(labels).is_file():
                    validators.reject(self, attribute.name, str(labels), f"{_LABELS}; there is no such file")
            elif not isinstance(labels, Sequence):
                validators.reject(self, attribute.name, labels, _LABELS)

    def __attrs_post_init__(self) -> None:
        for name, freq in {
            "images": "histogram_freq",
            "activations": "histogram_freq",
            "gradients": "histogram_freq",
            "embeddings_metadata": "embeddings_freq",
        }.items():
            if getattr(self, name) and not getattr(self, freq):
                raise ParameterError(f"TensorBoard: {name} has no effect while {freq} is 0; give {freq}=1 for every epoch.")
        self._every = self.update_freq if isinstance(self.update_freq, int) else int(self.update_freq == "batch")
        for package in ("tensorboard", "google_crc32c"):
            if importlib.util.find_spec(package) is None:
                raise LoadError(f"TensorBoard needs the package {package}: pip install 'hookcore[tensorboard]'.")

    @property
    def needs(self) -> tuple[Capability, ...]:
        """What the parameters ask the trainee for."""
        asked: dict[Capability, object] = {
            "weights": self.histogram_freq,
            "activations": self.activations,
            "gradients": self.gradients,
            "embeddings": self.embeddings_freq,
        }
        return tuple(capability for capability, wanted in asked.items() if wanted)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Look at what can be wrong, make the directory ready, and write what does not change."""
        from hookcore_plugins.tensorboard.event_writer import EventWriter

        if self._writer is not None:  # the run before was left without its end
            self._writer.close_quietly()
            self._writer = None
        if (self.activations or self.gradients) and run.validation_data is None:
            raise CapabilityError(
                "TensorBoard: activations and gradients are those of validation samples, and there is no validation data."
            )
        matrices = _views(run).embeddings() if self.embeddings_freq else {}
        self._label_texts = None
        self._check_labels(matrices)
        goes_on = self._goes_on(run)
        self._writer = writer = EventWriter(self.log_dir, self._counts, self.clock)
        self._began = self.clock(), run.progress.step
        if matrices:  # before the first event: TensorBoard looks for it when it sees a new run
            self._write_embeddings({} if goes_on else matrices, "before training")
        if self.hparams and not goes_on:
            from hookcore_plugins.tensorboard import summaries

            begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.clock()))
            name = f"{self.log_dir.absolute().name} {begun}"  # one row for each run
            writer.add(_TRAIN, 0, None, summaries.session_start(name, _hparams(run), self.clock()))
        writer.hurry()

    def _check_labels(self, matrices: Mapping[str, Any]) -> None:
        # A model that is not built yet has no embeddings.
        if matrices and self._label_texts is None:
            from hookcore_plugins.tensorboard import projector

            self._label_texts = projector.labels_of(self.embeddings_metadata, matrices)

    def _goes_on(self, run: Run) -> bool:
        """Whether the run goes on with what is in the directory. That is then cut to what it knows; else it is moved aside."""
        from hookcore_plugins.tensorboard import event_files, projector

        there = [path.name for path in event_files.named(self.log_dir / _TRAIN)]
        if run.resumed_from is not None and self._file in there:
            for name in (_TRAIN, _VALIDATION):
                self._counts[name] = event_files.cut(self.log_dir / name, self._counts[name])
            return True
        aside = event_files.set_aside(self.log_dir, (_TRAIN, _VALIDATION), (projector.CONFIG, projector.DIRECTORY))
        if aside is not None:
            logger.info("%s: the logs of an earlier run are now in %s", run.plugin, aside)
        self._counts.clear()
        self._embeddings.clear()
        self._file, self._decisions, self._has_graph = None, 0, False
        return False

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        """Note the time, and write what was decided at the end of the epoch before."""
        self._began = self.clock(), run.progress.step
        if self._writer is not None:
            self._write_decisions(run)

    @hookimpl
    def on_batch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write the batch's metrics where they are due."""
        writer = self._writer
        if writer is None:
            return
        every = self._every
        if every:
            step = run.progress.step
            if every == 1 or due(every, step, self._last_step):
                # Ours can be read later once they are converted; what another adapter gives may have changed by then.
                values = metrics if type(metrics) is Metrics else dict(metrics)
                iter(values)
                writer.add(_TRAIN, step, "batch_", values)
            self._last_step = step
        if not self._has_graph:
            self._write_graph(run)
        if len(run.decisions) > self._decisions:
            self._write_decisions(run)

    @hookimpl
    def on_evaluate_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write what an evaluation within training came to, by step."""
        if self._writer is not None:
            values = {f"{name}_vs_iterations": value for name, value in metrics.items()}
            self._writer.add(_VALIDATION, run.progress.step, "evaluation_", values)

    # First, for the learning rate that the epoch was trained with. Nothing is written in an event after a checkpoint was taken.
    @hookimpl(tryfirst=True)
    def on_epoch_end(self, run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the epoch's metrics and what else is due, and have it in the files soon."""
        writer = self._writer
        if writer is None:
            return
        trained = {name: value for name, value in metrics.items() if not name.startswith(_OF_VALIDATION)}
        validated = {name: value for name, value in metrics.items() if name.startswith(_OF_VALIDATION)}
        rate = learning_rate_of(run)
        if rate is not None:
            trained["learning_rate"] = rate
        began, step = self._began
        elapsed = self.clock() - began
        if self.steps_per_second and elapsed > 0:
            trained["steps_per_second"] = (run.progress.step - step) / elapsed
        if trained:
            writer.add(_TRAIN, epoch, "epoch_", trained)
        if validated:
            plain = {name.removeprefix(_OF_VALIDATION): value for name, value in validated.items()}
            writer.add(_VALIDATION, epoch, "epoch_", plain)
            if self.hparams:  # the table shows what is in the run that has the parameters
                writer.add(_TRAIN, epoch, "hparams/", validated)
        self._write_graph(run)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_histograms(run, epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            self._write_embeddings(_views(run).embeddings(), f"epoch {epoch:04d}")
        writer.hurry()

    @hookimpl(trylast=True)
    def on_train_end(self, run: Run) -> None:
        """Write the last decisions, the outcome and the last embeddings, and wait until all is in the files."""
        if self._writer is None:
            return
        try:
            self._write_decisions(run, ended=True)
            if self.hparams:
                from hookcore_plugins.tensorboard import summaries

                status = _STATUS.get(run.outcome, "UNKNOWN")
                self._writer.add(_TRAIN, 0, None, summaries.session_end(status, self.clock()))
            if self.embeddings_freq and run.outcome in {Outcome.COMPLETED, Outcome.STOPPED}:
                self._write_embeddings(_views(run).embeddings(), "after training")
        finally:
            writer, self._writer = self._writer, None
            writer.close()

    def _add(self, step: int, fill: Fill) -> None:
        assert self._writer is not None  # noqa: S101 - there is one while a run goes on
        self._writer.add(_TRAIN, step, None, fill)

    def _write_decisions(self, run: Run, *, ended: bool = False) -> None:
        from hookcore_plugins.tensorboard import summaries

        now, decisions = run.progress, run.decisions
        steps = dict.fromkeys([one.step for one in decisions[self._decisions :]] + ([now.step] if ended else []))
        self._decisions = len(decisions)
        for step in steps:
            # Of the texts of one step TensorBoard shows the last: it has the rows of the earlier ones too.
            rows = [(one.epoch, one.plugin, _KINDS.get(one.kind, "") + one.message) for one in decisions if one.step == step]
            if ended and step == now.step:
                rows.append((now.epoch, "", f"the run ended: **{run.outcome}**"))
            # Epochs as in the messages beside them: from one.
            table = [f"| {epoch + 1} | {step} | {_cell(plugin)} | {_cell(message)} |" for epoch, plugin, message in rows]
            self._add(step, summaries.text("decisions", "\n".join([*_HEAD, *table])))

    def _write_graph(self, run: Run) -> None:
        """Write the graph, once: after the first batch, as only then every model is built."""
        if self._has_graph or not self.graph:
            return
        self._has_graph = True
        if reason_lacking(run.trainee, "graph") is not None:
            return
        from hookcore_plugins.tensorboard import summaries

        try:
            nodes = _views(run).graph()
        except Exception as error:  # noqa: BLE001 - few ask for it: what they asked for is written all the same
            logger.warning("%s: there is no graph: %r", run.plugin, error)
        else:
            self._add(0, summaries.graph(nodes))

    def _write_histograms(self, run: Run, epoch: int) -> None:
        from hookcore_plugins.tensorboard import summaries

        views = _views(run)
        weights = views.weights()
        arrays = {f"{name}/histogram": array for name, array in weights.items()}
        if self.images:
            for name, array in weights.items():
                if array.ndim == 2 and min(array.shape) > 1:  # noqa: PLR2004 - a matrix
                    self._add(epoch, summaries.image(f"{name}/image", array))
        if self.activations:
            found = views.activations(run.validation_data, _SAMPLES)
            arrays |= {f"activations/{name}": array for name, array in found.items()}
        if self.gradients:
            found = views.gradients(run.validation_data, _SAMPLES)
            arrays |= {f"gradients/{name}": array for name, array in found.items()}
        for tag, array in arrays.items():
            row, missing = summaries.finite(array)
            self._add(epoch, summaries.histogram(tag, row))
            if missing and self._writer is not None:
                self._writer.add(_TRAIN, epoch, "nonfinite/", {tag: missing})

    def _write_embeddings(self, matrices: Mapping[str, Any], when: str) -> None:
        from hookcore_plugins.tensorboard import projector

        self._check_labels(matrices)
        writer, directory, labels = self._writer, self.log_dir / _TRAIN, self._label_texts or {}
        assert writer is not None  # noqa: S101 - there is one while a run goes on
        writer.flush()  # so that no more than the vectors of one moment are kept in memory
        for name, matrix in matrices.items():
            writer.submit(projector.vectors(directory, name, when, matrix))
            self._embeddings.append((name, when))
        for name, text in labels.items():
            writer.submit(projector.labels(directory, name, text))
        writer.submit(projector.config(directory, self._embeddings, labels))

    def state_dict(self) -> dict[str, Any]:
        """How far the files were written, so that a resumed run goes on there. That much is in them when this returns."""
        if self._writer is not None:
            from hookcore_plugins.tensorboard import event_files

            self._writer.flush(_PATIENCE)
            if self._file is None:
                self._file = next((path.name for path in event_files.named(self.log_dir / _TRAIN)), None)
        return {
            "events": {name: self._counts[name] for name in (_TRAIN, _VALIDATION)},
            "file": self._file,
            "decisions": self._decisions,
            "last_step": self._last_step,
            "graph": self._has_graph,
            "embeddings": [list(entry) for entry in self._embeddings],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._counts = Counter(state["events"])
        self._file, self._decisions = state["file"], state["decisions"]
        self._last_step, self._has_graph = state["last_step"], state["graph"]
        self._embeddings = [(name, when) for name, when in state["embeddings"]]


def _views(run: Run) -> Views:
    """What the trainee has besides; the parameters that ask for it are in `needs`."""
    return cast("Views", run.trainee)


def _cell(text: str) -> str:
    """`text` within one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


# Parameters by which no two runs are told apart that should be: the table shows five columns, and hides the rest.
_WHERE_AND_WHEN: Final = frozenset(
    {"asynchronous", "clock", "deadline", "directory", "graph", "interval", "now", "path", "signals", "stream", "summary"}
    | {"when_busy", "when_full", "keep_best", "keep_every", "keep_last", "missing", "style"}
)


def _hparams(run: Run) -> dict[str, bool | float | str]:
    """What the table of runs has of this one."""
    rate = learning_rate_of(run)
    found: dict[str, Any] = {"framework": run.trainee.framework}
    found |= {"epochs": run.epochs} if run.epochs is not None else {}
    found |= {"learning_rate": rate} if rate is not None else {}
    for plugin, parameters in run.parameters.items():
        if plugin != run.plugin:
            found |= {f"{plugin}.{name}": value for name, value in parameters.items() if name not in _WHERE_AND_WHEN}
    return {name: value if _is_plain(value) else str(value)[:_LONGEST] for name, value in found.items()}


def _is_plain(value: Any) -> bool:
    """Whether the table can hold `value` as it is: numbers that are none would be left out."""
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < _HUGE)
