"""attrs validators for a plugin's parameters: each error names the class, the parameter, the value and what was expected."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from hookcore.errors import ParameterError
from hookcore.numeric import integer_of, is_finite, number_of
from hookcore.paths import local_path, problem_of
from hookcore.secrecy import shown
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from attrs import Attribute

    Validator = Callable[[Any, Attribute[Any], Any], None]

_FIELD: Final = re.compile(r"\{[A-Za-z_][^{}]*\}")
"""A field that Keras fills in when it is given such a path: `{epoch:02d}`."""


def _check(expected: str, holds: Callable[[Any], bool]) -> Validator:
    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not holds(value):
            reject(instance, attribute.alias or attribute.name, value, expected)

    return validate


@attrs.frozen
class _Storing:
    """A validator that stores what `check` returns: Python's own number for a number of another library.

    So a field with this validator needs no converter.
    """

    check: Callable[[object, str, Any], Any]

    def __call__(self, instance: Any, attribute: Attribute[Any], value: Any) -> None:
        plain = self.check(instance, attribute.alias or attribute.name, value)
        # Otherwise the value is an element of the stored one, within `deep_iterable`, or is not stored yet, on assignment.
        if plain is not value and getattr(instance, attribute.name, None) is value:
            object.__setattr__(instance, attribute.name, plain)  # works for a frozen class too, as in attrs


def convert_and_validate(instance: Any, attribute: Attribute[Any], value: Any) -> Any:
    """Return the value to store on assignment to an attribute, after its converter and validator.

    For `@attrs.define(on_setattr=validators.convert_and_validate)`. With attrs' own hook a validator can refuse a value but not
    change it, so a number of another library would be stored unchanged.
    """
    if attribute.converter is not None:
        value = attrs.setters.convert(instance, attribute, value)
    if isinstance(attribute.validator, _Storing):
        return attribute.validator.check(instance, attribute.alias or attribute.name, value)
    return value if attribute.validator is None else attrs.setters.validate(instance, attribute, value)


def reject(instance: object, parameter: str, value: object, expected: str, advice: str = "") -> NoReturn:
    """Raise a `ParameterError`: `parameter` of the class of `instance` must be `expected`, got `value`; `advice` follows."""
    raise ParameterError(
        f"{type(instance).__name__}: {parameter} must be {expected}, got {shown(parameter, value, instance)}.{advice}"
    )


def checked_integer(
    owner: object, parameter: str, value: Any, *, at_least: int, optional: bool = False, expected: str | None = None
) -> Any:
    """Return the argument `parameter` of a method of `owner` as Python's int; None if it is None and `optional`.

    The type decides whether a number is an integer: NumPy's are, and so are those in an array or a tensor without dimensions, but
    not a bool. Raises `ParameterError` for anything else, and for less than `at_least`. `expected` replaces the expectation in
    its message, for a parameter that also accepts other values.
    """
    number = integer_of(value)
    if (number is None and not (optional and value is None)) or (number is not None and number < at_least):
        reject(owner, parameter, value, expected or f"an integer of at least {at_least}" + (" or None" if optional else ""))
    return number


def integer(*, at_least: int, optional: bool = False, expected: str | None = None, besides: Collection[str] = ()) -> Validator:
    """Accept what `checked_integer` accepts, stored as Python's int, and the strings `besides`, which is empty by default."""

    def check(owner: object, parameter: str, value: Any) -> Any:
        if isinstance(value, str) and value in besides:
            return value
        return checked_integer(owner, parameter, value, at_least=at_least, optional=optional, expected=expected)

    return _Storing(check)


def number(
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    finite: bool = True,
    optional: bool = False,
) -> Validator:
    """Accept a number within the given bounds, stored as Python's int or float, and None if `optional`.

    Numbers of NumPy are accepted too, and those in an array or a tensor without dimensions, but not a bool. NaN and the
    infinities are refused unless `finite` is False.
    """
    bounds = [f"of at least {at_least:g}"] if at_least is not None else []
    bounds += [f"above {above:g}"] if above is not None else []
    bounds += [f"below {below:g}"] if below is not None else []
    expected = (
        ("a finite number" if finite else "a number")
        + (" " + " and ".join(bounds) if bounds else "")
        + (" or None" if optional else "")
    )

    def check(owner: object, parameter: str, value: Any) -> Any:
        plain = number_of(value)
        if not (optional and value is None) and not (
            plain is not None
            and (is_finite(plain) or not finite)
            and (at_least is None or plain >= at_least)
            and (above is None or plain > above)
            and (below is None or plain < below)
        ):
            reject(owner, parameter, value, expected)
        return plain

    return _Storing(check)


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
    """Convert a string or path to a `Path`, in which `~` is the home directory: an attrs converter.

    Anything that is not a local path, such as an empty string or a URL, is returned unchanged. The validators `file` and
    `directory` refuse it, with the parameter's name.
    """
    given: Any = os.fspath(value) if isinstance(value, os.PathLike) else value
    return given if not isinstance(given, str) or not given or problem_of(given) else local_path(given)


# attrs copies the annotation into the `__init__` of a plugin, whose module may not import `os`.
as_path.__annotations__["value"] = str | os.PathLike[str]


def file() -> Validator:
    """Accept a local path at which a file exists or can be made: not a directory or device, and not below a file."""
    return _check_path("file", stat.S_ISREG)


def directory() -> Validator:
    """Accept a local path at which a directory exists or can be made: not a file, and not below one."""
    return _check_path("directory", stat.S_ISDIR)


def kind_of_path(validator: object) -> str | None:
    """Return `"file"` or `"directory"` for what `file` or `directory` returned, and None for any other validator."""
    return getattr(validator, "path_kind", None)


def _check_path(kind: str, is_kind: Callable[[int], bool]) -> Validator:
    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        parameter = attribute.alias or attribute.name
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        problem = problem_of(plain) if isinstance(plain, str) else None
        if problem is not None:
            expected, advice = problem
            reject(instance, parameter, plain, expected, advice)
        if plain is value or not isinstance(plain, str):
            reject(instance, parameter, value, f"the path of a {kind}")
        field = _FIELD.search(plain)
        if field is not None:
            advice = " Give a plain path; the names in it are chosen for you." if kind == "directory" else ""
            reject(instance, parameter, plain, f"a path without fields such as {field[0]}, which are not filled in", advice)
        found, mode = _nearest(instance, parameter, value)
        if found != value.absolute():
            if not stat.S_ISDIR(mode):
                reject(instance, parameter, str(value), f"a path in a directory, and {found} is a file")
        elif not is_kind(mode):
            other = "a directory" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a device or pipe"
            reject(instance, parameter, str(value), f"the path of a {kind}, not of {other}")

    validate.path_kind = kind  # type: ignore[attr-defined]
    return validate


def _nearest(instance: object, parameter: str, path: Path) -> tuple[Path, int]:
    """Return `path` or its nearest parent that exists, and the mode of what was found."""
    for found in (path.absolute(), *path.absolute().parents):
        try:
            return found, found.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reject(instance, parameter, str(path), f"a path that this process can reach, and {found} is not: {error.strerror}")
    raise FileNotFoundError(str(path))  # there is no root
