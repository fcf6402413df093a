"""The installed adapters: which framework each is for, whether that is installed, and why an adapter cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from hookcore.adapter_info import GROUP, AdapterInfo
from hookcore.raised import describe, interrupts
from hookcore.registry import discovery

if TYPE_CHECKING:
    from importlib import metadata

Status = Literal["installed", "not installed", "broken"]


@attrs.frozen
class InstalledAdapter:
    """One entry point, with the adapter that it describes, or the reason why it cannot be read."""

    name: str
    origin: str
    target: str
    status: Status
    """Whether the framework is installed; broken if the entry point cannot be read."""
    reason: str = ""
    """What to install, or what is broken."""
    framework: str = ""
    """The framework, with its version if that is known."""
    use: str = ""
    """What to import from the adapter."""

    @property
    def verdict(self) -> str:
        """The status, with its reason if there is one."""
        return f"{self.status}: {self.reason}" if self.reason else self.status


def installed_adapters() -> list[InstalledAdapter]:
    """Return every adapter that an entry point offers, by name. No framework is imported."""
    return [_read(entry) for entry in discovery.entry_points(GROUP)]


def _read(entry: metadata.EntryPoint) -> InstalledAdapter:
    origin = discovery.distribution(entry)
    try:
        info = discovery.load(entry)
        if not isinstance(info, AdapterInfo):
            raise TypeError(f"{entry.value!r} must be a hookcore.adapter_info.AdapterInfo, got {info!r}")  # noqa: TRY301
        version = info.version()
    except BaseException as error:  # a third party may raise anything, and that is what is reported
        if interrupts(error):
            raise
        return InstalledAdapter(entry.name, origin, entry.value, "broken", describe(error))
    if version is None:
        install = f"pip install '{info.install}'"
        return InstalledAdapter(entry.name, origin, entry.value, "not installed", install, info.framework, info.use)
    framework = f"{info.framework} {version}".strip()
    return InstalledAdapter(entry.name, origin, entry.value, "installed", "", framework, info.use)
