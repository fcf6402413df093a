"""The `hookcore` command: its command group, and `hookcore plugins`. Distributions here are real dist-info directories."""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from hookcore import Engine, LoadError, adapter_info
from hookcore.cli import plugin_tables
from hookcore.cli.doctor import doctor
from hookcore.cli.main import main
from hookcore.registry import discovery, spec_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    Install = Callable[..., None]

WATCHER = '''
from hookcore import hookimpl
class Watcher:
    """Watches, and does nothing else."""
    role = "observer"
    @hookimpl{options}
    def on_epoch_end(self, epoch):
        """Look at the epoch."""
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution: `group` maps the names of entry points to their targets, `modules` names to their source."""
    installed: list[str] = []
    monkeypatch.delenv(discovery.DISABLE, raising=False)
    monkeypatch.delenv(discovery.NO_AUTOLOAD, raising=False)

    def install(name: str, group: str, entries: dict[str, str], **modules: str) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{key} = {entries[key]}\n" for key in entries))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            installed.append(module)
        monkeypatch.syspath_prepend(str(site))

    yield install
    for module in installed:
        sys.modules.pop(module, None)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def row(result: Result, name: str) -> str:
    """The one line that begins with `name`."""
    (found,) = (line for line in result.output.splitlines() if line.split()[:1] == [name])
    return found


def on_terminal(width: int, *, verbose: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False)
    plugin_tables.show(verbose=verbose, console=console)
    return file.getvalue()


def test_version() -> None:
    """`--version` says the installed version."""
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
    """A command that cannot be imported says so in the help and when it is called, whatever options it is given."""
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


def test_unknown_command() -> None:
    """A command that nobody offers is a usage error, which names the nearest."""
    result = call("nwe")
    assert result.exit_code == 2
    assert "No such command 'nwe'. Did you mean 'new'?" in result.output
    assert "No such command 'xyz'.\n" in call("xyz").output


def test_row_of_an_autoloaded_plugin(install: Install) -> None:
    """Everything there is to know about an autoloaded plugin stands in its one line."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p=WATCHER.format(options="(trylast=True)"))
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert " ".join(row(result, "watcher").split()) == (
        "watcher ok autoload observer on_epoch_end (trylast) Watches, and does nothing else. acme 1.2, acme_p:Watcher"
    )


def test_row_of_a_catalogue_plugin() -> None:
    """A shipped plugin is in the list like any other, with its hooks in the order in which a run calls them."""
    assert " ".join(row(call("plugins", "--verbose"), "early_stopping").split()) == (
        "early_stopping ok catalogue actor on_train_begin, on_metrics, on_train_end "
        "Vote to stop once `monitor` has not improved for `patience` observations in a row. "
        f"hookcore {metadata.version('hookcore')}, hookcore_plugins.early_stopping:EarlyStopping"
    )


@pytest.mark.parametrize("group", ["hookcore.autoload", "hookcore.plugins"])
def test_blocked_plugin_is_not_imported(install: Install, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """A blocked plugin is listed as blocked, without its import."""
    install("acme", group, {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.DISABLE, "watcher")
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert "blocked: by HOOKCORE_DISABLE_PLUGINS" in row(result, "watcher")
    assert "acme_p" not in sys.modules


def test_no_autoload_is_said(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HOOKCORE_NO_AUTOLOAD, nothing of that group is imported, and the list says why."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.NO_AUTOLOAD, "1")
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert "off: by HOOKCORE_NO_AUTOLOAD" in row(result, "watcher")
    assert "HOOKCORE_NO_AUTOLOAD is set: nothing is autoloaded." in result.output


def test_blocked_name_that_nothing_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in HOOKCORE_DISABLE_PLUGINS that no plugin has is said, with the nearest that one has; others are not."""
    monkeypatch.setenv(discovery.DISABLE, "earlystopping,checkpoint")
    output = call("plugins", "--verbose").output
    assert (
        "HOOKCORE_DISABLE_PLUGINS names 'earlystopping', and no installed plugin is called that. Did you mean 'early_stopping'?"
        in output
    )
    assert "names 'checkpoint'" not in output


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "broken: ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Watcher:\n    def __init__(self): raise OSError('two\\nlines\\x1b')", "broken: OSError: two lines"),
        (WATCHER.format(options="(specname='on_epoch_ends')"), "there is no hook 'on_epoch_ends'"),
    ],
    ids=["import", "constructor", "registration"],
)
def test_broken_autoload(install: Install, source: str, reason: str) -> None:
    """An autoloaded plugin that would break or be left out of every run is named with the reason, and the status is 1."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p=source)
    result = call("plugins", "--verbose")
    assert reason in row(result, "watcher")
    assert " ok " in row(result, "checkpoint")
    assert result.exit_code == 1
    assert call("plugins", "watcher").exit_code == 1
    assert call("plugins", "checkpoint").exit_code == 0


def test_broken_catalogue_plugin(install: Install) -> None:
    """A broken plugin that runs only when asked for is shown as broken, and the status stays 0."""
    install("acme", "hookcore.plugins", {"watcher": "acme_p:Watcher"}, acme_p="1 / 0")
    result = call("plugins", "--verbose")
    assert "broken: ZeroDivisionError: division by zero" in row(result, "watcher")
    assert result.exit_code == 0


def test_shadowed_autoload(install: Install) -> None:
    """Of two autoloaded plugins of one name the first runs, and the other's line says which."""
    for name in ("beta", "alpha"):
        install(name, "hookcore.autoload", {"watcher": f"{name}_p:Watcher"}, **{f"{name}_p": WATCHER.format(options="")})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert " ok " in lines[0]
    assert "alpha 1.2" in lines[0]
    assert "shadowed: by the one of alpha 1.2" in lines[1]
    assert [one.origin for one in Engine().plugins] == ["alpha 1.2"]


def test_ambiguous_name(install: Install) -> None:
    """A name that two distributions offer for different things is refused, and both lines say so."""
    for name in ("beta", "alpha"):
        install(name, "hookcore.plugins", {"watcher": f"{name}_p:Watcher"}, **{f"{name}_p": WATCHER.format(options="")})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert "ambiguous: offered by beta 1.2 too, so the name is refused" in lines[0]
    assert "ambiguous: offered by alpha 1.2 too, so the name is refused" in lines[1]


def test_same_target_twice(install: Install) -> None:
    """Where two distributions offer the same target under one name, the name works, and the second line says so."""
    install("alpha", "hookcore.plugins", {"watcher": "alpha_p:Watcher"}, alpha_p=WATCHER.format(options=""))
    install("beta", "hookcore.plugins", {"watcher": "alpha_p:Watcher"})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert " ok " in lines[0]
    assert "shadowed: the same target is offered by alpha 1.2" in lines[1]
    assert Engine(["watcher"]).names == ["watcher"]


def test_order_is_the_engines(install: Install) -> None:
    """Autoloaded plugins come first, in the engine's order; where a mark changes the order of a hook, that is said."""
    install("one", "hookcore.autoload", {"zeta": "one_p:Watcher", "alpha": "one_p:Watcher"}, one_p=WATCHER.format(options=""))
    install("two", "hookcore.autoload", {"first": "two_p:Watcher"}, two_p=WATCHER.format(options="(tryfirst=True)"))
    output = call("plugins", "--verbose").output
    listed = [line.split()[0] for line in output.splitlines() if " autoload " in line]
    assert listed == Engine().names == ["alpha", "first", "zeta"]
    assert "on_epoch_end is called in the order first, alpha, zeta." in output
    assert output.index("zeta") < output.index("checkpoint")


def test_order_that_the_list_shows_is_not_said_again(install: Install) -> None:
    """Where a hook is called in the order of the list, nothing is said about it."""
    install("one", "hookcore.autoload", {"zeta": "one_p:Watcher", "alpha": "one_p:Watcher"}, one_p=WATCHER.format(options=""))
    assert "in the order" not in call("plugins", "--verbose").output


def test_module_and_function(install: Install) -> None:
    """A plugin may be a module, and a catalogue entry a function that makes one."""
    module = '"""A module that watches."""\nfrom hookcore import hookimpl\n@hookimpl\ndef on_train_end(): pass\n'
    install("acme", "hookcore.autoload", {"watcher": "acme_p"}, acme_p=module)
    install("more", "hookcore.plugins", {"maker": "more_p:make"}, more_p='def make(n: int = 3):\n    """Make one."""\n')
    result = call("plugins", "--verbose")
    assert "on_train_end A module that watches." in " ".join(row(result, "watcher").split())
    assert "Make one." in row(result, "maker")
    assert "n  int  3" in call("plugins", "maker").output


def test_details() -> None:
    """`hookcore plugins NAME` shows parameters with types and defaults, the hooks and the whole docstring."""
    result = call("plugins", "checkpoint")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0] == "checkpoint catalogue, actor ok"
    assert "directory str | os.PathLike[str] required" in lines
    assert "mode Literal['auto', 'min', 'max'] 'auto'" in lines
    assert "keep_last int | None 3" in lines
    assert any(line.startswith("on_epoch_end (trylast) ") for line in lines)
    assert "On Ctrl-C, and if the process is preempted" in result.output


def test_details_say_how_defaults_are_made(install: Install) -> None:
    """A default that is made for each plugin is called that, and a function goes by its name."""
    fields = "    seen: list = attrs.Factory(list)\n    clock: object = time.monotonic\n"
    source = f"import attrs, time\n@attrs.define\nclass Plugin:\n{fields}"
    install("acme", "hookcore.plugins", {"maker": "acme_p:Plugin"}, acme_p=source)
    lines = [" ".join(line.split()) for line in call("plugins", "maker").output.splitlines()]
    assert lines[-4:-1] == ["Parameters", "seen list made for each plugin", "clock object monotonic"]


def test_details_of_a_blocked_plugin(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a blocked plugin only what needs no import is shown."""
    install("acme", "hookcore.plugins", {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.DISABLE, "watcher")
    assert call("plugins", "watcher").output.split("\n")[:2] == [
        "watcher  catalogue  blocked: by HOOKCORE_DISABLE_PLUGINS",
        "acme 1.2, acme_p:Watcher",
    ]


def test_details_of_an_unknown_name() -> None:
    """A name that nothing has is an error that lists the names and the nearest."""
    result = call("plugins", "checkpiont")
    assert result.exit_code == 1
    assert "No installed plugin is called 'checkpiont'; there are: activations, checkpoint, " in result.output
    assert "Did you mean 'checkpoint'?" in result.output


@pytest.mark.parametrize("entry", discovery.entry_points(discovery.CATALOGUE), ids=lambda entry: entry.name)
def test_parameters_have_types(entry: Any) -> None:
    """Every parameter of a plugin in the catalogue has a type that spec strings can be converted by."""
    assert Any not in spec_string.parameters_of(entry.load()).values()


def test_narrow_terminal(install: Install) -> None:
    """On 80 columns no line is longer, and nothing is left out."""
    target = f"acme_p:{'Watcher' * 12}"
    source = WATCHER.format(options="(tryfirst=True)").replace("Watcher", "Watcher" * 12)
    install("acme", "hookcore.autoload", {"watcher": target}, acme_p=source)
    output = on_terminal(80)
    assert max(map(len, output.splitlines())) <= 80
    assert "on_epoch_end (tryfirst)" in output
    assert "".join(f"acme 1.2, {target}".split()) in "".join(output.split())


def test_narrow_terminal_without_autoload() -> None:
    """Where nothing is autoloaded, the heading of that group is left out."""
    assert on_terminal(80).startswith("catalogue  ")


def test_forced_color_counts_as_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With FORCE_COLOR, as for a pager, a pipe gets what a terminal of that width gets."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert "\x1b[" in call("plugins", "--verbose").output


def test_wide_terminal() -> None:
    """On 200 columns each thing has its own column, within the width."""
    lines = on_terminal(200).splitlines()
    assert lines[0].split() == ["plugin", "status", "kind", "role", "hooks", "what", "it", "does", "from"]
    assert max(map(len, lines)) <= 200


def test_piped_output_is_plain_and_whole(install: Install, tmp_path: Path) -> None:
    """Piped, the real command prints one line a plugin, with no control characters, however long it is."""
    reason = "because " * 60
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p=f"raise OSError({reason!r})")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "acme"), "COLUMNS": "40", "TERM": "xterm-256color"}
    command = [str(Path(sys.executable).with_name("hookcore")), "plugins"]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("watcher "))
    assert f"broken: OSError: {reason.strip()}" in line
    assert all(letter.isprintable() or letter == "\n" for letter in result.stdout)


@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "-v"], ["plugins", "checkpoint"], ["doctor"]])
def test_piped_lines_end_without_blanks(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """The cells of a table are filled with blanks on a terminal only."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", "console;early_stopping;csv_log")
    lines = call(*arguments).output.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if line.endswith(" ")] == []


def test_what_is_broken_is_listed(install: Install, tmp_path: Path) -> None:
    """A package whose entry points cannot be read, a plugin whose import exits, and one that cannot be shown, with the reason."""
    install("leaves", discovery.AUTOLOAD, {"leaving": "leaves_module:X"}, leaves_module="import sys; sys.exit(7)")
    odd = "class Odd:\n    @property\n    def x(self): ...\n    def __dir__(self): raise ValueError('no')\nodd = Odd()"
    install("odd", discovery.CATALOGUE, {"odd": "odd_module:odd"}, odd_module=odd)
    install("unread", "console_scripts", {})
    (tmp_path / "unread" / "unread-1.2.dist-info" / "entry_points.txt").write_bytes(b"[console_scripts]\nx = \xff\n")
    result = CliRunner().invoke(main, ["plugins"])
    assert result.exit_code == 1
    rows = {line.split()[0]: line for line in result.output.splitlines() if "broken: " in line}
    assert "SystemExit: 7" in rows["leaving"]
    assert "ValueError: no" in rows["odd"]
    assert "UnicodeDecodeError" in rows["unread"]


def test_no_name_of_a_hook_is_cut() -> None:
    """On 80 columns the names of hooks and parameters are whole, and what they do is broken into lines."""
    file = io.StringIO()
    plugin_tables.show("checkpoint", Console(file=file, width=80, force_terminal=True, color_system=None, highlight=False))
    words = file.getvalue().split()
    assert {"on_evaluate_batch_end", "on_train_begin", "save_best_only"} <= set(words)
    assert max(map(len, file.getvalue().splitlines())) <= 80


def test_a_docstring_fills_the_terminal() -> None:
    """Its paragraphs and lists fill 80 columns, and the lines of an item begin below its text."""
    file = io.StringIO()
    plugin_tables.show("checkpoint", Console(file=file, width=80, force_terminal=True, color_system=None, highlight=False))
    lines = [line for line in file.getvalue().partition("\nParameters")[0].splitlines() if line]
    bullets = next(number for number, line in enumerate(lines) if line.startswith("* `keep_last`"))
    assert lines[bullets + 1].startswith("  least 1; ")
    for line, following in itertools.pairwise(lines[3:]):
        if following[:1].isalpha() and not line.endswith((".", ":")):
            assert len(line) + 1 + len(following.split()[0]) > 80, line


# Adapters.

INFO = """
from hookcore.adapter_info import AdapterInfo
INFO = AdapterInfo("Acme Train", "acme_p: AcmeAdapter", "acme-hooks[train]", {})
"""


def test_row_of_an_adapter(install: Install) -> None:
    """A third party's adapter is listed with its framework, the version that is installed, and what to import."""
    install("acme_train", "console_scripts", {})
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=INFO.format("('acme-train-gpu', 'acme-train')"))
    assert " ".join(row(call("plugins", "--verbose"), "acme").split()) == (
        "acme installed Acme Train 1.2 acme_p: AcmeAdapter acme 1.2, acme_p:INFO"
    )
    assert call("plugins", "acme").output.splitlines() == [
        "acme  adapter  installed",
        "acme 1.2, acme_p:INFO",
        "For: Acme Train 1.2",
        "Use: acme_p: AcmeAdapter",
        "",
    ]


def test_row_of_an_adapter_without_its_framework(install: Install) -> None:
    """If the framework is missing, the adapter's line says what to install, and the status is 0."""
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=INFO.format("('acme-train',)"))
    result = call("plugins", "--verbose")
    assert " ".join(row(result, "acme").split()).startswith(
        "acme not installed: pip install 'acme-hooks[train]' Acme Train acme_p:"
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "broken: ZeroDivisionError: division by zero"),
        ("INFO = 3", "broken: TypeError: 'acme_p:INFO' must be a hookcore.adapter_info.AdapterInfo, got 3"),
        (
            INFO.format("'acme-train'"),
            "broken: ParameterError: AdapterInfo: distributions must be a tuple of names, got 'acme-train'.",
        ),
    ],
    ids=["import", "no info", "a string for a tuple"],
)
def test_broken_adapter(install: Install, source: str, reason: str) -> None:
    """An adapter that cannot be listed is named with the reason; the others are listed, and the status is 0."""
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=source)
    result = call("plugins", "--verbose")
    assert reason in row(result, "acme")
    assert "hookcore_adapters.loop: Loop" in row(result, "loop")
    assert result.exit_code == 0


@pytest.mark.parametrize("width", [80, 200])
def test_adapters_on_a_terminal(install: Install, width: int) -> None:
    """Adapters stand under the plugins, within the width, and nothing of them is left out."""
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=INFO.format("('acme-train',)"))
    plugins, _, adapters = on_terminal(width).partition("\nadapter")
    assert "time_limit" in plugins
    assert max(map(len, adapters.splitlines())) <= width
    words = " ".join(adapters.split())
    for part in ("acme", "not installed", "pip install 'acme-hooks[train]'", "Acme Train", "acme_p: AcmeAdapter", "acme_p:INFO"):
        assert part in words


def test_listing_imports_no_framework() -> None:
    """The versions come from the metadata of distributions."""
    frameworks = {"jax", "keras", "lightgbm", "lightning", "sklearn", "tensorflow", "torch", "transformers", "xgboost"}
    code = "import sys\nfrom hookcore.cli.main import main\nmain(['plugins'], standalone_mode=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not frameworks.intersection(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("entry", discovery.entry_points(adapter_info.GROUP), ids=lambda entry: entry.name)
def test_what_a_shipped_adapter_says_is_there(entry: Any) -> None:
    """The extras that it names are this distribution's, and so is the module."""
    info = entry.load()
    distribution, _, extras = info.install.removesuffix("]").partition("[")
    assert distribution == "hookcore"
    assert set(filter(None, extras.split(","))) <= set(metadata.metadata("hookcore").get_all("Provides-Extra") or ())
    module = info.use.partition(":")[0]
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("width", [80, 200])
def test_the_list_is_short(install: Install, width: int) -> None:
    """By default it has a plugin's name and what it does, and for those that would not run, why."""
    install("acme", "hookcore.plugins", {"watcher": "acme_p:Watcher"}, acme_p="1 / 0")
    output = on_terminal(width, verbose=False)
    assert max(map(len, output.splitlines())) <= width
    words = " ".join(output.split())
    assert "early_stopping Vote to stop once `monitor` has not improved for `patience` observations in a row. json_log" in words
    assert "watcher broken: ZeroDivisionError: division by zero" in words
    assert "on_train_begin" not in words
    assert "hookcore_plugins" not in words
    assert "loop a loop of your own" in words


def test_the_short_list_has_the_status_of_the_long_one(install: Install) -> None:
    """A plugin that every run would load and that is broken is status 1; the notes are those of the long list."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p="1 / 0")
    result = call("plugins")
    assert result.exit_code == 1
    assert "broken: ZeroDivisionError" in row(result, "watcher")


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
    """Of the command, and of each below it."""
    assert call(*arguments).output == call(*arguments[:-1], "--help").output != ""


def test_the_package_is_the_command() -> None:
    """`python -m hookcore` runs it, for whoever has several Pythons."""
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


def test_a_plugin_that_is_not_in_hookcore_is_found(install: Install) -> None:
    """`from hookcore import EarlyStopping` fails, and says where it is; so does a plugin of another distribution."""
    with pytest.raises(
        LoadError, match="EarlyStopping is a plugin, and not in hookcore: from hookcore_plugins import EarlyStopping"
    ):
        exec("from hookcore import EarlyStopping")  # noqa: S102
    install("acme", "hookcore.plugins", {"watcher": "acme_p.inner:Watcher"})
    with pytest.raises(LoadError, match=r"from acme_p\.inner import Watcher"):
        exec("from hookcore import Watcher")  # noqa: S102
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec("from hookcore import Nothing")  # noqa: S102


def test_what_the_environment_adds_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of what is in every run would be incomplete without it."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", "csv_log:path=a.csv;console")
    assert "HOOKCORE_PLUGINS adds to every run: csv_log, console." in call("plugins").output


def test_doctor_examines_autoloaded_plugins(install: Install) -> None:
    """Those that run are listed as such; a broken one is a mistake, with the reason."""
    install("one", "hookcore.autoload", {"watcher": "one_p:Watcher"}, one_p=WATCHER.format(options=""))
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 0
    assert row(result, "watcher").split() == ["watcher", "one", "1.2", "autoload"]
    install("two", "hookcore.autoload", {"breaker": "two_p:Breaker"}, two_p="1 / 0")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "Plugin 'breaker' of two 1.2 could not be loaded" in result.output
