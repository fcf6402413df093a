"""Convert the parameters in a spec string, `"name:key=value,key=value"`, or a mapping to the types that a factory declares."""

from __future__ import annotations

import importlib
import inspect
import os
import shlex
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore.errors import SpecError
from hookcore.raised import describe, interrupts
from hookcore.secrecy import shown, shown_spec
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from hookcore.registry.place import Place


def parse_arguments(spec: str, text: str, factory: Callable[..., object]) -> dict[str, Any]:
    """Return the arguments in `text`, `key=value,key=value`, converted to the types of the parameters of `factory`.

    Raises `SpecError` for an unknown or repeated parameter, or a value of the wrong type. The error quotes the whole `spec`,
    unless a parameter in it is secret.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace, lexer.whitespace_split, lexer.escape, lexer.commenters = ",", True, "", ""
    parameters = parameters_of(factory)
    arguments: dict[str, Any] = {}
    quoted = shown_spec(spec, factory)
    try:
        items = list(lexer)
    except ValueError as error:  # an unclosed quotation
        raise SpecError(f"Plugin spec {quoted}: {error}.") from None
    for item in items:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            got = f", got {item!r}" if quoted == repr(spec) else ""  # otherwise it may be part of a secret
            raise SpecError(f"Plugin spec {quoted}: expected key=value{got}.")
        if key not in parameters:
            listed = ", ".join(parameters) or "none"
            raise SpecError(f"Plugin spec {quoted}: no parameter {key!r}; there are: {listed}.{did_you_mean(key, parameters)}")
        if key in arguments:
            raise SpecError(f"Plugin spec {quoted}: {key!r} is given twice.")
        try:
            arguments[key] = _convert(value, parameters[key])
        except ValueError as error:
            got = f"got {shown(key, value, factory)}.{_why(error)}"
            raise SpecError(f"Plugin spec {quoted}: {key} must be {_describe(parameters[key])}, {got}") from error.__cause__
    return arguments


def checked_arguments(place: Place, given: Mapping[Any, Any], factory: Callable[..., object]) -> dict[str, Any]:
    """Return the parameters in a mapping as plain values; a string is converted to the type of the parameter of `factory`.

    So `1e-3`, which is a string in YAML, becomes a number. Raises `SpecError` for unknown parameters and for strings that do not
    convert, with one line for each, which begins with the key's place.
    """
    parameters = parameters_of(factory)
    arguments: dict[str, Any] = {}
    mistakes: list[str] = []
    for key, value in given.items():
        if key not in parameters:
            listed = ", ".join(parameters) or "none"
            hint = did_you_mean(str(key), parameters)
            mistakes.append(f"{place / str(key)}: no parameter {key!r}; there are: {listed}.{hint}")
            continue
        try:
            arguments[key] = _convert(value, parameters[key]) if isinstance(value, str) else plain(value)
        except ValueError as error:
            got = f"got {shown(key, value, factory)}.{_why(error)}"
            mistakes.append(f"{place / key}: {key} must be {_describe(parameters[key])}, {got}")
    if mistakes:
        raise SpecError("\n".join(mistakes))
    return arguments


def plain(value: Any) -> Any:
    """Return `value` with dicts and lists in place of the mappings and sequences of other libraries, such as OmegaConf's."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        items = [plain(inner) for inner in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def parameters_of(factory: Any) -> dict[str, Any]:
    """Return the types of a factory's parameters by name, `Any` for one without a type; empty if it cannot be called."""
    if not callable(factory):
        return {}
    function = factory.__init__ if inspect.isclass(factory) else factory
    fields: Any = attrs.fields(factory) if inspect.isclass(factory) and attrs.has(factory) else ()
    converters = {field.alias: field.converter for field in fields if inspect.isfunction(field.converter)}
    return {
        name: _hint_of_first(converters[name]) if name in converters else _hint(function, name)
        for name in inspect.signature(factory).parameters
    }


def _hint_of_first(converter: Any) -> Any:
    # attrs copies the annotation of the converter, which may use names that exist only in the converter's module.
    return _hint(converter, next(iter(inspect.signature(converter).parameters)))


def _hint(function: Any, parameter: str) -> Any:
    # One parameter at a time, because a name that exists only for type checkers must not affect the other parameters.
    annotation = getattr(function, "__annotations__", {}).get(parameter, Any)
    alone = types.SimpleNamespace(__annotations__={parameter: annotation})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}))[parameter]
    except (NameError, TypeError):
        return Any


def _convert(text: str, hint: Any) -> Any:
    """Return `text` as the type `hint`. Raises `ValueError` if it does not convert."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        if text in options:
            return text
        raise ValueError(text)
    if options and typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return _convert_union(text, options)
    if hint is bool or hint is types.NoneType:
        words = {"true": True, "false": False} if hint is bool else {"none": None}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if hint in {int, float, Path}:
        return hint(text)
    if _is_function(hint):
        return _imported(text)
    if hint in {str, Any, os.PathLike} or typing.get_origin(hint) is os.PathLike:
        return text
    raise ValueError(text)


def _is_function(hint: Any) -> bool:
    return hint is Callable or typing.get_origin(hint) is Callable


def _imported(text: str) -> Any:
    """Return the object that `"package.module:name"` names. Raises `ValueError` if it cannot be imported or called."""
    module, colon, names = text.partition(":")
    if not module or not colon or not names:
        raise ValueError(text)
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except BaseException as error:  # whatever the module's import raises is the reason
        if interrupts(error):
            raise
        raise ValueError(text) from error
    if not callable(found):
        raise ValueError(text)  # noqa: TRY004 - raised for any text that does not convert
    return found


def _why(error: ValueError) -> str:
    return f" {describe(error.__cause__)}." if error.__cause__ is not None else ""


def _convert_union(text: str, options: tuple[Any, ...]) -> Any:
    # `str` accepts anything, so it comes last.
    for option in sorted(options, key=lambda option: option is str):
        try:
            return _convert(text, option)
        except ValueError:
            continue
    raise ValueError(text)


def _describe(hint: Any) -> str:
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, options))
    if options and typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return " or ".join(map(_describe, options))
    if hint is types.NoneType:
        return "none"
    if hint is bool:
        return "true or false"
    if _is_function(hint):
        return "the name of a function that can be imported, such as package.module:function"
    names = {int: "an integer", float: "a number", str: "a string", Path: "a path"}
    return names.get(hint, f"given in Python, not in a string: it is {getattr(hint, '__name__', hint)}")
