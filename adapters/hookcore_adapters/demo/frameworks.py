"""The frameworks that the digits demo can be trained with."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hookcore_adapters.demo.task import Task

FRAMEWORKS: Final = ("keras", "torch", "lightning", "transformers", "sklearn", "jax", "xgboost", "lightgbm")


def prepare(framework: str) -> Task:
    """Return the digits task of `framework`. Raises `MissingError` that names what to install if a library is missing."""
    module: Any = importlib.import_module(f"hookcore_adapters.demo.{framework}_digits")
    task: Task = module.prepare()
    return task
