"""Paths that people give: local ones, in which `~` is a home directory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from hookcore.errors import ParameterError

if TYPE_CHECKING:
    from pathlib import Path

_URL: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a URL begins. One slash is enough, because `Path` turns two into one. A drive of Windows has only one letter."""
LONGEST_NAME: Final = 255
"""The most bytes that a name may have in common file systems."""


def local_path(given: str | os.PathLike[str], what: str = "path") -> Path:
    """Return the path `given`, with `~` and `~user` replaced by the home directory.

    Raises `ParameterError` for a path that no local file can have, such as `gs://bucket/run`; `what` names the parameter.
    """
    from pathlib import Path  # as slow to import as half of hookcore

    text = os.fspath(given)
    problem = problem_of(text)
    if problem is not None:
        expected, advice = problem
        raise ParameterError(f"{what} must be {expected}, got {text!r}.{advice}")
    # Not `Path.expanduser`: pathlib turns `./~name` into `~name`, which must never become a home directory.
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    return path.absolute() if str(path).startswith("~") else path


def problem_of(path: str) -> tuple[str, str] | None:
    """Return None if a local file can have this path, otherwise what it must be instead, and advice as another sentence."""
    if _URL.match(path):
        return "a local path, not a URL", (
            " Give a local path and copy the files from there (checkpoints in a plugin's on_checkpoint), "
            "or mount the bucket and give the path of the mount."
        )
    if "\0" in path:
        return "a path without NUL characters", ""
    try:
        names = os.fsencode(path).split(os.fsencode(os.sep))
    except UnicodeEncodeError:
        return "a path that the file system can encode", ""
    if any(len(name) > LONGEST_NAME for name in names):
        return f"a path of names with at most {LONGEST_NAME} bytes", ""
    if path.startswith("~") and os.path.expanduser(path) == path:  # noqa: PTH111 - as above
        return "a path in a home directory that exists", " A name that begins with ~ is written ./~name."
    return None
