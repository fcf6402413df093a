"""A request for a plugin: the plugin itself, or a name with parameters in a spec string or mapping; and how to make it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from hookcore.errors import LoadError, ParameterError, RegistrationError, SpecError
from hookcore.raised import describe, interrupts
from hookcore.registry import discovery
from hookcore.registry.discovery import Found
from hookcore.secrecy import shown_spec
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from importlib import metadata

    from hookcore.registry.place import Place

Source = Literal["code", "configuration", "environment"]
"""Who asks. If several ask for one name, the first of these counts."""

OPTIONS: Final = ("name", "replaces")
"""The keys of a mapping that are not a plugin's name."""


@attrs.frozen
class Request:
    """A plugin that is asked for.

    * `called`: the name under which it is registered.
    * `place`: the place of the request, for errors.
    * `plugin`: the object, if one is given or was already made.
    * `target`: the name of an entry point; None for an object that was given. `parameters` are the arguments of its factory: the
      text of a spec string, or a mapping.
    * `replaces`: the autoloaded plugins that it replaces, besides one that has its name.
    """

    called: str
    place: Place
    source: Source = "code"
    plugin: object = None
    target: str | None = None
    parameters: str | Mapping[str, Any] = ""
    replaces: tuple[str, ...] = ()

    def make(self, catalogue: Sequence[metadata.EntryPoint] | None = None) -> Found:
        """Return the plugin. Raises `SpecError` for a mistake, and `LoadError` if the plugin cannot be imported or made.

        `catalogue` is `entry_points(CATALOGUE)`. Pass it if you have many requests, because reading it takes longer than the
        rest.
        """
        try:
            found = (
                Found(self.called, self.plugin, _origin(self.plugin), target=self.target or "")
                if self.target is None or self.plugin is not None
                else self._made(self.target, catalogue)
            )
        except (SpecError, LoadError) as error:
            if isinstance(self.parameters, Mapping) or self.source == "code":
                raise  # a mapping's error names the place, and code has a traceback
            raise type(error)(f"{self.place}: {error}") from error.__cause__
        replaces = discovery.asked(self.called, "replaces", lambda: getattr(found.plugin, "replaces", ()))
        if not isinstance(replaces, tuple) or not all(isinstance(name, str) for name in replaces):
            raise RegistrationError(f"Plugin {self.called!r}: replaces must be a tuple of names, got {replaces!r}.")
        return attrs.evolve(found, replaces=(*self.replaces, *replaces), source=self.source, place=self.place)

    def _made(self, target: str, catalogue: Sequence[metadata.EntryPoint] | None) -> Found:
        entry = self._entry(target, catalogue)
        try:
            factory = discovery.load(entry)
        except BaseException as error:
            if interrupts(error):
                raise
            text = f"Plugin {target!r} of {discovery.distribution(entry)} could not be imported from {entry.value!r}"
            raise LoadError(self._prefixed(f"{text}: {describe(error)}")) from error
        arguments = self._arguments(target, factory)
        self._check_complete(target, factory, arguments)
        try:
            made = factory(**arguments) if callable(factory) else factory
        except (TypeError, ParameterError) as error:
            message = describe(error).partition(": ")[2]
            raise SpecError(self._about_parameter(message, factory, arguments)) from error
        except BaseException as error:
            if interrupts(error):
                raise
            text = f"Plugin {target!r} of {discovery.distribution(entry)} could not be made: {describe(error)}"
            raise LoadError(self._prefixed(text)) from error
        return Found(self.called, made, discovery.distribution(entry), target=target)

    def _entry(self, target: str, catalogue: Sequence[metadata.EntryPoint] | None) -> metadata.EntryPoint:
        catalogue = discovery.entry_points(discovery.CATALOGUE) if catalogue is None else catalogue
        found = [entry for entry in catalogue if entry.name == target]
        if not found:  # it may be in the autoload group, and be asked for to give it parameters
            autoloaded, unreadable = discovery.read_entry_points(discovery.AUTOLOAD)
            found = [entry for entry in autoloaded if entry.name == target]
        if not found:
            names = sorted({entry.name for entry in (*catalogue, *autoloaded)})
            hint = did_you_mean(target, names)
            hint += "".join(f" The entry points of {broken.origin} cannot be read." for broken in unreadable)
            raise SpecError(self._prefixed(f"No plugin is called {target!r}; there are: {', '.join(names) or 'none'}.{hint}"))
        if len({entry.value for entry in found}) > 1:
            offers = " and by ".join(map(discovery.distribution, found))
            raise SpecError(
                self._prefixed(
                    f"Plugin {target!r} is offered by {offers}. Uninstall one, or pass the object instead of its name."
                )
            )
        return found[0]

    def _arguments(self, target: str, factory: Any) -> dict[str, Any]:
        from hookcore.registry.spec_string import checked_arguments, parse_arguments

        if isinstance(self.parameters, Mapping):
            return checked_arguments(self.place / target, self.parameters, factory)
        return parse_arguments(self._spec, self.parameters, factory)

    def _check_complete(self, target: str, factory: Any, arguments: Mapping[str, Any]) -> None:
        parameters = inspect.signature(factory).parameters.values() if callable(factory) else ()
        required = [
            one for one in parameters if one.default is one.empty and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
        ]
        missing = [one.name for one in required if one.name not in arguments]
        if missing:
            given = dict.fromkeys([*arguments, *missing], "...")
            as_text = repr(f"{target}:{','.join(f'{name}=...' for name in given)}")
            example = self.place.written({target: given}) if isinstance(self.parameters, Mapping) else as_text
            text = f"{' and '.join(missing)} must be given, as in {example}."
            raise SpecError(self._about_parameter(text, factory, {}))

    def _about_parameter(self, message: str, factory: Any, arguments: Mapping[str, Any]) -> str:
        if not isinstance(self.parameters, Mapping):
            return f"Plugin spec {shown_spec(self._spec, factory)}: {message}"
        # `validators.reject` writes it like this; the parameter's place has the line.
        named = [key for key in arguments if f": {key} must " in message]
        return f"{self.place_of(*named[:1])}: {message}"

    def place_of(self, parameter: str = "") -> Place:
        """Return the place of a parameter; if the request does not have it as a key, that of the plugin."""
        if not isinstance(self.parameters, Mapping):
            return self.place
        place = self.place / (self.target or "")
        return place / parameter if parameter in self.parameters else place

    @property
    def _spec(self) -> str:
        return f"{self.target}:{self.parameters}" if self.parameters else str(self.target)

    def _prefixed(self, message: str) -> str:
        return f"{self.place / (self.target or '')}: {message}" if isinstance(self.parameters, Mapping) else message


