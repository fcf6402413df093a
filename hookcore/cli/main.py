"""The `hookcore` command. All of its subcommands come from the entry-point group `hookcore.commands`."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from hookcore.errors import HookcoreError
from hookcore.raised import describe, interrupts
from hookcore.registry import discovery
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from importlib import metadata

COMMANDS: Final = "hookcore.commands"
"""The entry-point group that maps a name to a click command."""

_FULL: Final = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""The errors of an open file that cannot be written to. Click handles a closed pipe."""


class EntryPointGroup(click.Group):
    """A group whose commands are the entry points of `COMMANDS`, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, without importing them."""
        return sorted({*super().list_commands(ctx), *(entry.name for entry in discovery.entry_points(COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or one that fails with the error of its import; None if no command has that name."""
        for entry in discovery.entry_points(COMMANDS):
            if entry.name == cmd_name:
                return _load(entry)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does; the error for an unknown command names the nearest."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{did_you_mean(name, names)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. An error of ours is printed with its notes, one of which names the page that helps.

        If the standard output cannot be written to, exit with an error of one line.
        """
        try:
            try:
                return super().invoke(ctx)
            finally:
                output: Any = sys.stdout
                if output is not None:  # None if it was closed
                    output.flush()
        except click.ClickException as error:
            if not isinstance(error.__cause__, HookcoreError):
                raise
            message = " ".join([error.format_message(), *getattr(error.__cause__, "__notes__", ())])
            if isinstance(error, click.UsageError):
                raise click.UsageError(message, error.ctx) from error.__cause__
            raise click.ClickException(message) from error.__cause__
        except OSError as error:
            if error.errno not in _FULL or error.filename is not None or isinstance(error, HookcoreError):
                raise
            sys.stdout = None  # otherwise Python tries again when it exits
            raise click.ClickException(f"The standard output cannot be written to: {error.strerror}.") from error


def _load(entry: metadata.EntryPoint) -> click.Command:
    try:
        command = entry.load()
        if isinstance(command, click.Command):
            return command
        reason = f"{entry.value!r} must be a click command, got {command!r}"
    except BaseException as error:  # a third party's import may raise anything, and must not break the other commands
        if interrupts(error):
            raise
        reason = describe(error)
    return _broken(entry, reason)


def _broken(entry: metadata.EntryPoint, reason: str) -> click.Command:
    text = f"Command {entry.name!r} of {discovery.distribution(entry)} could not be imported from {entry.value!r}: {reason}"

    def fail() -> None:
        raise click.ClickException(text)

    # Accepts any options, so that the error is about the import.
    lenient = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(entry.name, callback=fail, short_help=f"(broken: {reason})", help=text, context_settings=lenient)


@click.group("hookcore", cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookcore")
def main() -> None:
    """Write a training plugin once; run it in every training loop."""
