"""The directive `public-names`: the reference of what a module has in `__all__`, so that no page lists the names again."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from docutils.parsers.rst import directives
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import hookcore

if TYPE_CHECKING:
    from collections.abc import Iterator


class PublicNames(SphinxDirective):  # type: ignore[misc] # the environment of the lint has no Sphinx
    """Describes the names of a module's `__all__`, in that order: all but the errors, or with the option `errors` those alone."""

    required_arguments = 1
    option_spec: ClassVar[Any] = {"errors": directives.flag}

    def run(self) -> Any:
        """Return what autodoc makes of each name but modules, and those that `hookcore` itself has."""
        module = importlib.import_module(self.arguments[0])
        lines = [f".. py:currentmodule:: {module.__name__}", ""]
        for name in module.__all__:
            value = getattr(module, name)
            is_error = inspect.isclass(value) and issubclass(value, BaseException)
            elsewhere = module is not hookcore and name in hookcore.__all__ and value is getattr(hookcore, name)
            if not inspect.ismodule(value) and not elsewhere and is_error == ("errors" in self.options):
                lines += _described(name, value, module.__name__)
        return self.parse_text_to_nodes("\n".join(lines))


def _described(name: str, value: object, module: str) -> Iterator[str]:
    if inspect.isclass(value):
        yield f".. auto{'exception' if issubclass(value, BaseException) else 'class'}:: {name}"
    elif inspect.isroutine(value):
        yield f".. autofunction:: {name}"
    else:
        yield f".. py:data:: {name}"
        text = re.sub(r"\b(typing|collections\.abc|os)\.", "", repr(value))
        if len(text) < 100 and " object at " not in text:  # noqa: PLR2004 - a line
            yield f"   :value: {text}"
        yield ""
        yield from (f"   {line}" for line in _docstring_of(name, value, module.partition(".")[0]))
    yield ""


def _docstring_of(name: str, value: object, package: str) -> list[str]:
    """Return the lines below the assignment by which a module in the package defines the value."""
    for module in sorted(sys.modules):
        if f"{module}.".startswith(f"{package}.") and vars(sys.modules[module]).get(name) is value:
            found: list[str] = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [])
            if found:
                return found
    raise LookupError(f"{package}.{name} has no docstring below its assignment")
