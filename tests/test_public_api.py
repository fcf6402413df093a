"""The public names of hookcore, and the modules that their import needs."""

from __future__ import annotations

import builtins
import collections.abc
import inspect
import pathlib
import re
import subprocess
import sys
import typing
from typing import TYPE_CHECKING, Any

import hypothesis.stateful
import pytest

import hookcore
import hookcore.authoring
import hookcore.store
import hookcore.testing
import hookcore_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = (builtins, collections.abc, hypothesis.stateful, hypothesis.strategies, pathlib, typing)
ELSEWHERE = {name for module in OTHERS for name in dir(module)}
"""Types of other packages."""
INTERNAL = {"Shared"}
"""What the handles of a run share, which only adapters use."""
HEAVY = {"click", "hypothesis", "jax", "keras", "numpy", "pandas", "rich", "sklearn", "tensorflow", "torch"}


@pytest.mark.parametrize("package", [hookcore, hookcore_plugins, hookcore.testing], ids=lambda package: package.__name__)
def test_all_is_sorted_and_holds_every_public_name(package: object) -> None:
    """`__all__` lists each name that the package imports for its users, once, in order, and no other name."""
    names = vars(package)["__all__"]
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    } | {*vars(package).get("_NEEDS_HYPOTHESIS", ()), *vars(package).get("_ONLY_FOR_CHECKPOINTS", ())}
    assert set(names) == public
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@pytest.mark.parametrize("name", hookcore.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Each class and function of the public API has a docstring, and a module in hookcore."""
    value = getattr(hookcore, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
        assert value.__module__.startswith("hookcore.")


DOORS = (hookcore, hookcore.authoring, hookcore.store, hookcore.testing)


def signatures(value: object) -> Iterator[str]:
    """Yield the annotations of a function, or of a class's fields and public methods, as they are written."""
    if inspect.isfunction(value):
        yield from map(str, value.__annotations__.values())
    elif inspect.isclass(value):
        yield from (str(hint) for name, hint in vars(value).get("__annotations__", {}).items() if not name.startswith("_"))
        for name, member in vars(value).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
                yield from signatures(function)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_type_in_a_public_signature_is_exported(door: Any) -> None:
    """Each type of hookcore in a public signature is exported by one of the public modules."""
    exported = {name for each in DOORS for name in each.__all__}
    unknown = {}
    for name in door.__all__:
        for hint in signatures(getattr(door, name)):
            named = re.findall(r"(?<![\w.])[A-Z]\w+(?!\.)", re.sub(r"(['\"]).*?\1", "", hint))
            if not exported.union(ELSEWHERE, INTERNAL).issuperset(named):
                unknown[name] = hint
    assert unknown == {}


def imported(statement: str) -> set[str]:
    """Return the modules that a new interpreter has imported after `statement`."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["hookcore", "hookcore_plugins", "hookcore_adapters.loop", "hookcore.testing"])
def test_imports_stay_light(module: str) -> None:
    """Importing the engine, the plugins, the loop or the doubles imports no framework, no NumPy, no rich and no click."""
    modules = imported(f"import {module}")
    assert module in modules
    assert modules & HEAVY == set()
    assert "hookcore.cli" not in modules


def test_importing_the_engine_imports_no_plugin_and_no_adapter() -> None:
    """`import hookcore` imports no plugin and no adapter, and scans for no entry points."""
    scanned = "import importlib.metadata as m; m.entry_points = m.Distribution.discover = None; import hookcore"
    assert not any(name.startswith(("hookcore_plugins", "hookcore_adapters")) for name in imported(scanned))


def test_importing_the_engine_leaves_out_what_only_checkpoints_need() -> None:
    """The store, entry points, spec strings, paths, and hashing and copying files are imported only when they are used."""
    used = "hookcore.Engine(['checkpoint:directory=x', 'time_limit:hours=1']); import difflib, hookcore.capture, hookcore.resume"
    dear = {"difflib", "hashlib", "importlib.metadata", "json", "pathlib", "shlex", "shutil"}
    dear |= {"hookcore.capture", "hookcore.resume", "hookcore.registry.spec_string", "hookcore.store"}
    assert (imported("import hookcore") - imported("import attrs, pluggy")) & dear == set()
    assert dear <= imported(f"import hookcore; {used}")


def test_what_only_checkpoints_need_can_be_imported() -> None:
    """These names are available although their modules are imported late, and an unknown name is an AttributeError."""
    assert hookcore.SavedCheckpoint.__module__ == "hookcore.store.saved"
    assert hookcore.Capture.__module__ == "hookcore.capture"
    with pytest.raises(AttributeError, match="module 'hookcore' has no attribute 'SavedCheckpoints'"):
        _ = hookcore.SavedCheckpoints
