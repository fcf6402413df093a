"""Choose what TensorBoard shows, and when: metrics, decisions, weights, the graph, embeddings and hyperparameters."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import attrs

from hookcore import CapabilityError, LoadError, Metrics, Outcome, ParameterError, Run, hookimpl
from hookcore.authoring import Capability, due, learning_rate_of, local_path, schema, validators
from hookcore_plugins.tensorboard import curves, trainee_views
from hookcore_plugins.tensorboard.hyperparameters import hyperparameters
from hookcore_plugins.tensorboard.trainee_views import views
from hookcore_plugins.tensorboard.written import TRAIN, VALIDATION, Written

if TYPE_CHECKING:
    from hookcore_plugins.tensorboard.board import Board  # noqa: TC004 - importing the plugins does not import tensorboard

logger = logging.getLogger("hookcore")

_SAMPLES: Final = 32
_STATUS: Final = {Outcome.COMPLETED: "SUCCESS", Outcome.STOPPED: "SUCCESS", Outcome.FAILED: "FAILURE"}
_LABELS: Final = "a list of words, the path of a file of them, or a mapping of layer names to either"

_STATE: Final = schema.fields(
    {
        "events": schema.mapping_of(schema.integer),
        "file": schema.optional(schema.text),
        "decisions": schema.integer,
        "last_step": schema.integer,
        "graph": schema.truth,
        "embeddings": schema.list_of(schema.pair_of(schema.text, schema.text)),
    }
)
_STEPS = validators.integer(
    at_least=1, expected="'epoch', 'batch' or a number of steps of at least 1", besides=("epoch", "batch")
)


def check_packages() -> None:
    """Raise `LoadError` if a package is missing that writing event files needs."""
    for package in ("tensorboard", "google_crc32c"):
        if importlib.util.find_spec(package) is None:
            raise LoadError(f"TensorBoard needs the package {package}: pip install 'hookcore[tensorboard]'.")


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class TensorBoard:
    """Write event files that `tensorboard --logdir LOG_DIR` shows, during the run and after it.

    Parameters are those of `keras.callbacks.TensorBoard`, if it has them; nothing here needs TensorFlow.

    * `log_dir`: gets two directories, `train` and `validation`, whose curves share their charts. A resumed run continues its
      files, without the events that were written after the checkpoint. Any other run moves the files of an earlier run into
      `earlier-001`, or the next number, which TensorBoard shows too.
    * `update_freq`: metrics are always written by epoch and, if the loop evaluates within an epoch, at each evaluation, by step.
      With `"batch"` they are written after each batch too, and with a number N every N steps. Steps are optimizer updates,
      counted from the beginning of the run, also in a resumed run.
    * `histogram_freq`: histograms of the weights at the end of every N epochs, beginning with the first; 0 for no histograms.
      Values that are not finite are left out, and counted in the chart `nonfinite/...`.
    * `activations`, `gradients`: histograms of these too, for the first 32 validation samples.
    * `images`: weights that are matrices as images too, of at most 512 pixels a side; larger ones with every n-th row or column.
    * `graph`: the graph of layers, if the trainee has one.
    * `embeddings_freq`: the vectors of each embedding layer for the projector, at the end of every N epochs as above, and before
      and after training; 0 for no embeddings. TensorBoard finds new vectors only when it is started again.
    * `embeddings_metadata`: the labels of the embeddings' rows, one for each row: a list of words, the path of a file with a
      word per line or with tab-separated columns beneath a header, or a mapping of layer names to either.
    * `steps_per_second`: the steps per second of each epoch, its validation included.
    * `hparams`: a row in the table of hyperparameters, named for the run's directory: the configuration that `Report` was given,
      those parameters of plugins that are numbers or not at their defaults, the learning rate at the start, and how the run
      ended.
    * `clock`: seconds since 1970.

    Votes to stop, changes of the learning rate, checkpoints and the outcome are texts under `decisions`.

    Another thread writes every two seconds, at each observation and at the end of each epoch. If the disk is so slow that 20,000
    events wait, training waits for it. When the run ends, also by an exception, all is written.

    Raises `LoadError` if a package of `hookcore[tensorboard]` is missing, and `ParameterError` for a value outside its range;
    before the first batch `ParameterError` if the labels do not fit the rows, and `CapabilityError` if `activations` or
    `gradients` is set and there is no validation data.
    """

    role: ClassVar[str] = "observer"
    name: ClassVar[str] = "tensorboard"
    type_name: ClassVar[str] = "hookcore_plugins.tensorboard.TensorBoard"

    log_dir: Path = attrs.field(default=Path("logs"), converter=validators.as_path, validator=validators.directory())
    update_freq: Literal["epoch", "batch"] | int = attrs.field(default="epoch", validator=_STEPS, kw_only=True)
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
    _written: Written = attrs.field(init=False, factory=Written)
    _decisions: int = attrs.field(init=False, default=0)
    """How many of the run's decisions are written."""
    _batch_freq: int = attrs.field(init=False, default=0)
    """The metrics of batches are written every N steps; 0 for never."""
    _last_step: int = attrs.field(init=False, default=0)
    """The step of the latest batch, whether or not its metrics were written."""
    _graph_done: bool = attrs.field(init=False, default=False)
    """Whether the trainee was asked for its graph."""
    _epoch_began: float = attrs.field(init=False, default=0.0)
    _step_at_begin: int = attrs.field(init=False, default=0)
    """The step at which the epoch began."""
    _at_epoch_end: set[str] = attrs.field(init=False, factory=set)
    """The metrics that were written at the end of the latest epoch. Those that plugins add later are written separately."""
    _board: Board | None = attrs.field(init=False, default=None, repr=False)
    """The board, from the beginning of a run to its end."""

    @embeddings_metadata.validator
    def _labels(self, attribute: Any, value: Any) -> None:
        for labels in value.values() if isinstance(value, Mapping) else [] if value is None else [value]:
            if isinstance(labels, str | Path):
                if not local_path(labels, "TensorBoard: embeddings_metadata").is_file():
                    validators.reject(self, attribute.name, str(labels), f"{_LABELS}; there is no such file")
            elif not isinstance(labels, Sequence):
                validators.reject(self, attribute.name, labels, _LABELS)

    def __attrs_post_init__(self) -> None:
        histograms = dict.fromkeys(("images", "activations", "gradients"), "histogram_freq")
        for name, freq in {**histograms, "embeddings_metadata": "embeddings_freq"}.items():
            if getattr(self, name) and not getattr(self, freq):
                raise ParameterError(f"TensorBoard: {name} has no effect while {freq} is 0; give {freq}=1 for every epoch.")
        check_packages()

    @property
    def needs(self) -> tuple[Capability, ...]:
        """The capabilities that the parameters require of the trainee."""
        asked: dict[Capability, object] = {
            "weights": self.histogram_freq,
            "activations": self.activations,
            "gradients": self.gradients,
            "embeddings": self.embeddings_freq,
        }
        return tuple(capability for capability, wanted in asked.items() if wanted)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Refuse what cannot be shown, make the directory ready, and write the hyperparameters and first embeddings."""
        from hookcore_plugins.tensorboard.board import Board

        if self._board is not None:  # of an abandoned run
            self._board.close_quietly()
            self._board = None
        self._batch_freq = self.update_freq if isinstance(self.update_freq, int) else int(self.update_freq == "batch")
        if (self.activations or self.gradients) and run.validation_data is None:
            raise CapabilityError(
                "TensorBoard: activations and gradients need validation data. Give it to the loop, or set both to False."
            )
        matrices = views(run).embeddings() if self.embeddings_freq else {}
        resumed = run.resumed_from is not None
        self._board = board = Board(self.log_dir, self._written, self.clock, self.embeddings_metadata, matrices, resumed=resumed)
        if not board.continues:
            self._decisions, self._graph_done = 0, False
        if board.moved_to is not None:
            logger.info("%s: the logs of an earlier run are now in %s", run.plugin, board.moved_to)
        self._epoch_began, self._step_at_begin = self.clock(), run.progress.step
        if matrices:  # before the first event: TensorBoard looks for the list only when it first sees a run
            board.embeddings({} if board.continues else matrices, "before training")
        if self.hparams and not board.continues:
            board.hyperparameters(hyperparameters(run))
        board.write_soon()

    @hookimpl
    def on_epoch_begin(self, run: Run) -> None:
        """Note when the epoch began, and write the decisions made at the end of the epoch before."""
        self._epoch_began, self._step_at_begin = self.clock(), run.progress.step
        if self._board is not None:
            self._write_decisions(self._board, run)

    @hookimpl
    def on_batch_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write the batch's metrics if they are due, and new decisions."""
        board = self._board
        if board is None:
            return
        batch_freq = self._batch_freq
        if batch_freq:
            step = run.progress.step
            if batch_freq == 1 or due(batch_freq, step, self._last_step):
                # The writer's thread reads them later. `Metrics` do not change once they are converted; other mappings may.
                values = metrics if type(metrics) is Metrics else dict(metrics)
                iter(values)
                board.scalars(TRAIN, step, "batch_", values)
            self._last_step = step
        if not self._graph_done:
            self._write_graph(board, run)
        if len(run.decisions) > self._decisions:
            self._write_decisions(board, run)

    @hookimpl
    def on_evaluate_end(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an evaluation within training, by step."""
        if self._board is not None:
            values = {f"{name}_vs_iterations": value for name, value in metrics.items()}
            self._board.scalars(VALIDATION, run.progress.step, "evaluation_", values)

    # First, while the weights and the learning rate are still those of the epoch.
    @hookimpl(tryfirst=True)
    def on_epoch_end(self, run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the epoch's metrics, and the other views that are due."""
        board, history = self._board, run.history
        if board is None:
            return
        # An observation by steps at the epoch's last batch came first, and may have led to a change of the rate.
        is_observed = history.steps[-1:] == [run.progress.step]
        values = curves.with_rate(metrics, history.learning_rates[-1] if is_observed else learning_rate_of(run))
        elapsed = self.clock() - self._epoch_began
        if self.steps_per_second and elapsed > 0:
            values["steps_per_second"] = (run.progress.step - self._step_at_begin) / elapsed
        self._at_epoch_end = set(values)
        curves.write(board, run, "epoch_", epoch, values, for_table=self.hparams)
        self._write_graph(board, run)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_histograms(board, run, epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            board.embeddings(views(run).embeddings(), f"epoch {epoch:04d}")
        board.write_soon()

    @hookimpl(trylast=True)
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Write an observation by steps or, at the end of an epoch, the metrics that plugins have added to it."""
        board, history = self._board, run.history
        if board is None:
            return
        if history.by_steps[-1]:
            curves.write(board, run, "step_", run.progress.step, curves.with_rate(metrics, history.learning_rates[-1]))
        else:
            added = {name: value for name, value in metrics.items() if name not in self._at_epoch_end}
            curves.write(board, run, "epoch_", run.progress.epoch, added, for_table=self.hparams)
        board.write_soon()

    @hookimpl(trylast=True)
    def on_train_end(self, run: Run) -> None:
        """Write the last decisions, the outcome and the last embeddings, and wait until all is in the files."""
        board = self._board
        if board is None:
            return
        try:
            self._write_decisions(board, run, ended=True)
            if self.hparams:
                board.outcome(_STATUS.get(run.outcome, "UNKNOWN"))
            if self.embeddings_freq and run.outcome in {Outcome.COMPLETED, Outcome.STOPPED}:
                board.embeddings(views(run).embeddings(), "after training")
        finally:
            self._board = None
            board.close()

    def _write_decisions(self, board: Board, run: Run, *, ended: bool = False) -> None:
        now, decisions, first = run.progress, run.decisions, self._decisions
        # TensorBoard shows only the latest text of a step, so each text repeats the rows of the earlier ones.
        step = decisions[first].step if first < len(decisions) else now.step
        while first and decisions[first - 1].step == step:
            first -= 1
        tables: dict[int, list[tuple[int, str, str]]] = {}
        for decision in decisions[first:] if ended or self._decisions < len(decisions) else ():
            text = ("stop: " if decision.kind == "stop" else "") + decision.message
            tables.setdefault(decision.step, []).append((decision.epoch, decision.plugin, text))
        self._decisions = len(decisions)
        if ended:
            tables.setdefault(now.step, []).append((now.epoch, "", f"the run ended: **{run.outcome}**"))
        for step, rows in tables.items():
            board.decisions(step, rows)

    def _write_graph(self, board: Board, run: Run) -> None:
        """Write the graph, once and not before the first batch, which may build the model."""
        if self._graph_done or not self.graph:
            return
        self._graph_done = True
        nodes = trainee_views.graph(run)
        if nodes is not None:
            board.graph(nodes)

    def _write_histograms(self, board: Board, run: Run, epoch: int) -> None:
        shown, data = views(run), run.validation_data
        board.weights(epoch, shown.weights(), images=self.images)
        if self.activations:
            board.histograms(epoch, "activations/", shown.activations(data, _SAMPLES))
        if self.gradients:
            board.histograms(epoch, "gradients/", shown.gradients(data, _SAMPLES))

    def state_dict(self) -> dict[str, Any]:
        """Return how far the files are written, once they are, so that a resumed run continues there."""
        if self._board is not None:
            self._board.sync()
        return {
            "events": {name: self._written.events[name] for name in (TRAIN, VALIDATION)},
            "file": self._written.file,
            "decisions": self._decisions,
            "last_step": self._last_step,
            "graph": self._graph_done,
            "embeddings": [list(entry) for entry in self._written.embeddings],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over how far the files were written."""
        own = _STATE(state)
        self._written = Written(Counter(own["events"]), own["file"], [(name, when) for name, when in own["embeddings"]])
        self._decisions, self._last_step, self._graph_done = own["decisions"], own["last_step"], own["graph"]
