"""The site: `sphinx-build docs site`, or `tox run -e docs`, with every warning as an error.

The pages are Markdown that reads well in the repository too. What is in an object is not typed again: parameters, the API and
the commands come from docstrings and from click when the site is built; `python -m tests.pages` writes what pages show as well.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).with_name("_sphinx")))
from public_names import PublicNames
from stand_ins import stand_in_for

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS: Final = Path(__file__).parent
stand_in_for(
    {"accelerate", "h5py", "jax", "keras", "lightgbm", "lightning", "numpy", "safetensors", "skops", "sklearn", "torch"}
    | {"transformers", "xgboost"}
)

project = "hookcore"
release = metadata.version(project)
html_title = f"{project} {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
html_theme = "furo"
pygments_dark_style = "github-dark"
html_show_copyright = html_copy_source = html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 4
smartquotes = False  # it makes one dash of the two that begin an option

# What stands in backticks in a docstring is code, and a link if it names something of the reference.
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:obj", "(?s).*"),  # also if it stands in two lines
    # Of Python and of other libraries: without a network there is nothing to link to.
    ("py:class", r"(collections\.abc|hypothesis|io|numpy|os|pathlib|types|typing)\..*|Callable.*|CodeType|Path|Batch|Item|T"),
    ("py:class", "Attribute|RuleBasedStateMachine|SearchStrategy|Trainer(Callback|State)|TrainingArguments|Validator"),
    # What a caller gets and gives back, and never makes or looks into.
    ("py:class", r"(hookcore\w*\..*)?(\w*Snapshot|DataBegin|Forest|Scorer|Shared|Summaries|_\w+)"),
]
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False


_SHOWS: Final = re.compile(r"\[[^]]+\]\((\S+)\)\s*")
_LINK: Final = re.compile(r"\[([^][]*)\]\((?![a-z]+:)([^)#\s]+)(#[^)\s]*)?\)")
_FENCED: Final = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_READ_BY_ROLES: Final = re.compile(r"(?<!`)`([~!][^`]*|[^`]*[\\<][^`]*)`(?!`)")
SHOWN: Final = {
    (page.parent / match[1]).resolve(): page for page in DOCS.rglob("*.md") if (match := _SHOWS.fullmatch(page.read_text()))
} | {DOCS.parent / "README.md": DOCS / "index.md"}
"""The files of the repository that have a page, each with the page: one that has a link to the file, and nothing else.

The first page says what the README does, for readers of the site.
"""


def show_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give a page of `SHOWN` the text of its file, and lead each link to a file in `SHOWN`, or to its folder, to the page.

    A link whose text is the name of a page gets its title as text. Any other file of the repository that a page links to is
    copied into the site, as Sphinx does by itself; a folder has no link.
    """
    del app
    page = DOCS / f"{docname}.md"
    file = next((file for file, shown in SHOWN.items() if shown == page and page.name != "index.md"), page)

    def led(match: re.Match[str]) -> str:
        text, target, anchor = match[1], (file.parent / match[2]).resolve(), match[3] or ""
        target = SHOWN.get(target) or SHOWN.get(target / "README.md") or target
        if target.suffix == ".md" and re.fullmatch(r"[\w/.-]+\.md", text):
            text = ""  # MyST puts the title of the page, or the heading, in its place
        return text if target.is_dir() else f"[{text}]({os.path.relpath(target, page.parent)}{anchor})"

    if page.exists():
        parts = _FENCED.split(source[0] if file == page else file.read_text())
        source[0] = "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in parts)


def skip_member(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:  # noqa: FBT001
    """Leave out of a plugin's reference what only the engine calls: its hooks, and the methods of its state."""
    del app, kind, skip, options
    called = {"state_dict", "load_state_dict", "snapshots", "load_snapshots", "needs"}
    is_of_plugin = getattr(member, "__module__", "").startswith("hookcore_plugins.") or isinstance(member, property)
    return True if hasattr(member, "hookcore_impl") or (is_of_plugin and name in called) else None


def mark_code(app: Sphinx, kind: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    """Make literal what a docstring means as it is: the parts that are indented as code, and signs that a role would read."""
    del app, kind, name, documented, options
    for number in range(len(lines) - 1, -1, -1):
        # What a list begins with is a parameter, and no method of that name.
        head, colon, rest = lines[number].partition(":") if lines[number].startswith("* ") else ("", "", lines[number])
        lines[number] = re.sub(r"`([^`]+)`", r"``\1``", head) + colon + _READ_BY_ROLES.sub(r"``\1``", rest)
        above = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if number and lines[number].startswith("    ") and not lines[number - 1].strip() and not above.startswith("    "):
            lines[number:number] = ["::", ""]


def name_functions(app: Sphinx, kind: str, name: str, documented: Any, options: Any, *signature: str | None) -> Any:
    """Write a default that is a function by its name, and a lambda as dots. A protocol has no signature."""
    del app, kind, name, options
    if getattr(documented, "_is_protocol", False):
        return "", ""
    unnamed = (text and re.sub(r"<function \S*<lambda> at \w+>", "...", text) for text in signature)
    return tuple(text and re.sub(r"<(?:built-in )?function ([\w.]+)[^>]*>", r"\1", text) for text in unnamed)


def find_by_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """Return a link to the class or function that a docstring or a signature calls by its bare name, if only one has it."""
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not re.fullmatch(r"[A-Z]\w+", name):
        return None
    domain = env.domains.python_domain
    found = [full for full in domain.objects if re.fullmatch(rf"hookcore\w*(\.[a-z]\w*)*\.{name}", full)]
    canonical = {full for full in found if not domain.objects[full].aliased}
    if len(canonical) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", canonical.pop(), node, contnode)


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.add_directive("public-names", PublicNames)
    app.connect("source-read", show_files)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", name_functions)
    app.connect("autodoc-process-docstring", mark_code)
    app.connect("missing-reference", find_by_name)
