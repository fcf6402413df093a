"""Trace the system calls of a process that change files, in all its threads, and kill it before one: ptrace through ctypes.

This needs nothing to install or compile, and misses no call of Python or of a C library. A process may trace its own children,
unless a container's policy or a hardened kernel forbids it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

_SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 24, 0x4200, 0x420E
_ENTRY: Final = 1
_SYSGOOD, _FORK, _VFORK, _CLONE, _EXITKILL = 0x1, 0x2, 0x4, 0x8, 0x100000
_ALL_THREADS: Final = 0x40000000  # __WALL
_AT_FDCWD: Final = -100
_OPEN_FLAGS: Final = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR

# By number on x86-64: the call's name, the place of its path, and the place of a second path. "fd 0" is an open file in
# argument 0, "path 0" a path in argument 0, and "at 0" a path in argument 1, relative to the directory in argument 0.
_CALLS: Final = {
    1: ("write", "fd 0", ""),
    2: ("open", "path 0", ""),
    18: ("pwrite64", "fd 0", ""),
    20: ("writev", "fd 0", ""),
    40: ("sendfile", "fd 0", ""),
    74: ("fsync", "fd 0", ""),
    75: ("fdatasync", "fd 0", ""),
    76: ("truncate", "path 0", ""),
    77: ("ftruncate", "fd 0", ""),
    82: ("rename", "path 0", "path 1"),
    83: ("mkdir", "path 0", ""),
    84: ("rmdir", "path 0", ""),
    85: ("creat", "path 0", ""),
    86: ("link", "path 0", "path 1"),
    87: ("unlink", "path 0", ""),
    88: ("symlink", "path 1", ""),
    257: ("openat", "at 0", ""),
    258: ("mkdirat", "at 0", ""),
    263: ("unlinkat", "at 0", ""),
    264: ("renameat", "at 0", "at 2"),
    265: ("linkat", "at 0", "at 2"),
    266: ("symlinkat", "at 1", ""),
    285: ("fallocate", "fd 0", ""),
    296: ("pwritev", "fd 0", ""),
    306: ("syncfs", "fd 0", ""),
    316: ("renameat2", "at 0", "at 2"),
    326: ("copy_file_range", "fd 2", ""),
    328: ("pwritev2", "fd 0", ""),
}


class _Info(ctypes.Structure):
    """The beginning of `struct ptrace_syscall_info`, up to the arguments of a call."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


@attrs.frozen
class Call:
    """A system call that is about to be made, with the absolute path that it changes, and the new path if it is a rename."""

    thread: int
    name: str
    path: str
    target: str = ""


def follow(process: subprocess.Popen[str], kill_at: Callable[[Call], bool | None]) -> None:
    """Trace a child that asked for it and stopped itself, until its end; kill it before a call for which `kill_at` is true.

    Set its `returncode`. Raise `RuntimeError`, with the child's standard error, if it cannot be traced.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError(
            f"The kill tests know the system calls of Linux on x86_64, not of {platform.system()} on {platform.machine()}."
        )
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
        said = process.stderr.read() if process.stderr else ""
        raise RuntimeError(f"The child ended before it was traced. {said}")
    _ptrace(_SETOPTIONS, process.pid, 0, _SYSGOOD | _FORK | _VFORK | _CLONE | _EXITKILL)
    _ptrace(_SYSCALL, process.pid, 0, 0)
    known = {process.pid}
    while True:
        thread, status = os.waitpid(-1, _ALL_THREADS)
        if not os.WIFSTOPPED(status):
            if thread == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return
            continue
        # Stops at calls, at the birth of a thread and at its start are for the tracer; any other signal is the child's own.
        number = os.WSTOPSIG(status)
        passed_on = 0 if number & 0x7F == signal.SIGTRAP or (number == signal.SIGSTOP and thread not in known) else number
        known.add(thread)
        try:
            if number == signal.SIGTRAP | 0x80:
                call = _entered(thread)
                if call is not None and kill_at(call):
                    os.kill(process.pid, signal.SIGKILL)
            _ptrace(_SYSCALL, thread, 0, passed_on)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has died, which waitpid will report


def _entered(thread: int) -> Call | None:
    """Return the call at which `thread` was stopped, if the call is about to begin and changes files; else None."""
    info = _Info()
    _ptrace(_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
    if info.op != _ENTRY or info.number not in _CALLS:
        return None
    name, first, second = _CALLS[info.number]
    if name in {"open", "openat"} and not info.arguments[1 if name == "open" else 2] & _OPEN_FLAGS:
        return None
    return Call(thread, name, _path(thread, info, first), _path(thread, info, second) if second else "")


def _path(thread: int, info: _Info, where: str) -> str:
    kind, place = where.split()
    at = int(place)
    held = ctypes.c_int(info.arguments[at] & 0xFFFFFFFF).value
    if kind == "fd":
        return str(Path(f"/proc/{thread}/fd/{held}").readlink())
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - unbuffered
        memory.seek(info.arguments[at + (kind == "at")])
        path = os.fsdecode(memory.read(4096).split(b"\0")[0])
    base = "cwd" if kind == "path" or held == _AT_FDCWD else f"fd/{held}"
    return os.path.normpath(Path(f"/proc/{thread}/{base}").readlink() / path)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int, data: int) -> None:
    if _libc.ptrace(request, thread, address, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")
