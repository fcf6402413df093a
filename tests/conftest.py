"""Hypothesis profiles: HYPOTHESIS_PROFILE=ci is the same every time, =long looks further, and dev is the default."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadlines: they fail tests for the load of the machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
