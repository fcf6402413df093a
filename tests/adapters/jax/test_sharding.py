"""Arrays on several devices: a separate process has two, both on the same CPU."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.plugins.tensorboard.event_files import with_tests

CODE = """
import tempfile
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from hookcore_adapters.jax import JaxTrainee

assert len(jax.devices()) == 2
halves = NamedSharding(Mesh(np.array(jax.devices()), ("device",)), PartitionSpec("device"))

def state(number):
    return {
        "params": {"halves": jax.device_put(jnp.full(4, number), halves), "free": jnp.full(3, number)},
        "second": jax.device_put(jnp.full((), number), jax.devices()[1]),
        "step": jax.device_put(jax.jit(lambda: 3)(), jax.devices()[1]),
        "key": jax.device_put(jax.random.key(int(number)), jax.devices()[1]),
        "keys": jax.device_put(jax.random.split(jax.random.key(int(number)), 2), halves),
    }

trainee = JaxTrainee(state(1.0))
directory = Path(tempfile.mkdtemp())
trainee.write(trainee.snapshot(), directory)
other = JaxTrainee(state(2.0))
other.restore(other.read(directory))
for own, back in zip(jax.tree.leaves(trainee.state), jax.tree.leaves(other.state), strict=True):
    assert (back.sharding, back.committed) == (own.sharding, own.committed)
    assert getattr(back, "weak_type", None) == getattr(own, "weak_type", None)
    assert bool((back == own).all())
"""


def test_an_array_is_restored_to_the_devices_of_the_one_it_replaces() -> None:
    """A restored array has the sharding of the one it replaces, and is committed if that was; random keys too."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**with_tests(), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
