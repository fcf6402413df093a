"""Which events a loop's facts stand for. Pure: facts in, legal events out; no plugin, no I/O, no votes.

The rule: what begins first closes whatever cannot contain it, and opens whatever must contain it. What ends first closes
whatever is open inside, and begins if it never did. A batch that began and never ended was not trained or evaluated.

A loop may tell of an end before the evaluations that belong to it: it *holds* the end. A held batch is settled when that is told,
or at the next batch or the epoch's end; a held epoch ends after as many evaluations as it was held for, or at the next
fact of training. Frameworks repeat themselves: an epoch's end is heard once. Its end and its metrics are heard only while it is
open.

What is *fresh* are the metrics since the latest observation. A held batch that was evaluated is observed when it is settled, with
all that is fresh by then: its evaluations are one observation. Any other evaluation belongs to its epoch's end, which is an
observation if anything is fresh, or if it is the first of its epoch.

Each fact is a generator: what it yields is delivered before it continues. An event is a tuple of its name and arguments:

    epoch_begin(epoch)      epoch_continues()         epoch_end(epoch, metrics, fresh, exhausted)
    batch_begin()           batches_end(metrics, updates, batches)     observed(fresh)     settled()    batch_dropped()
    evaluate_begin()        evaluate_batch_begin(batch)     evaluate_batch_end(batch, metrics)     evaluate_end(metrics)

and `predict_...` like `evaluate_...`, without metrics. At the end of an epoch that is no observation, `fresh` is None.
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
"""What each scope may be open in, None for the run itself. If none of them is open, the first is opened."""


@attrs.define
class Sequence:
    """Where a run is, and how each fact moves it on."""

    epoch: int = -1
    """The latest epoch that began, counted from zero."""
    is_new: bool = True
    """Whether no epoch has begun in this run, so that a loop may still tell which is the first."""
    continues: bool = False
    """Whether the open epoch began in the run that this one resumes: the loop will begin it once more."""
    open: list[Scope] = attrs.field(factory=list)
    """The scopes that are open, outermost first."""
    held: Scope | None = None
    """`"batch"` or `"epoch"` if its end was told and is held."""
    evaluations: int = 0
    """How many evaluations the held epoch still waits for."""
    batch: int = 0
    """The next batch of the open evaluation or prediction."""
    metrics: Mapping[str, Any] = attrs.field(factory=dict)
    """The open epoch's own metrics so far."""
    fresh: Mapping[str, Any] = attrs.field(factory=dict)
    """Those of them since the latest observation."""
    evaluated: bool = False
    """Whether an evaluation of the held batch has ended."""
    observed: bool = False
    """Whether the open epoch had an observation."""
    exhausted: bool = False
    """Whether the data of the open epoch have ended."""
    left: bool = False
    """Whether the loop has left the open epoch in the middle."""

    # Facts of training

    def epoch_begin(self, epoch: int | None = None) -> Events:
        """An epoch begins; the one that is open ends. `epoch` is the number of a run's first, if the loop tells it only now."""
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
        """A batch is about to be trained."""
        yield from self._release()
        yield from self._begin("batch")

    def batch_end(self, metrics: Metrics = None, *, updates: int = 1, batches: int = 1) -> Events:
        """`batches` batches were trained, by `updates` updates of the optimizer."""
        yield from self.batch_held(metrics, updates=updates, batches=batches)
        yield from self._settle()

    def batch_held(self, metrics: Metrics = None, *, updates: int = 1, batches: int = 1, begun: bool = False) -> Events:
        """The same, and evaluations that belong to the batch may follow. `begun` is whether its beginning was delivered."""
        if "batch" not in self.open:
            for event in self.batch_begin():
                if not begun or event != ("batch_begin",):
                    yield event
        yield from self._close("batch")
        self.open.remove("batch")
        self.held = "batch"
        yield "batches_end", metrics, updates, batches

    def batch_dropped(self) -> Events:
        """The batch that began turned out to have no data: it was not trained."""
        yield ("batch_dropped",)

    def settled(self, fresh: Metrics = None) -> Events:
        """All that the held batch or epoch led to is done.

        `fresh` are more metrics since the latest observation, if a held batch was one.
        """
        if self.held == "epoch":
            yield from self._close()
        elif self.held == "batch":
            yield from self._close("epoch")
            if self.evaluated:
                self.fresh = {**self.fresh, **(fresh or {})}
            yield from self._settle()

    def log(self, metrics: Mapping[str, Any]) -> Events:
        """Metrics of the open epoch become known."""
        self._add(metrics)
        yield from ()

    def epoch_end(self, metrics: Metrics = None, *, fresh: Metrics = None, hold: int = 0, exhausted: bool = False) -> Events:
        """The epoch ends, after `hold` evaluations that are still to come.

        `fresh` are its metrics since the latest observation, by default the same. `exhausted` is whether its data have ended.
        """
        if "epoch" in self.open and self.held != "epoch":
            self.continues = self.left = False
            yield from self._close("epoch")
            if hold:
                yield from self._observe()  # the moment continues: what the held batch led to is its epoch's end too
            else:
                yield from self._settle()
            # If all come at once, they are passed on as they are, and read when a plugin does.
            fresh = metrics if fresh is None else fresh
            if metrics is not None:
                self.metrics = {**self.metrics, **metrics} if hold or self.metrics else metrics
            if fresh is not None:
                self.fresh = {**self.fresh, **fresh} if hold or self.fresh else fresh
            self.held, self.evaluations, self.exhausted = "epoch", hold, exhausted
            if not hold:
                yield from self._close()

    def leave(self) -> Events:
        """The loop leaves the open epoch in the middle: if training is over with that, the epoch has no end."""
        self.left = "epoch" in self.open and self.held != "epoch"
        yield from ()

    def finish(self) -> Events:
        """Training is over; what is open ends, except an epoch that the loop has left, or was to continue and never entered."""
        if self.left or self.continues:
            yield from self._close("epoch")
            yield from self._settle()
            self.open.clear()
            self.metrics, self.fresh, self.observed, self.continues, self.left = {}, {}, False, False, False
        yield from self._close()

    # Facts of evaluations and predictions

    def evaluate_begin(self) -> Events:
        """An evaluation begins, of the batch or the epoch that is open or held, or by itself."""
        yield from self._begin("evaluate")

    def evaluate_batch_begin(self) -> Events:
        """A batch is about to be evaluated."""
        yield from self._begin("evaluate_batch")

    def evaluate_batch_end(self, metrics: Metrics = None, batches: int = 1) -> Events:
        """`batches` batches were evaluated."""
        yield from self._end("evaluate_batch", metrics, batches=batches)

    def evaluate_end(self, metrics: Metrics = None, named: Metrics = None) -> Events:
        """An evaluation ends with `metrics` under their plain names; `named` is what the epoch calls them."""
        yield from self._end("evaluate", metrics, named=named)
        self.evaluated = self.held == "batch"

    def predict_begin(self) -> Events:
        """A prediction begins."""
        yield from self._begin("predict")

    def predict_batch_begin(self) -> Events:
        """A batch is about to be predicted."""
        yield from self._begin("predict_batch")

    def predict_batch_end(self, batches: int = 1) -> Events:
        """`batches` batches were predicted."""
        yield from self._end("predict_batch", batches=batches)

    def predict_end(self) -> Events:
        """A prediction ends."""
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
        """End what is open, innermost first, as far as a scope in `kept`."""
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
            if followed_by == "batch":  # the loop skipped it, and a resumed run must skip it too
                yield "batches_end", None, 0, 1
        elif scope in {"evaluate_batch", "predict_batch"}:
            if batches or followed_by == scope:  # else the loop found that its data has ended
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
        """End what is held, as training continues."""
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
        """Make the evaluations of the held batch, if there were any, an observation."""
        if self.evaluated:
            fresh, self.fresh, self.evaluated, self.observed = self.fresh, {}, False, True
            yield "observed", fresh

    def _add(self, metrics: Mapping[str, Any]) -> None:
        if "epoch" in self.open and metrics:
            self.metrics, self.fresh = {**self.metrics, **metrics}, {**self.fresh, **metrics}


def _can_hold(outer: Scope, scope: Scope) -> bool:
    """Whether `scope` can be open somewhere within `outer`."""
    return any(container is not None and (container == outer or _can_hold(outer, container)) for container in CONTAINERS[scope])
