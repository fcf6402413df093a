"""Refuse common mistakes in arguments of the Keras adapter, with what to do instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore import Engine, ParameterError, Plugins, RegistrationError
from hookcore.text import did_you_mean
from hookcore_adapters.keras import internals

if TYPE_CHECKING:
    import inspect


class KeywordError(ParameterError, TypeError):
    """Raised for an unknown keyword argument; a `TypeError`, as in Python."""


def refuse_callbacks(plugins: Plugins) -> Plugins:
    """Return `plugins`, for `Engine.of`. Raises `RegistrationError` that says what to do if one is a Keras callback."""
    given: Any = plugins
    if isinstance(given, str | Engine | Mapping) or not isinstance(given, Iterable | keras.callbacks.Callback):
        return plugins
    listed = [given] if isinstance(given, keras.callbacks.Callback) else list(given)
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
    """Return the callbacks given to `fit`, flattened as by Keras. Raises `HookcoreError` for a `CallbackList` or a plugin."""
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


_NOT_MODELS: Final = {
    "builtins": "which is not a model",
    "flax": "a module of Flax",
    "numpy": "which is not a model",
    "sklearn": "an estimator of scikit-learn",
    "tf_keras": "a model of tf_keras, which is Keras 2",
    "torch": "a module of PyTorch",
}
"""What an object is, by the package of its class or of a base class."""
_PART: Final = "which is a part of Keras, but not a model: put a layer into one, keras.Sequential([...])"


def refuse_other_models(model: Any, *, accept_stand_ins: bool = True) -> None:
    """Raise `ParameterError` that says what to do if `model` is not a model of Keras 3.

    With `accept_stand_ins`, an object of an unknown kind is accepted, because it may have all that is used of a model.
    """
    if isinstance(model, keras.Model):
        return
    packages = [kind.__module__.partition(".")[0] for kind in type(model).__mro__ if kind is not object]
    is_part = isinstance(model, internals.saveable())  # tried first, because on PyTorch a layer is also a torch module
    known = _PART if is_part else next((_NOT_MODELS[package] for package in packages if package in _NOT_MODELS), None)
    if known is None and accept_stand_ins:
        return
    advice = "Build it with keras, or train it in a loop of your own with hookcore_adapters.loop.Loop."
    if model is None:
        what, advice = "None", "A function that makes the model may lack its return."
    elif isinstance(model, type):
        what, advice = f"the class {model.__name__}", f"Give an instance of it: {model.__name__}(...)."
    else:
        what = f"{type(model).__name__}, {known or 'which is not one'}"
    raise ParameterError(f"hookcore_adapters.keras trains a keras.Model, of Keras {keras.__version__}, and got {what}. {advice}")


def refuse_unknown(name: str, given: Mapping[str, Any], signature: inspect.Signature) -> None:
    """Raise `KeywordError`, a `TypeError`, that suggests the nearest keyword if one in `given` is not in `signature`."""
    known = signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for keyword in given:
        if keyword not in known:
            there = [parameter for parameter in known if parameter != "self"]
            raise KeywordError(
                f"{name} got an unexpected keyword argument {keyword!r}; it has {', '.join(there)}.{did_you_mean(keyword, there)}"
            )
