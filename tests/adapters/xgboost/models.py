"""Small data and trainings for the tests of `XGBoostAdapter`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost
from xgboost.callback import TrainingCallback

from hookcore import Run, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hookcore_adapters.xgboost import XGBoostAdapter

ROUNDS = 6


def arrays(seed: int = 1) -> tuple[Any, Any]:
    """Return features and labels of two classes."""
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(80, 4))
    return x, (x[:, 0] + x[:, 1] * x[:, 2] + numbers.normal(size=80) > 0).astype(int)


def data(seed: int = 1) -> xgboost.DMatrix:
    x, y = arrays(seed)
    return xgboost.DMatrix(x, label=y)


def parameters(**changes: Any) -> dict[str, Any]:
    return {"objective": "binary:logistic", "max_depth": 3, "nthread": 1} | changes


def train(*callbacks: Any, rounds: int = ROUNDS, given: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Return the booster of `xgboost.train`; `given` are further arguments, and `changes` are parameters."""
    training = data(1)
    evals = [(training, "train"), (data(2), "valid")]
    options = {"evals": evals, "verbose_eval": False, "callbacks": list(callbacks)} | (given or {})
    return xgboost.train(parameters(**changes), training, rounds, **options)


def model_of(booster: Any) -> bytes:
    return bytes(booster.save_raw())


def run_of(adapter: XGBoostAdapter) -> Run:
    run = adapter.run
    assert run is not None
    return run


def deteriorating(best: int) -> Callable[[Any, Any], tuple[str, float]]:
    """Return a metric that is best after one round, `best`, and then gets worse."""
    seen: list[int] = []

    def distance(predicted: Any, given: Any) -> tuple[str, float]:
        del predicted, given
        seen.append(len(seen) // 2)  # of two sets
        return "distance", float(abs(seen[-1] - best))

    return distance


class At(TrainingCallback):  # type: ignore[misc]
    """Does something after each round, may stop, and notes the rounds."""

    def __init__(self, action: Callable[[Any, int], bool | None]) -> None:
        self.action = action
        self.heard: list[int] = []

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del evals_log
        self.heard.append(epoch)
        return bool(self.action(model, epoch))


class Acts:
    """Does something at the end of each epoch."""

    def __init__(self, action: Callable[[Run, int], object], needs: Sequence[str] = ()) -> None:
        self.action, self.needs = action, needs

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        self.action(run, epoch)
