"""The parts of docs/ that are made of what is written elsewhere: `python -m tests.pages` writes them.

The reference of the hooks is made of the docstrings in `hookcore.specs`, the list of extras of pyproject.toml, and the table of
plugins of the README's. `tests.adapters.matrix` makes the tables of adapters.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hookcore import HOOKS, specs
from tests.generated import with_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
_END_OF_SENTENCE: Final = re.compile(r"(?<=\.) (?=[A-Z`])")
_EXTRA: Final = re.compile(r"^(\w+) = \[\n(.*?)^\]", re.MULTILINE | re.DOTALL)
_REQUIREMENT: Final = re.compile(r'^ +"([^"]+)",(?: +# (.+))?$', re.MULTILINE)
_PLUGIN: Final = re.compile(r"^\| (`\w+`)<br>`(\w+)` (\| .*)$", re.MULTILINE)


def hooks() -> Iterator[str]:
    """Yield for each hook a heading and the paragraphs of its docstring, a line for each sentence."""
    for hook, arguments in HOOKS.items():
        yield f"## {hook}({', '.join(arguments)})"
        for paragraph in (inspect.getdoc(getattr(specs, hook)) or "").split("\n\n"):
            yield "\n".join(_END_OF_SENTENCE.split(paragraph.replace("\n", " ")))


def extras() -> Iterator[str]:
    """Yield for each extra a heading, how to install it, and what it brings, each with its reason if there is one."""
    _, _, after = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")
    for name, requirements in _EXTRA.findall(after.partition("\n[")[0]):
        yield f"## {name}"
        yield f"`pip install 'hookcore[{name}]'`"
        found = _REQUIREMENT.findall(requirements)
        yield "\n".join(f"- `{requirement}`{f': {reason}' if reason else ''}" for requirement, reason in found)


def plugins() -> Iterator[str]:
    """Yield the README's table of plugins, with a link to the page of each."""
    found = _PLUGIN.findall((ROOT / "README.md").read_text())
    rows = [f"| [`{name}`]({name}.md) | {plugin} {rest}" for plugin, name, rest in found]
    yield "\n".join(["| name | class | what it does |", "|---|---|---|", *rows])


PAGES: Final = {"docs/hooks.md": hooks, "docs/reference/extras.md": extras, "docs/plugins/index.md": plugins}
"""Each page that has such a part, and what yields the paragraphs of the part, which has the same name."""


def written(page: str) -> str:
    """Return the text of `page`, a key of `PAGES`, with its part replaced by a new one."""
    make = PAGES[page]
    return with_blocks((ROOT / page).read_text(), {make.__name__: "\n\n".join(make())}, "tests.pages")


if __name__ == "__main__":
    for path in PAGES:
        (ROOT / path).write_text(written(path))
