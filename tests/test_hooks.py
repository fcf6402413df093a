"""The hooks are a promise to every plugin: this list has all of them."""

from __future__ import annotations

import inspect

import pytest

from hookcore import HOOKS, Hooks, specs

SIGNATURES = {
    "on_train_begin": "(run: 'Run') -> 'None'",
    "on_epoch_begin": "(run: 'Run', epoch: 'int') -> 'None'",
    "on_batch_begin": "(run: 'Run', batch: 'int') -> 'None'",
    "on_batch_end": "(run: 'Run', batch: 'int', metrics: 'Mapping[str, float]') -> 'None'",
    "on_evaluate_begin": "(run: 'Run') -> 'None'",
    "on_evaluate_batch_begin": "(run: 'Run', batch: 'int') -> 'None'",
    "on_evaluate_batch_end": "(run: 'Run', batch: 'int', metrics: 'Mapping[str, float]') -> 'None'",
    "on_evaluate_end": "(run: 'Run', metrics: 'Mapping[str, float]') -> 'None'",
    "on_epoch_end": "(run: 'Run', epoch: 'int', metrics: 'Mapping[str, float]') -> 'None'",
    "on_metrics": "(run: 'Run', metrics: 'Mapping[str, float]') -> 'None'",
    "on_predict_begin": "(run: 'Run') -> 'None'",
    "on_predict_batch_begin": "(run: 'Run', batch: 'int') -> 'None'",
    "on_predict_batch_end": "(run: 'Run', batch: 'int') -> 'None'",
    "on_predict_end": "(run: 'Run') -> 'None'",
    "on_checkpoint": "(run: 'Run', checkpoint: 'SavedCheckpoint') -> 'None'",
    "on_exception": "(run: 'Run', exception: 'BaseException') -> 'None'",
    "on_train_end": "(run: 'Run') -> 'None'",
}


def test_these_are_all_the_hooks() -> None:
    """A hook is added both here and in the specification, and no hook may be removed."""
    assert list(HOOKS) == list(Hooks.__slots__) == list(SIGNATURES)


@pytest.mark.parametrize("hook", SIGNATURES)
def test_the_signature_of_a_hook_is_frozen(hook: str) -> None:
    """The names, order and types of a hook's arguments do not change, because installed plugins rely on them."""
    assert str(inspect.signature(getattr(specs, hook))) == SIGNATURES[hook]
    assert HOOKS[hook] == tuple(inspect.signature(getattr(specs, hook)).parameters)


@pytest.mark.parametrize("hook", SIGNATURES)
def test_each_hook_is_documented_and_marked(hook: str) -> None:
    """Each hook's specification has a docstring, which is its reference, and is marked as a specification."""
    function = getattr(specs, hook)
    assert function.__doc__.strip().endswith(".")
    assert function.hookcore_spec
