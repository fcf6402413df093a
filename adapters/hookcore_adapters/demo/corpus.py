"""A text corpus that every machine has: paragraphs of the standard library's docstrings, in two classes by their subject."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NETWORK: Final = """
    _pyio asyncio concurrent ftplib http imaplib multiprocessing nntplib poplib queue sched selectors signal smtplib socket
    socketserver ssl subprocess telnetlib threading urllib webbrowser wsgiref xmlrpc
"""
"""The modules of class 1: networks, processes and concurrency. Not every Python has all of them."""
TEXT: Final = """
    _pydecimal ast codecs configparser csv difflib email encodings fractions gettext html json mailbox optparse pickletools
    plistlib pprint quopri re shlex statistics string stringprep textwrap tokenize xml
"""
"""The modules of class 0: text and data."""
_MIN_WORDS: Final = 8
SPECIAL: Final = ("<pad>", "<start>", "<unknown>", "<unused>")
"""The first indices, as in Keras's IMDB."""


def paragraphs() -> list[tuple[list[str], int]]:
    """Return the words and the class of each paragraph of at least eight words, without repetitions, in a fixed random order."""
    found: dict[tuple[str, ...], int] = {}
    for label, modules in [(1, NETWORK), (0, TEXT)]:
        for text in _docstrings(modules.split()):
            for paragraph in re.split(r"\n\s*\n", text):
                words = tuple(re.findall(r"[a-z]+(?:'[a-z]+)?", paragraph.lower()))
                if len(words) >= _MIN_WORDS:
                    found.setdefault(words, label)
    pairs = [(list(words), label) for words, label in found.items()]
    random.Random(0).shuffle(pairs)  # noqa: S311 - not for security
    return pairs


def _docstrings(modules: Sequence[str]) -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for module in modules:
        for path in sorted([*library.glob(f"{module}.py"), *library.glob(f"{module}/**/*.py")]):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


def vocabulary(texts: Sequence[Sequence[str]], size: int) -> list[str]:
    """Return the words by index: the four special ones of Keras's IMDB, and then the most frequent ones, `size` in total."""
    counted = Counter(word for text in texts for word in text)
    common = sorted(counted, key=lambda word: (-counted[word], word))
    return [*SPECIAL, *common[: size - len(SPECIAL)]]


def encode(text: Sequence[str], index: dict[str, int]) -> list[int]:
    """Return the indices of the words in the format of Keras's IMDB: 1 at the start, 2 for a word without an index."""
    return [1, *(index.get(word, 2) for word in text)]
