"""Check that a framework is installed and new enough for its adapter. Imports none by itself."""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hookcore.adapter_info import AdapterInfo


def require(adapter: AdapterInfo, floor: str, *modules: str, advice: str = "") -> None:
    """Import `modules`, the framework's first, and check that the framework's version is at least `floor`, as in `"2.9"`.

    `advice` ends the message about a missing module: the choices that pip offers, in whole sentences.

    Raises `ImportError` that names what to install if the framework is older, or if one of the modules is not installed. An
    import that fails for another reason raises its own error.
    """
    framework = modules[0]
    names = {framework.partition(".")[0]: adapter.framework} | {module: module for module in modules[1:]}
    try:
        for module in modules:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = names.get(error.name or "")
        if missing is None:
            raise
        message = f"The adapter for {adapter.framework} needs {missing}, which is not installed: pip install '{adapter.install}'."
        raise ImportError(f"{message} {advice}".rstrip(), name=error.name) from error
    version = sys.modules[framework].__version__
    if _numbers(version) < _numbers(floor):
        raise ImportError(
            f"The adapter for {adapter.framework} needs {adapter.framework} {floor} or newer, and {version} is installed: "
            f"pip install '{adapter.install}'.",
            name=framework,
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
