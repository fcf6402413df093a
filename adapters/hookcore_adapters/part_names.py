"""The names of a trainee's parts, such as its models in a dict, which become names of files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

EXPECTED: Final = "names of letters, digits, - and _ that differ in more than case"
"""What `are_part_names` accepts, for an error message."""


def are_part_names(names: Collection[object]) -> bool:
    """Return whether each of `names` can be part of another file's name on every platform."""
    # Some disks take `a` and `A` for one name.
    one_case = {str(name).lower() for name in names if re.fullmatch(r"[A-Za-z0-9_-]+", str(name))}
    return len(one_case) == len(names)
