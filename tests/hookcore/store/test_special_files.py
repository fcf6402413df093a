"""Pipes, sockets and terminals are written to and never replaced, and only plain files are read. No device is used here."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from hookcore import Outcome, ParameterError, hookimpl, store
from hookcore.cli.main import main
from hookcore_plugins import CSVLog, JSONLog, Report, TensorBoard
from hookcore_plugins.report.run_report import RunReport
from hookcore_plugins.tensorboard import event_files
from tests.patience import PATIENCE
from tests.plugins.checkpoint.checkpointing import train

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def kind(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


def read_from(fifo: Path, write: Callable[[], object]) -> bytes:
    """Return what a process that has opened `fifo` reads when `write` writes."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)  # so that there is no end before `write` has begun
    os.set_blocking(reader, True)
    got: list[bytes] = []

    def read() -> None:
        while part := os.read(reader, 65536):
            got.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    write()
    os.close(writer)
    thread.join(PATIENCE)
    os.close(reader)
    return b"".join(got)


@pytest.mark.parametrize("by", ["name", "link", "link to a link"])
@pytest.mark.parametrize(
    "write", [store.write_bytes, lambda path, content: store.write_file(path, lambda to: to.write_bytes(content))]
)
def test_a_pipe_gets_what_was_written_and_stays(tmp_path: Path, fifo: Path, by: str, write: Any) -> None:
    """A pipe gets the content, also through links, and nothing is left beside it."""
    path = fifo
    for name in ["first", "second"][: {"name": 0, "link": 1, "link to a link": 2}[by]]:
        (tmp_path / name).symlink_to(path.name)
        path = tmp_path / name
    before = sorted(tmp_path.iterdir())
    assert read_from(fifo, lambda: write(path, CONTENT)) == CONTENT
    assert kind(fifo) == stat.S_IFIFO
    assert sorted(tmp_path.iterdir()) == before


def test_a_pipe_that_no_process_reads_is_an_error(fifo: Path) -> None:
    """A pipe that no process reads is an error, without waiting."""
    with pytest.raises(OSError, match="No such device or address"):
        store.write_bytes(fifo, CONTENT)
    assert kind(fifo) == stat.S_IFIFO


def test_a_socket_is_an_error_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is an error, because no process can write to it by its name."""
    monkeypatch.chdir(tmp_path)  # its name may not be long
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("socket")
        with pytest.raises(OSError, match="No such device or address"):
            store.write_bytes(Path("socket"), CONTENT)
        assert kind(tmp_path / "socket") == stat.S_IFSOCK


def test_a_terminal_gets_what_was_written_and_stays(tmp_path: Path) -> None:
    """A terminal, which is a character device like `/dev/null`, gets the content, also through a link."""
    controller, terminal = pty.openpty()
    try:
        name = Path(os.ttyname(terminal))
        (tmp_path / "link").symlink_to(name)
        for path in (name, tmp_path / "link"):
            store.write_bytes(path, b"hello\n")
            assert os.read(controller, 100) == b"hello\r\n"
            assert name.is_char_device()
    finally:
        os.close(terminal)
        os.close(controller)


def test_a_directory_is_refused_and_stays(tmp_path: Path) -> None:
    """A directory is refused before anything is written."""
    written: list[Path] = []
    with pytest.raises(IsADirectoryError):
        store.write_file(tmp_path, written.append)
    assert written == []


def test_an_open_file_gets_what_was_written() -> None:
    """A path such as `/dev/stdout` gets the content even if the process may not replace the file."""
    code = """
import os
from pathlib import Path
from hookcore import store
if os.geteuid() == 0:
    os.setuid(65534)
reader, writer = os.pipe()
store.write_bytes(Path(f"/dev/fd/{writer}"), b"the page")
print(os.read(reader, 100).decode())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout == "the page\n", done.stderr


def test_the_command_writes_a_report_into_a_pipe(tmp_path: Path, fifo: Path) -> None:
    """`hookcore report --svg PIPE` writes into the pipe; without a reader it fails with the reason."""
    train([Report(tmp_path, summary=False)], [1.0])
    got = read_from(fifo, lambda: CliRunner().invoke(main, ["report", str(tmp_path), "--svg", str(fifo)]))
    assert got.startswith(b"<?xml")
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--svg", str(fifo)])
    assert done.exit_code == 1
    assert f"{fifo} cannot be written: No such device or address." in done.output
    assert kind(fifo) == stat.S_IFIFO


@pytest.mark.parametrize("link", [False, True])
def test_only_a_plain_file_is_read(tmp_path: Path, fifo: Path, *, link: bool) -> None:
    """Only a plain file, or the target of a link, is read: a pipe would wait, and a device may have no end."""
    path = tmp_path / "link" if link else fifo
    if link:
        path.symlink_to(fifo)
    for read in (store.read_file, RunReport.read, lambda path: event_files.cut(path.parent, 1)):
        if read not in {store.read_file, RunReport.read}:
            path = path.rename(path.with_name("events.out.tfevents.1"))
        with pytest.raises(Exception, match="not a plain file"):
            read(path)
    (tmp_path / "plain").write_bytes(CONTENT)
    (tmp_path / "to").symlink_to("plain")
    assert store.read_file(tmp_path / "to") == CONTENT
    with pytest.raises(OSError, match=r"has 256\.0 kB, and at most 255\.0 kB are read"):
        store.read_file(tmp_path / "plain", 255_000)


def test_labels_are_read_from_a_plain_file(fifo: Path) -> None:
    """A pipe of labels is refused when the plugin is made."""
    with pytest.raises(ParameterError, match="embeddings_metadata must be"):
        TensorBoard("logs", embeddings_freq=1, embeddings_metadata=fifo)


@pytest.mark.parametrize("plugin", [CSVLog, JSONLog])
def test_a_log_whose_name_a_pipe_took_does_not_stop_the_run(tmp_path: Path, plugin: Any) -> None:
    """If a pipe has taken a log's name, the plugin is disabled with the reason, and training waits for no reader."""
    path = tmp_path / "log"

    class Takes:
        name = "takes"

        @hookimpl(tryfirst=True)
        def on_epoch_end(self, epoch: int) -> None:
            if epoch == 1:
                path.unlink()
                os.mkfifo(path)

    run = train([plugin(path), Takes()], [3, 2, 1])
    assert run.outcome is Outcome.COMPLETED
    assert [failure.disabled for failure in run.failures] == [True]
    assert kind(path) == stat.S_IFIFO
