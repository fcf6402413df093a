"""`JaxTrainee`, in addition to the contract of all adapters."""

from __future__ import annotations

import functools
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.flax import load_file

from hookcore import CapabilityError, CheckpointError, HookcoreError, ParameterError, hookimpl, store
from hookcore_adapters.jax import JaxTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPTIMIZER = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)


def new_state(**more: Any) -> dict[str, Any]:
    params = {"w": jnp.array([1.0, 2.0, 3.0]), "b": jnp.zeros((), jnp.bfloat16)}
    return {"params": params, "opt_state": OPTIMIZER.init(params), "key": jax.random.key(3), **more}


@functools.partial(jax.jit, donate_argnums=0)
def step(state: Any) -> Any:
    changes, opt_state = OPTIMIZER.update(jax.tree.map(jnp.ones_like, state["params"]), state["opt_state"])
    return {**state, "params": optax.apply_updates(state["params"], changes), "opt_state": opt_state}


def saved(trainee: JaxTrainee, directory: Path) -> Any:
    """Return the snapshot of a checkpoint of the state, after reading it back."""
    trainee.write(trainee.snapshot(), directory)
    return trainee.read(directory)


# Donation


def test_a_snapshot_outlives_the_arrays_that_are_donated(tmp_path: Path) -> None:
    """It is written unchanged, and can be restored any number of times: training does not overwrite what was restored."""
    trainee = JaxTrainee(new_state())
    snapshot, first = trainee.snapshot(), np.array(trainee.state["params"]["w"])
    for _ in range(3):
        before = trainee.state["params"]["w"]
        trainee.state = step(trainee.state)
        assert before.is_deleted()
        trainee.restore(snapshot)
        assert np.array_equal(trainee.state["params"]["w"], first)
    trainee.write(snapshot, tmp_path)
    assert np.array_equal(load_file(tmp_path / "model.safetensors")["params/w"], first)


def test_nothing_is_copied_if_nothing_is_donated() -> None:
    """With donates=False, a snapshot holds the arrays themselves."""
    trainee = JaxTrainee(new_state(), donates=False)
    snapshot = trainee.snapshot()
    assert snapshot.leaves["params/w"].value is trainee.state["params"]["w"]
    trainee.restore(snapshot)
    assert trainee.state["params"]["w"] is snapshot.leaves["params/w"].value


def test_a_donation_despite_the_promise_is_named(tmp_path: Path) -> None:
    """If a step donates despite donates=False, writing the snapshot is an error that tells what to do."""
    trainee = JaxTrainee(new_state(), donates=False)
    snapshot = trainee.snapshot()
    trainee.state = step(trainee.state)
    with pytest.raises(CheckpointError, match=r"key was deleted before it was written, .*Leave out donates=False"):
        trainee.write(snapshot, tmp_path)


def test_a_state_that_was_donated_and_not_put_back_is_named() -> None:
    """The error has the first leaf and the line to write; an earlier snapshot can be restored."""
    trainee = JaxTrainee(new_state())
    snapshot = trainee.snapshot()
    step(trainee.state)
    with pytest.raises(
        CheckpointError, match=r"\w+ has been deleted.*Assign what each step returns: trainee.state, loss = step\("
    ):
        trainee.snapshot()
    trainee.restore(snapshot)
    assert trainee.learning_rate == 0.5


# What comes back


def test_types_and_shapes_come_back(tmp_path: Path) -> None:
    """Every leaf is restored as it was: scalars, bfloat16, Python's numbers, NumPy arrays, random keys."""
    state = new_state(
        keys=jax.random.split(jax.random.key(1, impl="rbg"), 2),
        raw=jax.random.PRNGKey(4),
        step=jax.jit(lambda number: number + 1)(6),
        many=jnp.broadcast_to(jnp.asarray(0.5), (2,)),
        empty=jnp.zeros((0, 3)),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        scalar=np.float16(0.5),
        number=10**30,
        flag=True,
        rate=float("inf"),
        nothing=None,
        function=jnp.tanh,
    )
    trainee = JaxTrainee(state)
    snapshot = saved(trainee, tmp_path)
    other = JaxTrainee({**jax.tree.map(lambda leaf: leaf, state), **new_state(), "number": 5, "step": 0})
    other.restore(snapshot)
    for (path, own), back in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(other.state), strict=True):
        assert type(back) is type(own), path
        assert getattr(back, "weak_type", None) == getattr(own, "weak_type", None), path
        if hasattr(own, "dtype"):
            assert (back.dtype, back.shape) == (own.dtype, own.shape), path
            is_key = jnp.issubdtype(own.dtype, jax.dtypes.prng_key)
            values = [jax.random.key_data(leaf) if is_key else leaf for leaf in (own, back)]
            assert np.array_equal(*values), path
        else:
            assert back == own, path
    weights, rest = (load_file(tmp_path / f"{name}.safetensors") for name in ("model", "state"))
    assert weights["params/b"].dtype == jnp.bfloat16
    assert not weights.keys() & rest.keys()


