"""Files that are hashed while they are written."""

from __future__ import annotations

import array
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import CheckpointError, store
from hookcore.store import write_hashed
from tests.hookcore.store.checkpoints import save

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"weights" * 1000


def writes(directory: Path) -> dict[str, Any]:
    """Write one file as a trainee does that hashes what it writes."""
    return dict(write_hashed(directory, {"weights.bin": [memoryview(CONTENT)]}))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(st.binary(max_size=50))))
def test_the_hash_is_that_of_the_file(tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[bytes]]) -> None:
    """Whatever the parts, each file holds them in order, and its hash is that of its content."""
    directory = tmp_path_factory.mktemp("hashed")
    hashed = write_hashed(directory, {name: [memoryview(part) for part in parts] for name, parts in files.items()})
    assert hashed.keys() == files.keys()
    for name, parts in files.items():
        assert (directory / name).read_bytes() == b"".join(parts)
        assert hashed[name].sha256 == hashlib.sha256(b"".join(parts)).hexdigest()
        assert hashed[name].is_of(directory / name)


def test_a_file_that_was_hashed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint verifies, although only its record was read to be hashed."""
    read, digest = [], store.files.digest

    def noted(path: Path) -> str:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(store.files, "digest", noted)
    saved = save(tmp_path, files=writes)
    assert read == ["run.json"]
    assert store.verify(saved.path) == saved


def test_a_file_that_was_exchanged_is_hashed_again(tmp_path: Path) -> None:
    """A trainee may write over what it has hashed: the manifest lists the present file."""

    def exchanges(directory: Path) -> dict[str, Any]:
        hashed = writes(directory)
        (directory / "weights.bin").write_bytes(b"others")
        return hashed

    store.verify(save(tmp_path, files=exchanges).path)


@pytest.mark.parametrize("returned", [None, [], ["weights.bin"], {"weights.bin": "0" * 64}, {0: 1}, "weights.bin"])
def test_what_else_a_trainee_returns_is_ignored(tmp_path: Path, returned: object) -> None:
    """Only hashes of `write_hashed` count."""

    def files(directory: Path) -> object:
        writes(directory)
        return returned

    store.verify(save(tmp_path, files=files).path)


def test_a_damaged_file_that_was_hashed_is_found(tmp_path: Path) -> None:
    """The manifest has the hash of what was written."""
    saved = save(tmp_path, files=writes)
    (saved.path / "weights.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(CheckpointError, match=r"weights\.bin differs"):
        store.verify(saved.path)


def test_a_file_is_hashed_if_no_thread_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of the interpreter, which refuses new threads."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert writes(tmp_path)["weights.bin"].sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_that_was_changed_in_place_is_hashed_again(tmp_path: Path) -> None:
    """Also if its size is the same."""

    def changes(directory: Path) -> dict[str, Any]:
        hashed = writes(directory)
        with (directory / "weights.bin").open("r+b") as file:
            file.write(b"W")
        os.utime(directory / "weights.bin", ns=(0, 0))
        return hashed

    store.verify(save(tmp_path, files=changes).path)


def test_an_error_in_hashing_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hashed until then is not the hash of the file."""

    class Failing:
        def update(self, _: object) -> None:
            raise MemoryError

    monkeypatch.setattr(hashlib, "sha256", Failing)
    with pytest.raises(MemoryError):
        writes(tmp_path)


def test_wide_elements_are_written_whole_if_the_system_writes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system counts bytes, and Linux writes at most 2 GiB at once."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, memoryview(content).cast("B")[:1000]))
    numbers = memoryview(array.array("d", range(1000)))
    hashed = write_hashed(tmp_path, {"wide": [numbers, memoryview(array.array("d"))]})
    assert (tmp_path / "wide").read_bytes() == numbers.tobytes()
    assert hashed["wide"].sha256 == hashlib.sha256(numbers).hexdigest()
