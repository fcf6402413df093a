"""`hookcore plugins`: which plugins are installed, and which of them would not run."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
@click.pass_context
def plugins(ctx: click.Context, name: str | None) -> None:
    """List the installed plugins, or describe the one called NAME.

    The list has the origin, the hooks, the call order and the status of each: ok, blocked, broken or shadowed, for example. Exits
    with status 1 if a plugin that every run would load is broken.
    """
    # Imported here, because only what prints needs rich.
    from hookcore.cli import plugin_tables

    ctx.exit(plugin_tables.show(name))
