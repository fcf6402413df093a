"""A parameter out of range is refused when it is given, with the class, the parameter, the value and what was expected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from hookcore import ParameterError, validators

ACCEPTED: list[tuple[Any, list[Any]]] = [
    (validators.integer(at_least=1), [1, 2, 10**30]),
    (validators.integer(at_least=0, optional=True), [0, None]),
    (validators.number(), [0, -1.5, 10**30]),
    (validators.number(above=0, below=1), [0.5, 1e-300]),
    (validators.number(at_least=0, optional=True), [0, 0.0, None]),
    (validators.boolean(), [True, False]),
    (validators.text(), ["loss"]),
    (validators.text(optional=True), ["loss", None]),
    (validators.function(), [len, lambda: None, dict]),
    (validators.one_of("min", "max"), ["min", "max"]),
]
REFUSED: list[tuple[Any, str, list[Any]]] = [
    (
        validators.integer(at_least=1),
        "an integer of at least 1",
        [0, -1, np.int64(0), 1.0, np.float32(1), True, np.True_, "1", None, math.nan],
    ),
    (validators.integer(at_least=0, optional=True), "an integer of at least 0 or None", [-1, False, 0.0]),
    (
        validators.number(),
        "a finite number",
        [math.nan, math.inf, -math.inf, 10**400, True, np.True_, "1", None, 1j, np.complex64(1)],
    ),
    (validators.number(above=0, below=1), "a finite number above 0 and below 1", [0, 1, 1.5, -0.1, math.nan]),
    (validators.number(at_least=0, optional=True), "a finite number of at least 0 or None", [-0.1, math.inf]),
    (validators.boolean(), "True or False", [0, 1, "true", None]),
    (validators.text(), "a non-empty string", ["", "  ", None, 3, b"loss", Path("loss")]),
    (validators.text(optional=True), "a non-empty string or None", ["", 3]),
    (validators.function(), "a function", [None, "len"]),
    (validators.one_of("min", "max"), "one of 'min', 'max'", ["MIN", "", None, 3, []]),
]


def made_with(validator: Any, value: object) -> Any:
    """Return an instance of a class whose one parameter is private, and so given without its underscore."""

    @attrs.define
    class Plugin:
        _parameter: Any = attrs.field(validator=validator)

    return Plugin(value)


@pytest.mark.parametrize(("validator", "value"), [(validator, value) for validator, values in ACCEPTED for value in values])
def test_what_fits_is_accepted(validator: Any, value: object) -> None:
    """A value within its range is stored unchanged."""
    assert made_with(validator, value)._parameter is value


@pytest.mark.parametrize(
    ("validator", "value", "stored"),
    [
        (validators.integer(at_least=1), np.int64(2), 2),
        (validators.integer(at_least=1, optional=True), np.array(2), 2),
        (validators.number(above=0), np.float32(0.5), 0.5),
        (validators.number(optional=True), np.array(0.5), 0.5),
        (validators.number(finite=False), np.float64("inf"), math.inf),
        (attrs.validators.optional(validators.number()), np.int8(2), 2),
    ],
)
@pytest.mark.parametrize("define", [attrs.define, attrs.frozen, attrs.define(slots=False)])
def test_a_number_of_another_library_is_stored_as_pythons(validator: Any, value: object, stored: float, define: Any) -> None:
    """Without a converter, an instance stores Python's own number for one of another library, in any kind of class."""

    class Plugin:
        _parameter: Any = attrs.field(validator=validator)

    held = define(Plugin)(value)._parameter
    assert (type(held), held) == (type(stored), stored)


def test_an_assignment_converts_validates_and_stores_pythons_numbers() -> None:
    """An assignment converts and validates as in attrs, and stores the number that the validator returns."""

    @attrs.define(on_setattr=validators.convert_and_validate)
    class Plugin:
        path: Path = attrs.field(converter=validators.as_path, validator=validators.file())
        number: Any = attrs.field(default=1, validator=validators.integer(at_least=1, besides=("all",)))
        plain: Any = None

    plugin = Plugin("x")
    plugin.path, plugin.number, plugin.plain = "~/y", np.int64(2), np.int64(3)  # type: ignore[assignment]  # mypy knows no converter
    assert plugin.path == Path.home() / "y"
    assert (type(plugin.number), plugin.number) == (int, 2)
    assert type(plugin.plain) is np.int64
    plugin.number = "all"
    with pytest.raises(ParameterError, match=r"Plugin: number must be an integer of at least 1, got 'some'\."):
        plugin.number = "some"
    assert plugin.number == "all"


def test_an_element_is_not_stored_for_the_whole() -> None:
    """A validator of elements does not change the collection."""
    given = [np.int64(2), np.int64(3)]
    made = made_with(attrs.validators.deep_iterable(validators.integer(at_least=1)), given)
    assert made._parameter is given


@pytest.mark.parametrize(
    ("validator", "expected", "value"),
    [(validator, expected, value) for validator, expected, values in REFUSED for value in values],
)
def test_what_does_not_fit_is_refused(validator: Any, expected: str, value: object) -> None:
    """A value that does not fit is refused at construction, in one sentence with everything that one needs to know."""
    with pytest.raises(ParameterError) as caught:
        made_with(validator, value)
    assert str(caught.value) == f"Plugin: parameter must be {expected}, got {value!r}."


def test_the_nearest_option_is_named() -> None:
    """The error for a misspelt option suggests the nearest one."""
    with pytest.raises(ParameterError, match=r"one of 'auto', 'min', 'max', got 'mni'\. Did you mean 'min'\?"):
        made_with(validators.one_of("auto", "min", "max"), "mni")
