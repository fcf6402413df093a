"""The list in docs/reference/extras.md, made of pyproject.toml: `python -m tests.extras_page` writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.generated import with_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/reference/extras.md"
_EXTRA: Final = re.compile(r"^(\w+) = \[\n(.*?)^\]", re.MULTILINE | re.DOTALL)
_REQUIREMENT: Final = re.compile(r'^ +"([^"]+)",(?: +# (.+))?$', re.MULTILINE)


def described(name: str, requirements: str) -> Iterator[str]:
    """Yield a heading, how to install the extra, and what it brings, each with its reason if there is one."""
    yield f"## {name}\n\n`pip install 'hookcore[{name}]'`\n"
    for requirement, reason in _REQUIREMENT.findall(requirements):
        yield f"- `{requirement}`{f': {reason}' if reason else ''}"


def written(page: str) -> str:
    """Return `page` with its list replaced by a new one."""
    _, _, after = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")
    extras = _EXTRA.findall(after.partition("\n[")[0])
    listed = "\n\n".join("\n".join(described(name, requirements)) for name, requirements in extras)
    return with_blocks(page, {"extras": listed}, "tests.extras_page")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
