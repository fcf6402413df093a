"""One small training of LightGBM, in both ways that the adapter has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lightgbm
import pytest

from hookcore import Engine, Run, hookimpl
from hookcore_adapters.lightgbm import LightGBMAdapter, train
from tests.adapters.lightgbm.harness import data_set

if TYPE_CHECKING:
    from collections.abc import Mapping


PARAMS = {"objective": "regression", "num_leaves": 4, "min_data_in_leaf": 4, "num_threads": 1, "verbosity": -1, "seed": 1}


def data(**given: Any) -> dict[str, Any]:
    """Return data with one validation set, whose loss gets worse after some iterations."""
    train_set = data_set(1)
    return {"train_set": train_set, "valid_sets": [data_set(2, train_set)], **given}


def by_callback(params: Mapping[str, Any], rounds: int, *plugins: object, callbacks: Any = (), **given: Any) -> Any:
    adapter = LightGBMAdapter(engine_of(plugins))
    booster = lightgbm.train({**PARAMS, **params}, num_boost_round=rounds, callbacks=[*callbacks, adapter], **data(**given))
    assert adapter.run is not None
    return booster


def by_train(params: Mapping[str, Any], rounds: int, *plugins: object, **given: Any) -> Any:
    return train({**PARAMS, **params}, num_boost_round=rounds, plugins=engine_of(plugins), **data(**given))


def engine_of(plugins: tuple[object, ...]) -> Engine:
    return plugins[0] if plugins and isinstance(plugins[0], Engine) else Engine(plugins)


both = pytest.mark.parametrize("trains", [by_callback, by_train])


def trees(booster: Any) -> str:
    text: str = booster.model_to_string(num_iteration=-1)
    return text[text.find("Tree=0") : text.find("end of trees")]


def setter(hook: str) -> object:
    """Return a plugin that sets the learning rate in one hook."""

    def act(run: Run) -> None:
        run.learning_rate = 0.5

    return SimpleNamespace(name="setter", needs=("learning_rate",), **{hook: hookimpl(act)})
