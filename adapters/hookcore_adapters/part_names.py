"""The names of a trainee's parts, such as its models in a dict, which become names of files."""

from __future__ import annotations

import re
from typing import Final

EXPECTED: Final = "names of letters, digits, - and _"
"""What `is_part_name` accepts, for an error message."""


def is_part_name(name: object) -> bool:
    """Return whether `name` can be part of a file's name on every platform."""
    return re.fullmatch(r"[A-Za-z0-9_-]+", str(name)) is not None
