"""The harness of `Loop` with `JaxTrainee`: a small regression with optax, whose step donates its arguments."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.flax import load_file

from hookcore.testing import Feature, Harness, Job, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.jax import JaxTrainee
from hookcore_adapters.loop import Loop
from tests.adapters.loop_harness import LoopHarness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@functools.cache  # a step is compiled for each optimizer
def optimizer_of(rate: float | None, groups: tuple[float, ...], *, schedule: bool) -> Any:
    injected = optax.inject_hyperparams(optax.sgd, static_args=("momentum",), hyperparam_dtype=jnp.float32)
    if groups:
        by_name = {name: injected(own, momentum=0.9) for name, own in zip(("w", "b"), groups, strict=True)}
        return optax.partition(by_name, {"w": "w", "b": "b"})
    if rate is None:
        return optax.sgd(0.125, momentum=0.9)
    return injected((lambda count: rate / (1 + count)) if schedule else rate, momentum=0.9)


def predicted(params: Any, x: Any) -> Any:
    y = x @ params["w"] + params["b"]
    return y * params.get("scale", 1.0) + params.get("shift", jnp.float32(0)).astype("float32")


@functools.partial(jax.jit, donate_argnums=0)
def add_gradients(state: Any, x: Any) -> tuple[Any, Any]:
    """Add the gradients of `y = w x + b` to those of the state, with dropout, so that the key matters."""
    key, drawn = jax.random.split(state["key"])
    kept = x * jax.random.bernoulli(drawn, 0.75, x.shape) / 0.75
    loss, own = jax.value_and_grad(lambda params: jnp.mean((predicted(params, kept) - x.sum(-1)) ** 2))(state["params"])
    return {**state, "key": key, "gradients": jax.tree.map(jnp.add, state["gradients"], own)}, loss


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def update(optimizer: Any, state: Any) -> Any:
    changes, opt_state = optimizer.update(state["gradients"], state["opt_state"], state["params"])
    gradients = jax.tree.map(jnp.zeros_like, state["gradients"])
    params = optax.apply_updates(state["params"], changes)
    return {**state, "params": params, "opt_state": opt_state, "gradients": gradients, "updates": state["updates"] + 1}


@jax.jit  # type: ignore[untyped-decorator]  # it is Any to a checker without JAX
def evaluated(params: Any, x: Any) -> Any:
    return jnp.mean(predicted(params, x) ** 2)


class JaxHarness(Harness):
    """Trains a line in a `Loop`, with steps that are compiled once for all instances."""

    name = "loop-jax"
    lacks: ClassVar[Mapping[Feature, str]] = {
        feature: reason
        for feature, reason in LoopHarness.lacks.items()
        if feature not in {Feature.RATE_GROUPS, Feature.SCHEDULE, Feature.SCALAR_WEIGHTS, Feature.BFLOAT16, Feature.OWN_LOADER}
    }
    refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "the optimizer's learning rate comes from a schedule"}

    def __init__(self, job: Job) -> None:
        self.job, scenario = job, job.scenario
        params = {"w": jnp.array([0.5, -0.25, 1.0]), "b": jnp.zeros(())}
        params |= {"scale": jnp.ones(())} if scenario.scalar else {}
        params |= {"shift": jnp.zeros(1, jnp.bfloat16)} if scenario.bfloat16 else {}
        self.optimizer = optimizer_of(scenario.learning_rate, tuple(scenario.groups), schedule=scenario.schedule)
        self.trainee = JaxTrainee(
            {
                "params": params,
                "opt_state": self.optimizer.init(params),
                "key": jax.random.key(SEED),
                "gradients": jax.tree.map(jnp.zeros_like, params),
                "updates": 0,
            }
        )

    def train(self) -> None:
        job, scenario, trainee = self.job, self.job.scenario, self.trainee
        with Loop(job.plugins, epochs=scenario.epochs, trainee=trainee, resume=job.resume) as loop:
            for epoch in loop.epochs():
                x = np.random.default_rng([SEED, epoch]).normal(size=(scenario.batches, 2, 3)).astype("float32")
                for number, batch in loop.batches(list(enumerate(x, 1)), accumulate=scenario.accumulate):
                    trainee.state, loss = add_gradients(trainee.state, batch)
                    loop.log(loss=loss)
                    job.trains()
                    if number % scenario.accumulate == 0 or number == scenario.batches:
                        trainee.state = update(self.optimizer, trainee.state)
                    if scenario.evaluate_every_steps is not None and loop.every(scenario.evaluate_every_steps):
                        self.evaluate(loop)
                loop.log(score=job.report("score"))
                every = scenario.evaluate_every_epochs
                if scenario.evaluate_every_steps is None and every is not None and (epoch + 1) % every == 0:
                    self.evaluate(loop)

    def evaluate(self, loop: Loop) -> None:
        for number in range(1, self.job.scenario.sets + 1):
            with loop.evaluation("val_" if number == 1 else f"val_{number}_"):
                for x in loop.batches(np.ones((self.job.scenario.evaluation_batches, 2, 3), "float32")):
                    loop.log(loss=evaluated(self.trainee.state["params"], x))
                loop.log(score=self.job.report("val_score" if number == 1 else f"val_score_{number}"))

    def digest(self) -> str:
        state = {**self.trainee.state, "key": jax.random.key_data(self.trainee.state["key"])}
        leaves, _ = jax.tree_util.tree_flatten_with_path(state)
        return digest_of({jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves})

    def updates(self) -> int:
        return int(self.trainee.state["updates"])

    def rates(self) -> Sequence[float]:
        state = self.trainee.state["opt_state"]
        states = [state.inner_states[name].inner_state for name in ("w", "b")] if self.job.scenario.groups else [state]
        return [float(own.hyperparams["learning_rate"]) for own in states]

    def predict(self) -> str:
        return digest_of({"y": np.array(predicted(self.trainee.state["params"], np.ones((4, 3), "float32")))})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        loaded = load_file(checkpoint / "model.safetensors")
        params = {name.removeprefix("params/"): array for name, array in loaded.items()}
        return digest_of({"y": np.array(predicted(params, np.ones((4, 3), "float32")))})
