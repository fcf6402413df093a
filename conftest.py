"""The Python samples in README.md and docs/ run as tests, each file from top to bottom, in an empty directory."""

from __future__ import annotations

import contextlib
import tempfile
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser


def _enter_empty_directory(namespace: dict[str, Any]) -> None:
    namespace["_left_behind"] = stack = contextlib.ExitStack()
    stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    setup=_enter_empty_directory,
    teardown=lambda namespace: namespace["_left_behind"].close(),
).pytest()
