"""`hookcore doctor`: print the mistakes that can be found before the first batch."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookcore.text import format_count
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from rich.console import Console

    from hookcore.cli.checkup import Checkup


@click.command(short_help="Check a run before it begins, and list its mistakes.")
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--metrics", metavar="NAME,...", default="", help="The names of all metrics that the loop will have.")
@click.option(
    "--without",
    metavar="CAPABILITY",
    multiple=True,
    type=click.Choice(typing.get_args(Capability)),
    help="A capability that the loop's trainee lacks, such as learning_rate; may be given several times.",
)
@click.option(
    "--checkpoint-mb", metavar="MB", type=click.FloatRange(min=0), help="The size of a checkpoint, if no checkpoint exists yet."
)
@click.pass_context
def doctor(
    ctx: click.Context, config: Path | None, metrics: str, without: tuple[Capability, ...], checkpoint_mb: float | None
) -> None:
    """Check a run of CONFIG before it begins; without CONFIG, what the environment and the installed packages add to every run.

    The output lists the plugins and who asked for each, the order of calls at each hook, which plugins set the learning rate,
    and what the loop must have. The mistakes follow: errors in CONFIG and in HOOKCORE_PLUGINS; plugins that are broken or
    unknown; two plugins that write one file or set the learning rate; metrics that have no known direction, or are not among
    those of --metrics; paths that cannot be written; and a disk too full for the checkpoints. The exit status is 1 if there is a
    mistake. No framework is imported, and nothing is trained or written.
    """
    # Imported here, because only what prints needs rich.
    from hookcore.cli.checkup import check
    from hookcore.cli.console import open_console

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    size = None if checkpoint_mb is None else int(checkpoint_mb * 1e6)
    found = check(config, metrics=names, without=without, checkpoint_size=size)
    show(found, open_console())
    ctx.exit(int(bool(found.mistakes)))


def show(found: Checkup, console: Console) -> None:
    """Print what was found, the mistakes last."""
    from rich.table import Table
    from rich.text import Text

    if found.plugins:
        _show_plugins(found, console)
    else:
        console.print(Text("No plugins."))
    facts = [f"The learning rate is set by {', '.join(found.rate)}."] if found.rate else []
    facts += [f"The loop must have: {need}, for {', '.join(names)}." for need, names in found.needs.items()]
    if found.needs:
        facts.append("With `Loop`, pass `trainee=`: see docs/writing-a-trainee.md. The adapters of frameworks have a trainee.")
    if facts or found.notes:
        console.print()
    for fact in facts:
        console.print(Text(fact))
    for note in found.notes:
        console.print(Text(note, "yellow"))
    console.print()
    count = len(found.mistakes)
    console.print(Text(format_count(count, "mistake"), "bold red") if count else Text("No mistakes.", "green"))
    mistakes = Table.grid(padding=(0, 1, 0, 0))
    mistakes.add_column(no_wrap=True)
    mistakes.add_column(overflow="fold")
    for number, mistake in enumerate(found.mistakes, 1):
        mistakes.add_row(Text(f"{number}.", "bold red"), Text(mistake))
    if mistakes.row_count:
        console.print(mistakes)


def _show_plugins(found: Checkup, console: Console) -> None:
    """Print the plugins, and the order of their calls."""
    from rich.table import Table
    from rich.text import Text

    def table(*titles: str) -> Table:
        new = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
        for index, title in enumerate(titles):
            new.add_column(title, overflow="fold", no_wrap=index == 0)
        return new

    plugins = table("plugin", "from", "asked for by")
    for one in found.plugins:
        plugins.add_row(Text(one.name, "bold"), Text(one.origin), Text(str(one.place) or one.source))
    calls = table("hook", "calls, in this order")
    for hook, names in found.calls.items():
        calls.add_row(hook, Text(", ".join(names)))
    console.print(plugins)
    console.print()
    console.print(calls)
