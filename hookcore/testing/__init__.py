"""For tests of plugins and adapters: doubles for both sides of the engine."""

from __future__ import annotations

from hookcore.testing.doubles import RecordingPlugin, ScriptedTrainee

__all__ = ["RecordingPlugin", "ScriptedTrainee"]
