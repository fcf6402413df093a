"""Measure what one `on_batch_end` costs, with errors isolated per plugin, beside a plain loop (the floor) and every peer.

Each listener counts its calls; at the end the counts prove that every candidate called every listener for every event.
`hookcore` is the compiled hook. `Session.batch_end` is what an adapter calls for a batch: it also counts steps, prepares
metrics that are converted when they are read, checks for an interruption and times the plugins; the peers are compared with it.
Keras converts its metrics, here TensorFlow's, before it calls its callbacks. `raw pluggy` has the same plugins registered with
pluggy itself. The listeners have slots, except those of `plain classes`: pluggy slows down their attributes for as long as they
live, and an engine does not. The floor is in the table twice: how far the second is from 1 is noise.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import pluggy

from hookcore import Metrics, Run, hookimpl, specs
from side_by_side import Gate, Table, benchmark, engine_of, is_there, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Event = Callable[[int, Any], object]

EVENTS: Final = 2_000
METRICS: Final = {"loss": 0.5, "accuracy": 0.5}
FLOOR, EMPTY, OURS, SESSION = "plain loop", "empty call", "hookcore", "hookcore, Session.batch_end"


@attrs.define(eq=False)
class Counter:
    """Counts: the cheapest plugin that does something."""

    n: int = 0

    @hookimpl
    def on_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 - passing them is measured
        """Count."""
        self.n += 1


class PlainCounter:
    """Counts too, in a class without slots, as most classes are written."""

    def __init__(self) -> None:
        self.n = 0

    @hookimpl
    def on_batch_end(self, batch: int, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 - passing them is measured
        """Count."""
        self.n += 1


Way = tuple["Event", "Sequence[Any]"]
"""A function that sends an event, and the listeners that it calls."""


def loop(k: int) -> Way:
    """Return the floor: a plain loop over the listeners."""
    own = [Counter() for _ in range(k)]

    def call(batch: int, metrics: Mapping[str, float]) -> None:
        for one in own:
            one.on_batch_end(batch, metrics)

    return call, own


def empty(k: int) -> Way:
    """Return the floor for no listeners: an empty call."""

    def call(batch: int, metrics: Mapping[str, float]) -> None:
        pass

    return call, [None] * k


def compiled(k: int, plugin: Callable[[], Any] = Counter) -> Way:
    """Return the compiled hook."""
    own = [plugin() for _ in range(k)]
    return engine_of(own).start(Run()).hooks.on_batch_end, own


def session(k: int) -> Way:
    """Return what an adapter calls, after the first batches, all of which hookcore times."""
    own = [Counter() for _ in range(k)]
    started = engine_of(own).start(Run())
    started.train_begin()
    started.epoch_begin(0)
    for batch in range(2 * EVENTS):
        started.batch_end(batch, Metrics())
    for one in own:
        one.n = 0

    def call(batch: int, metrics: Mapping[str, float]) -> None:  # one more call, as the peers have
        started.batch_end(batch, metrics)

    return call, own


def raw_pluggy(k: int, plugin: Callable[[], Any] = Counter) -> Way:
    """Return pluggy's own caller of the hook."""
    own = [plugin() for _ in range(k)]
    manager = pluggy.PluginManager("hookcore")
    manager.add_hookspecs(specs)
    for one in own:
        manager.register(one)
    hook = manager.hook.on_batch_end
    return lambda batch, metrics: hook(run=None, batch=batch, metrics=metrics), own


def keras_list(k: int) -> Way:
    """Return Keras's `CallbackList`, with metrics as TensorFlow's train step returns them."""
    import keras
    import tensorflow as tf

    class Listener(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        n = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch, logs
            self.n += 1

    own = [Listener() for _ in range(k)]
    told = keras.callbacks.CallbackList(own)
    logs = {name: tf.constant(value) for name, value in METRICS.items()}
    return lambda batch, _: told.on_train_batch_end(batch, logs), own


def lightning(k: int) -> Way:
    """Return Lightning's `Trainer`, without its own callbacks."""
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.trainer.call import _call_callback_hooks

    class Listener(Callback):  # type: ignore[misc]  # not installed where types are checked
        n = 0

        def on_train_batch_end(self, *args: Any) -> None:
            del args
            self.n += 1

    own = [Listener() for _ in range(k)]
    trainer = Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu"
    )
    held: Any = trainer
    held.callbacks = own
    return lambda batch, metrics: _call_callback_hooks(trainer, "on_train_batch_end", metrics, None, batch), own


