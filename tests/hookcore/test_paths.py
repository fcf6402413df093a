"""A path that a person gives is a local one, wherever it is given, and anything else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from hookcore import Engine, ParameterError, store
from hookcore.cli.main import main
from hookcore.paths import local_path
from hookcore.resume import find
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import Activations, Checkpoint, CSVLog, JSONLog, Report, TensorBoard
from hookcore_plugins.report.run_report import RunReport
from tests.hookcore.store.checkpoints import save, small
from tests.plugins.checkpoint.checkpointing import in_a_process, train

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS: list[Callable[[Any], Any]] = [Checkpoint, CSVLog, JSONLog, TensorBoard, Report, Activations]
URLS = ["gs://bucket/run", "s3://bucket/run", "hdfs:///run", "file:///tmp/run", "S3://b", "dbfs:/run", Path("gs://bucket/run")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home directory that is not the current directory."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_refuses_a_url(plugin: Callable[[Any], Any], url: Any) -> None:
    """A URL, which would become a directory called `gs:`, is an error that shows the URL and tells what works."""
    with pytest.raises(ParameterError) as caught:
        plugin(url)
    assert f"must be a local path, not a URL, got {str(url)!r}. Give a local path and copy" in str(caught.value)
    assert "mount the bucket" in str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        lambda url: find(url, (), ScriptedTrainee()),
        store.named,
        store.available,
        store.newest,
        store.best,
        store.verify,
        store.lock,
        store.open_directory,
        RunReport.read,
        lambda url: RunReport.save(object(), url, "html"),  # type: ignore[arg-type]  # nothing is read before
    ],
)
def test_a_url_is_refused_wherever_a_path_is_given(home: Path, use: Callable[[str], Any]) -> None:
    """A URL is refused as what to resume, as a directory of checkpoints, and as the place of a report."""
    with pytest.raises(ParameterError, match=r"must be a local path, not a URL, got 'gs://bucket/run'\."):
        use("gs://bucket/run")
    assert set(home.parent.rglob("*")) == {home, home.parent / "here"}


@pytest.mark.parametrize("command", [("checkpoints", "ls"), ("checkpoints", "verify"), ("report",)])
def test_a_command_refuses_a_url(command: tuple[str, ...]) -> None:
    """A command refuses a URL with the reason, and does not call it a directory that does not exist."""
    done = CliRunner().invoke(main, [*command, "s3://bucket/run"])
    assert done.exit_code
    assert "must be a local path, not a URL" in " ".join(done.output.split())


def test_the_home_directory_is_meant_by_its_sign(home: Path) -> None:
    """Plugins, `resume`, the store and the commands take `~` for the home directory, and make nothing with that name."""
    plugins = [plugin(f"~/{plugin.__name__}") for plugin in PLUGINS]
    assert [getattr(made, "directory", None) or getattr(made, "path", None) or made.log_dir for made in plugins] == [
        home / plugin.__name__ for plugin in PLUGINS
    ]
    run = train([Checkpoint("~/runs"), CSVLog(Path("~/log.csv")), Report("~/report", summary=False)], [2, 1])
    assert run.outcome == "completed"
    assert (home / "log.csv").is_file()
    assert store.newest(Path("~/runs")).path.parent == home / "runs"
    resumed = train([Checkpoint("~/other")], [2, 1, 0], resume="~/runs")
    assert resumed.resumed_from is not None
    for command in (["checkpoints", "ls", "~/runs"], ["report", "~/report"]):
        assert CliRunner().invoke(main, command).exit_code == 0
    assert RunReport.read("~/report").path.parent == home / "report"
    assert list(Path.cwd().iterdir()) == []


def test_a_name_that_begins_with_the_sign_can_be_given(home: Path) -> None:
    """`./~name` is a file called `~name`, in a plugin and in what it calls with its path."""
    train([Checkpoint("./~root")], [1])
    assert (home.parent / "here" / "~root" / "step-00000001").is_dir()
    assert local_path(local_path("./~root")) == home.parent / "here" / "~root"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~has-no-account/x", "in a home directory that exists, got '~has-no-account/x'. A name that begins with ~"),
        ("a\0b", r"without NUL characters, got 'a\x00b'."),
        ("a\ud800b", r"that the file system can encode, got 'a\ud800b'."),
        ("a/" + "ü" * 128 + "/b", "of names with at most 255 bytes, got"),
        ("ck/{epoch:02d}-{val_loss:.2f}", "without fields such as {epoch:02d}, which are not filled in, got"),
    ],
)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_what_no_file_can_be_called_is_refused(plugin: Callable[[Any], Any], path: str, expected: str) -> None:
    """A path that no file can have is refused when the plugin is made, with its name and what was expected."""
    with pytest.raises(ParameterError, match=rf"^{plugin.__name__}: \w+ must be a path ") as caught:
        plugin(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["with spaces", "日本", "a:b", "C:\\run", "2026-01-01T10:00", "{1}", "x" * 255])
def test_other_names_are_names(tmp_path: Path, name: str) -> None:
    """A path that only resembles a URL or a home directory is accepted."""
    train([Checkpoint(tmp_path / name), CSVLog(tmp_path / "log" / name)], [1])
    assert store.newest(tmp_path / name).step == 1
    assert (tmp_path / "log" / name).is_file()


def test_a_path_beneath_a_directory_that_may_not_be_searched_is_refused(tmp_path: Path) -> None:
    """A path below a directory that may not be searched is an error that names the directory and the reason."""
    locked = tmp_path / "locked"
    save(locked / "runs", 1, 1.0, small)
    locked.chmod(0o700)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o11 == 0:
            parent.chmod(0o755)
    told = in_a_process(
        """
        import json, os, sys
        from hookcore import HookcoreError, store
        from hookcore_plugins import Checkpoint, CSVLog, Report
        from hookcore_plugins.report.run_report import RunReport

        class Resumes:
            def __init__(self, path):
                made = Checkpoint(os.getcwd())
                made.directory = __import__("pathlib").Path(path)  # as when the right is lost after it was made
                made.resumable()

        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            os.chmod(sys.argv[1], 0o600)
        told = []
        for use in (Checkpoint, CSVLog, Report, store.named, store.newest, store.verify, store.lock, RunReport.read, Resumes):
            try:
                use(sys.argv[1] + "/runs")
            except HookcoreError as error:
                told.append(str(error))
        print(json.dumps(told))
        """,
        locked,
    )
    locked.chmod(0o700)
    assert len(told) == 9
    assert told[0] == (
        f"Checkpoint: directory must be a path that this process can reach, and {locked}/runs is not: Permission denied, "
        f"got '{locked}/runs'."
    )
    assert all("Permission denied" in text and str(locked) in text for text in told)


def test_a_plugin_by_name_gets_the_same_path(home: Path) -> None:
    """A spec string gives a plugin the same path as code does."""
    assert Engine(["checkpoint:directory=~/runs"], autoload=False)["checkpoint"].directory == home / "runs"
