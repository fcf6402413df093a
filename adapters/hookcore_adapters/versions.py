"""Whether a framework is new enough for its adapter. Imports none."""

from __future__ import annotations

import re


def check_version(version: str, floor: str, *, adapter: str, name: str, distribution: str = "") -> None:
    """Raise `ImportError` if `version` of the framework that people call `name` is before `floor`.

    `adapter` is the name of our package, as in `"torch"`, and unless `distribution` is given, of what pip installs.
    """
    if _numbers(version) < _numbers(floor):
        raise ImportError(
            f"hookcore_adapters.{adapter} needs {name} {floor} or newer, and {name} {version} is installed: "
            f"pip install --upgrade '{distribution or adapter}>={floor}'.",
            name=adapter,
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
