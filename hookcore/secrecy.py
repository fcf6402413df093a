"""Which parameters and arguments are secret, and what is shown in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "(secret)"
"""What records, logs, messages and pages show in place of a secret."""

_WORDS: Final = frozenset(
    {f"{word}{plural}" for word in ("token", "password", "secret", "key", "credential", "passphrase") for plural in ("", "s")}
    | {"apikey", "auth", "authorization", "bearer", "passwd", "pwd"}
)
_COUNTED: Final = frozenset({"token", "tokens", "key", "keys"})
_COUNTING: Final = frozenset({"max", "min", "num", "n", "total", "count", "size", "dim", "length", "len", "heads"})
"""In a name with one of these, the words of `_COUNTED` are things that are counted, as in `max_new_tokens` and `key_dim`."""
_USERINFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@")
_PAIR: Final = re.compile(r"""([\w.-]+)["']?\s*=|["']([\w.-]+)["']\s*:|[{,]\s*([\w.-]+)\s*:""")
"""A name before its value in a text: `name=`, `"name":` or `{name:`."""
_HEADER: Final = re.compile(r"([\w.-]+):\s*")
"""A name before its value in a header of HTTP, and in `name:value`."""


def is_secret(name: str, owner: object = None) -> bool:
    """Return whether the parameter `name` is secret: by its words, or because the attrs class `owner` marks it `repr=False`."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    found = words & _WORDS
    if words == {"pass"} or (found and not (found <= _COUNTED and words & _COUNTING)):
        return True
    kind = owner if isinstance(owner, type) else type(owner)
    fields: Any = attrs.fields(kind) if attrs.has(kind) else ()
    return any(field.repr is False for field in fields if name in {field.alias, field.name})


def shown(name: str, value: object, owner: object = None) -> str:
    """Return the `repr` of a parameter's value, or `HIDDEN` if the parameter is secret."""
    return HIDDEN if is_secret(name, owner) else repr(value)


def shown_spec(spec: str, factory: object = None) -> str:
    """Return the `repr` of a spec string; if a parameter is secret, without all of them, because the string may be malformed."""
    name, _, parameters = spec.partition(":")
    keys = re.findall(r"([A-Za-z_]\w*)\s*=", parameters)
    return repr(f"{name}:{HIDDEN}" if any(is_secret(key, factory) for key in keys) else spec)


def without_secrets(text: str) -> str:
    """Return `text`, in which the userinfo of URLs is hidden, and everything after the first secret name.

    The end of a secret is unknown, so the whole rest is hidden: `"token=a,b"` becomes `"token=(secret)"`.
    """
    for pair in _PAIR.finditer(text):
        if any(is_secret(name) for name in pair.groups() if name):
            text = text[: pair.end()] + HIDDEN
            break
    return _USERINFO.sub(rf"\1{HIDDEN}@", text)


def command_without_secrets(arguments: Iterable[str]) -> list[str]:
    """Return the arguments of a command, each `without_secrets`, and without the values of secret options and headers.

    After an option with a secret name, such as `--tokens`, and after one whose value is empty, such as `--password=`, all
    arguments up to the next option are hidden. A value may begin with one hyphen.
    """
    shown = []
    after = 0  # the number of arguments since a secret option, with that option; 0 without one
    for argument in arguments:
        name, is_pair, value = argument.partition("=")
        if after and not argument.startswith("--" if after == 1 else "-"):
            shown.append(HIDDEN)
            after += 1
            continue
        shown.append(_without_header(without_secrets(argument)))
        after = int(not value and (bool(is_pair) or argument.startswith("-")) and is_secret(name))
    return shown


def _without_header(argument: str) -> str:
    """Return `argument` without everything after the first secret name of a header, as in `Authorization: Bearer x`."""
    for header in _HEADER.finditer(argument):
        if is_secret(header[1]):
            return argument[: header.end()] + HIDDEN
    return argument
