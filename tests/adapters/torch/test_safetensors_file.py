"""The safetensors files that are written without the library are files of the library's format."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hookcore import CheckpointError
from hookcore_adapters.torch import TorchTrainee
from hookcore_adapters.torch.host_copies import HostMemory
from hookcore_adapters.torch.weights import file_of, read_tensors

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


class Wrapper(torch.Tensor):  # type: ignore[misc]  # it is Any to a checker without PyTorch
    """A tensor that holds another one, as quantized tensors do, and has no memory itself."""

    inner: Any

    @staticmethod
    def __new__(cls: type[Wrapper], inner: Any) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        plain = torch.utils._pytree.tree_map(lambda one: one.inner if isinstance(one, cls) else one, arguments)
        return function(*plain, **(keywords or {}))


def test_only_tied_tensors_share_a_copy() -> None:
    """A conjugated or negated view has the same memory and other values, and tensors that wrap others have no memory."""
    values = torch.tensor([1 + 2j, 3 - 4j])
    views = [values, values.conj(), values.imag, values.conj().imag, values]
    copies = HostMemory().copies(views)
    assert [torch.equal(copy, view) for copy, view in zip(copies, views, strict=True)] == [True] * 5
    assert copies[0].data_ptr() == copies[4].data_ptr()
    wrapped = [Wrapper(torch.zeros(3)), Wrapper(torch.ones(3))]
    assert [copy.tolist() for copy in HostMemory().copies(wrapped)] == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize("name", ["__metadata__", "a\ud800"])
def test_names_that_no_file_can_hold_are_refused_before_training(name: str) -> None:
    """A save would seem to work, and no run could be resumed from it."""
    model = torch.nn.Linear(1, 1)
    model.register_buffer(name, torch.zeros(1))
    reason = TorchTrainee(model, torch.optim.SGD(model.parameters())).lacks("checkpoint")
    assert reason is not None
    assert repr(name) in reason


def test_a_header_that_no_reader_takes_is_refused() -> None:
    """The library reads names and shapes of at most 100 MB."""
    name = "n" * 50_000_000
    with pytest.raises(CheckpointError, match="names and shapes of 2 tensors"):
        file_of({name: torch.zeros(1), f"{name}2": torch.zeros(1)})
