"""The store and the plugins change the disk through `hookcore.store.disk` alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

import hookcore.store
import hookcore_plugins

PACKAGES: Final = [Path(package.__path__[0]) for package in (hookcore.store, hookcore_plugins)]
DISK: Final = PACKAGES[0] / "disk.py"

OF_OS: Final = (
    r"(fd)?open|p?writev?|sendfile|copy_file_range|posix_fallocate|f?truncate|f(data)?sync|sync|renames?|replace|link|symlink|unlink"
    r"|remove(dirs)?|rmdir|mkdir|makedirs|mknod|mkfifo|chmod|chown|utime"
)
OF_SHUTIL: Final = r"copy\w*|move|rmtree|\w+_archive"
OF_PATHS: Final = r"write_text|write_bytes|touch|mkdir|rmdir|unlink|rename|symlink_to|hardlink_to|(copy|move)(_into)?"
IMPORTS: Final = rf"(tempfile|mmap)\b|os\.({OF_OS})$|shutil\.({OF_SHUTIL})$|io\.(open|FileIO)$"
CHANGES: Final = re.compile(rf"os\.({OF_OS})|shutil\.({OF_SHUTIL})|io\.(open|FileIO)|(?!(disk|store)\.)(.|\n)+\.({OF_PATHS})")


def changes(source: str) -> list[str]:
    """Return the calls in `source` that could change a file or a directory, and the imports of such functions."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _changes(node):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = [module + alias.name for alias in node.names]
            found += [name for name in names if re.match(IMPORTS, name)]
    return found


def _changes(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    if called == "open" or called.endswith(".open"):
        modes = [*call.args[called == "open" :][:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
        if any(set(text) & set("wax+") for text in texts):
            return True
    if called.endswith("ath.replace") or (called.endswith(".replace") and "/" in called):  # not `str.replace`
        return True
    return CHANGES.fullmatch(called) is not None


@pytest.mark.parametrize("path", [path for package in PACKAGES for path in sorted(package.rglob("*.py"))], ids=str)
def test_nothing_else_changes_the_disk(path: Path) -> None:
    """No module of the store or of the plugins writes, names, removes or syncs a file, except `disk`."""
    if path != DISK:
        assert changes(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "os.open(path, os.O_RDONLY)",
        "os.fsync(3)",
        "open(path, 'a')",
        "open(path, mode='r+b')",
        "path.open('wb')",
        "path.write_bytes(b'')",
        "(path / 'a').rename(other)",
        "path.replace(other)",
        "(path / 'a').replace(other)",
        "path.parent.mkdir(parents=True)",
        "shutil.rmtree(path)",
        "io.FileIO(path)",
        "from os import fsync",
        "import tempfile",
    ],
)
def test_what_changes_the_disk_is_found(source: str) -> None:
    """Each way of changing a file is found."""
    assert changes(source)


@pytest.mark.parametrize(
    "source",
    ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "os.close(3)", "disk.rename(a, b)", "LogFile.open(path, run)"],
)
def test_what_changes_nothing_is_allowed(source: str) -> None:
    """Reading a file is allowed, and so is a call that only looks like a change."""
    assert not changes(source)
