"""What is known of an adapter before its framework is imported: see `AdapterInfo`."""

from __future__ import annotations

from typing import Final

import attrs

from hookcore import validators

GROUP: Final = "hookcore.adapters"
"""The entry-point group of adapters: each entry is the name of an `AdapterInfo`."""


@attrs.frozen
class AdapterInfo:
    """What `hookcore plugins` lists of an adapter: its framework, what to import, and what to install.

    An entry point of the group `hookcore.adapters` names an object of this class, in a module that imports no framework.

    * `framework`: the framework's name for people, such as `"PyTorch"`.
    * `use`: what to import of the adapter, such as `"hookcore_adapters.keras: fit, KerasAdapter"`.
    * `install`: what to give to pip, such as `"hookcore[keras,tensorflow]"`.
    * `distributions`: the distributions of which any one provides the framework, such as `("xgboost", "xgboost-cpu")`; empty by
      default, for an adapter that needs no framework.
    """

    framework: str = attrs.field(validator=validators.text())
    use: str = attrs.field(validator=validators.text())
    install: str = attrs.field(validator=validators.text())
    distributions: tuple[str, ...] = attrs.field(default=())

    @distributions.validator
    def _is_a_tuple(self, attribute: object, value: object) -> None:  # noqa: ARG002 - as attrs calls it
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
            validators.reject(self, "distributions", value, "a tuple of names")

    def version(self) -> str | None:
        """Return the installed version of the framework, without importing it.

        The version is empty if the adapter needs no framework, and None if the framework is not installed.
        """
        from importlib import metadata  # as slow to import as the rest of the package

        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None if self.distributions else ""
