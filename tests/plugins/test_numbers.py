"""Parameters that are numbers may come from a grid of NumPy's."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

import hookcore_plugins as plugins
from hookcore import ParameterError

PATHS: dict[str, dict[str, Any]] = {
    "Activations": {"directory": "x"},
    "CSVLog": {"path": "x"},
    "Checkpoint": {"directory": "x"},
    "JSONLog": {"path": "x"},
    "Report": {"directory": "x"},
    "TensorBoard": {"log_dir": "x"},
}
"""What a plugin cannot be made without."""


def numbers(kind: type) -> dict[str, type]:
    """Return the parameters of a plugin that take numbers, with their types in Python."""
    types = {field.alias: str(field.type) for field in attrs.fields(kind) if field.init}
    return {
        name: float if "float" in declared else int
        for name, declared in types.items()
        if "Callable" not in declared and any(number in declared.replace("Literal", "") for number in ("int", "float"))
    }


KINDS = [kind for name in plugins.__all__ if attrs.has(kind := getattr(plugins, name)) and kind is not plugins.RunReport]
PARAMETERS = [(kind, name, number) for kind in KINDS for name, number in numbers(kind).items()]


@pytest.mark.parametrize(("kind", "name", "number"), PARAMETERS, ids=[f"{kind.__name__}-{name}" for kind, name, _ in PARAMETERS])
def test_a_number_of_numpy_is_stored_as_pythons(kind: Any, name: str, number: type) -> None:
    """Each parameter that is a number takes one of NumPy, and holds Python's; also if it is assigned later."""
    if kind is plugins.TensorBoard:
        pytest.importorskip("tensorboard")
    value = np.float32(0.5) if number is float else np.int64(2)
    plugin = kind(**{**PATHS.get(kind.__name__, {}), name: value})
    assert (type(getattr(plugin, name)), getattr(plugin, name)) == (number, value)
    other = np.float32(0.25) if number is float else np.array(3)
    setattr(plugin, name, other)
    assert (type(getattr(plugin, name)), getattr(plugin, name)) == (number, other)
    with pytest.raises(ParameterError, match=f"{kind.__name__}: {name} must be"):
        setattr(plugin, name, "three")
    assert getattr(plugin, name) == other


def test_there_are_such_parameters() -> None:
    """The parameters are found by the types that they declare."""
    found = {f"{kind.__name__}.{name}" for kind, name, _ in PARAMETERS}
    assert {"EarlyStopping.patience", "Checkpoint.keep_last", "ReduceLROnPlateau.factor", "TensorBoard.update_freq"} <= found
