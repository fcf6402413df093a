"""What the author of an adapter writes so that `check_adapter` can train with it: a harness."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn

import attrs

from hookcore import Engine, ParameterError, Resume
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from hookcore import Mode

SEED: Final = 7
"""What a harness seeds its model and data with."""


class Feature(enum.StrEnum):
    """What a framework or its adapter may lack or refuse. The field of `Scenario` that asks for it is named, if there is one."""

    BATCHES = "events for batches"
    ACCUMULATION = "gradient accumulation"
    """`Scenario.accumulate`."""
    TRAINING_METRICS = "metrics of training"
    EVALUATION = "evaluation"
    SPARSE_EVALUATION = "evaluation every second epoch"
    """`Scenario.evaluate_every_epochs`."""
    EVALUATION_BY_STEPS = "evaluation by steps"
    """`Scenario.evaluate_every_steps`."""
    SEVERAL_SETS = "several validation sets"
    """`Scenario.sets`."""
    SANITY_CHECK = "a sanity check before training"
    """`Scenario.sanity_check`."""
    MIN_EPOCHS = "a minimum number of epochs"
    """`Scenario.min_epochs`."""
    OWN_STOP = "a stop by the framework itself"
    """`Scenario.own_stop_after`."""
    LEARNING_RATE = "a learning rate"
    NO_LEARNING_RATE = "training without a learning rate"
    """`Scenario.learning_rate` of None."""
    RATE_GROUPS = "parameter groups with different learning rates"
    """`Scenario.groups`."""
    SCHEDULE = "the framework's own learning rate schedule"
    """`Scenario.schedule`."""
    SNAPSHOT = "snapshots"
    SCALAR_WEIGHTS = "weights without dimensions"
    """`Scenario.scalar`."""
    BFLOAT16 = "weights in bfloat16"
    """`Scenario.bfloat16`."""
    RESUME = "resuming a run"
    STOPPED_WITHIN_EPOCH = "resuming between a vote to stop and the end of its epoch"
    OWN_CHECKPOINT = "the framework's own checkpoint with the run's record in it"
    """`Scenario.own_checkpoints`."""
    OWN_LOADER = "checkpoints that the framework's own loader opens"
    INTERRUPTS = "Ctrl-C and SIGTERM in the loop's own code"
    TWO_RUNS = "two runs on one adapter"
    ZERO_EPOCHS = "a run of no epochs"


@attrs.frozen
class Scenario:
    """The run that a harness builds with its framework, in plain values, so that another process can build the same run.

    What a harness `lacks` is never asked for, so it need not read those fields. What it `refuses` is asked for once.
    """

    epochs: int = 3
    batches: int = 4
    """The batches of an epoch; 1 if the loop has no events for batches, because an epoch is one iteration."""
    accumulate: int = 1
    """The number of batches whose gradients make one update; fewer batches at the end of an epoch make one too."""
    evaluate_every_epochs: int | None = 1
    """The loop evaluates every N epochs, unless by steps; None for never."""
    evaluate_every_steps: int | None = None
    """The loop evaluates every N updates instead, within the epoch; None, the default, to evaluate at the ends of epochs."""
    evaluation_batches: int = 2
    """The batches of each validation set."""
    sets: int = 1
    """The validation sets of each evaluation."""
    sanity_check: bool = False
    """Whether the framework evaluates once before training, to find errors early."""
    min_epochs: int = 0
    """The minimum number of epochs, which the framework trains even if it is asked to stop; 0 for no minimum."""
    own_stop_after: int | None = None
    """After this many epochs the framework is made to stop by something other than a plugin; None for never."""
    learning_rate: float | None = 0.125
    """None for an optimizer that has no rate."""
    groups: tuple[float, ...] = ()
    """The learning rates of the parameter groups, instead of `learning_rate`; empty for a single group."""
    schedule: bool = False
    """Whether the framework's own learning rate schedule sets the rate."""
    scalar: bool = False
    """Whether the model also has a weight without dimensions."""
    bfloat16: bool = False
    """Whether the model also has a weight in bfloat16."""
    own_checkpoints: Literal["", "before", "after"] = ""
    """Whether the framework saves its own checkpoints into `Job.directory` after each epoch, by a callback that is listed before
    or after the adapter; empty for no checkpoints."""
    series: Mapping[str, Sequence[float]] = attrs.field(factory=dict)
    """The values of `Job.report` by name, which repeat from the start. If a name is missing, all of its values differ."""


