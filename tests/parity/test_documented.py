"""The list of differences matches their tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).with_name("test_differences.py")
DOCUMENT = Path(__file__).parents[2] / "docs" / "differences-from-keras.md"


def test_every_difference_is_listed_and_every_row_has_its_test() -> None:
    """docs/differences-from-keras.md has one row for each test of test_differences.py, in the same order."""
    tree = ast.parse(TESTS.read_text(encoding="utf-8"))
    tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    rows = [
        line.split(" | ")
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "**" not in line
    ]
    heading, *rows = rows
    assert [len(row) for row in rows] == [5] * len(rows)
    assert [re.findall(r"`(test_\w+)`", row[-1]) for row in rows] == [[test] for test in tests]
    assert heading[-1] == "shown by |"


def test_no_cell_is_empty() -> None:
    """Every row describes Keras, the plugin and the drop-in."""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and "**" not in line and "shown by" not in line:
            assert all(cell.strip(" |") for cell in line.split(" | ")), line


def test_comments_name_tests_that_are_there() -> None:
    """Every test that a comment in the properties names exists in test_differences.py."""
    text = TESTS.read_text(encoding="utf-8")
    for file in TESTS.parent.glob("*.py"):
        for name in re.findall(r": (test_\w+)", file.read_text(encoding="utf-8")):
            assert f"def {name}(" in text, f"{file.name}: {name}"
