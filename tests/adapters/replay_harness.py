"""The harness of `replay`, which has all metrics that a loop would report before the run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hookcore import History
from hookcore.testing import Feature, Harness, Job
from hookcore_adapters.replay import replay

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_MODEL = "a recorded run has metrics, and no model"


class ReplayHarness(Harness):
    """Replays the metrics of a scenario."""

    name = "replay"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.BATCHES: "the batches between two observations are told as one",
        Feature.ACCUMULATION: "a log tells of updates",
        Feature.EVALUATION_BY_STEPS: "as above; tests/adapters/torch/test_replay.py compares it with real runs",
        Feature.SEVERAL_SETS: "a log tells of metrics, and not of which evaluation each is",
        Feature.SANITY_CHECK: "a log tells of observations alone",
        Feature.MIN_EPOCHS: "nothing is trained",
        Feature.OWN_STOP: "a recorded run ends where its log ends",
        Feature.RATE_GROUPS: "a log has one rate",
        Feature.SCHEDULE: "the rate of a log is the recorded one until a plugin sets it",
        Feature.SNAPSHOT: "there are no weights: best weights are nothing to be put back",
        Feature.SCALAR_WEIGHTS: NO_MODEL,
        Feature.BFLOAT16: NO_MODEL,
        Feature.RESUME: "a replay starts from the beginning: it takes no time",
        Feature.STOPPED_WITHIN_EPOCH: "as above",
        Feature.OWN_CHECKPOINT: NO_MODEL,
        Feature.OWN_LOADER: NO_MODEL,
        Feature.INTERRUPTS: "there is no code of a loop's own to interrupt, and nothing to tear",
        Feature.ZERO_EPOCHS: "a log without metrics is refused",
    }

    def __init__(self, job: Job) -> None:
        self.job = job

    def train(self) -> None:
        job, scenario = self.job, self.job.scenario
        history = History()
        for epoch in range(scenario.epochs):
            job.trains()
            metrics = {"loss": 1.0, "score": job.report("score")}
            if scenario.evaluate_every_epochs is not None and (epoch + 1) % scenario.evaluate_every_epochs == 0:
                metrics["val_score"] = job.report("val_score")
            history.append(epoch, metrics, epoch + 1, learning_rate=scenario.learning_rate)
        replay(history, job.plugins)

    def digest(self) -> str:
        return ""

    def rates(self) -> tuple[Any, ...]:
        run = self.job.plugins.run
        return () if run is None else (run.learning_rate,)
