"""Mistakes in what people give to the Keras adapter, refused with what to do instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras

from hookcore import Engine, ParameterError, RegistrationError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping


class KeywordError(ParameterError, TypeError):
    """A keyword that a function does not have: a `TypeError`, as Python's own."""


def refuse_callbacks(plugins: Iterable[object] | Engine) -> Iterable[object] | Engine:
    """Return `plugins`, for `Engine.of`. Raises `RegistrationError` for a Keras callback among them, with what to do instead."""
    given: Any = plugins
    if isinstance(plugins, str | Engine) or not isinstance(given, Iterable | keras.callbacks.Callback):
        return plugins
    listed = [plugins] if isinstance(plugins, keras.callbacks.Callback) else list(plugins)
    for one in listed:
        plugin = one[-1] if isinstance(one, tuple) and one else one
        if isinstance(plugin, keras.callbacks.Callback):
            name = type(plugin).__name__
            raise RegistrationError(
                f"{name} is a Keras callback, not a plugin. Give it to fit as one, callbacks=[{name}(...)], "
                f"or make it a plugin: hookcore_adapters.keras.from_keras({name}(...))."
            )
    return listed


def listed_callbacks(callbacks: Any) -> list[Any]:
    """Return the callbacks given to `fit`, flattened as Keras does. Raises a `HookcoreError` for what is no callback."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        raise ParameterError("fit: callbacks must be a list of callbacks, got a CallbackList: Keras makes its own.")
    listed: list[Any] = keras.tree.flatten(callbacks) if callbacks else []
    for callback in listed:
        if not hasattr(callback, "set_model") and _has_hooks(callback):
            name = type(callback).__name__
            raise RegistrationError(
                f"fit: {name} is a plugin, not a Keras callback. Give it to fit as one, plugins=[{name}(...)], or to model.fit "
                f"within the adapter: callbacks=[KerasAdapter([{name}(...)])]."
            )
    return listed


def _has_hooks(plugin: Any) -> bool:
    return any(hasattr(getattr(plugin, name, None), "hookcore_impl") for name in dir(plugin) if name.startswith("on_"))


def refuse_other_keras(model: Any) -> None:
    """Raise `ParameterError` if `model` is of Keras 2, the package tf_keras, which Keras 3 cannot train."""
    if any(kind.__module__.split(".")[0] == "tf_keras" for kind in type(model).__mro__):
        raise ParameterError(
            f"{type(model).__name__} is a model of tf_keras, which is Keras 2, and hookcore_adapters.keras needs one of Keras "
            f"{keras.__version__}. Build it with the package keras, or train it in a loop of your own with "
            "hookcore_adapters.loop.Loop."
        )


def refuse_unknown(name: str, given: Mapping[str, Any], signature: inspect.Signature) -> None:
    """Raise `KeywordError`, a `TypeError`, for a keyword that is not in `signature`, with the nearest one that is."""
    known = signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for keyword in given:
        if keyword not in known:
            there = [parameter for parameter in known if parameter != "self"]
            raise KeywordError(
                f"{name} got an unexpected keyword argument {keyword!r}; it has {', '.join(there)}.{did_you_mean(keyword, there)}"
            )