@attrs.define(eq=False)
class Job:
    """What a harness gets: the run to train, and the functions that the loop's own code must call.

    * `plugins`, `resume`: hand them to the adapter.
    * `directory`: an empty directory for whatever the framework writes, such as checkpoints of its own.
    * `own_checkpoint`: one of the framework's own checkpoints to resume from instead, or None.
    """

    scenario: Scenario
    plugins: Engine
    directory: Path
    resume: Resume = False
    own_checkpoint: Path | None = None
    trained: int = attrs.field(default=0, init=False)
    """How often `trains` was called."""
    reported: dict[str, list[float]] = attrs.field(factory=dict, init=False)
    """What `report` has returned."""
    _within: Callable[[int], None] = attrs.field(default=lambda _: None, kw_only=True)
    _columns: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    """The name under which plugins see what is reported."""
    _before: dict[str, int] = attrs.field(factory=dict, init=False)
    """How many values of each metric the run had when it was resumed."""

    def trains(self) -> None:
        """Count a batch. Call it in the loop's own code for each trained batch, before its update: in a training step or a loss.

        It may raise an error or press Ctrl-C: let the exception propagate.
        """
        self.trained += 1
        self._within(self.trained)

    def report(self, name: str) -> float:
        """Return the value of a metric that the loop's own code gives the framework, once for each epoch or evaluation.

        * `"score"`: a training metric that the loop reports at the end of each epoch.
        * `"val_score"`: a metric of each evaluation's first validation set; `"val_score_2"` of its second.
        """
        own = self.reported.setdefault(name, [])
        if name not in self._before:
            run, column = self.plugins.run, self._columns.get(name, name)
            known = run.history[column] if run is not None and column in run.history else ()
            self._before[name] = sum(value == value for value in known)  # noqa: PLR0124 - NaN is not equal to itself
        number = self._before[name] + len(own)
        values = self.scenario.series.get(name)
        own.append(_distinct(name, number) if values is None else values[number % len(values)])
        return own[-1]


def _distinct(name: str, number: int) -> float:
    """Return a value, exact in float16, that no other metric and no other call has."""
    return {"score": 0.0, "val_score": 256.0, "val_score_2": 512.0}[name] + 1 + number


def _default_of(feature: Feature, method: str) -> NoReturn:
    raise NotImplementedError(
        f"A harness defines {method}, unless its `lacks` or `refuses` has a reason for Feature.{feature.name}."
    )


@attrs.frozen
class Votes:
    """How many batches are trained after a vote to stop, by the event in which a plugin votes.

    Unless it votes when training begins, the plugin votes in the second of three epochs of four batches each: for `batch_end`
    after the second batch, and for `evaluate_end` in the evaluation by steps after that batch. If the loop has no events for
    batches, an epoch counts as one.
    """

    train_begin: int = 0
    epoch_begin: int = 0
    batch_end: int = 0
    evaluate_end: int = 0
    epoch_end: int = 0


