"""The Python samples in README.md and docs/ run as tests, each file from top to bottom, in an empty directory.

A sample in TOML or YAML whose first line is the name of a file, in a comment, is that file there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any, Final

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

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


def _write_named(example: Example) -> None:
    named = re.match(r"# (\S+\.\w+)\n", example.parsed)
    if named:
        Path(named[1]).write_text(example.parsed)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("toml", _write_named), CodeBlockParser("yaml", _write_named), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    excludes=[page for page, package in NEEDS.items() if _is_missing(package)],
    setup=_set_up,
    teardown=lambda namespace: namespace["_left_behind"].close(),
).pytest()