def test_a_number_and_an_array_without_dimensions_take_each_others_place(tmp_path: Path) -> None:
    """The step of a TrainState is 0 before its first update and an array later; an integer never replaces a fraction."""
    trainee = JaxTrainee(new_state(step=jnp.int32(4)))
    snapshot = saved(trainee, tmp_path)
    for taking in (0, jnp.int32(0), np.int32(0)):
        other = JaxTrainee(new_state(step=taking))
        other.restore(snapshot)
        assert other.state["step"] == 4
    with pytest.raises(CheckpointError, match=r"step is int32\[\] in it and float\[\] in the state"):
        JaxTrainee(new_state(step=0.0)).restore(snapshot)


def test_what_the_first_update_widens_is_restored(tmp_path: Path) -> None:
    """With a rate in float32, Adam's moments change from bfloat16 to float32; weights must have the same type."""
    optimizer = optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float32)(learning_rate=0.1)
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    fresh = {"params": params, "opt_state": optimizer.init(params)}
    _, trained = optimizer.update({"w": jnp.full(3, 0.3, jnp.bfloat16)}, fresh["opt_state"], params)
    other = JaxTrainee(fresh)
    other.restore(saved(JaxTrainee({"params": params, "opt_state": trained}), tmp_path))
    for own, back in zip(jax.tree.leaves(trained), jax.tree.leaves(other.state["opt_state"]), strict=True):
        assert back.dtype == own.dtype
        assert np.array_equal(own, back)
    with pytest.raises(CheckpointError, match=r"opt_state/inner_state/0/mu/w is bfloat16\[3\] in it and float32\[3\]"):
        other.restore(JaxTrainee(fresh).snapshot())


