"""Hypothesis profiles: HYPOTHESIS_PROFILE=ci is the same every time, =long looks further, and dev is the default."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# No deadlines: they fail tests for the load of the machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# A shell has what it starts in the background ignore Ctrl-C, as nohup does with SIGHUP, and the children inherit it. What a
# signal does in these tests must not depend on that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
