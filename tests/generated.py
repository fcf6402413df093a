"""Parts of a page that a module makes, between a comment that names the module and another that ends the part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_blocks(page: str, blocks: Mapping[str, str], module: str) -> str:
    """Return `page` with each of `blocks` in its place, which the comment with its name and `module` begins."""
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: python -m {module} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        assert len(pattern.findall(page)) == 1, f"The page must have {begin!r} and {end!r} once."
        page = pattern.sub(f"{begin}\n\n{block}\n\n{end}".replace("\\", r"\\"), page)
    return page
