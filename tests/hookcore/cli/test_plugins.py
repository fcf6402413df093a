"""`hookcore plugins`: the plugins that it lists and describes."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from hookcore import Engine, LoadError
from hookcore.cli import plugin_tables
from hookcore.cli.main import main
from hookcore.registry import discovery, spec_string
from tests.hookcore.cli.calling import WATCHER, call, on_terminal, row

if TYPE_CHECKING:
    from tests.hookcore.cli.calling import Install


def test_row_of_an_autoloaded_plugin(install: Install) -> None:
    """The line of an autoloaded plugin has its status, kind, role, hooks, description and origin."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p=WATCHER.format(options="(trylast=True)"))
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert " ".join(row(result, "watcher").split()) == (
        "watcher ok autoload observer on_epoch_end (trylast) Watches, and does nothing else. acme 1.2, acme_p:Watcher"
    )


def test_row_of_a_catalogue_plugin() -> None:
    """A shipped plugin is in the list, with its hooks in the order in which a run calls them."""
    assert " ".join(row(call("plugins", "--verbose"), "early_stopping").split()) == (
        "early_stopping ok catalogue actor on_train_begin, on_metrics, on_train_end "
        "Vote to stop once `monitor` has not improved for `patience` observations in a row. "
        f"hookcore {metadata.version('hookcore')}, hookcore_plugins.early_stopping:EarlyStopping"
    )


