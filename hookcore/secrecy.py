"""Which parameters are secret, and what is shown in their place."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

HIDDEN: Final = "(secret)"
"""What records, logs, messages and pages have in place of a secret, whatever its value."""

_WORDS: Final = frozenset(
    {f"{word}{plural}" for word in ("token", "password", "secret", "key", "credential", "passphrase") for plural in ("", "s")}
    | {"apikey", "auth", "passwd", "pwd"}
)


def is_secret(name: str, owner: object = None) -> bool:
    """Return whether the parameter `name` is secret: its name says it, or the attrs class `owner` marks it `repr=False`."""
    if not _WORDS.isdisjoint(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)):
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
