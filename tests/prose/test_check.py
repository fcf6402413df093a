"""The prose check finds each word of its list, in prose only."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prose import check

if TYPE_CHECKING:
    from pathlib import Path

WORDS = check.read_words()
FOUND = [pytest.param(word, phrase, id=f"{word.name}-{number}") for word in WORDS for number, phrase in enumerate(word.found)]
# A string of two words is no message, so none of these is found in this file.
GOES_ON, SO_MANY, NOBODY, OF_WHICH, GOES_NEWLINE_ON = "goes on", "so many", "Nobody", "of which", "goes\non"
PASSED = [pytest.param(word, phrase, id=f"{word.name}-{number}") for word in WORDS for number, phrase in enumerate(word.passed)]


def names(path: str, text: str) -> set[str]:
    return {finding.word.name for finding in check.find(path, text, WORDS)}


def project(root: Path, **files: str) -> None:
    """Make a project with documentation, one page for each of `files`."""
    (root / "docs").mkdir()
    for name, text in files.items():
        (root / "docs" / f"{name}.md").write_text(text, encoding="utf-8")


# The list of words.


@pytest.mark.parametrize(("word", "phrase"), FOUND)
def test_a_word_is_found_in_markdown(word: check.Word, phrase: str) -> None:
    """Each phrase that an entry lists as `found` is found in a page."""
    assert word.name in names("docs/page.md", f"# Title\n\nA sentence. {phrase}\n")


@pytest.mark.parametrize(("word", "phrase"), FOUND)
def test_a_word_is_found_in_python_prose(word: check.Word, phrase: str) -> None:
    """Such a phrase is found in a docstring, in a comment, in a message, and in a message that formats a value."""
    said = f"A sentence. {phrase}"
    assert word.name in names("a.py", f'"""{said}"""\n')
    assert word.name in names("a.py", "x = 1\n" + textwrap.indent(f"{said}\n", "# "))
    assert word.name in names("a.py", f"raise ValueError({said!r})\n")
    assert word.name in names("a.py", f"msg = f{('{value}: ' + said)!r}\n")


@pytest.mark.parametrize(("word", "phrase"), FOUND)
def test_a_word_is_not_found_in_code(word: check.Word, phrase: str) -> None:
    """Such a phrase is not found in fences, in backticks, in HTML comments, nor in those parts of a docstring."""
    fenced, ticked = f"```python\n{phrase}\n```\n", f"The call ``{phrase}`` returns.\n"
    assert names("docs/page.md", f"{fenced}\n{ticked}\n<!-- {phrase} -->\n~~~\n{phrase}") == set()
    assert names("a.py", f'"""A title.\n\n{fenced}\n{ticked}"""\n') == set()
    assert word.found


@pytest.mark.parametrize(("word", "phrase"), PASSED)
def test_a_word_passes_in_its_right_sense(word: check.Word, phrase: str) -> None:
    """Each phrase that an entry lists as `passed` is not found."""
    assert word.name not in names("docs/page.md", f"A sentence. {phrase}\n")


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.name)
def test_a_suggestion_passes_the_check(word: check.Word) -> None:
    """A suggestion has no finding itself, and every entry has examples of both kinds."""
    assert names("docs/page.md", f"Write {word.write}.\n") <= {"where-for-if"} & {word.name}
    assert word.found
    assert word.passed


# Where prose is.


def test_names_and_short_strings_are_no_prose() -> None:
    """Identifiers, keys and strings of one or two words are not searched."""
    assert names("a.py", f'goes_on = so_many = 1\nkinds = {{"{NOBODY}": 1, "{GOES_ON}": 2}}\n') == set()


def test_values_in_a_message_are_code() -> None:
    """A value that an f-string formats is not prose, and the words around it are not neighbours."""
    assert names("a.py", f'f"the run {{{NOBODY}}} ends"') == set()
    assert names("a.py", 'f"the run {run} goes {word} on"') == set()
    assert len(check.find("a.py", f'f"{{value}}: the run {GOES_ON}."', WORDS)) == 1
    assert names("a.py", f'f"a file {{path}}, {OF_WHICH} {{part}} is read"') == {"comma-of-which"}


@given(before=st.integers(0, 9))
def test_a_finding_has_the_line_on_which_it_begins(before: int) -> None:
    """Lines are counted from 1 in pages, docstrings, comments and messages over several lines."""
    lines = "A line.\n" * before
    [page] = check.find("a.md", f"{lines}The run {GOES_NEWLINE_ON}.\n", WORDS)
    [docstring] = check.find("a.py", f'"""Title.\n{lines}The run {GOES_NEWLINE_ON}.\n"""\n', WORDS)
    [comment] = check.find("a.py", "x = 1\n" * before + "# The run goes\n# on.\n", WORDS)
    [message] = check.find("a.py", "x = 1\n" * before + f'y = "One.\\nTwo.\\nThe run {GOES_ON}."\n', WORDS)
    assert (page.line, docstring.line, comment.line, message.line) == (before + 1, before + 2, before + 1, before + 1)
    assert page.text == GOES_ON


@given(st.text(alphabet="`~ax \n<!->()[]:/"))
def test_blanking_code_keeps_every_line_and_column(text: str) -> None:
    """A text without its code has the same length and the same line breaks."""
    prose = check.without_code(text)
    assert [len(line) for line in prose.split("\n")] == [len(line) for line in text.split("\n")]


def test_comments_apart_are_apart() -> None:
    """Comments on successive lines are joined; comments with code between them are not."""
    assert names("a.py", "# The run goes\nx = 1\n# on.\n") == set()


def test_the_files_with_prose(tmp_path: Path) -> None:
    """Every Python file, every README, the changelog and the pages of docs are checked; environments and builds are not."""
    for path in (
        "a.py", "README.md", "CHANGELOG.md", "LICENSE.md", "b/README.md", "b/c.py", "b/notes.md", "docs/x.md", "docs/img/y.md",
        ".tox/d.py", "build/e.py", "venv/pyvenv.cfg", "venv/f.py",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert check.prose_files(tmp_path) == ["CHANGELOG.md", "README.md", "a.py", "b/README.md", "b/c.py", "docs/x.md"]


def test_a_broken_file_is_named() -> None:
    """A file that is not Python is an error with its name."""
    with pytest.raises(SyntaxError) as caught:
        check.find("broken.py", "def", WORDS)
    assert caught.value.filename == "broken.py"


# The command.


def test_a_finding_is_printed_with_its_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finding is an error, with the place, the word and what to write."""
    project(tmp_path, bad=f"Fine.\nEvery {SO_MANY} steps.\n")
    assert check.main([], tmp_path) == 1
    assert capsys.readouterr().out == f'docs/bad.md:2: found "{SO_MANY}": write "N"\n'


def test_findings_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--all` prints the number of findings of each word, after the findings."""
    project(tmp_path, bad=f"The run {GOES_ON}.\n", good="The run continues.\n")
    assert check.main(["--all"], tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "    1 goes-on"


def test_a_project_without_findings_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and the status is 0."""
    project(tmp_path, good="The run continues.\n")
    assert check.main([], tmp_path) == 0
    assert capsys.readouterr().out == ""
