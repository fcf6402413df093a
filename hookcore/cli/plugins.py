"""`hookcore plugins`: which plugins are installed, and which of them would not run."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
@click.pass_context
def plugins(ctx: click.Context, name: str | None) -> None:
    """List the installed plugins, or describe the one called NAME.

    For each: where it comes from, what it implements, in which order it is called, and whether it is blocked, broken or
    shadowed. Exits with status 1 where a plugin that would run by itself is broken.
    """
    # rich is imported where something is printed.
    from hookcore.cli import plugin_tables

    ctx.exit(plugin_tables.show(name))
