"""The console and the documentation's notebook in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from tests.patience import PATIENCE

DOCUMENT = Path(__file__).parents[2] / "docs" / "notebook.ipynb"

_read: Any = nbformat.read

TRAIN = """
import itertools

from hookcore_adapters.loop import Loop
from hookcore_plugins import Console

ticks = itertools.count()
with Loop([Console({verbose!r}, clock=lambda: float(next(ticks)))], epochs=2, steps_per_epoch=3) as loop:
    for epoch in loop.epochs():
        for batch in loop.batches(range(3)):
            loop.log(loss=0.5)
"""


def messages(code: str) -> list[dict[str, Any]]:
    """Run a cell with `code` in a new kernel; return the messages that it shows."""
    found: list[dict[str, Any]] = []
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    try:
        client.execute_interactive(code, output_hook=found.append, timeout=PATIENCE)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not [message["content"] for message in found if message["msg_type"] == "error"]
    return found


def text(found: list[dict[str, Any]]) -> str:
    return "".join(message["content"]["text"] for message in found if message["msg_type"] == "stream")


def test_the_bar_stays_in_its_place() -> None:
    """The progress bar is one output that is updated, and empty at the end; each epoch has one line below the header.

    The lines have colours, which a notebook shows, and no other control characters.
    """
    found = messages(TRAIN.format(verbose="auto"))
    shown = [one["content"] for one in found if one["msg_type"] in {"display_data", "update_display_data"}]
    assert [one["msg_type"] for one in found].count("display_data") == 1
    assert len({one["transient"]["display_id"] for one in shown}) == 1
    pictures = [one["data"]["text/plain"] for one in shown]
    assert any("1/3" in one and "loss 0.5000" in one and "left" in one for one in pictures)
    assert any("epoch 2/2" in one for one in pictures)
    assert all(len(line) <= 100 for one in pictures for line in one.splitlines())
    assert pictures[-1] == ""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text(found)).splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1/2", "2/2", "completed:"]
    assert "\x1b" not in "".join([*lines, *pictures])
    assert "\x1b[1;32m* best loss 0.5000 in epoch 1\x1b[0m" in text(found)


def test_lines_alone() -> None:
    """With `verbose="lines"` there is no bar and no colour."""
    found = messages(TRAIN.format(verbose="lines"))
    assert not [one for one in found if "display_data" in one["msg_type"]]
    assert text(found).startswith("epoch    loss    time\n  1/2  0.5000 ")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Run the document's cells, except those with the tag `skip-execution`; return it with the directory in which it ran."""
    notebook, directory = _read(DOCUMENT, as_version=4), tmp_path_factory.mktemp("notebook")
    patient: Any = {"timeout": PATIENCE, "startup_timeout": PATIENCE}
    NotebookClient(notebook, **patient, resources={"metadata": {"path": str(directory)}}).execute()
    return notebook, directory


def test_the_document_runs(executed: tuple[Any, Path]) -> None:
    """The notebook trains, and leaves the report, its page, the checkpoints and TensorBoard's logs."""
    _, directory = executed
    for name in ("run.json", "report.html", "checkpoints", "tensorboard"):
        assert (directory / "runs" / "notebook" / name).exists()


def test_the_document_is_as_it_runs(executed: tuple[Any, Path]) -> None:
    """The outputs in the document are of the same kinds as when it is run, and the document is small."""

    def kinds(notebook: Any) -> list[list[str]]:
        """Return the kinds of output of each cell, without standard error, which depends on the machine."""
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        return [
            sorted({kind for one in cell.outputs if one.get("name") != "stderr" for kind in one.get("data", ["text"])})
            for cell in cells
        ]

    written = _read(DOCUMENT, as_version=4)
    nbformat.validate(written)
    assert kinds(written) == kinds(executed[0])
    assert ["image/png", "text/plain"] in kinds(written)
    assert DOCUMENT.stat().st_size < 300_000