def requested(item: object, place: Place, source: Source = "code") -> Request:
    """Return the request of `item`: a plugin, a spec string, a mapping, a pair `(name, one of these)`, or a request.

    A spec string is `"early_stopping"` or `"early_stopping:patience=3,monitor=val_loss"`: values are converted to the type of the
    factory's parameter, and a value with a comma must be in double quotes. A mapping is `{"early_stopping": {"patience": 3}}`,
    and may also have the plugin's `name`, and the names of autoloaded plugins that it `replaces`. Raises `SpecError` for a
    malformed mapping.
    """
    if isinstance(item, Request):
        return item
    if isinstance(item, tuple) and len(item) == 2:  # noqa: PLR2004 - a pair
        name, given = item
        request = requested(given, place, source)
        return request if name is None else attrs.evolve(request, called=name)
    if isinstance(item, str):
        target, _, text = (part.strip() for part in item.partition(":"))
        return Request(target, place, source, target=target, parameters=text)
    if (unmade := _unmade(item)) is not None:
        settings = "instantiate_subclass_spec_in_any=True, validate_subclass_spec_in_any=True"
        raise SpecError(
            f"{place}: class_path is for jsonargparse, which has not made {unmade!r}. "
            f"With jsonargparse.set_parsing_settings({settings}) it makes it, or raises the reason."
        )
    if isinstance(item, Mapping):
        return _of_mapping(item, place, source)
    return Request(discovery.name_of(item), place, source, plugin=item)


def _of_mapping(item: Mapping[Any, Any], place: Place, source: Source) -> Request:
    targets = [key for key in item if key not in OPTIONS]
    if len(targets) != 1 or not isinstance(targets[0], str):
        expected = place.written({"early_stopping": {"patience": 3}})
        hints = [did_you_mean(str(key), OPTIONS) for key in targets] if len(targets) > 1 else []
        groups = (discovery.CATALOGUE, discovery.AUTOLOAD)
        if targets and not {entry.name for group in groups for entry in discovery.entry_points(group)}.intersection(targets):
            hints = [" None of them is a plugin's name. If Hydra made this plugin, its engine or loop needs `_convert_: all`."]
        raise SpecError(
            f"{place}: a mapping must have one plugin's name with its parameters, such as {expected}, and may have "
            f"{' and '.join(OPTIONS)} beside it, got the keys {', '.join(map(repr, item)) or 'none'}.{''.join(hints)}"
        )
    (target,) = targets
    parameters = {} if item[target] is None else item[target]  # YAML's `console:`
    if not isinstance(parameters, Mapping):
        # Only the type, because the value may be a secret.
        raise SpecError(f"{place / target}: expected a mapping of parameters, got {type(parameters).__name__}.")
    called = item.get("name", target)
    if not isinstance(called, str) or not called:
        raise SpecError(f"{place / 'name'}: name must be a non-empty string, got {called!r}.")
    replaces = item.get("replaces", ())
    replaces = (replaces,) if isinstance(replaces, str) else replaces
    if not isinstance(replaces, Sequence) or not all(isinstance(name, str) for name in replaces):
        raise SpecError(f"{place / 'replaces'}: replaces must be a name or a list of names, got {replaces!r}.")
    return Request(called, place, source, target=target, parameters=parameters, replaces=tuple(replaces))


def _unmade(item: object) -> object:
    """Return the path of the class of which jsonargparse should have made an object; None if `item` is not its description."""
    if isinstance(item, Mapping):
        return item.get("class_path")
    return getattr(item, "class_path", None) if type(item).__name__ == "Namespace" else None


def _origin(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, types.ModuleType) else type(plugin).__module__
