"""attrs validators for a plugin's parameters: each error names the class, the parameter, the value and what was expected."""

from __future__ import annotations

import math
import numbers
import os
from typing import TYPE_CHECKING, Any

from hookcore.errors import ParameterError
from hookcore.secrecy import shown
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from attrs import Attribute

    Validator = Callable[[Any, Attribute[Any], Any], None]


def _check(expected: str, holds: Callable[[Any], bool]) -> Validator:
    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not holds(value):
            reject(instance, attribute.alias or attribute.name, value, expected)

    return validate


def reject(instance: object, parameter: str, value: object, expected: str) -> None:
    """Raise a `ParameterError`: `parameter` of the class of `instance` must be `expected`, and is `value`."""
    raise ParameterError(f"{type(instance).__name__}: {parameter} must be {expected}, got {shown(parameter, value, instance)}.")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def integer(*, at_least: int, optional: bool = False) -> Validator:
    """Accept an integer, not a bool, of at least `at_least`, and None if `optional`."""
    return _check(
        f"an integer of at least {at_least}" + (" or None" if optional else ""),
        lambda value: (optional and value is None) or (_is_integer(value) and value >= at_least),
    )


def number(
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    optional: bool = False,
) -> Validator:
    """Accept a finite number, not a bool, within the bounds that are given, and None if `optional`."""
    bounds = [f"of at least {at_least:g}"] if at_least is not None else []
    bounds += [f"above {above:g}"] if above is not None else []
    bounds += [f"below {below:g}"] if below is not None else []
    expected = "a finite number" + (" " + " and ".join(bounds) if bounds else "")

    def holds(value: Any) -> bool:
        if optional and value is None:
            return True
        return (
            _is_number(value)
            and math.isfinite(value)
            and (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return _check(expected + (" or None" if optional else ""), holds)


def boolean() -> Validator:
    """Accept True and False, but not the numbers 1 and 0 or other values with a truth value."""
    return _check("True or False", lambda value: isinstance(value, bool))


def text(*, optional: bool = False) -> Validator:
    """Accept a string that is not empty or blank, and None if `optional`."""
    return _check(
        "a non-empty string" + (" or None" if optional else ""),
        lambda value: (optional and value is None) or (isinstance(value, str) and bool(value.strip())),
    )


def function() -> Validator:
    """Accept anything that can be called."""
    return _check("a function", callable)


def one_of(*options: str) -> Validator:
    """Accept one of the strings `options`; the error names the nearest."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value not in options:
            listed = ", ".join(repr(option) for option in options)
            hint = did_you_mean(value, options) if isinstance(value, str) else ""  # one of the options
            given = shown(attribute.alias or attribute.name, value, instance)
            raise ParameterError(f"{type(instance).__name__}: {attribute.alias} must be one of {listed}, got {given}.{hint}")

    return validate


def as_path(value: str | os.PathLike[str]) -> Path:
    """Convert a string or path to a `Path`: an attrs converter. What is no path, and an empty string, stays what it is.

    The validators `file` and `directory` refuse that, with the parameter's name.
    """
    from pathlib import Path  # as slow to import as half of hookcore

    given: Any = os.fspath(value) if isinstance(value, os.PathLike) else value
    return Path(given) if isinstance(given, str) and given else given


def file() -> Validator:
    """Accept a path at which a file exists or can be made: not a directory or device, and not beneath a file."""
    return _check_path("file", os.path.isfile)


def directory() -> Validator:
    """Accept a path at which a directory exists or can be made: not a file, and not beneath one."""
    return _check_path("directory", os.path.isdir)


def _check_path(kind: str, is_kind: Callable[[str], bool]) -> Validator:
    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        parameter = attribute.alias or attribute.name
        if not isinstance(value, os.PathLike):
            reject(instance, parameter, value, f"the path of a {kind}")
        # Not `Path.exists`, which raises for a directory that may not be searched.
        if os.path.exists(value) and not is_kind(os.fspath(value)):
            found = "a directory" if os.path.isdir(value) else "a file" if os.path.isfile(value) else "a device or pipe"
            reject(instance, parameter, str(value), f"the path of a {kind}, not of {found}")
        parent = next(parent for parent in value.absolute().parents if os.path.exists(parent))
        if not os.path.isdir(parent):
            reject(instance, parameter, str(value), f"a path in a directory, and {parent} is a file")

    return validate
