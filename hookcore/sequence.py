"""Turn a loop's facts into legal events. Pure: no plugin, no I/O, no votes.

The rule: beginning a scope first closes every scope that cannot contain it, and opens every scope that must contain it. Ending a
scope first closes every scope that is open inside it, and begins the scope if its beginning was never told. A batch that began
and never ended was not trained or evaluated.

A loop may tell of an end before the evaluations that belong to it: it *holds* the end. A held batch is settled by `settled`, by
the next batch, or by the epoch's end; a held epoch ends after the number of evaluations that it was held for, or at the next fact
of training. The end and the metrics of an epoch count only while it is open, so an end that a framework repeats counts once.

*Fresh* metrics are those since the latest observation. A held batch that was evaluated is observed when it is settled, with all
metrics that are fresh by then, so its evaluations are one observation. Any other evaluation belongs to its epoch's end, which is
an observation if anything is fresh, or if it is the first observation of its epoch.

Each fact is a generator: an event that it yields is delivered before it continues. An event is a tuple of its name and arguments:

    epoch_begin(epoch)      epoch_continues()         epoch_end(epoch, metrics, fresh, exhausted)
    batch_begin()           batches_end(metrics, updates, batches)     observed(fresh)     settled()    batch_dropped()
    evaluate_begin()        evaluate_batch_begin(batch)     evaluate_batch_end(batch, metrics)     evaluate_end(metrics)

and `predict_...` like `evaluate_...`, without metrics. `fresh` is None at an epoch's end that is not an observation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

Event: TypeAlias = tuple[Any, ...]
Events: TypeAlias = Iterator[Event]
Metrics: TypeAlias = Mapping[str, Any] | None
Scope: TypeAlias = Literal["epoch", "batch", "evaluate", "evaluate_batch", "predict", "predict_batch"]

CONTAINERS: Final[Mapping[Scope, tuple[Scope | None, ...]]] = {
    "epoch": (None,),
    "batch": ("epoch",),
    "evaluate": ("batch", "epoch", None),
    "evaluate_batch": ("evaluate",),
    "predict": ("batch", "epoch", None),
    "predict_batch": ("predict",),
}
"""The scopes that may contain each scope; None is the run itself. If none of them is open, the first is opened."""


@attrs.define
class Sequence:
    """The scopes that are open in a run, and the events that each fact leads to."""

    epoch: int = -1
    """The latest epoch that began, counted from zero."""
    is_new: bool = True
    """Whether no epoch has begun in this run, so that the loop may still tell the number of its first epoch."""
    continues: bool = False
    """Whether the open epoch began in the run that this one resumes: the loop will begin it again."""
    open: list[Scope] = attrs.field(factory=list)
    """The scopes that are open, outermost first."""
    held: Scope | None = None
    """`"batch"` or `"epoch"` if its end is held."""
    evaluations: int = 0
    """The number of evaluations that the held epoch still waits for."""
    batch: int = 0
    """The next batch of the open evaluation or prediction."""
    metrics: Mapping[str, Any] = attrs.field(factory=dict)
    """The open epoch's own metrics so far."""
    fresh: Mapping[str, Any] = attrs.field(factory=dict)
    """Those since the latest observation."""
    evaluated: bool = False
    """Whether an evaluation of the held batch has ended."""
    observed: bool = False
    """Whether the open epoch had an observation."""
    exhausted: bool = False
    """Whether the open epoch has used all of its data."""
    left: bool = False
    """Whether the loop has left the open epoch in the middle."""

    # Facts of training

    def epoch_begin(self, epoch: int | None = None) -> Events:
        """Begin an epoch, and end the open one. `epoch` is the number of the run's first epoch, if the loop tells it only now."""
        if epoch is not None and self.is_new:
            self.epoch = epoch - 1
        if self.continues:
            self.continues = self.left = False
            yield from self._close("epoch")
            yield ("epoch_continues",)
        else:
            yield from self._close()
            yield from self._begin("epoch")

    def batch_begin(self) -> Events:
        """Begin a batch that is about to be trained."""
        yield from self._release()
        yield from self._begin("batch")

    def batch_end(self, metrics: Metrics = None, *, updates: int = 1, batches: int = 1) -> Events:
        """End `batches` batches, which were trained by `updates` updates of the optimizer."""
        yield from self.batch_held(metrics, updates=updates, batches=batches)
        yield from self._settle()

    def batch_held(self, metrics: Metrics = None, *, updates: int = 1, batches: int = 1, begun: bool = False) -> Events:
        """Hold the end of these batches, for evaluations may follow. `begun` is whether their beginning was delivered."""
        if "batch" not in self.open:
            for event in self.batch_begin():
                if not begun or event != ("batch_begin",):
                    yield event
        yield from self._close("batch")
        self.open.remove("batch")
        self.held = "batch"
        yield "batches_end", metrics, updates, batches

    def batch_dropped(self) -> Events:
        """Drop the open batch: it has no data, and was not trained."""
        yield ("batch_dropped",)

    def settled(self, fresh: Metrics = None) -> Events:
        """Settle the held batch or epoch: its evaluations are over.

        `fresh` are more metrics since the latest observation, if a held batch was evaluated.
        """
        if self.held == "epoch":
            yield from self._close()
        elif self.held == "batch":
            yield from self._close("epoch")
            if self.evaluated:
                self.fresh = {**self.fresh, **(fresh or {})}
            yield from self._settle()

    def log(self, metrics: Mapping[str, Any]) -> Events:
        """Add metrics of the open epoch."""
        self._add(metrics)
        yield from ()

    def epoch_end(self, metrics: Metrics = None, *, fresh: Metrics = None, hold: int = 0, exhausted: bool = False) -> Events:
        """End the epoch, after `hold` evaluations that will follow.

        `fresh` are its metrics since the latest observation, by default the same. `exhausted` is whether it used all of its data.
        """
        if "epoch" in self.open and self.held != "epoch":
            self.continues = self.left = False
            yield from self._close("epoch")
            if hold:
                yield from self._observe()  # without settling: the moment of the held batch lasts until its epoch's end
            else:
                yield from self._settle()
            # Metrics that all come at once are passed on unchanged, and converted only when a plugin reads them.
            fresh = metrics if fresh is None else fresh
            if metrics is not None:
                self.metrics = {**self.metrics, **metrics} if hold or self.metrics else metrics
            if fresh is not None:
                self.fresh = {**self.fresh, **fresh} if hold or self.fresh else fresh
            self.held, self.evaluations, self.exhausted = "epoch", hold, exhausted
            if not hold:
                yield from self._close()

    def leave(self) -> Events:
        """Leave the open epoch in the middle: if training ends then, the epoch has no end event."""
        self.left = "epoch" in self.open and self.held != "epoch"
        yield from ()

    def finish(self) -> Events:
        """Finish training: end what is open, except an epoch that the loop has left, or should have continued and did not."""
        if self.left or self.continues:
            yield from self._close("epoch")
            yield from self._settle()
            self.open.clear()
            self.metrics, self.fresh, self.observed, self.continues, self.left = {}, {}, False, False, False
        yield from self._close()

    # Facts of evaluations and predictions

    def evaluate_begin(self) -> Events:
        """Begin an evaluation, of the batch or epoch that is open or held, or outside of training."""
        yield from self._begin("evaluate")

    def evaluate_batch_begin(self) -> Events:
        """Begin a batch that is about to be evaluated."""
        yield from self._begin("evaluate_batch")

    def evaluate_batch_end(self, metrics: Metrics = None, batches: int = 1) -> Events:
        """End `batches` batches, which were evaluated."""
        yield from self._end("evaluate_batch", metrics, batches=batches)

    def evaluate_end(self, metrics: Metrics = None, named: Metrics = None) -> Events:
        """End an evaluation with `metrics` under their plain names; `named` has them under the epoch's names."""
        yield from self._end("evaluate", metrics, named=named)
        self.evaluated = self.held == "batch"

    def predict_begin(self) -> Events:
        """Begin a prediction."""
        yield from self._begin("predict")

    def predict_batch_begin(self) -> Events:
        """Begin a batch that is about to be predicted."""
        yield from self._begin("predict_batch")

    def predict_batch_end(self, batches: int = 1) -> Events:
        """End `batches` batches, which were predicted."""
        yield from self._end("predict_batch", batches=batches)

    def predict_end(self) -> Events:
        """End a prediction."""
        yield from self._end("predict")

    # What the facts have in common

    def _begin(self, scope: Scope) -> Events:
        while self.open and not _can_hold(self.open[-1], scope):
            yield from self._pop(followed_by=scope)
        container = CONTAINERS[scope][0]
        if (self.open[-1] if self.open else None) not in CONTAINERS[scope] and container is not None:
            yield from self._begin(container)
        self.open.append(scope)
        if scope == "epoch":
            self.epoch += 1
            self.is_new = False
            yield "epoch_begin", self.epoch
        elif scope == "batch":
            self.continues = self.left = False
            yield ("batch_begin",)
        elif scope in {"evaluate", "predict"}:
            self.batch = 0
            yield (f"{scope}_begin",)
        else:
            yield f"{scope}_begin", self.batch

    def _end(self, scope: Scope, *metrics: Metrics, named: Metrics = None, batches: int = 1) -> Events:
        if scope not in self.open:
            yield from self._begin(scope)
        yield from self._close(scope)
        yield from self._pop(*metrics, named=named, batches=batches)

    def _close(self, *kept: Scope) -> Events:
        """End what is open, innermost first, up to a scope in `kept`."""
        while self.open and self.open[-1] not in kept:
            yield from self._pop()

    def _pop(
        self, metrics: Metrics = None, *, named: Metrics = None, followed_by: Scope | None = None, batches: int | None = None
    ) -> Events:
        """End the innermost scope."""
        if self.open[-1] == "epoch":
            yield from self._settle()
        scope = self.open.pop()
        if scope == "epoch":
            own, self.metrics, self.held, self.continues, self.left = self.metrics, {}, None, False, False
            exhausted, self.exhausted = self.exhausted, False
            fresh = None if self.observed and not self.fresh else self.fresh
            self.fresh, self.observed = {}, False
            yield "epoch_end", self.epoch, own, fresh, exhausted
        elif scope == "batch":
            if followed_by == "batch":  # the loop skipped this batch, and a resumed run must skip it too
                yield "batches_end", None, 0, 1
        elif scope in {"evaluate_batch", "predict_batch"}:
            if batches or followed_by == scope:  # otherwise the loop began it and found that the data has ended
                self.batch += batches or 1
                yield (f"{scope}_end", self.batch - 1, *([metrics] if scope == "evaluate_batch" else []))
        else:
            yield (f"{scope}_end", *([metrics] if scope == "evaluate" else []))
        if scope == "evaluate" and "epoch" in self.open:
            self._add(named or {})
            if self.held == "epoch":
                self.evaluations -= 1
                if self.evaluations <= 0 and self.open == ["epoch"]:
                    yield from self._close()

    def _release(self) -> Events:
        """End what is held, because training continues."""
        if self.held == "epoch":
            yield from self._close()
        elif self.held == "batch":
            yield from self._close("epoch")
            yield from self._settle()

    def _settle(self) -> Events:
        if self.held == "batch":
            self.held = None
            yield from self._observe()
            yield ("settled",)

    def _observe(self) -> Events:
        """Yield an observation if the held batch was evaluated."""
        if self.evaluated:
            fresh, self.fresh, self.evaluated, self.observed = self.fresh, {}, False, True
            yield "observed", fresh

    def _add(self, metrics: Mapping[str, Any]) -> None:
        if "epoch" in self.open and metrics:
            self.metrics, self.fresh = {**self.metrics, **metrics}, {**self.fresh, **metrics}


def _can_hold(outer: Scope, scope: Scope) -> bool:
    """Return whether `scope` can be open somewhere within `outer`."""
    return any(container is not None and (container == outer or _can_hold(outer, container)) for container in CONTAINERS[scope])
