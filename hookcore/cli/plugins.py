"""`hookcore plugins`: which plugins and adapters are installed, and which of them would not run."""

from __future__ import annotations

import click

from hookcore.adapter_info import GROUP
from hookcore.registry import discovery


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    groups = (discovery.CATALOGUE, discovery.AUTOLOAD, GROUP)
    names = {entry.name for group in groups for entry in discovery.entry_points(group)}
    return sorted(name for name in names if name.startswith(incomplete))


@click.command(short_help="List the installed plugins and adapters, or describe one.")
@click.argument("name", required=False, shell_complete=_complete)
@click.option("-v", "--verbose", is_flag=True, help="Also list the status, role, hooks and origin of each plugin.")
@click.pass_context
def plugins(ctx: click.Context, name: str | None, *, verbose: bool) -> None:
    """List the installed plugins and adapters, or describe the one called NAME.

    The list shows what each plugin does, or why it would not run: for example, it is blocked, broken or shadowed. For each
    adapter the list shows the framework and its version, or what to install; no framework is imported. The exit status is 1 if
    a plugin that every run would load is broken.
    """
    # Imported here, because only what prints needs rich.
    from hookcore.cli import plugin_tables

    ctx.exit(plugin_tables.show(name, verbose=verbose))
