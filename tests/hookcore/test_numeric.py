"""Numbers are recognised by their behaviour, and become Python's."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest

from hookcore.numeric import integer_of, number_of


@attrs.frozen
class Tensor:
    """A framework's tensor: like TensorFlow's it has no `item`, and its `__index__` ignores its shape."""

    value: Any
    shape: tuple[int, ...] = ()

    def numpy(self) -> Any:
        return np.array(self.value)

    def __index__(self) -> int:
        return int(self.value)


class Unknown(Tensor):
    """A tensor whose value is not computed yet, as while a function is traced."""

    def numpy(self) -> Any:
        raise NotImplementedError

    def __index__(self) -> int:
        raise TypeError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 3),
        (0.5, 0.5),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float16(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.array(3), 3),
        (np.array(0.5, np.float32), 0.5),
        (Tensor(3), 3),
        (Tensor(0.5), 0.5),
        (Fraction(1, 2), 0.5),
    ],
)
def test_a_number_becomes_pythons(given: Any, expected: float) -> None:
    """An integer of any library becomes an int, any other real number a float, also in an array or tensor without dimensions."""
    number = number_of(given)
    assert (type(number), number) == (type(expected), expected)
    assert integer_of(given) == (expected if isinstance(expected, int) else None)


@pytest.mark.parametrize(
    "given",
    [
        True,
        np.True_,
        np.array(True),  # noqa: FBT003 - NumPy's
        Tensor(True),  # noqa: FBT003 - a parameter
        "3",
        b"3",
        np.str_("3"),
        np.array("3"),
        1j,
        np.complex64(1),
        np.clongdouble(1),
        np.array([3]),
        Tensor(3, (1,)),
        Unknown(3),
        None,
        int,
        [3],
        Fraction(10**400),
    ],
)
def test_what_is_no_real_number_is_none(given: Any) -> None:
    """A bool, a string, a complex number and an array with dimensions are not numbers, even if they convert to one."""
    assert number_of(given) is None
    assert integer_of(given) is None