@pytest.mark.parametrize("group", ["hookcore.autoload", "hookcore.plugins"])
def test_blocked_plugin_is_not_imported(install: Install, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """A blocked plugin is listed as blocked, and is not imported."""
    install("acme", group, {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.DISABLE, "watcher")
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert "blocked: by HOOKCORE_DISABLE_PLUGINS" in row(result, "watcher")
    assert "acme_p" not in sys.modules


def test_plugins_that_are_not_autoloaded(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HOOKCORE_NO_AUTOLOAD, no plugin of that group is imported, and the list gives the reason."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.NO_AUTOLOAD, "1")
    result = call("plugins", "--verbose")
    assert result.exit_code == 0
    assert "off: by HOOKCORE_NO_AUTOLOAD" in row(result, "watcher")
    assert "HOOKCORE_NO_AUTOLOAD is set: nothing is autoloaded." in result.output


def test_blocked_name_that_nothing_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in HOOKCORE_DISABLE_PLUGINS that no plugin has is reported, with the nearest name of a plugin."""
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
    """An autoloaded plugin that cannot be loaded is listed with the reason, and the status is 1."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p=source)
    result = call("plugins", "--verbose")
    assert reason in row(result, "watcher")
    assert " ok " in row(result, "checkpoint")
    assert result.exit_code == 1
    assert call("plugins", "watcher").exit_code == 1
    assert call("plugins", "checkpoint").exit_code == 0


def test_broken_catalogue_plugin(install: Install) -> None:
    """A broken plugin of the catalogue is listed as broken, and the status is 0."""
    install("acme", "hookcore.plugins", {"watcher": "acme_p:Watcher"}, acme_p="1 / 0")
    result = call("plugins", "--verbose")
    assert "broken: ZeroDivisionError: division by zero" in row(result, "watcher")
    assert result.exit_code == 0


def test_shadowed_autoload(install: Install) -> None:
    """Of two autoloaded plugins with one name the first runs, and the other's line names its distribution."""
    for name in ("beta", "alpha"):
        install(name, "hookcore.autoload", {"watcher": f"{name}_p:Watcher"}, **{f"{name}_p": WATCHER.format(options="")})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert " ok " in lines[0]
    assert "alpha 1.2" in lines[0]
    assert "shadowed: by the plugin of alpha 1.2" in lines[1]
    assert [one.origin for one in Engine().plugins] == ["alpha 1.2"]


def test_ambiguous_name(install: Install) -> None:
    """A name that two distributions offer for different targets is refused, and both lines tell it."""
    for name in ("beta", "alpha"):
        install(name, "hookcore.plugins", {"watcher": f"{name}_p:Watcher"}, **{f"{name}_p": WATCHER.format(options="")})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert "ambiguous: offered by beta 1.2 too, so the name is refused" in lines[0]
    assert "ambiguous: offered by alpha 1.2 too, so the name is refused" in lines[1]


def test_same_target_twice(install: Install) -> None:
    """If two distributions offer the same target under one name, the name works, and the second line names the first."""
    install("alpha", "hookcore.plugins", {"watcher": "alpha_p:Watcher"}, alpha_p=WATCHER.format(options=""))
    install("beta", "hookcore.plugins", {"watcher": "alpha_p:Watcher"})
    lines = [line for line in call("plugins", "--verbose").output.splitlines() if line.startswith("watcher ")]
    assert " ok " in lines[0]
    assert "shadowed: the same target is offered by alpha 1.2" in lines[1]
    assert Engine(["watcher"]).names == ["watcher"]


def test_order_is_the_engines(install: Install) -> None:
    """Autoloaded plugins come first, in the engine's order; a note has each hook whose order a mark changes."""
    install("one", "hookcore.autoload", {"zeta": "one_p:Watcher", "alpha": "one_p:Watcher"}, one_p=WATCHER.format(options=""))
    install("two", "hookcore.autoload", {"first": "two_p:Watcher"}, two_p=WATCHER.format(options="(tryfirst=True)"))
    output = call("plugins", "--verbose").output
    listed = [line.split()[0] for line in output.splitlines() if " autoload " in line]
    assert listed == Engine().names == ["alpha", "first", "zeta"]
    assert "on_epoch_end is called in the order first, alpha, zeta." in output
    assert output.index("zeta") < output.index("checkpoint")


def test_order_that_the_list_shows_has_no_note(install: Install) -> None:
    """A hook that is called in the order of the list has no note."""
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


def test_details_show_how_defaults_are_made(install: Install) -> None:
    """A default that is made for each plugin is described as such, and a function has its name."""
    fields = "    seen: list = attrs.Factory(list)\n    clock: object = time.monotonic\n"
    source = f"import attrs, time\n@attrs.define\nclass Plugin:\n{fields}"
    install("acme", "hookcore.plugins", {"maker": "acme_p:Plugin"}, acme_p=source)
    lines = [" ".join(line.split()) for line in call("plugins", "maker").output.splitlines()]
    assert lines[-4:-1] == ["Parameters", "seen list made for each plugin", "clock object monotonic"]


def test_details_of_a_blocked_plugin(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked plugin is described without an import."""
    install("acme", "hookcore.plugins", {"watcher": "acme_p:Watcher"}, acme_p="raise OSError('imported')")
    monkeypatch.setenv(discovery.DISABLE, "watcher")
    assert call("plugins", "watcher").output.split("\n")[:2] == [
        "watcher  catalogue  blocked: by HOOKCORE_DISABLE_PLUGINS",
        "acme 1.2, acme_p:Watcher",
    ]


def test_details_of_an_unknown_name() -> None:
    """An unknown name is an error that lists the known names and suggests the nearest."""
    result = call("plugins", "checkpiont")
    assert result.exit_code == 1
    assert "No installed plugin or adapter is called 'checkpiont'; there are: activations, checkpoint, " in result.output
    assert "Did you mean 'checkpoint'?" in result.output


@pytest.mark.parametrize("entry", discovery.entry_points(discovery.CATALOGUE), ids=lambda entry: entry.name)
def test_parameters_have_types(entry: Any) -> None:
    """Every parameter of a plugin in the catalogue has a type to which a spec string's value can be converted."""
    assert Any not in spec_string.parameters_of(entry.load()).values()


def test_narrow_terminal(install: Install) -> None:
    """On 80 columns every line fits, and nothing is left out."""
    target = f"acme_p:{'Watcher' * 12}"
    source = WATCHER.format(options="(tryfirst=True)").replace("Watcher", "Watcher" * 12)
    install("acme", "hookcore.autoload", {"watcher": target}, acme_p=source)
    output = on_terminal(80)
    assert max(map(len, output.splitlines())) <= 80
    assert "on_epoch_end (tryfirst)" in output
    assert "".join(f"acme 1.2, {target}".split()) in "".join(output.split())


def test_narrow_terminal_without_autoload() -> None:
    """If no plugin is autoloaded, the heading of that group is left out."""
    assert on_terminal(80).startswith("catalogue  ")


def test_forced_color_counts_as_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With FORCE_COLOR, as for a pager, a pipe gets the output of a terminal of that width."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert "\x1b[" in call("plugins", "--verbose").output


def test_wide_terminal() -> None:
    """On 200 columns each fact has its own column, within the width."""
    lines = on_terminal(200).splitlines()
    assert lines[0].split() == ["plugin", "status", "kind", "role", "hooks", "what", "it", "does", "from"]
    assert max(map(len, lines)) <= 200


def test_piped_output_is_plain_and_whole(install: Install, tmp_path: Path) -> None:
    """Piped, the real command prints one line per plugin, however long, without control characters."""
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
    """An unreadable package, a plugin whose import exits, and one that cannot be inspected are listed with the reason."""
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
    """On 80 columns the names of hooks and parameters are whole, and their descriptions wrap."""
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


@pytest.mark.parametrize("width", [80, 200])
def test_the_list_is_short(install: Install, width: int) -> None:
    """By default the list has each plugin's name and what it does, or why it would not run."""
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
    """A broken plugin that every run would load makes the status 1 in the short list too."""
    install("acme", "hookcore.autoload", {"watcher": "acme_p:Watcher"}, acme_p="1 / 0")
    result = call("plugins")
    assert result.exit_code == 1
    assert "broken: ZeroDivisionError" in row(result, "watcher")


def test_a_plugin_that_is_not_in_hookcore_is_found(install: Install) -> None:
    """`from hookcore import EarlyStopping` fails with the right import, and so does a plugin of another distribution."""
    with pytest.raises(
        LoadError, match="EarlyStopping is a plugin, and not in hookcore: from hookcore_plugins import EarlyStopping"
    ):
        exec("from hookcore import EarlyStopping")  # noqa: S102
    install("acme", "hookcore.plugins", {"watcher": "acme_p.inner:Watcher"})
    with pytest.raises(LoadError, match=r"from acme_p\.inner import Watcher"):
        exec("from hookcore import Watcher")  # noqa: S102
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec("from hookcore import Nothing")  # noqa: S102


def test_what_the_environment_adds_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note lists the plugins that HOOKCORE_PLUGINS adds to every run."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", "csv_log:path=a.csv;console")
    assert "HOOKCORE_PLUGINS adds to every run: csv_log, console." in call("plugins").output
