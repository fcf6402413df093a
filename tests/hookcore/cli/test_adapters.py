"""`hookcore plugins`: the adapters that it lists and describes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import adapter_info
from hookcore.registry import discovery
from tests.hookcore.cli.calling import call, on_terminal, row

if TYPE_CHECKING:
    from tests.hookcore.cli.calling import Install


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
    """If the framework is missing, the adapter's line has the command that installs it, and the status is 0."""
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
    """An adapter that cannot be read is listed with the reason, beside the others, and the status is 0."""
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=source)
    result = call("plugins", "--verbose")
    assert reason in row(result, "acme")
    assert "hookcore_adapters.loop: Loop" in row(result, "loop")
    assert result.exit_code == 0


@pytest.mark.parametrize("width", [80, 200])
def test_adapters_on_a_terminal(install: Install, width: int) -> None:
    """Adapters are listed below the plugins, within the width, and nothing is left out."""
    install("acme", "hookcore.adapters", {"acme": "acme_p:INFO"}, acme_p=INFO.format("('acme-train',)"))
    plugins, _, adapters = on_terminal(width).partition("\nadapter")
    assert "time_limit" in plugins
    assert max(map(len, adapters.splitlines())) <= width
    words = " ".join(adapters.split())
    for part in ("acme", "not installed", "pip install 'acme-hooks[train]'", "Acme Train", "acme_p: AcmeAdapter", "acme_p:INFO"):
        assert part in words


def test_listing_imports_no_framework() -> None:
    """The versions of frameworks are read from metadata, without an import."""
    frameworks = {"jax", "keras", "lightgbm", "lightning", "sklearn", "tensorflow", "torch", "transformers", "xgboost"}
    code = "import sys\nfrom hookcore.cli.main import main\nmain(['plugins'], standalone_mode=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not frameworks.intersection(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("entry", discovery.entry_points(adapter_info.GROUP), ids=lambda entry: entry.name)
def test_what_a_shipped_adapter_names_exists(entry: Any) -> None:
    """The extras and the module that an adapter names are part of this distribution."""
    info = entry.load()
    distribution, _, extras = info.install.removesuffix("]").partition("[")
    assert distribution == "hookcore"
    assert set(filter(None, extras.split(","))) <= set(metadata.metadata("hookcore").get_all("Provides-Extra") or ())
    module = info.use.partition(":")[0]
    assert importlib.util.find_spec(module) is not None
