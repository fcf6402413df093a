"""A docstring on a terminal: text is wrapped to its width, and code is unchanged."""

from __future__ import annotations

from hookcore.cli.docstring import reflowed


def test_paragraphs_and_items_are_wrapped() -> None:
    """Lines that were broken for an editor are joined; an item's lines are below its text."""
    doc = "One two three\nfour five.\n\n* a b c\n  d e f\n* g\n  1. h i\n     j k l\n\nSix."
    assert reflowed(doc, 100) == "One two three four five.\n\n* a b c d e f\n* g\n  1. h i j k l\n\nSix."
    assert reflowed(doc, 10).splitlines() == [
        "One two",
        "three four",
        "five.",
        "",
        "* a b c d",
        "  e f",
        "* g",
        "  1. h i j",
        "     k l",
        "",
        "Six.",
    ]


def test_code_and_indented_text_are_unchanged() -> None:
    """Doctests with their output, fenced code, tables, quotes, fields, headings, directives and sections of indented lines."""
    for doc in (
        ">>> f(1)\n2\n3",
        "```python\nx = 1\n\ny = 2\n```",
        "Args:\n    x: a number\n    y: another",
        "~~~\nx = 1\n```\n\ny = 2\n~~~",
        "~~~python\nx = 1\ny = 2\n~~~",
        "Parameters\n----------",
        "Notes\n~~~~~",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "+---+---+\n| 1 | 2 |\n+===+===+",
        "> quoted\n> and on",
        ":param x: a number\n:param y: another\n:returns: both",
        ".. note::\n.. warning::",
        "# Title\n## Section",
        "    code\n    more",
        "",
    ):
        assert reflowed(doc, 60) == doc


def test_what_is_not_prose_ends_a_paragraph() -> None:
    """A paragraph is joined up to a table, quote, fence or item, whose lines stay apart; another paragraph may follow it."""
    assert reflowed("One\ntwo:\n| a |\n| b |\nthree\nfour.", 60) == "One two:\n| a |\n| b |\nthree four."
    assert reflowed("One\ntwo:\n\n~~~\nx\ny\n~~~\nthree\nfour.", 60) == "One two:\n\n~~~\nx\ny\n~~~\nthree four."
    assert reflowed("+ a\n  b\n• c\n  d", 60) == "+ a b\n• c d"
    assert reflowed(":class:`Run` is\na run.", 60) == ":class:`Run` is a run."


def test_a_long_word_is_whole() -> None:
    """An address can be copied."""
    assert reflowed("See https://example.org/a-b-c for more.", 12).splitlines()[1] == "https://example.org/a-b-c"
