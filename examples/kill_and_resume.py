"""Train, kill the process, start it again, and compare the end with that of a process that was never killed.

    python examples/kill_and_resume.py [keras | torch | lightning] [--pictures docs/img]

What is trained is the README's sample for that framework. The process is killed by SIGKILL in the middle of an epoch. The exit
status is 0 if the last checkpoints of the two runs are equal: weights, optimizer, random numbers, history, decisions, and the
states of the plugins. `--pictures` draws the README's pictures into a directory, which needs `hookcore[report]`.
"""
# ruff: noqa: INP001 - a script

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.table import Table

from hookcore import store

README: Final = Path(__file__).resolve().parents[1] / "README.md"
KILLED_AFTER: Final = "step-00000200"
"""The checkpoint that the kill waits for. The samples train for 45 steps an epoch, and for more than 300 in all."""
WIDTH: Final = 84
DARK, LIGHT = "#292929", "#c5c8c6"
"""The colours of the terminal, in which the curves are drawn too."""


class Colours(RegexHighlighter):
    """Colours the lines of the terminal: each group of a pattern is named for its style."""

    highlights: ClassVar = [r"^(?P<bold>\$ .*)", r"^  (?P<yellow>\w+:)", r"^(?P<red>Killed)", r"(?P<green>^resumed| \*(?= |$))"]


class Checkpoint(NamedTuple):
    """The newest checkpoint of a run: the SHA-256 of each file, and the record of the run."""

    digests: dict[str, str]
    record: dict[str, Any]

    @classmethod
    def newest(cls, directory: Path) -> Checkpoint:
        """Read it. A sample saves into one directory below `runs`."""
        (saved,) = (directory / "runs").iterdir()
        files = {path.name: path.read_bytes() for path in sorted(store.newest(saved).path.iterdir())}
        del files[store.MANIFEST]
        if "model.keras" in files:  # the weights and the optimizer's state: the rest has a date
            with zipfile.ZipFile(store.newest(saved).path / "model.keras") as archive:
                files["model.keras"] = archive.read("model.weights.h5")
        if "state.json" in files:  # without the generators that the sample for PyTorch neither seeds nor uses
            state = json.loads(files["state.json"])
            del state["random"]["python"], state["random"]["numpy"]
            files["state.json"] = json.dumps(state).encode()
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        return cls(digests, json.loads(files[store.RECORD]))


def sample(framework: str) -> str:
    """Return the README's sample for `framework`."""
    samples: list[str] = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return next(text for text in samples if f"\nfrom hookcore_adapters.{framework} import" in text)


def train(directory: Path, *, kill: bool = False) -> str:
    """Run `train.py` in `directory`, kill it after `KILLED_AFTER` if `kill`, and return what a terminal shows of it.

    Raises `SystemExit`, with what it wrote to standard error, if it ended in another way.
    """
    output, errors = directory / "output.txt", directory / "errors.txt"
    with output.open("w") as out, errors.open("w") as err:
        flushed = os.environ | {"PYTHONUNBUFFERED": "1"}  # what was printed before the kill is in the file
        process = subprocess.Popen([sys.executable, "train.py"], cwd=directory, stdout=out, stderr=err, env=flushed)
    while process.poll() is None:
        if kill and any(directory.glob(f"runs/*/{KILLED_AFTER}")):
            process.kill()
        time.sleep(0.001)
    if process.returncode != (-signal.SIGKILL if kill else 0):
        sys.exit(f"train.py in {directory} ended with status {process.returncode}:\n{errors.read_text()}")
    shown = f"$ python train.py\n{output.read_text()}"
    if kill:
        epoch, batch, _ = Checkpoint.newest(directory).record["position"].values()
        shown += f"Killed  (kill -9 {process.pid}; the newest checkpoint is of epoch {epoch + 1}, batch {batch})\n"
    return shown


