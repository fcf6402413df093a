"""Find words that docs/style.md asks us not to write, in Markdown and in the docstrings, comments and messages of Python files.

`python tests/prose/check.py` prints the findings, and exits with status 1 if there are any. `--all` prints also how many each
word has.

The words are in `words.toml`. No linter on PyPI does this: codespell's dictionaries hold single words, proselint's checks are
fixed and skip neither Markdown's code nor Python's, and the linters with lists of phrases need another language's packages or
download a program.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORDS = HERE / "words.toml"

# They are in .gitignore too. Directories whose names begin with a dot, and virtual environments, are also skipped.
_SKIPPED = frozenset({"__pycache__", "build", "dist", "runs"})
# One or two words are a name, a key or an option.
_WORDS_OF_A_MESSAGE = 3
# The number of characters before a word that are searched for what makes it right.
_BEFORE = 40
# Replaces each character of code. It is not a letter, so no word of the list matches it, and not a space, so that `code` remains
# one word.
_CODE = "`"
# Replaces a value that an f-string formats: a backtick there would begin code.
_VALUE = "\N{OBJECT REPLACEMENT CHARACTER}"

_NO_PROSE = re.compile(
    r"""
      ^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n(?s:.*?)(?:^[ \t]*(?P=fence)[^\n]*$|\Z)
    | <!--(?s:.*?)-->
    | (?<!`)(?P<ticks>`+)(?!`)(?s:(?:(?!\n[ \t]*\n).)*?)(?<!`)(?P=ticks)(?!`)
    | \]\([^)\s]*\)
    | https?://\S+
    """,
    re.MULTILINE | re.VERBOSE,
)


class Word(NamedTuple):
    """What not to write and what to write instead: an entry of `words.toml`, which describes the fields."""

    name: str
    pattern: re.Pattern[str]
    after: re.Pattern[str] | None
    write: str
    found: tuple[str, ...]
    passed: tuple[str, ...]


class Passage(NamedTuple):
    """Prose on the lines `begin` to `end` of a file, both included and counted from 1."""

    begin: int
    end: int
    text: str


class Finding(NamedTuple):
    """The text at `line`, counted from 1, of the file `path` that matches `word`."""

    path: str
    line: int
    text: str
    word: Word

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: found "{self.text}": write {self.word.write}'


def read_words(path: Path = WORDS) -> tuple[Word, ...]:
    """Return the entries of the word list. Raises `TOMLDecodeError`, `KeyError` or `re.error` if the file is malformed."""
    return tuple(
        Word(
            name,
            _compiled(entry["pattern"]),
            _compiled(rf"(?:{entry['after']})\s*\Z") if "after" in entry else None,
            entry["write"],
            tuple(entry["found"]),
            tuple(entry["passed"]),
        )
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items()
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("\n", "").replace(" ", r"\s+"), re.IGNORECASE)


def without_code(text: str) -> str:
    """Return Markdown of the same length and lines in which code, HTML comments, link targets and URLs are backticks."""
    return _NO_PROSE.sub(lambda found: re.sub(r"[^\n]", _CODE, found[0]), text).replace(_VALUE, _CODE)


def prose_of_python(source: str, path: str = "<string>") -> Iterator[Passage]:
    """Yield each docstring, message and comment of a Python file. Raises `SyntaxError`, with `path`, for invalid Python.

    A message is any string of three words or more: most are printed, and the others are rarely prose. The values that an f-string
    formats count as code. Comments on successive lines are one passage, so that a phrase is found across a line's end.
    """
    parts: set[ast.AST] = set()  # of f-strings, whose text is searched as a whole
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
            text = "".join(_constant(part) or _VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and node not in parts:
            text = _constant(node) or ""
        else:
            continue
        if len(text.split()) >= _WORDS_OF_A_MESSAGE:
            yield Passage(node.lineno, node.end_lineno or node.lineno, text)
    yield from _comments(source)


def _constant(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _comments(source: str) -> Iterator[Passage]:
    begin, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != begin + len(lines):
            yield Passage(begin, begin + len(lines) - 1, "\n".join(lines))
            lines = []
        if not lines:
            begin = token.start[0]
        lines.append(token.string.removeprefix("#"))
    if lines:
        yield Passage(begin, begin + len(lines) - 1, "\n".join(lines))


def find(path: str, text: str, words: Sequence[Word]) -> list[Finding]:
    """Return the findings in the file `path` with the content `text`, in the order of their lines."""
    whole_file = Passage(1, text.count("\n") + 1, text)
    found = []
    for begin, end, passage in prose_of_python(text, path) if path.endswith(".py") else [whole_file]:
        prose = without_code(passage)
        for word in words:
            for match in word.pattern.finditer(prose):
                if word.after and word.after.search(prose[max(0, match.start() - _BEFORE) : match.start()]):
                    continue
                # A string written on one line may have line breaks in its value.
                line = min(begin + prose.count("\n", 0, match.start()), end)
                found.append(Finding(path, line, " ".join(passage[match.start() : match.end()].split()), word))
    return sorted(found, key=lambda finding: (finding.line, finding.text))


def prose_files(root: Path) -> list[str]:
    """Return the sorted paths, relative to `root`, of every Python file and README.md, CHANGELOG.md and docs/*.md."""
    paths = []
    for name, folders, files in os.walk(root):
        folder = Path(name)
        folders[:] = [
            inner
            for inner in folders
            if not inner.startswith(".") and inner not in _SKIPPED and not (folder / inner / "pyvenv.cfg").exists()
        ]
        paths += [(folder / file).relative_to(root).as_posix() for file in files]
    return sorted(path for path in paths if re.fullmatch(r".*\.py|(?:.*/)?README\.md|CHANGELOG\.md|docs/[^/]*\.md", path))


def find_all(root: Path, words: Sequence[Word]) -> list[Finding]:
    """Return the findings in the files that `prose_files` lists."""
    return [found for path in prose_files(root) for found in find(path, (root / path).read_text(encoding="utf-8"), words)]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line on the files under `root`; return the exit status, 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="print also how many findings each word has")
    chosen = parser.parse_args(arguments)
    found = find_all(root, read_words())
    lines = [str(finding) for finding in found]
    if chosen.all:
        counts = Counter(finding.word.name for finding in found)
        lines += [f"{count:5} {name}" for name, count in counts.most_common()]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
