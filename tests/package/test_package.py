"""What `python -m build` makes of the checkout: a wheel of the packages alone, and a source distribution of all of it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("hookcore", "adapters/hookcore_adapters", "plugins/hookcore_plugins", "pytest_hookcore")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with the source distribution of the checkout, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], check=True, capture_output=True)
    return out


def only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


def test_the_wheel_has_the_packages_and_nothing_else(built: Path) -> None:
    """Each file of the four packages is in the wheel, with marks of types and templates, and no test is."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == expected
    assert {f"{PurePosixPath(package).name}/py.typed" for package in PACKAGES} <= found
    assert {PurePosixPath(name).suffix for name in found} >= {".template", ".jinja", ".css", ".js", ".html"}
    assert [name for name in found if PurePosixPath(name).match("test_*.py") or PurePosixPath(name).match("conftest.py")] == []


def test_the_wheel_has_the_entry_points_and_the_licence(built: Path) -> None:
    """The command, the plugins, the adapters and the pytest plugin are found when the wheel is installed."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        (entry_points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
        text = wheel.read(entry_points).decode()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    groups = ("console_scripts", "hookcore.plugins", "hookcore.adapters", "hookcore.commands", "pytest11")
    assert [group for group in groups if f"[{group}]" not in text] == []


def test_the_source_distribution_has_what_builds_and_tests_it(built: Path) -> None:
    """It holds the documentation, the tests, the benchmarks, the example and the configuration of the tools."""
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("docs", "tests", "benchmarks", "examples")
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".css", ".png", ".svg", ".json", ".txt", ".ini", ".ipynb"}
    }
    files = {"tox.ini", "conftest.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    assert expected
    assert (expected | files) - found == set()


def test_the_package_index_accepts_them(built: Path) -> None:
    """`twine check --strict` finds no fault in the metadata, and renders the README."""
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], check=True, capture_output=True)


def test_it_installs_from_source_in_a_new_environment(built: Path, tmp_path: Path) -> None:
    """Installed from the source distribution with nothing else, the command runs and lists the plugins."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", only(built, "*.tar.gz")],
        check=True,
        capture_output=True,
    )
    command = python.with_name("hookcore")
    version = subprocess.run([command, "--version"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    plugins = subprocess.run([command, "plugins"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert version.startswith("hookcore, version ")
    assert {"early_stopping", "checkpoint", "keras"} <= set(plugins.split())
