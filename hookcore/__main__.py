"""`python -m hookcore` is the `hookcore` command, of this Python."""

from __future__ import annotations

from hookcore.cli.main import main

main(prog_name="python -m hookcore")
