"""The text that LightGBM writes of a model: its settings and its trees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_REPEATABLE: Final = {
    "feature_fraction": "1",
    "feature_fraction_bynode": "1",
    "data_sample_strategy": "bagging",
    "extra_trees": "0",
    "use_quantized_grad": "0",
    "linear_tree": "0",
    "cegb_penalty_feature_lazy": "",
    "cegb_penalty_feature_coupled": "",
}
"""The settings with which new trees depend only on the forest so far."""


def text_of(booster: Any, iterations: int) -> str:
    """Return the text of a model with the first `iterations` iterations of `booster`."""
    first = 0 if iterations else booster.current_iteration()  # LightGBM takes 0 iterations for all
    return str(booster.model_to_string(num_iteration=iterations or -1, start_iteration=first))


def settings_of(booster: Any) -> dict[str, str]:
    """Return the settings of `booster`; see `settings`."""
    return settings(str(booster.model_to_string(num_iteration=1)))


def settings(text: str) -> dict[str, str]:
    """Return the settings in the text of a model, by their main names, whatever aliases the user gave."""
    return dict(re.findall(r"^\[(\w+): (.*)\]$", text, re.MULTILINE))


def trees(text: str) -> str:
    """Return the trees in the text of a model."""
    return text[text.find("\nTree=0") : text.find("\nend of trees")]


def inexact(own: Mapping[str, str]) -> dict[str, str]:
    """Return the settings among `own` with which new trees depend on more than the forest so far."""
    found = {name: own[name] for name, exact in _REPEATABLE.items() if own.get(name, exact) != exact}
    if own.get("bagging_freq", "0") != "0":
        found |= {name: own[name] for name in own if name.endswith("bagging_fraction") and own[name] != "1"}
    if own.get("objective") == "rank_xendcg":
        found["objective"] = "rank_xendcg"
    return found
