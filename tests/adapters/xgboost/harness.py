"""The harness of `XGBoostAdapter`: a small regression with `xgboost.train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xgboost
from xgboost.callback import LearningRateScheduler, TrainingCallback

from hookcore.testing import Feature, Harness, Job, Votes, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.xgboost import XGBoostAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Mode


class StopAfter(TrainingCallback):  # type: ignore[misc]
    """Stops training after some iterations, without a plugin."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return epoch + 1 == self.epochs


def data(seed: int) -> xgboost.DMatrix:
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(40, 3))
    return xgboost.DMatrix(x, label=x.sum(1) + numbers.normal(size=40))


class XGBoostHarness(Harness):
    """Trains a few trees."""

    name = "xgboost"
    resumes: ClassVar[Any] = "epoch"
    tells_errors = False
    votes = Votes(epoch_begin=1)
    score, val_score = "train-score", "valid-score"
    directions: ClassVar[Mapping[str, Mode | None]] = {"train-rmse": "min", "valid-mape": "min", "valid-score": None}
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.BATCHES: "an iteration is one pass over the data, and XGBoost reports only its beginning and its end",
        Feature.ACCUMULATION: "each iteration adds its trees",
        Feature.SPARSE_EVALUATION: "XGBoost evaluates after each iteration",
        Feature.EVALUATION_BY_STEPS: "XGBoost evaluates after each iteration",
        Feature.SANITY_CHECK: "XGBoost does not evaluate before training",
        Feature.MIN_EPOCHS: "XGBoost has no such parameter",
        Feature.NO_LEARNING_RATE: "every booster of XGBoost has a rate",
        Feature.RATE_GROUPS: "a booster has one rate",
        Feature.SCALAR_WEIGHTS: "a forest has no such weights",
        Feature.BFLOAT16: "a forest has no such weights",
        Feature.STOPPED_WITHIN_EPOCH: "XGBoost stops between iterations",
        Feature.OWN_CHECKPOINT: "TrainingCheckPoint of xgboost.callback saves only the model",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {
        Feature.SCHEDULE: "xgboost.callback.LearningRateScheduler would overwrite what a plugin sets",
    }

    def __init__(self, job: Job) -> None:
        self.job = job
        self.data = data(SEED)
        self.sets = [data(SEED + 1 + number) for number in range(job.scenario.sets)]
        self.adapter = XGBoostAdapter(job.plugins, resume=job.resume)
        self.trained: Any = None

    @property
    def booster(self) -> Any:
        run = self.adapter.run
        return self.trained if run is None or self.trained is not None else run.model

    def train(self) -> None:
        scenario = self.job.scenario
        callbacks: list[Any] = [self.adapter]
        if scenario.schedule:
            callbacks.append(LearningRateScheduler(lambda _: 0.1))
        if scenario.own_stop_after is not None:
            callbacks.insert(0, StopAfter(scenario.own_stop_after))
        names = ["valid", *(f"valid_{number}" for number in range(2, 2 + len(self.sets)))]
        self.trained = None
        self.trained = xgboost.train(
            {
                "learning_rate": scenario.learning_rate,
                "max_depth": 2,
                "nthread": 1,
                "seed": SEED,
                "eval_metric": ["rmse", "mape"],
            },
            self.data,
            scenario.epochs,
            evals=[(self.data, "train"), *zip(self.sets, names, strict=False)],
            obj=self.objective,
            custom_metric=self.metric,
            callbacks=callbacks,
            verbose_eval=False,
        )

    def objective(self, predicted: Any, given: Any) -> tuple[Any, Any]:
        self.job.trains()
        return predicted - given.get_label(), np.ones_like(predicted)

    def metric(self, predicted: Any, given: Any) -> tuple[str, float]:
        if given is self.data:
            return "score", self.job.report("score")
        number = next(number for number, own in enumerate(self.sets) if own is given)
        return "score", self.job.report("val_score" if number == 0 else f"val_score_{number + 1}")

    def digest(self) -> str:
        return digest_of({"model": np.frombuffer(self.booster.save_raw(), np.uint8), "rate": self.rates()[0]})

    def rates(self) -> Sequence[float]:
        return [float(self.booster.save_config().partition('"learning_rate":"')[2].partition('"')[0])]

    def predict(self) -> str:
        return digest_of({"y": self.booster.predict(xgboost.DMatrix(np.eye(3)))})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        return digest_of({"y": xgboost.Booster(model_file=checkpoint / "model.ubj").predict(xgboost.DMatrix(np.eye(3)))})

    def best_iteration(self) -> int | None:
        return int(self.booster.best_iteration)
