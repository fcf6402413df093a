"""The `hookcore` command: its group of commands, which come from entry points."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hookcore.cli.main import main
from tests.hookcore.cli.calling import call

if TYPE_CHECKING:
    from tests.hookcore.cli.calling import Install


def test_version() -> None:
    """`--version` prints the installed version."""
    assert call("--version").output == f"hookcore, version {metadata.version('hookcore')}\n"


def test_commands_come_from_entry_points(install: Install) -> None:
    """A command of another distribution is listed with its help, and runs."""
    source = "import click\n@click.command()\ndef hello():\n    '''Say hello.'''\n    click.echo('hello there')\n"
    install("greeter", "hookcore.commands", {"hello": "greeter_cli:hello"}, greeter_cli=source)
    assert "hello Say hello." in " ".join(call("--help").output.split())
    assert call("hello").output == "hello there\n"


def test_only_the_command_called_is_imported(install: Install) -> None:
    """Calling one command imports no other."""
    install("greeter", "hookcore.commands", {"other": "greeter_cli:other"}, greeter_cli="raise OSError('imported')")
    assert call("plugins", "--verbose").exit_code == 0
    assert "greeter_cli" not in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("hello = 3", "must be a click command, got 3"),
    ],
)
def test_broken_command(install: Install, source: str, reason: str) -> None:
    """A command that cannot be imported has its error in the help, and prints it when it is called with any options."""
    install("greeter", "hookcore.commands", {"hello": "greeter_cli:hello"}, greeter_cli=source)
    shown = call("--help")
    assert shown.exit_code == 0
    assert "(broken: " in shown.output
    assert reason in " ".join(shown.output.split())
    assert "plugins List the installed plugins" in " ".join(shown.output.split())
    called = call("hello", "--loud", "3")
    assert called.exit_code == 1
    assert "Command 'hello' of greeter 1.2 could not be imported from 'greeter_cli:hello': " in called.output
    assert reason in called.output


@pytest.mark.parametrize(
    ("raised", "status", "shown"),
    [
        ("click.ClickException('No.')", 1, "Error: No. See docs/semantics.md.\n"),
        ("click.UsageError('No.')", 2, "Try 'hookcore hello --help' for help.\n\nError: No. See docs/semantics.md.\n"),
    ],
)
def test_an_error_from_one_of_ours_names_its_page(install: Install, raised: str, status: int, shown: str) -> None:
    """Click's error from an error of ours names the page that helps, and keeps its usage text and exit status."""
    source = (
        "import click\nfrom hookcore import HookcoreError\n"
        f"@click.command()\n@click.pass_context\ndef hello(ctx):\n    raise {raised} from HookcoreError('No.')\n"
    ).replace("UsageError('No.')", "UsageError('No.', ctx)")
    install("greeter", "hookcore.commands", {"hello": "greeter_cli:hello"}, greeter_cli=source)
    called = call("hello")
    assert called.exit_code == status
    assert called.output.endswith(shown)


def test_an_error_from_one_of_ours_without_notes_is_shown(install: Install) -> None:
    """An error whose notes were removed is shown as it is."""
    source = (
        "import click\nfrom hookcore import HookcoreError\n@click.command()\ndef hello():\n"
        "    error = HookcoreError('No.')\n    del error.__notes__\n    raise click.ClickException('No.') from error\n"
    )
    install("greeter", "hookcore.commands", {"hello": "greeter_cli:hello"}, greeter_cli=source)
    assert call("hello").output == "Error: No.\n"


def test_unknown_command() -> None:
    """A command that no distribution offers is a usage error, which names the nearest."""
    result = call("nwe")
    assert result.exit_code == 2
    assert "No such command 'nwe'. Did you mean 'new'?" in result.output
    assert "No such command 'xyz'.\n" in call("xyz").output


@pytest.mark.parametrize("arguments", [["-h"], ["checkpoints", "-h"]])
def test_each_command_has_one_whole_line_in_the_help(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """On 80 columns no description is cut or broken."""
    monkeypatch.setenv("COLUMNS", "80")
    _, _, commands = call(*arguments).output.partition("Commands:\n")
    lines = commands.splitlines()
    assert len(lines) >= 4
    for line in lines:
        assert re.fullmatch(r"  [a-z]+ +[A-Z].*[^.]\.", line)


@pytest.mark.parametrize("arguments", [["-h"], ["plugins", "-h"], ["checkpoints", "best", "-h"]])
def test_help_has_a_short_option(arguments: list[str]) -> None:
    """`-h` prints the help of the command, and of each of its subcommands."""
    assert call(*arguments).output == call(*arguments[:-1], "--help").output != ""


def test_the_package_is_the_command() -> None:
    """`python -m hookcore` runs the command of that Python."""
    ended = subprocess.run([sys.executable, "-m", "hookcore", "-h"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("Usage: python -m hookcore ")


def test_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell completes commands, and the names of plugins and adapters."""
    for words, expected in {"pl": "plugins", "plugins early": "early_stopping", "plugins lo": "loop"}.items():
        monkeypatch.setenv("COMP_WORDS", f"hookcore {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        monkeypatch.setenv("_HOOKCORE_COMPLETE", "bash_complete")
        result = CliRunner().invoke(main, prog_name="hookcore")
        assert f"plain,{expected}" in result.output


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_line_for_bashrc_is_silent_without_hookcore(tmp_path: Path) -> None:
    """As in a shell that has not activated the virtual environment; with hookcore, commands are completed."""
    page = (Path(__file__).parents[3] / "docs/configuration.md").read_text()
    (line,) = re.findall(r"^```bash\n(.+)\n```$", page, re.MULTILINE)
    command = tmp_path / "hookcore"
    command.write_text(f"#!{sys.executable}\nfrom hookcore.cli.main import main\nmain(prog_name='hookcore')\n")
    command.chmod(0o755)
    for path, completed in (
        (os.defpath, ""),
        (f"{tmp_path}{os.pathsep}{os.defpath}", "complete -o nosort -F _hookcore_completion hookcore\n"),
    ):
        environ = {**os.environ, "PATH": path}
        done = subprocess.run(
            [shutil.which("bash") or "", "--norc", "-c", f"{line}\ncomplete -p hookcore 2>&1 | grep -v 'no completion'\ntrue"],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == (completed, "")


def test_an_error_of_ours_names_the_page_that_helps(tmp_path: Path) -> None:
    """What is printed ends with the page of the error's class, and is one line."""
    (tmp_path / "step-00000001").mkdir()
    failed = call("checkpoints", "best", str(tmp_path))
    assert failed.exit_code == 1
    (line,) = failed.output.splitlines()
    assert line.endswith("See docs/checkpoints.md.")
