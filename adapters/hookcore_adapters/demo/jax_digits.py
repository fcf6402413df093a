"""The digits demo with JAX and optax, in `Loop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


def parameters(key: Any) -> dict[str, Any]:
    """Return the parameters of the network in Keras's demo, with Keras's initialization."""
    import jax

    draw, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key, 3)
    shapes = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense": (64, 10)}
    return {
        name: {"kernel": draw(own, shape), "bias": jax.numpy.zeros(shape[-1])}
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def scores(params: Any, images: Any, dropout: Any = None) -> Any:
    """Return the network's output for images of one channel. `dropout` is a random key in training, and None otherwise."""
    import jax

    def convolved(x: Any, layer: Any) -> Any:
        kernel = layer["kernel"]
        return jax.nn.relu(
            jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + layer["bias"]
        )

    x = convolved(images, params["conv1"])
    x = x.reshape(-1, 4, 2, 4, 2, 32).max((2, 4))  # pooled by 2 x 2
    x = convolved(x, params["conv2"]).max((1, 2))
    if dropout is not None:
        x = x * jax.random.bernoulli(dropout, 0.7, x.shape) / 0.7
    return x @ params["dense"]["kernel"] + params["dense"]["bias"]


def metrics(params: Any, images: Any, labels: Any, dropout: Any = None) -> tuple[Any, dict[str, Any]]:
    """Return the loss, and a dict with the loss and the accuracy."""
    import optax

    found = scores(params, images, dropout)
    loss = optax.softmax_cross_entropy_with_integer_labels(found, labels).mean()
    return loss, {"loss": loss, "accuracy": (found.argmax(-1) == labels).mean()}


@attrs.frozen
class JaxTask:
    """A state, the functions that train and evaluate it, and data."""

    state: Any
    step: Callable[[Any, Any, Any], Any]
    """A function that returns the next state and the metrics of a batch."""
    evaluate: Callable[[Any, Any, Any], Any]
    """A function that returns the metrics for parameters and data."""
    data: digits.Digits
    validation_data: digits.Digits
    epochs: int
    plugins: Sequence[object]
    validation: str = "val_"
    file: str = "model.safetensors"
    loader: str = "safetensors.flax.load_file"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train in `Loop`."""
        import numpy as np

        from hookcore_adapters.jax import JaxTrainee
        from hookcore_adapters.loop import Loop

        trainee, batches = JaxTrainee(self.state), len(self.data.labels) // digits.BATCH_SIZE
        with Loop(engine, epochs=epochs, steps_per_epoch=batches, trainee=trainee) as loop:
            for epoch in loop.epochs():
                order = np.random.default_rng([1, epoch]).permutation(len(self.data.labels))
                # Only full batches, because JAX compiles the step again for each shape.
                for rows in loop.batches(order[: batches * digits.BATCH_SIZE].reshape(batches, -1)):
                    trainee.state, found = self.step(trainee.state, self.data.images[rows, :, :, None], self.data.labels[rows])
                    loop.log(found)
                with loop.evaluation():
                    loop.log(self._evaluate(trainee.state["params"]))

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        from safetensors.flax import load_file

        params: dict[str, dict[str, Any]] = {}
        for path, array in load_file(checkpoint / self.file).items():
            _, layer, name = path.split("/")
            params.setdefault(layer, {})[name] = array
        return self._evaluate(params)

    def _evaluate(self, params: Any) -> Mapping[str, float]:
        found = self.evaluate(params, self.validation_data.images[..., None], self.validation_data.labels)
        return {name: float(value) for name, value in found.items()}


def prepare() -> JaxTask:
    """Return the task."""
    click.echo(f"Loading JAX and {digits.DESCRIBED} ...")
    with loading("'hookcore[jax]' optax scikit-learn"):
        import jax
        import optax

        import hookcore_adapters.jax  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=digits.LEARNING_RATE)
    params = parameters(jax.random.key(1))

    def step(state: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        key, drawn = jax.random.split(state["key"])
        gradients, found = jax.grad(metrics, has_aux=True)(state["params"], images, labels, drawn)
        changes, opt_state = optimizer.update(gradients, state["opt_state"])
        return {"params": optax.apply_updates(state["params"], changes), "opt_state": opt_state, "key": key}, found

    return JaxTask(
        {"params": params, "opt_state": optimizer.init(params), "key": jax.random.key(2)},
        jax.jit(step, donate_argnums=0),
        jax.jit(lambda *given: metrics(*given)[1]),
        train,
        held_out,
        digits.EPOCHS,
        digits.plugins(),
    )
