"""`require`: a framework that is missing or too old is an error that names what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hookcore.adapter_info import AdapterInfo
from hookcore_adapters.versions import require

if TYPE_CHECKING:
    from pathlib import Path

ACME = AdapterInfo("Acme Train", "acme_hooks: AcmeAdapter", "acme-hooks[train]", ("acme-train",))


@pytest.fixture(autouse=True)
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `acme.train` importable, in version 2.10.1, and `acme.broken`, which imports a module that does not exist."""
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text("__version__ = '2.10.1+cpu'")
    (package / "broken.py").write_text("import acme_dependency")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("floor", ["2.9", "2.10", "1.99"])
def test_a_version_from_the_floor_on_is_accepted(floor: str) -> None:
    """Versions are compared as numbers, so 2.10 is newer than 2.9."""
    require(ACME, floor, "acme.train", "json")


@pytest.mark.parametrize("floor", ["2.11", "3.0"])
def test_an_older_version_is_named(floor: str) -> None:
    """The error names the version that is needed, the one that is installed, and the command to install a newer one."""
    with pytest.raises(ImportError) as raised:
        require(ACME, floor, "acme.train")
    assert str(raised.value) == (
        f"The adapter for Acme Train needs Acme Train {floor} or newer, and 2.10.1+cpu is installed: "
        "pip install 'acme-hooks[train]'."
    )


@pytest.mark.parametrize(
    ("modules", "named"), [(("acme_gone.train",), "Acme Train"), (("acme.train", "acme_files"), "acme_files")]
)
def test_a_missing_module_is_named(modules: tuple[str, ...], named: str) -> None:
    """The framework is named as people call it, another library by its module; the advice ends the message."""
    with pytest.raises(ImportError) as raised:
        require(ACME, "2.9", *modules, advice="Or buy it.")
    assert str(raised.value) == (
        f"The adapter for Acme Train needs {named}, which is not installed: pip install 'acme-hooks[train]'. Or buy it."
    )
    assert raised.value.name is not None
    assert raised.value.name in {"acme_gone", "acme_files"}


def test_a_framework_that_cannot_be_imported_raises_its_own_error() -> None:
    """A framework that is installed but lacks something else is not called missing."""
    with pytest.raises(ModuleNotFoundError, match="No module named 'acme_dependency'"):
        require(ACME, "2.9", "acme.broken")
