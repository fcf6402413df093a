"""The two pluggy markers: `hookspec` for our hooks, `hookimpl` for a plugin's methods."""

from __future__ import annotations

from typing import Final

import pluggy

PROJECT: Final = "hookcore"

hookspec: Final = pluggy.HookspecMarker(PROJECT)
"""Marks a function as the specification of a hook."""
hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's method as the implementation of the hook that has its name.

`@hookimpl(tryfirst=True)`, `trylast=True` and `wrapper=True` change the order of the calls, as in pluggy.
"""