def compared(never_killed: Checkpoint, killed: Checkpoint) -> Table:
    """Return a table of the ends of both runs, side by side."""
    table = Table(
        "last checkpoint", "never killed", "killed and resumed", "", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    rows = {f"SHA-256 of {name}": (digest[:16], killed.digests[name][:16]) for name, digest in never_killed.digests.items()}
    one, other = (run.record["history"]["metrics"]["val_loss"][-1] for run in (never_killed, killed))
    for name, (left, right) in ({"val_loss": (f"{one}", f"{other}")} | rows).items():
        table.add_row(name, left, right, "[green]equal" if left == right else "[red]NOT EQUAL")
    return table


def draw_curves(path: Path, never_killed: Checkpoint, killed: Checkpoint, killed_at: int) -> None:
    """Draw the validation loss and the learning rate of both runs over each other; `killed_at` is a step."""
    import matplotlib as mpl

    from hookcore_plugins.report.picture import new_figure, saved

    with new_figure(width=9, height=2.5, text_as_paths=True) as figure:
        mpl.rc("savefig", facecolor=DARK)
        mpl.rc("axes", facecolor=DARK, edgecolor=LIGHT, labelcolor=LIGHT)
        for group in ("text", "xtick", "ytick"):
            mpl.rc(group, color=LIGHT)
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.1)  # type: ignore[union-attr, call-arg]
        one, other = never_killed.record["history"], killed.record["history"]
        cut = sum(step <= killed_at for step in other["steps"])
        loss_axes, rate_axes = figure.subplots(1, 2)
        for axes, title, whole, pieces in (
            (loss_axes, "val_loss", one["metrics"]["val_loss"], other["metrics"]["val_loss"]),
            (rate_axes, "learning rate", one["learning_rates"], other["learning_rates"]),
        ):
            axes.plot(one["steps"], whole, color="#868887", linewidth=8, label="never killed")
            axes.plot(other["steps"][:cut], pieces[:cut], color="#68a0f8", marker="o", label="killed")
            axes.plot(other["steps"][cut:], pieces[cut:], color="#d0b344", marker="o", label="resumed")
            axes.axvline(killed_at, color="#ff5f57", linestyle="--", label="kill -9")
            axes.set_title(title, loc="left", fontsize=11)
            axes.set_xlabel("step")
        rate_axes.set_yscale("log")
        rate_axes.yaxis.set_major_formatter("{x:g}")
        figure.legend(*rate_axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        path.write_bytes(saved(figure, "svg", "The curves of a run that was killed lie on those of one that was not"))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", nargs="?", choices=["keras", "torch", "lightning"], default="keras")
    parser.add_argument("--pictures", type=Path, metavar="DIRECTORY")
    given = parser.parse_args()
    console = Console(width=WIDTH, record=True, highlighter=Colours())

    def show(text: str) -> None:
        for line in text.splitlines():
            console.print(textwrap.fill(line, WIDTH, subsequent_indent="    "), markup=False)

    with tempfile.TemporaryDirectory() as scratch:
        directories = Path(scratch, "never-killed"), Path(scratch, "killed")
        for directory in directories:
            directory.mkdir()
            (directory / "train.py").write_text(sample(given.framework), encoding="utf-8")
        train(directories[0])
        show(train(directories[1], kill=True))
        killed_at = Checkpoint.newest(directories[1]).record["progress"]["step"]
        show(train(directories[1]))
        never_killed, killed = map(Checkpoint.newest, directories)
    console.print("", compared(never_killed, killed), "", sep="\n")  # Rich clips the last line of a picture
    if given.pictures is not None:
        terminal = console.export_svg(title="kill -9, start again, same result", unique_id="kill-and-resume")
        terminal = re.sub(r"@font-face \{.*?\}", "", terminal, flags=re.DOTALL)  # an image on a page loads no fonts
        (given.pictures / "kill-and-resume.svg").write_text(terminal, encoding="utf-8")
        draw_curves(given.pictures / "kill-and-resume-curves.svg", never_killed, killed, killed_at)
    sys.exit(never_killed != killed)


if __name__ == "__main__":
    main()