def test_64_bits_are_not_cut_to_32(tmp_path: Path) -> None:
    """A checkpoint of a process with `jax_enable_x64` is refused in one without it."""
    with jax.enable_x64(new_val=True):
        state = {"params": {"w": jnp.array([1.0, 2.0])}}
        snapshot = saved(JaxTrainee(state), tmp_path)
    with pytest.raises(CheckpointError, match=r"params/w is float64\[2\] in it and float32\[2\] in the state"):
        JaxTrainee({"params": {"w": jnp.array([1.0, 2.0])}}).restore(snapshot)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"params": {"w": jnp.ones(3)}}, r"the state lacks params/b, bfloat16\[\]"),
        ({"params": {"w": jnp.ones(3), "b": jnp.ones(())}}, r"params/b is bfloat16\[\] in it and float32\[\] in the state"),
        ({"params": {"w": jnp.ones(4), "b": jnp.zeros((), "bfloat16")}}, r"params/w is float32\[3\] in it and float32\[4\] in"),
        ({"key": jax.random.key(3, impl="rbg")}, r"key is key<threefry2x32>\[\] in it and key<rbg>\[\] in the state"),
        ({"more": jnp.ones(2)}, "it lacks more"),
        ({"key": 3}, r"key is key<threefry2x32>\[\] in it and int\[\] in the state"),
    ],
)
def test_another_state_is_refused_by_the_path_of_its_leaf(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    """Reading and restoring a snapshot of another state is an error with the path, and changes nothing."""
    snapshot = saved(JaxTrainee(new_state()), tmp_path)
    other = JaxTrainee({**new_state(), **changed})
    before = jax.tree.leaves(other.state)
    with pytest.raises(CheckpointError, match=said):
        other.read(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        other.restore(snapshot)
    assert all(now is own for now, own in zip(jax.tree.leaves(other.state), before, strict=True))


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json"])
def test_a_damaged_file_is_named(tmp_path: Path, file: str) -> None:
    """A damaged file is a `CheckpointError` that names the directory."""
    saved(JaxTrainee(new_state()), tmp_path)
    (tmp_path / file).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        JaxTrainee(new_state()).read(tmp_path)


def test_weights_alone_leave_the_rest_as_it_is() -> None:
    """A snapshot of the weights restores neither the optimizer's state nor the random key."""
    trainee = JaxTrainee({**new_state(), "batch_stats": {"mean": jnp.ones(2)}})
    snapshot = trainee.snapshot(optimizer=False)
    assert sorted(snapshot.leaves) == ["batch_stats/mean", "params/b", "params/w"]
    trainee.state = {**step(trainee.state), "key": jax.random.key(9)}
    trainee.learning_rate = 0.25
    trainee.restore(snapshot)
    assert np.array_equal(trainee.state["params"]["w"], [1, 2, 3])
    assert trainee.state["key"] == jax.random.key(9)
    assert trainee.learning_rate == 0.25
    assert {name: array.dtype.name for name, array in trainee.weights().items()} == dict.fromkeys(snapshot.leaves, "float32")


def test_the_random_numbers_of_the_data_come_back(tmp_path: Path) -> None:
    """NumPy's global generator is restored with the state, and again after batches were skipped."""
    trainee = JaxTrainee(new_state())
    trainee.restore_random()  # nothing was restored
    snapshot = saved(trainee, tmp_path)
    drawn = np.random.random()  # noqa: NPY002 - what data draw from
    trainee.restore(snapshot)
    assert np.random.random() == drawn  # noqa: NPY002
    trainee.restore_random()
    assert np.random.random() == drawn  # noqa: NPY002


# The learning rate


def test_setting_the_rate_compiles_nothing_again() -> None:
    """A rate that is set has the type and the devices of the one before, so the step is not compiled again."""
    trainee = JaxTrainee(new_state())
    trainee.state = step(trainee.state)
    compiled = step._cache_size()
    trainee.learning_rate = 0.125
    trainee.state = step(trainee.state)
    assert trainee.learning_rate == 0.125
    assert step._cache_size() == compiled
    assert np.array_equal(trainee.state["params"]["w"], np.array([1, 2, 3]) - 0.5 - 0.125)


def by_groups(*rates: float) -> Any:
    chosen = {str(number): optax.inject_hyperparams(optax.adam)(learning_rate=rate) for number, rate in enumerate(rates)}
    optimizer = optax.chain(optax.clip(1.0), optax.partition(chosen, {str(number): str(number) for number in range(len(rates))}))
    params = {str(number): jnp.ones(2) for number in range(len(rates))}
    return {"params": params, "opt_state": optimizer.init(params)}


def rates_of(trainee: JaxTrainee) -> list[float]:
    return [float(own.inner_state.hyperparams["learning_rate"]) for own in trainee.state["opt_state"][1].inner_states.values()]


def test_groups_keep_their_ratios_at_a_rate_of_zero_and_in_a_checkpoint(tmp_path: Path) -> None:
    """The reference is the first rate above 0, and a frozen group stays frozen."""
    trainee = JaxTrainee(by_groups(0.0, 0.5, 0.125))
    assert trainee.learning_rate == 0.5
    trainee.learning_rate = 0.0
    assert rates_of(trainee) == [0, 0, 0]
    other = JaxTrainee(by_groups(1.0, 1.0, 1.0))
    other.restore(saved(trainee, tmp_path))
    other.learning_rate = 1.0
    assert rates_of(other) == [0, 1, 0.25]


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (optax.adam(0.1), "the state has no learning rate that can be set. Make the optimizer with optax.inject_hyperparams"),
        (optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(1, 0, 9)), "comes from a schedule"),
    ],
)
def test_a_rate_that_cannot_be_set_is_refused_before_training(optimizer: Any, said: str) -> None:
    """The error names the plugin and the reason; setting the rate is an error too."""
    params = {"w": jnp.ones(3)}
    trainee = JaxTrainee({"params": params, "opt_state": optimizer.init(params)})
    with pytest.raises(CapabilityError, match=f"'reduce_lr_on_plateau'.*{said}"), Loop([ReduceLROnPlateau()], trainee=trainee):
        pass
    with pytest.raises(AttributeError, match=said):
        trainee.learning_rate = 0.1


# Mistakes


def test_a_loop_that_does_not_take_what_was_restored_is_told(tmp_path: Path) -> None:
    """It would train the first state again, and save it as the continuation of the run: setting it is an error."""
    for epochs in (1, 2):
        state = new_state()
        trainee = JaxTrainee(state)
        with Loop([Checkpoint(tmp_path)], epochs=epochs, trainee=trainee, resume="auto") as loop:
            for _ in loop.epochs():
                state = step(state)
                if epochs == 1:
                    trainee.state = state
                else:
                    with pytest.raises(HookcoreError, match="set another one without taking it, so it trains something else"):
                        trainee.state = state
            loop.run.stop("seen")


undonated = jax.jit(step.__wrapped__)


def of_a_variable(_: JaxTrainee) -> Callable[[], None]:
    state = new_state()

    def body() -> None:
        nonlocal state
        state = step(state)

    return body


