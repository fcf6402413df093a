"""The harness of scikit-learn: a small network, trained by `fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import skops.io
from sklearn.cluster import MiniBatchKMeans
from sklearn.neural_network import MLPRegressor

from hookcore.testing import Feature, Harness, Job, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.sklearn import fit
from tests.adapters.sklearn.states import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hookcore.trainee import Mode


class Network(MLPRegressor):  # type: ignore[misc]  # it is Any to a checker
    """Reports each batch before it is trained."""

    trains: ClassVar[Callable[[], None]]

    def partial_fit(self, X: Any, y: Any, **more: Any) -> Any:  # noqa: N803 - as scikit-learn has it
        type(self).trains()
        return super().partial_fit(X, y, **more)


TRUSTED = [f"{Network.__module__}.{Network.__qualname__}"]


class SklearnHarness(Harness):
    """Trains a `Network` with `fit`, on shuffled data and with random numbers from NumPy's global generator."""

    name = "sklearn"
    host = "loop"
    score = "reported"
    val_score = "val_reported"
    directions: ClassVar[Mapping[str, Mode | None]] = {
        "loss": "min",
        "score": "max",
        "val_score": "max",
        "r2": "max",
        "val_r2": "max",
        "reported": None,
    }
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.ACCUMULATION: "scikit-learn accumulates no gradients",
        Feature.EVALUATION_BY_STEPS: "fit evaluates at the ends of epochs; a Loop with SklearnTrainee may do otherwise",
        Feature.SEVERAL_SETS: "fit takes one validation set; a Loop with SklearnTrainee may have several",
        Feature.SANITY_CHECK: "fit evaluates at the ends of epochs",
        Feature.MIN_EPOCHS: "fit has no minimum number of epochs",
        Feature.OWN_STOP: "partial_fit trains on what it is given, and only a plugin stops the run",
        Feature.RATE_GROUPS: "an estimator has one rate",
        Feature.SCALAR_WEIGHTS: "the arrays of scikit-learn's estimators have dimensions",
        Feature.BFLOAT16: "scikit-learn trains in float32 and float64",
        Feature.OWN_CHECKPOINT: "scikit-learn writes no checkpoint",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "computes the learning rate itself"}

    def __init__(self, job: Job) -> None:
        np.random.seed(SEED)  # noqa: NPY002 - what a network draws from by default
        self.job = job
        rate = job.scenario.learning_rate
        more = {"solver": "sgd", "learning_rate": "adaptive"} if job.scenario.schedule else {}
        self.estimator = MiniBatchKMeans(2) if rate is None else Network(hidden_layer_sizes=(3,), learning_rate_init=rate, **more)

    def train(self) -> None:
        job, scenario = self.job, self.job.scenario
        Network.trains = job.trains
        x = np.random.default_rng(SEED).normal(size=(2 * scenario.batches, 3))
        held_out = x[:3] / 2

        def reported(estimator: Any, inputs: Any, targets: Any) -> float:
            del estimator, targets
            return job.report("val_score" if inputs is held_out else "score")

        every = scenario.evaluate_every_epochs
        fit(
            self.estimator,
            x,
            x.sum(1),
            plugins=job.plugins,
            epochs=scenario.epochs,
            batch_size=2,
            validation_data=None if every is None else (held_out, held_out.sum(1)),
            validation_freq=every or 1,
            metrics={"reported": reported, "r2": "r2"},
            seed=SEED,
            trusted=TRUSTED,
            resume=job.resume,
        )

    def digest(self) -> str:
        # The network draws from NumPy's global generator, which is a part of it: `_random_state`.
        return digest_of({"estimator": str(state_of(self.estimator))})

    def rates(self) -> Sequence[float]:
        optimizer = vars(self.estimator).get("_optimizer")
        return [self.estimator.learning_rate_init, *([] if optimizer is None else [optimizer.learning_rate_init])]

    def predict(self) -> str:
        return digest_of({"y": self.estimator.predict(np.ones((4, 3)) * [[0.25], [0.5], [-0.5], [1.0]])})

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        estimator = skops.io.load(checkpoint / "estimator.skops", trusted=TRUSTED)
        return digest_of({"y": estimator.predict(np.ones((4, 3)) * [[0.25], [0.5], [-0.5], [1.0]])})
