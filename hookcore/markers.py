"""The two pluggy markers: `hookspec` for our hooks, `hookimpl` for a plugin's methods."""

from __future__ import annotations

from typing import Final

import pluggy

PROJECT: Final = "hookcore"

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)