def of_the_trainee(trainee: JaxTrainee) -> Callable[[], None]:
    return lambda: undonated(trainee.state)


def of_the_trainee_and_put_back(trainee: JaxTrainee) -> Callable[[], None]:
    def body() -> None:
        trainee.state = undonated(trainee.state)

    return body


def train(body: Callable[[JaxTrainee], Callable[[], None]], *plugins: object, epochs: int = 1, resume: Any = False) -> None:
    trainee = JaxTrainee(new_state())
    once = body(trainee)
    with Loop(plugins, epochs=epochs, trainee=trainee, resume=resume) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                once()
                loop.log(loss=0.5)


@pytest.mark.parametrize("body", [of_a_variable, of_the_trainee])
@pytest.mark.parametrize(
    "plugins",
    [
        lambda directory: [Checkpoint(directory)],
        lambda directory: [Checkpoint(directory, every_n_steps=1)],
        lambda directory: [LearningRateSchedule(lambda _, rate: rate / 2), Checkpoint(directory)],
        lambda directory: [EarlyStopping("loss", restore_best_weights=True), Checkpoint(directory)],
    ],
    ids=["every epoch", "every step", "with another rate", "best weights"],
)
def test_an_untrained_state_is_never_saved(
    body: Callable[[JaxTrainee], Callable[[], None]], plugins: Callable[[Path], list[object]], tmp_path: Path
) -> None:
    """If a loop trains batches and puts no state back, it gets an error with the line to add, and nothing is saved."""
    with pytest.raises(CheckpointError, match=r"untrained weights would be saved.*: trainee\.state, loss = step\(trainee\.state"):
        train(body, *plugins(tmp_path), epochs=2)
    assert store.available(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_state_that_is_never_trained_is_never_saved(cut: int, tmp_path: Path) -> None:
    """If a resumed run puts no state back, it gets the error too, whether it resumed after a batch or after an epoch."""
    train(of_the_trainee_and_put_back, Checkpoint(tmp_path, every_n_steps=1, keep_last=None), epochs=1)
    resume = store.available(tmp_path)[cut - 1].path
    with pytest.raises(CheckpointError, match="untrained weights would be saved"):
        train(of_the_trainee, Checkpoint(tmp_path), epochs=2, resume=resume)
    assert store.newest(tmp_path).step == cut


def test_an_epoch_that_was_cut_after_its_last_batch_is_ended_by_a_resumed_run(tmp_path: Path) -> None:
    """Such a run trains no batch, so it saves the weights of its checkpoint without an error."""
    plugins = [Checkpoint(tmp_path, every_n_epochs=None, every_n_steps=1)]
    stopping = SimpleNamespace(name="stopping", on_batch_end=hookimpl(lambda batch: cut() if batch == 1 else None))

    def cut() -> None:
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        train(of_the_trainee_and_put_back, *plugins, stopping)
    train(of_the_trainee_and_put_back, Checkpoint(tmp_path), resume=tmp_path)
    assert [saved.step for saved in store.available(tmp_path)] == [1, 2]


def test_an_untrained_state_is_saved_before_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin may hold the first weights; if the loop puts back an unchanged state, that is a warning."""

    def of_itself(trainee: JaxTrainee) -> Callable[[], None]:
        def body() -> None:
            trainee.state = {**trainee.state}

        return body

    held: list[Any] = []
    taking = SimpleNamespace(name="taking", on_train_begin=hookimpl(lambda run: held.append(run.trainee.snapshot())))
    with caplog.at_level(logging.WARNING, "hookcore"):
        train(of_itself, taking, Checkpoint(tmp_path))
    assert caplog.text.count("is saved as it was before training. If it should be trained by now: Assign what each step") == 1
    assert len(held) == len(store.available(tmp_path)) == 1


def test_a_loop_that_never_puts_back_its_state_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    """Without batches, an unchanged state is a warning, once; a state that was changed in place is not."""
    trainee = JaxTrainee(new_state())
    trainee.state["params"] = jax.tree.map(jnp.negative, trainee.state["params"])
    trainee.snapshot()
    assert caplog.records == []
    trainee = JaxTrainee(new_state())
    with caplog.at_level(logging.WARNING):
        trainee.snapshot()
        trainee.snapshot()
    assert [record.message.partition(".")[0] for record in caplog.records] == [
        "JaxTrainee: the state is saved as it was before training"
    ]


def test_a_state_without_its_weights_is_named() -> None:
    """If the step's whole result is put back, the loss included, the error tells how to unpack it."""
    trainee = JaxTrainee(new_state())
    trainee.state = step(trainee.state), 0.5
    with pytest.raises(
        CheckpointError,
        match=r"the state must have 'params', and the one that was put back has '0', '1'\. If the step returns more",
    ):
        trainee.snapshot(optimizer=False)


def test_a_resumed_loop_that_never_puts_back_its_state_is_warned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a restore, an unchanged state is a warning again."""
    trainee = JaxTrainee(new_state())
    snapshot = saved(trainee, tmp_path)
    caplog.clear()
    trainee.restore(snapshot)
    trainee.snapshot()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("state", "weights_in"),
    [
        ({"w": jnp.ones(3)}, None),
        ({"params": jnp.ones(3)}, ["param"]),
        ({"params": jnp.ones(3)}, []),
        ({"params": jnp.ones(3)}, "params"),
        ((jnp.ones(3),), 0),
        ({"params": object()}, None),
        ({"params": jax.random.key(0)}, None),
        (jnp.ones(3), None),
    ],
)
def test_weights_that_are_not_there_are_refused(state: Any, weights_in: Any) -> None:
    """If the state has no weights in `weights_in`, the error lists what it has."""
    with pytest.raises(ParameterError, match=r"JaxTrainee: weights_in must be a list of the keys.*it has ('\w*'|no arrays)"):
        JaxTrainee(state, weights_in=weights_in)


def test_the_place_of_the_weights_may_be_an_index() -> None:
    """The weights of a tuple are found by an index."""
    trainee = JaxTrainee((jnp.ones(3), jnp.zeros(3)), weights_in=[1])
    assert list(trainee.snapshot(optimizer=False).leaves) == ["1"]


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (jnp.ones(2, jnp.float8_e4m3fn), "odd/0 is an array of float8_e4m3fn, which safetensors cannot restore"),
        (np.array([None]), "odd/0 is an array of object, which"),
        ({1, 2}, "odd/0 is of type set, and only arrays and numbers can be saved"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_training(tmp_path: Path, leaf: Any, said: str) -> None:
    """The error has the path of the leaf and the reason."""
    with pytest.raises(CapabilityError, match=said), Loop([Checkpoint(tmp_path)], trainee=JaxTrainee(new_state(odd=[leaf]))):
        pass


def test_two_leaves_of_one_path_are_refused() -> None:
    """A key with a slash in it can have the path of another leaf: the error names it."""
    with pytest.raises(CheckpointError, match="two leaves of the state have the same path, 'params/a/b'"):
        JaxTrainee({"params": {"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)}})


@pytest.mark.parametrize("kind", [">f4", ">i4", ">f2", ">u2"])
def test_arrays_of_the_other_byte_order_keep_their_values(tmp_path: Path, kind: str) -> None:
    """Safetensors files are little-endian."""
    trainee = JaxTrainee({"params": {"a": jnp.ones(1)}, "mean": np.array([1, 2, 3], kind)})
    trainee.write(trainee.snapshot(), tmp_path)
    other = JaxTrainee({"params": {"a": jnp.ones(1)}, "mean": np.array([0, 0, 0], kind)})
    other.restore(other.read(tmp_path))
    assert other.state["mean"].tolist() == [1, 2, 3]


def test_a_name_that_no_file_can_hold_is_refused() -> None:
    """A save would seem to work, and no run could be resumed from it."""
    assert "'__metadata__'" in str(JaxTrainee({"params": {"a": jnp.ones(1)}, "__metadata__": jnp.ones(1)}).lacks("checkpoint"))


# Nothing waits


@jax.jit  # type: ignore[untyped-decorator]  # it is Any to a checker without JAX
def slow(x: Any) -> Any:
    return jax.lax.fori_loop(0, 200, lambda _, m: jnp.tanh(m @ m), jnp.full((200, 200), x)).mean()


def test_no_batch_waits_for_the_device() -> None:
    """A loss is logged while it is still being computed, and its mean is computed later.

    On a GPU, which is too fast for that to show, JAX itself would raise an error for a value that is read.
    """
    slow(jnp.float32(0.5)).block_until_ready()
    losses = []
    with Loop(epochs=1, trainee=JaxTrainee(new_state())) as loop:
        for _ in loop.epochs():
            with jax.transfer_guard_device_to_host("disallow"):
                for number in loop.batches(range(3)):
                    losses.append(slow(jnp.float32(number)))
                    loop.log(loss=losses[-1])
            assert jax.default_backend() != "cpu" or not losses[-1].is_ready()
    assert loop.run.history["loss"] == [float((losses[0] + losses[1] + losses[2]) / 3)]
