"""The Python samples in README.md and docs/ run as tests, each file from top to bottom, in an empty directory."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from typing import Any, Final

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

NEEDS: Final = {
    "docs/jax.md": "flax",
    "docs/lightgbm.md": "lightgbm",
    "docs/lightning.md": "lightning",
    "docs/pytorch.md": "accelerate",
    "docs/sklearn.md": "skops",
    "docs/transformers.md": "transformers",
    "docs/tutorials/lightning.md": "lightning",
    "docs/tutorials/pytorch.md": "safetensors",
    "docs/xgboost.md": "xgboost",
}
"""The pages whose samples need a package that only some environments have, such as that of `tox run -e torch`."""


def _is_missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def _set_up(namespace: dict[str, Any]) -> None:
    namespace["missing"] = _is_missing  # for single samples that need one
    namespace["_left_behind"] = stack = contextlib.ExitStack()
    stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    excludes=[page for page, package in NEEDS.items() if _is_missing(package)],
    setup=_set_up,
    teardown=lambda namespace: namespace["_left_behind"].close(),
).pytest()
