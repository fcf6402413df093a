"""Each test has a docstring."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = sorted(Path(__file__).parent.rglob("test_*.py"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.relative_to(Path(__file__).parent).as_posix())
def test_every_test_states_its_behaviour(file: Path) -> None:
    """Every test function has a docstring of one or more sentences, and every file of tests has a docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert tests
    assert ast.get_docstring(tree)
    assert [test.name for test in tests if not (ast.get_docstring(test) or "").endswith((".", "?"))] == []
