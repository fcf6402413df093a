"""Find the methods of a plugin that are marked with `@hookimpl`, and the mistakes in them."""

from __future__ import annotations

import functools
import inspect
import types
from typing import TYPE_CHECKING, Any

import pluggy

from hookcore.errors import RegistrationError
from hookcore.markers import PROJECT
from hookcore.registry.discovery import asked
from hookcore.specs import HOOKS
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Marked:
    """Holds marked functions as attributes: a plugin's methods, or the specs of the hooks.

    Compared by identity, because pluggy refuses a plugin that equals one that is registered.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(functions)

    def __dir__(self) -> Iterable[str]:
        """Return the functions' names only: pluggy inspects every listed attribute each time a run begins."""
        return vars(self)


def marked_methods(name: str, plugin: object) -> Marked:
    """Return the methods of `plugin` that are marked with `@hookimpl`.

    Raises `RegistrationError` for mistakes that pluggy would ignore, or report less clearly.
    """
    if inspect.isclass(plugin):
        raise RegistrationError(f"Plugin {name!r} is a class; pass an instance: {plugin.__name__}(...).")
    own = [plugin] if isinstance(plugin, types.ModuleType | types.SimpleNamespace) else []
    owners = [*reversed(type(plugin).__mro__), *own]
    statics = {attribute: value for owner in owners for attribute, value in vars(owner).items()}
    reader = pluggy.PluginManager(PROJECT)
    methods = {}
    for attribute in sorted({*statics, *HOOKS}):
        static = statics.get(attribute)
        if isinstance(static, property) or not (attribute.startswith("on_") or inspect.isfunction(static)):
            continue
        method = asked(name, attribute, functools.partial(getattr, plugin, attribute, None))
        if method is None or not callable(method):
            continue
        options = reader.parse_hookimpl_opts(types.SimpleNamespace(**{attribute: method}), attribute)
        if options is None:
            if attribute.startswith("on_"):
                raise RegistrationError(
                    f"Plugin {name!r}: method {attribute} is not marked with @hookimpl, so it would never be called."
                    f"{'' if attribute in HOOKS else did_you_mean(attribute, HOOKS)}"
                )
            continue
        _check_signature(name, attribute, method, options)
        methods[attribute] = method
    if not methods:
        raise RegistrationError(f"Plugin {name!r} ({type(plugin).__name__}) has no method marked with @hookimpl.")
    return Marked(methods)


def _check_signature(plugin: str, method: str, function: Callable[..., object], options: Mapping[str, Any]) -> None:
    hook = options.get("specname") or method
    if hook not in HOOKS:
        hint = did_you_mean(hook, HOOKS) or f" There are: {', '.join(HOOKS)}."
        raise RegistrationError(f"Plugin {plugin!r}: there is no hook {hook!r}.{hint}")
    if options.get("hookwrapper"):
        raise RegistrationError(f"Plugin {plugin!r}: {method} is marked hookwrapper=True, pluggy's old style; use wrapper=True.")
    if not options.get("wrapper") and (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)):
        raise RegistrationError(
            f"Plugin {plugin!r}: {method} is a generator or a coroutine, which the engine would never run. "
            "Make it a plain function; mark a wrapper with @hookimpl(wrapper=True)."
        )
    for name, parameter in inspect.signature(function).parameters.items():
        positional = parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        required = positional and parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise RegistrationError(
                f"Plugin {plugin!r}: {method} has a keyword-only argument {name!r}, which pluggy never gives; drop the '*'."
            )
        if required and name not in HOOKS[hook]:
            raise RegistrationError(
                f"Plugin {plugin!r}: {method} has an argument {name!r}, which {hook}({', '.join(HOOKS[hook])}) does not give."
                f"{did_you_mean(name, HOOKS[hook])}"
            )
