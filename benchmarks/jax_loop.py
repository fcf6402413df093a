"""Measure what `Loop` and `JaxTrainee` cost a loop with JAX, per batch.

The step is that of a small perceptron with Adam, compiled, with its state donated, and its loss is read every 100 steps. JAX
runs it on other threads while Python is ahead, so the figure is the CPU time of the training thread: as long as it is less than
the step takes, it costs nothing. The mean of an epoch's loss takes two JAX operations per batch, also in a loop by hand that
wants the mean: such a loop has its own row, and Loop is compared with it. The bare loop is in the table twice: how far the
second is from 1 is noise.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import click
import jax
import jax.numpy as jnp
import optax

from hookcore import Engine
from hookcore_adapters.jax import JaxTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, NaNGuard, TimeLimit
from side_by_side import Gate, Table, benchmark, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS: Final = 400
BARE, AGAIN, MEAN, OURS = "bare loop", "bare loop again", "bare loop, mean of the loss", "Loop, 4 plugins"
OPTIMIZER: Final = optax.inject_hyperparams(optax.adam)(learning_rate=0.001)
WIDTHS: Final = (64, 256, 256, 10)


def new_state() -> dict[str, Any]:
    """Return the perceptron's parameters, and the optimizer's state."""
    keys = jax.random.split(jax.random.key(0), len(WIDTHS))
    params = [jax.random.normal(key, pair) * 0.1 for key, pair in zip(keys, itertools.pairwise(WIDTHS), strict=False)]
    return {"params": params, "opt_state": OPTIMIZER.init(params)}


@functools.partial(jax.jit, donate_argnums=0)
def step(state: Any, x: Any) -> tuple[Any, Any]:
    """Train one batch; return the next state and the loss."""

    def loss_of(params: Any) -> Any:
        return jnp.mean(functools.reduce(lambda y, kernel: jnp.tanh(y @ kernel), params, x) ** 2)

    loss, gradients = jax.value_and_grad(loss_of)(state["params"])
    changes, opt_state = OPTIMIZER.update(gradients, state["opt_state"])
    return {"params": optax.apply_updates(state["params"], changes), "opt_state": opt_state}, loss


def ways() -> dict[str, Callable[[], float]]:
    """Return the ways to train, each of which returns the seconds of a step on the training thread."""
    inputs = jax.random.normal(jax.random.key(1), (64, WIDTHS[0]))

    def bare(*, mean: bool) -> float:
        state, total = new_state(), 0.0
        began = time.thread_time()
        for _ in range(STEPS):
            state, loss = step(state, inputs)
            if mean:
                total += loss.astype("float32")
        jax.block_until_ready((state, total))
        return (time.thread_time() - began) / STEPS

    def ours() -> float:
        trainee = JaxTrainee(new_state())
        with tempfile.TemporaryDirectory() as directory:
            checkpoint = Checkpoint(directory, "loss", every_n_epochs=None)
            plugins = [EarlyStopping("loss"), NaNGuard("loss", every_n_steps=100), TimeLimit(3600), checkpoint]
            with Loop(Engine(plugins, autoload=False), epochs=1, trainee=trainee) as loop:
                for _ in loop.epochs():
                    began = time.thread_time()
                    for _ in loop.batches(range(STEPS)):
                        trainee.state, loss = step(trainee.state, inputs)
                        loop.log(loss=loss)
                    jax.block_until_ready(trainee.state)
                    taken = time.thread_time() - began
        return taken / STEPS

    return {
        BARE: functools.partial(bare, mean=False),
        AGAIN: functools.partial(bare, mean=False),
        MEAN: functools.partial(bare, mean=True),
        OURS: ours,
    }


@benchmark
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(min=2))
def main(rounds: int) -> Iterator[Table | Gate]:
    """Print what `Loop` costs with JAX."""
    steps = Table("one step of a small perceptron: CPU time of the training thread", "us", measure(ways(), rounds), BARE, OURS)
    yield steps
    added = steps.ratio(OURS, MEAN)[1] - 1
    yield Gate("Loop with 4 plugins: added time, as a share of a step with the mean of its loss", added, 0.15, room=5)


if __name__ == "__main__":
    main()