def ignite(k: int) -> Way:
    """Return PyTorch-Ignite's `Engine`."""
    from ignite.engine import Engine as Ignite
    from ignite.engine import Events

    class Listener:
        n = 0

        def __call__(self, engine: Ignite) -> None:
            del engine
            self.n += 1

    own = [Listener() for _ in range(k)]
    engine = Ignite(lambda _, batch: batch)
    for one in own:
        engine.add_event_handler(Events.ITERATION_COMPLETED, one)
    return lambda _, __: engine._fire_event(Events.ITERATION_COMPLETED), own  # noqa: SLF001 - what its own loop calls


def transformers(k: int) -> Way:
    """Return Hugging Face's `CallbackHandler`."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler

    def listener() -> Any:
        class Listener(TrainerCallback):  # type: ignore[misc]  # the same; the handler takes one instance of a class
            n = 0

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                del args, state, control, kwargs
                self.n += 1

        return Listener()

    own = [listener() for _ in range(k)]
    nothing: Any = None
    handler = CallbackHandler(own, nothing, nothing, nothing, nothing)
    arguments: Any = TrainingArguments.__new__(TrainingArguments)  # handed through, and never read
    state, control = TrainerState(), TrainerControl()
    return lambda _, __: handler.on_step_end(arguments, state, control), own


def skorch(k: int) -> Way:
    """Return the `NeuralNet` of skorch, without its own callbacks."""
    import torch
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    class Listener(Callback):  # type: ignore[misc]  # the same
        n = 0

        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            del net, kwargs
            self.n += 1

    own = [Listener() for _ in range(k)]
    net = NeuralNet(torch.nn.Linear, torch.nn.MSELoss)
    net.callbacks_ = [(f"listener_{i}", one) for i, one in enumerate(own)]
    return lambda batch, _: net.notify("on_batch_end", batch=batch, training=True), own


PEERS: Final[Mapping[str, tuple[str, Callable[[int], Way]]]] = {
    "raw pluggy": ("pluggy", raw_pluggy),
    "raw pluggy, plain classes": ("pluggy", lambda k: raw_pluggy(k, PlainCounter)),
    "Keras CallbackList": ("tensorflow", keras_list),
    "Lightning": ("lightning", lightning),
    "Ignite": ("ignite", ignite),
    "Transformers": ("transformers", transformers),
    "skorch": ("skorch", skorch),
}
"""The package that each candidate needs, and the function that creates it."""


def timed(call: Event, metrics: Any) -> Callable[[], float]:
    """Return a function that takes a sample: the seconds of one event."""

    def sample() -> float:
        began = time.perf_counter()
        for batch in range(EVENTS):
            call(batch, metrics)
        return (time.perf_counter() - began) / EVENTS

    return sample


def table(k: int, rounds: int) -> Table:
    """Measure all candidates with `k` listeners. Raises `AssertionError` if a listener missed an event."""
    ways = {
        FLOOR: loop(k),
        "plain loop again": loop(k),
        EMPTY: empty(k),
        OURS: compiled(k),
        "hookcore, plain classes": compiled(k, PlainCounter),
        SESSION: session(k),
        **{name: make(k) for name, (package, make) in PEERS.items() if is_there(package)},
    }
    if k:
        del ways[EMPTY]
    figures = measure({name: timed(call, METRICS) for name, (call, _) in ways.items()}, rounds)
    for name, (_, own) in ways.items():
        told = [one.n for one in own]
        assert told == [(1 + rounds) * EVENTS] * k, f"{name}: {told} events"  # noqa: S101 - the check
    return Table(f"one event, {k} plugin{'' if k == 1 else 's'}", "ns", figures, floor=FLOOR if k else EMPTY, ours=OURS)


def gates(k: int, found: Table) -> Iterator[Gate]:
    """Yield the gates for `k` listeners."""
    if k:
        yield Gate(f"{found.title}: the compiled hook, x plain loop", found.ratio(OURS, FLOOR)[1], 1.25)
    else:
        yield Gate(f"{found.title}: the compiled hook, x empty call", found.ratio(OURS, EMPTY)[1], 2)
    if k == 4:  # noqa: PLR2004 - the number that the gate is about
        yield Gate(f"{found.title}: the compiled hook, x raw pluggy", found.ratio(OURS, "raw pluggy")[1], 1 / 8)
    ratio, peer = max((found.ratio(SESSION, peer)[1], peer) for peer in PEERS if peer in found.figures)
    yield Gate(f"{found.title}: Session.batch_end, x the cheapest peer, {peer}", ratio, 1)


@benchmark
@click.option("--rounds", default=41, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate | str]:
    """Print what one event costs."""
    for k in (0, 1, 4, 16):
        found = table(k, rounds)
        yield found
        yield from gates(k, found)
    left_out = [name for name, (package, _) in PEERS.items() if not is_there(package)]
    yield f"Not installed, so not in the tables: {', '.join(left_out) or 'none'}."


if __name__ == "__main__":
    main()
