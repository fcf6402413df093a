"""Names of a trainee's parts, which become names of files."""

from __future__ import annotations

import pytest

from hookcore_adapters.part_names import are_part_names


@pytest.mark.parametrize(
    ("names", "fit"),
    [
        ([], True),
        (["generator", "discriminator-2", "D_3"], True),
        ([1, 2], True),
        (["net", "Net"], False),
        (["a/b"], False),
        (["a.b"], False),
        ([""], False),
        (["a\n"], False),
        (["ä"], False),
    ],
)
def test_a_name_can_be_part_of_a_file_name(names: list[object], fit: bool) -> None:  # noqa: FBT001
    """Letters, digits, - and _ fit; names that differ only in case do not, because some disks take them for one."""
    assert are_part_names(names) == fit