class Harness:
    """Trains a small real model through one adapter. Make a subclass; each instance is one new model with its adapter.

        class LoopHarness(Harness):
            name = "loop"
            lacks = {Feature.MIN_EPOCHS: "your own loop decides when it looks at votes"}

            def __init__(self, job): ...
            def train(self): ...
            def digest(self): ...

    The class must be importable by its module and name, because another process resumes its runs. Make the model, the data and
    the order of the data in each epoch from `SEED`, so that two instances of one scenario train identically.
    """

    name: ClassVar[str]
    """The adapter's name, as in `"keras"`."""
    host: ClassVar[str]
    """The name under which a stop by the framework is recorded; by default `name`."""
    lacks: ClassVar[Mapping[Feature, str]] = {}
    """What the framework does not have, with the reason. The checks of it do not apply."""
    refuses: ClassVar[Mapping[Feature, str]] = {}
    """What can be asked for but is refused, with the reason, which is a part of the error's message."""
    refuses_plugins: ClassVar[Mapping[str, str]] = {}
    """The shipped plugins, by name, that are refused although the trainee has what they need, with such a reason."""
    resumes: ClassVar[Literal["batch", "epoch"]] = "batch"
    """Where a run can be resumed: after every batch that was an update, or only after an epoch."""
    votes: ClassVar[Votes] = Votes()
    """How many batches are trained after a vote to stop."""
    tells_errors: ClassVar[bool] = True
    """Whether an error in the loop's own code ends the run for the plugins at once; else it ends when the next run begins."""
    interrupts: ClassVar[tuple[type[BaseException], ...]] = (KeyboardInterrupt,)
    """The exceptions that the caller may get for Ctrl-C."""
    score: ClassVar[str] = "score"
    """The name under which plugins see `"score"`."""
    val_score: ClassVar[str] = "val_score"
    """The name under which plugins see `"val_score"`."""
    directions: ClassVar[Mapping[str, Mode | None]] = {}
    """Metric names that plugins must see, each with the direction that the framework declares, or None."""
    needs_path: ClassVar[tuple[str, ...]] = ()
    """Directories that another process must have on its import path, besides those of this one."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls) and "host" not in vars(cls):
            cls.host = cls.name
        for declared in ("lacks", "refuses"):
            for feature, reason in getattr(cls, declared).items():
                if not isinstance(feature, Feature):
                    hint = did_you_mean(str(feature), [one.name for one in Feature])
                    raise ParameterError(f"{cls.__name__}.{declared} must be keyed by a Feature, got {feature!r}.{hint}")
                if not isinstance(reason, str) or not reason.strip():
                    raise ParameterError(f"{cls.__name__}.{declared}[Feature.{feature.name}] must say why, got {reason!r}.")

    def __init__(self, job: Job) -> None:
        """Make the model, the data and the adapter for `job`. A refusal may be raised here or in `train`."""
        raise NotImplementedError("A harness defines __init__(self, job).")

    def train(self) -> None:
        """Train as the scenario says, and let every exception propagate. A second call is a second run on the same adapter."""
        raise NotImplementedError("A harness defines train.")

    def digest(self) -> str:
        """Return a digest of all that a resumed run must restore: the weights and the optimizer's state. See `digest_of`.

        A hook may call it during training.
        """
        raise NotImplementedError("A harness defines digest.")

    def updates(self) -> int:
        """Return how many updates the optimizer of this instance has made, as the framework counts them."""
        _default_of(Feature.ACCUMULATION, "updates")

    def rates(self) -> Sequence[float]:
        """Return the learning rate in use now of each group of parameters, as the framework has it."""
        _default_of(Feature.LEARNING_RATE, "rates")

    def predict(self) -> str:
        """Return a digest of what the model predicts now for some fixed data."""
        _default_of(Feature.OWN_LOADER, "predict")

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        """Return what `predict` returns, for the model that the framework's own loader makes from one of hookcore's checkpoints.

        Another process calls it, without an adapter or a run.
        """
        del checkpoint
        _default_of(Feature.OWN_LOADER, "predict_from")

    def own_checkpoints(self) -> Sequence[Path]:
        """Return the framework's own checkpoints in `Job.directory`, the earliest first."""
        _default_of(Feature.OWN_CHECKPOINT, "own_checkpoints")

    def best_iteration(self) -> int | None:
        """Return the framework's own best iteration, counted from zero; None if it does not name one."""
        return None

    @classmethod
    def why_not(cls, *features: Feature) -> str | None:
        """Return the reason in `lacks` for the first of `features` that is lacking, or None."""
        return next((cls.lacks[feature] for feature in features if feature in cls.lacks), None)


def digest_of(arrays: Mapping[str, Any]) -> str:
    """Return a digest of NumPy arrays and numbers by name: of their types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        value = arrays[name]
        kind, shape = getattr(value, "dtype", type(value).__name__), getattr(value, "shape", ())
        content = value.tobytes() if hasattr(value, "tobytes") else repr(value).encode()
        found.update(f"{name} {kind} {tuple(shape)} {len(content)}\n".encode() + content)
    return found.hexdigest()
