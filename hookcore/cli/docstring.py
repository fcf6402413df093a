"""Fit a docstring, which is broken into lines for an editor, to the width of a terminal."""

from __future__ import annotations

import re
import textwrap
from typing import Final

_ITEM: Final = re.compile(r" *(?:[*+•-]|\d+[.)]) +(?=\S)")
"""The marker of a list item."""
_RULE: Final = re.compile(r"[-=~]{3,}")
"""The line under a heading."""
_LINE: Final = re.compile(r"[|>]|\+[-=]|#{1,6} |\.\. |:\w[^:`]*:(?:\s|$)")
"""The beginning of a line that is no part of a paragraph: of a table, quote, heading or directive, or of a field, `:param x:`."""
_FENCES: Final = frozenset({"```", "~~~"})
"""The beginnings of the lines around code."""


def reflowed(doc: str, width: int) -> str:
    """Return `doc` with its paragraphs and list items in lines of at most `width` characters, items with a hanging indent.

    Code, tables, quotes, headings, fields and indented text stay as they are. So does a word that is longer than a line.
    """
    parts: list[tuple[str, bool]] = []  # each with whether it is wrapped
    fence, example = "", False
    for line in doc.splitlines():
        text, item = line.strip(), bool(_ITEM.match(line))
        mark = text[:3] if text[:3] in _FENCES else ""
        if not fence and parts and parts[-1][0].strip() and _RULE.fullmatch(text):
            mark = ""  # under a heading
        example = bool(text) and (example or text.startswith(">>>"))
        unchanged = bool(fence or mark or example or not text or _RULE.fullmatch(text) or _LINE.match(text))
        if mark and fence in {"", mark}:
            fence = "" if fence else mark
        last, is_wrapped = parts[-1] if parts else ("", False)
        if is_wrapped and not unchanged and not item and (_ITEM.match(last) or not line.startswith(" ")):
            parts[-1] = f"{last} {text}", True
        else:
            parts.append((line, not unchanged and (item or not line.startswith(" "))))
    return "\n".join(_wrapped(part, width) if is_wrapped else part for part, is_wrapped in parts)


def _wrapped(text: str, width: int) -> str:
    item = _ITEM.match(text)
    indent = " " * item.end() if item else ""
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
