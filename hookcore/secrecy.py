"""Which parameters and arguments are secret, and what is shown in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "(secret)"
"""What records, logs, messages and pages have in place of a secret, whatever its value."""

_WORDS: Final = frozenset(
    {f"{word}{plural}" for word in ("token", "password", "secret", "key", "credential", "passphrase") for plural in ("", "s")}
    | {"apikey", "auth", "passwd", "pwd"}
)
_COUNTED: Final = frozenset({"token", "tokens", "key", "keys"})
_COUNTING: Final = frozenset({"max", "min", "num", "n", "total", "count", "size", "dim", "length", "len", "heads"})
"""Beside these, the words of `_COUNTED` are things that a model has a number of, as in `max_new_tokens` and `key_dim`."""
_USERINFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@")
_PAIR: Final = re.compile(r"""([\w.-]+)["']?\s*=|["']([\w.-]+)["']\s*:|[{,]\s*([\w.-]+)\s*:""")
"""How a value is given a name within a text: `name=`, `"name":` and `{name:`."""


def is_secret(name: str, owner: object = None) -> bool:
    """Return whether the parameter `name` is secret: its name says it, or the attrs class `owner` marks it `repr=False`."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    found = words & _WORDS
    if found and not (found <= _COUNTED and words & _COUNTING):
        return True
    kind = owner if isinstance(owner, type) else type(owner)
    fields: Any = attrs.fields(kind) if attrs.has(kind) else ()
    return any(field.repr is False for field in fields if name in {field.alias, field.name})


def shown(name: str, value: object, owner: object = None) -> str:
    """Return the `repr` of a parameter's value, or what is shown in its place."""
    return HIDDEN if is_secret(name, owner) else repr(value)


def shown_spec(spec: str, factory: object = None) -> str:
    """Return the `repr` of a spec string, without its parameters if one of them is secret: it may not be written as it should."""
    name, _, parameters = spec.partition(":")
    keys = re.findall(r"([A-Za-z_]\w*)\s*=", parameters)
    return repr(f"{name}:{HIDDEN}" if any(is_secret(key, factory) for key in keys) else spec)


def without_secrets(text: str) -> str:
    """Return `text` with the userinfo of its URLs hidden, and all that follows the first secret name in it.

    The end of a secret cannot be told, so what follows it is hidden too: `"token=a,b"` becomes `"token=(secret)"`.
    """
    for pair in _PAIR.finditer(text):
        if any(is_secret(name) for name in pair.groups() if name):
            text = text[: pair.end()] + HIDDEN
            break
    return _USERINFO.sub(rf"\1{HIDDEN}@", text)


def command_without_secrets(arguments: Iterable[str]) -> list[str]:
    """Return the arguments of a command without the values of secret options, and each `without_secrets`.

    An option is secret if its name is: the argument after `--api-key` is hidden, unless it is an option itself.
    """
    shown, follows_secret = [], False
    for argument in arguments:
        is_option = argument.startswith("--")
        shown.append(HIDDEN if follows_secret and not is_option else without_secrets(argument))
        follows_secret = argument.startswith("-") and "=" not in argument and is_secret(argument)
    return shown
