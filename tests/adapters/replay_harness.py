"""The harness of `replay`, which has all metrics that a loop would report before the run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hookcore import History
from hookcore.testing import Feature, Harness, Job
from hookcore_adapters.replay import replay

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_MODEL = "a recorded run has metrics, but no model"


class ReplayHarness(Harness):
    """Replays the metrics of a scenario."""

    name = "replay"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.BATCHES: "the batches between two observations are reported as one",
        Feature.ACCUMULATION: "a log counts updates, not batches",
        Feature.EVALUATION_BY_STEPS: "not by this harness; tests/adapters/torch/test_replay.py compares replays with real runs",
        Feature.SEVERAL_SETS: "a log has metrics, but not the evaluation that each comes from",
        Feature.SANITY_CHECK: "a log has only observations",
        Feature.MIN_EPOCHS: "nothing is trained",
        Feature.OWN_STOP: "a recorded run ends where its log ends",
        Feature.RATE_GROUPS: "a log has one rate",
        Feature.SCHEDULE: "the rate of a log is the recorded one until a plugin sets it",
        Feature.SNAPSHOT: "a recorded run has no weights to restore",
        Feature.SCALAR_WEIGHTS: NO_MODEL,
        Feature.BFLOAT16: NO_MODEL,
        Feature.RESUME: "a replay always starts from the beginning, because it takes no time",
        Feature.STOPPED_WITHIN_EPOCH: "a replay always starts from the beginning, because it takes no time",
        Feature.OWN_CHECKPOINT: NO_MODEL,
        Feature.OWN_LOADER: NO_MODEL,
        Feature.INTERRUPTS: "a replay has no loop of its own to interrupt, and writes nothing that could be incomplete",
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
