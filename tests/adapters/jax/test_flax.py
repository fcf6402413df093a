"""`JaxTrainee` with Flax: a TrainState of linen, and the objects of nnx."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState
from flax.traverse_util import unflatten_dict
from safetensors.flax import load_file

from hookcore import hookimpl, store
from hookcore_adapters.jax import JaxTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore import Run

X = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
OPTIMIZER = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)


class Linen(linen.Module):  # type: ignore[misc]  # it is Any to a checker without Flax
    """Has parameters, statistics and dropout."""

    @linen.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Any, *, train: bool) -> Any:
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(2)(x))
        return linen.Dropout(0.5, deterministic=not train)(x)


class State(TrainState):  # type: ignore[misc]
    """A TrainState that is extended as in Flax's guide."""

    batch_stats: Any
    key: Any


LINEN = Linen()  # one instance, so that its step is compiled once


def new_linen() -> State:
    variables = LINEN.init(jax.random.key(0), X[0], train=False)
    created: State = State.create(apply_fn=LINEN.apply, tx=OPTIMIZER, key=jax.random.key(1), **variables)
    return created


@functools.partial(jax.jit, donate_argnums=0)
def linen_step(state: State, x: Any) -> tuple[State, Any]:
    def loss_of(params: Any) -> tuple[Any, Any]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        rngs = {"dropout": jax.random.fold_in(state.key, state.step)}
        y, changed = state.apply_fn(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return jnp.mean((y - 1) ** 2), changed

    (loss, changed), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradients, **changed), loss


class Module(nnx.Module):  # type: ignore[misc]
    """Has parameters, statistics, dropout with its own key, and a list of layers."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0, dropout=1)
        self.layers = nnx.List([nnx.Linear(3, 2, rngs=rngs), nnx.BatchNorm(2, rngs=rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.dropout(x)


def new_nnx() -> dict[str, Any]:
    model = Module()
    return {"model": model, "optimizer": nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)}


@nnx.jit  # type: ignore[untyped-decorator]
def nnx_step(model: Any, optimizer: Any, x: Any) -> Any:
    loss, gradients = nnx.value_and_grad(lambda module: jnp.mean((module(x) - 1) ** 2))(model)
    optimizer.update(model, gradients)
    return loss


def step_of(kind: str, trainee: JaxTrainee) -> Callable[[Any], Any]:
    """Return a function that trains a batch as in Flax's guide: a TrainState is put back, and objects are changed in place."""
    if kind == "nnx":
        objects = trainee.state  # taken once, before the run is resumed
        return lambda x: nnx_step(objects["model"], objects["optimizer"], x)

    def step(x: Any) -> Any:
        trainee.state, loss = linen_step(trainee.state, x)
        return loss

    return step


NEW: dict[str, Callable[[], Any]] = {"linen": new_linen, "nnx": new_nnx}


def leaves_of(state: Any) -> list[Any]:
    leaves = jax.tree.leaves(state)
    return [np.array(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf) for leaf in leaves]


def train(state: Any, kind: str, *plugins: object, resume: Any = False) -> tuple[JaxTrainee, Run]:
    trainee = JaxTrainee(state)
    step = step_of(kind, trainee)
    with Loop(plugins, epochs=2, trainee=trainee, resume=resume) as loop:
        for epoch in loop.epochs():
            for x in loop.batches(X):
                loop.log(loss=step(x))
            loop.log(val_loss=float(epoch))
    return trainee, loop.run


@pytest.mark.parametrize("kind", NEW)
def test_a_run_continues_from_each_step(tmp_path: Path, kind: str) -> None:
    """A new state is restored to the same parameters, statistics, keys and optimizer state, to the last bit."""
    whole, run = train(NEW[kind](), kind, Checkpoint(tmp_path, every_n_steps=1, keep_last=None))
    saved = store.available(tmp_path)
    assert len(saved) == 4
    for checkpoint in saved:
        resumed, its_run = train(NEW[kind](), kind, resume=checkpoint.path)
        assert all(map(np.array_equal, leaves_of(resumed.state), leaves_of(whole.state)))
        assert its_run.history["loss"] == run.history["loss"]


@pytest.mark.parametrize("kind", NEW)
def test_the_best_weights_come_back(kind: str) -> None:
    """The script's own objects get the best weights in place; a TrainState keeps its functions and its step."""
    seen = []

    class Watch:
        @hookimpl(tryfirst=True)
        def on_epoch_end(self, run: Run) -> None:
            seen.append(run.trainee.weights())  # type: ignore[attr-defined]

    state = NEW[kind]()
    trainee, run = train(state, kind, Watch(), EarlyStopping(patience=1, restore_best_weights=True))
    assert run.outcome == "stopped"
    best, last = seen
    now = trainee.weights()
    assert all(np.array_equal(now[name], best[name]) for name in now)
    assert not all(np.array_equal(now[name], last[name]) for name in now)
    if kind == "nnx":
        assert np.array_equal(state["model"].layers[0].kernel[...], now["model/layers/0/kernel/value"])
    else:
        assert trainee.state.tx is OPTIMIZER
        assert trainee.state.step == 4


def test_the_rate_of_an_nnx_optimizer_is_set_in_place() -> None:
    """The script's own optimizer object gets the rate."""
    state = new_nnx()
    trainee = JaxTrainee(state)
    trainee.learning_rate = 0.5
    assert state["optimizer"].opt_state.hyperparams["learning_rate"][...] == 0.5
    assert trainee.state["optimizer"] is state["optimizer"]


def test_linen_applies_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    """The names of the weights are the paths of linen's variables."""
    trainee = JaxTrainee(new_linen())
    trainee.write(trainee.snapshot(), tmp_path)
    variables = unflatten_dict(load_file(tmp_path / "model.safetensors"), sep="/")
    expected = {"params": trainee.state.params, "batch_stats": trainee.state.batch_stats}
    assert np.array_equal(*(LINEN.apply(each, X[0], train=False) for each in (variables, expected)))


def test_an_nnx_module_takes_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    """The names of the weights are the paths of the module's leaves."""
    trained = new_nnx()
    nnx_step(trained["model"], trained["optimizer"], X[0])
    trainee = JaxTrainee(trained)
    trainee.write(trainee.snapshot(), tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert "model/dropout/rngs/key/value" not in loaded  # it is not a weight
    leaves, tree = jax.tree_util.tree_flatten_with_path({"model": Module()})
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    model = tree.unflatten([loaded.get(name, leaf) for name, (_, leaf) in zip(names, leaves, strict=True)])["model"]
    model.eval()
    trained["model"].eval()
    assert np.array_equal(model(X[0]), trained["model"](X[0]))
