"""The safetensors files that are written without the library are files of the library's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hookcore_adapters.torch.weights import file_of, read_tensors

if TYPE_CHECKING:
    import pytest

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
    torch.float64, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Draw a tensor of any type and shape, contiguous or not."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    tensor = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(
        draw(st.sampled_from(DTYPES))
    )
    return tensor.transpose(0, -1) if len(shape) > 1 and draw(st.booleans()) else tensor


@given(given=st.dictionaries(st.text(max_size=5), tensors(), max_size=5), tied=st.booleans())
def test_the_library_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any], *, tied: bool
) -> None:
    """Names, types, shapes, values and metadata; and a tied tensor under both names."""
    if tied and given:
        given["tied"] = next(iter(given.values()))
    given.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("tensors") / "model.safetensors"
    path.write_bytes(b"".join(file_of(given)))
    read = read_tensors(path)
    assert read.keys() == given.keys()
    for name, tensor in given.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert read[name].contiguous().view(-1).view(torch.uint8).equal(tensor.contiguous().view(-1).view(torch.uint8))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
