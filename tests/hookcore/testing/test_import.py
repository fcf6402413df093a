"""What `hookcore.testing` gives with Hypothesis and without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hookcore.testing
from hookcore.testing import conformance, strategies

WITHOUT = "import sys; sys.modules['hypothesis'] = None; import hookcore.testing as kit; "
LAZY = ["Clause", "check_plugin", "event_sequences", "illegal_event_sequences", "metric_series", "plugin_machine"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_doubles_and_events_need_no_hypothesis() -> None:
    """All that is not made with Hypothesis works where it is not installed."""
    rest = sorted(set(hookcore.testing.__all__).difference(LAZY))
    assert {"RecordingPlugin", "ScriptedTrainee", "check_adapter", "check_events", "play"} <= set(rest)
    code = "; ".join(f"kit.{name}" for name in rest)
    assert python(f"{WITHOUT}{code}; kit.check_events([]); import hookcore.testing.doubles").stderr == ""


@pytest.mark.parametrize("name", LAZY)
def test_what_needs_hypothesis_says_so(name: str) -> None:
    """Asked for without Hypothesis, it is an error that names the extra; with it, it is there."""
    assert getattr(hookcore.testing, name) is vars(strategies).get(name, vars(conformance).get(name))
    failed = python(f"{WITHOUT}from hookcore.testing import {name}")
    assert f"LoadError: hookcore.testing.{name} needs Hypothesis: pip install 'hookcore[testing]'." in failed.stderr


def test_another_name_is_not_there() -> None:
    """What does not exist is an AttributeError, as ever."""
    with pytest.raises(AttributeError, match="has no attribute 'metric_serie'"):
        _ = hookcore.testing.metric_serie
