"""The reference in docs/hooks.md, made of the docstrings of `hookcore.specs`: `python -m tests.hooks_page` writes it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hookcore import HOOKS, specs
from tests.generated import with_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).parents[1] / "docs/hooks.md"
_END_OF_SENTENCE: Final = re.compile(r"(?<=\.) (?=[A-Z`])")


def described(hook: str) -> Iterator[str]:
    """Yield a heading, and under it the paragraphs of the docstring, a line for each sentence."""
    yield f"## {hook}({', '.join(HOOKS[hook])})"
    for paragraph in (inspect.getdoc(getattr(specs, hook)) or "").split("\n\n"):
        yield "\n".join(_END_OF_SENTENCE.split(paragraph.replace("\n", " ")))


def written(page: str) -> str:
    """Return `page` with its reference replaced by a new one."""
    reference = "\n\n".join(line for hook in HOOKS for line in described(hook))
    return with_blocks(page, {"hooks": reference}, "tests.hooks_page")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
