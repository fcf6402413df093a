"""The names in `hookcore.testing`, with Hypothesis and without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hookcore.testing
from hookcore.testing import conformance, sequences, series

WITHOUT = "import sys; sys.modules['hypothesis'] = None; import hookcore.testing as kit; "
LAZY = ["check_plugin", "event_sequences", "illegal_event_sequences", "metric_series", "plugin_machine"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_doubles_and_events_need_no_hypothesis() -> None:
    """Every name that does not use Hypothesis works without it."""
    rest = sorted(set(hookcore.testing.__all__).difference(LAZY))
    assert {"Clause", "RecordingPlugin", "ScriptedTrainee", "check_adapter", "check_events", "play"} <= set(rest)
    code = "; ".join(f"kit.{name}" for name in rest)
    assert python(f"{WITHOUT}{code}; kit.check_events([]); import hookcore.testing.doubles").stderr == ""


@pytest.mark.parametrize("name", LAZY)
def test_what_needs_hypothesis_names_the_extra(name: str) -> None:
    """A name that needs Hypothesis is an error without it, which names the extra to install."""
    assert getattr(hookcore.testing, name) is {**vars(series), **vars(sequences), **vars(conformance)}[name]
    failed = python(f"{WITHOUT}from hookcore.testing import {name}")
    assert f"LoadError: hookcore.testing.{name} needs Hypothesis: pip install 'hookcore[testing]'." in failed.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    """An unknown name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'metric_serie'"):
        _ = hookcore.testing.metric_serie
