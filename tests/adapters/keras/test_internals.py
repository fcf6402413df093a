"""The private parts of Keras that the adapter uses exist in the installed Keras, and only one module uses them."""

from __future__ import annotations

import ast
import dis
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import pytest

from hookcore import HookcoreError
from hookcore_adapters.keras import internal_data, internals
from hookcore_adapters.keras.private_part import PrivatePart

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = {
    name: part for module in (internals, internal_data) for name, part in vars(module).items() if isinstance(part, PrivatePart)
}
BY_NAME = {"getattr", "hasattr", "setattr", "delattr"}


@pytest.mark.parametrize("part", PARTS.values(), ids=[part.path for part in PARTS.values()])
def test_the_installed_keras_has(part: PrivatePart) -> None:
    """The installed Keras, or TensorFlow, has this private part, in a module or as an attribute of instances."""
    own = re.match(r"keras\.src\.backend\.(jax|tensorflow|torch)\.", part.path)  # a backend's own trainer needs the backend
    library = part.path.partition(".")[0] if own is None else own[1]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    owner: Any = pkgutil.resolve_name(part.owner)
    is_there = hasattr(owner, part.name)
    if inspect.isclass(owner):
        is_there = is_there or part.name in set(attributes_set_by(owner))
    elif not is_there:
        is_there = importlib.util.find_spec(part.path) is not None
    assert is_there, f"{part.path} is missing, by which hookcore finds {part.purpose}"


def attributes_set_by(kind: type) -> Iterator[str]:
    """Return the attributes that the code of a class, or of its base classes, sets on instances."""
    for one in inspect.getmro(kind):
        for value in vars(one).values():
            function = inspect.unwrap(value) if callable(value) else getattr(value, "fget", None)
            if inspect.isfunction(function):
                yield from (step.argval for step in dis.get_instructions(function) if step.opname == "STORE_ATTR")


def test_each_private_part_is_used() -> None:
    """Each declared private part is used by a function of the package."""
    used = {
        name
        for path in Path(internals.__file__).parent.rglob("*.py")
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(function)
        if (name := getattr(node, "id", getattr(node, "attr", None)))
    }
    assert PARTS
    assert PARTS.keys() <= used


def test_no_other_module_asks_for_a_private_attribute_by_name() -> None:
    """No other module reads private attributes by `getattr(model, "_name")`, which ruff does not find."""
    package = Path(internals.__file__).parent
    found = [
        f"{path.name}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME
        for argument in node.args[1:2]
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("_") and not str(argument.value).endswith("__")
    ]
    assert found == []


def test_the_generator_without_a_seed_is_found() -> None:
    """After a draw without a seed, the state of Keras's global generator can be read and set."""
    keras.random.uniform(())
    state = internals.global_seed()
    assert state is not None
    before = keras.ops.convert_to_numpy(state)
    drawn = float(keras.random.uniform(()))
    internals.set_global_seed(before)
    assert float(keras.random.uniform(())) == drawn


def test_a_part_that_is_gone_is_named() -> None:
    """Using a private part that is missing is an error that names it, its purpose, and Keras's version."""
    told = rf"by which hookcore finds what for, is missing in Keras {keras.__version__}"
    with pytest.raises(HookcoreError, match=rf"keras\.src\.saving\.gone, {told}"):
        _ = PrivatePart("keras.src.saving.gone", "what for").value
    gone = PrivatePart("keras.Layer._gone", "what for")
    with pytest.raises(HookcoreError, match=rf"keras\.Layer\._gone, {told}"):
        gone.of(keras.layers.Dense(1))
    assert gone.of(keras.layers.Dense(1), None) is None
