"""The harnesses of `hookcore_adapters.lightgbm`: a small regression with its own objective and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import lightgbm
import numpy as np

from hookcore.testing import Feature, Harness, Job, Votes, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.lightgbm import LightGBMAdapter, train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ITERATION = "an iteration trains on all of the data, and LightGBM reports nothing within it"


def samples(seed: int, number: int = 60) -> tuple[Any, Any]:
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(number, 3))
    return x, x.sum(1) + numbers.normal(size=number) / 8


def data_set(seed: int, reference: Any = None) -> Any:
    return lightgbm.Dataset(*samples(seed), reference=reference, free_raw_data=False)


class StopAfter:
    """Stops training after some iterations, without a plugin."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.order = epochs, 30  # that of LightGBM's own early stopping

    def __call__(self, env: Any) -> None:
        if env.iteration + 1 == self.epochs:
            raise lightgbm.EarlyStopException(env.iteration, env.evaluation_result_list)


class LightGBMHarness(Harness):
    """Trains with `hookcore_adapters.lightgbm.train`."""

    name = "lightgbm"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.BATCHES: ITERATION,
        Feature.ACCUMULATION: ITERATION,
        Feature.EVALUATION: "LightGBM reports the metrics of each iteration, but not its evaluations",
        Feature.SPARSE_EVALUATION: "LightGBM evaluates after each iteration",
        Feature.EVALUATION_BY_STEPS: ITERATION,
        Feature.SEVERAL_SETS: "LightGBM reports the metrics of each iteration, but not its evaluations",
        Feature.SANITY_CHECK: "LightGBM evaluates after each iteration only",
        Feature.MIN_EPOCHS: "LightGBM has no minimum number of iterations",
        Feature.NO_LEARNING_RATE: "LightGBM always has a rate; another test covers random forests, which ignore it",
        Feature.RATE_GROUPS: "LightGBM has one rate",
        Feature.SCALAR_WEIGHTS: "a forest has no weights",
        Feature.BFLOAT16: "a forest has no weights",
        Feature.STOPPED_WITHIN_EPOCH: ITERATION,
        Feature.OWN_CHECKPOINT: "LightGBM's own model file has no place for a record",
        Feature.ZERO_EPOCHS: "LightGBM refuses to train less than one iteration",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {
        Feature.SCHEDULE: "lightgbm.reset_parameter sets learning_rate",
    }
    resumes = "epoch"
    votes = Votes(epoch_begin=1)
    score = "training-score"
    val_score = "valid_1-score"
    directions: ClassVar[Mapping[str, Any]] = {"training-auc": "max", "valid_1-l2": "min", "training-score": "max"}

    def __init__(self, job: Job) -> None:
        self.job = job
        self.booster: Any = None
        self.data = data_set(SEED)
        self.validation_data = data_set(SEED + 1, self.data)

    def metric(self, predicted: Any, data: Any) -> tuple[str, float, bool]:
        del predicted
        return "score", self.job.report("score" if data is self.data else "val_score"), True

    def params(self) -> dict[str, Any]:
        def objective(predicted: Any, data: Any) -> tuple[Any, Any]:  # not a method, as LightGBM makes deep copies of parameters
            self.job.trains()
            return predicted - data.get_label(), np.ones_like(predicted)

        return {
            "objective": objective,
            "metric": ["l2", "auc"],
            "eta": self.job.scenario.learning_rate,
            "num_leaves": 4,
            "min_data_in_leaf": 4,
            "num_threads": 1,
            "verbosity": -1,
        }

    def callbacks(self) -> list[Any]:
        scenario = self.job.scenario

        def note(env: Any) -> None:
            self.booster = env.model

        note.before_iteration = True  # type: ignore[attr-defined]
        found: list[Any] = [note]
        if scenario.own_stop_after is not None:
            found.append(StopAfter(scenario.own_stop_after))
        if scenario.schedule:
            found.append(lightgbm.reset_parameter(learning_rate=lambda iteration: 0.5**iteration))
        return found

    def train(self) -> None:
        job = self.job
        self.booster = train(
            self.params(),
            self.data,
            job.scenario.epochs,
            valid_sets=[self.data, self.validation_data],
            feval=self.metric,
            callbacks=self.callbacks(),
            plugins=job.plugins,
            resume=job.resume,
        )

    def digest(self) -> str:
        text = self.booster.model_to_string()
        return digest_of({"trees": text[text.find("Tree=0") : text.find("end of trees")], "rates": self.rates()})

    def rates(self) -> Sequence[float]:
        params = self.booster.params
        return [params.get("learning_rate", params["eta"])]

    def predict(self) -> str:
        return digest_of({"y": self.booster.predict(samples(SEED + 2)[0])})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        return digest_of({"y": lightgbm.Booster(model_file=checkpoint / "model.txt").predict(samples(SEED + 2)[0])})

    def best_iteration(self) -> int | None:
        return int(self.booster.best_iteration) - 1


class CallbackHarness(LightGBMHarness):
    """Trains with `lightgbm.train` and the adapter as a callback, which is called only after each iteration."""

    name = "lightgbm-callback"
    host = "lightgbm"
    lacks: ClassVar[Mapping[Feature, str]] = {
        **LightGBMHarness.lacks,
        Feature.SCHEDULE: "a callback does not see other callbacks; another test covers the refusal of an overwritten rate",
        Feature.RESUME: "LightGBM does not call callbacks at the beginning, when a run would be resumed",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {}
    refuses_plugins: ClassVar[Mapping[str, str]] = {"learning_rate_schedule": "LightGBM calls a callback only after an iteration"}
    votes = Votes()
    tells_errors = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.adapter = LightGBMAdapter(job.plugins)

    def train(self) -> None:
        self.booster = lightgbm.train(
            self.params(),
            self.data,
            self.job.scenario.epochs,
            valid_sets=[self.data, self.validation_data],
            feval=self.metric,
            callbacks=[*self.callbacks(), self.adapter],
        )
        assert self.adapter.run is not None
