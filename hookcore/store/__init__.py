"""Durable checkpoint directories: write, verify, list, rank, remove; and durable single files.

A checkpoint is one directory, `step-00001234`, with the trainee's files, `run.json` and `manifest.json`, which lists the size
and SHA-256 of every other file. It is written into a temporary sibling, synced, and renamed: under its own name it is whole or
absent. Readers use JSON only, never pickle, and touch no file outside the directory.

A run that writes or removes checkpoints holds the directory's `lock`; reading needs no lock. README.md explains the design.
"""

from __future__ import annotations

from hookcore.store.directory import (
    Known,
    available,
    best,
    clear,
    named,
    newest,
    open_directory,
    prune,
    remove,
    set_aside,
)
from hookcore.store.files import make_directory, move_aside, move_file_aside, read_file, write_bytes, write_file
from hookcore.store.hashed import Hashed, write_hashed
from hookcore.store.locking import Lock, is_locked, lock, lock_file
from hookcore.store.manifest import verify
from hookcore.store.retention import Ranked, Retention, ranked
from hookcore.store.saved import MANIFEST, RECORD, SavedCheckpoint, name_of
from hookcore.store.writing import write

__all__ = [
    "MANIFEST",
    "RECORD",
    "Hashed",
    "Known",
    "Lock",
    "Ranked",
    "Retention",
    "SavedCheckpoint",
    "available",
    "best",
    "clear",
    "is_locked",
    "lock",
    "lock_file",
    "make_directory",
    "move_aside",
    "move_file_aside",
    "name_of",
    "named",
    "newest",
    "open_directory",
    "prune",
    "ranked",
    "read_file",
    "remove",
    "set_aside",
    "verify",
    "write",
    "write_bytes",
    "write_file",
    "write_hashed",
]
