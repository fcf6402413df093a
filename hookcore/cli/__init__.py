"""The `hookcore` command."""
