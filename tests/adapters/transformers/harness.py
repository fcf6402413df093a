"""The harness of `TransformersAdapter`: a tiny model in `Trainer`, as in scripts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from hookcore.store import newest
from hookcore.testing.adapters import Feature, Harness, Job, Votes, digest_of
from hookcore.testing.adapters.harness import SEED
from hookcore_adapters.transformers import TransformersAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore import Mode

SIZE = 2
"""The samples in a batch."""
FEATURES = 3


class TinyConfig(PretrainedConfig):  # type: ignore[misc]  # Any if Transformers is not installed
    model_type = "hookcore_tiny"

    def __init__(self, *, scalar: bool = False, bfloat16: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scalar, self.bfloat16 = scalar, bfloat16


class TinyModel(PreTrainedModel):  # type: ignore[misc]  # as above
    """A linear layer after dropout, which draws random numbers."""

    config_class = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.dropout = torch.nn.Dropout(0.25)
        self.linear = torch.nn.Linear(FEATURES, 2)
        self.scale = torch.nn.Parameter(torch.tensor(1.5)) if config.scalar else None
        self.shift = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)) if config.bfloat16 else None
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        del module  # PyTorch's initialization is fine

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.linear(self.dropout(x))
        logits = logits if self.scale is None else logits * self.scale
        logits = logits if self.shift is None else logits + self.shift.float()
        loss = {} if labels is None else {"loss": torch.nn.functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


class Samples(torch.utils.data.Dataset):  # type: ignore[misc]  # as above
    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, FEATURES, generator=generator)
        self.labels = (self.x.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.labels[index]}


def tiny_model(**config: bool) -> TinyModel:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return TinyModel(TinyConfig(**config))


def arguments(directory: Path | str, **given: Any) -> TrainingArguments:
    """Return `TrainingArguments` for the CPU, by default without reports and checkpoints."""
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "log_level": "error", "seed": SEED}
    sizes = {"per_device_train_batch_size": SIZE, "per_device_eval_batch_size": SIZE}
    return TrainingArguments(str(directory), **{**quiet, **sizes, **given})


class Act(TrainerCallback):  # type: ignore[misc]  # as above
    """Calls `act(state, control)` at the end of each epoch."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.act(state, control)


class ReportingTrainer(Trainer):  # type: ignore[misc]  # as above
    """Calls the functions of the contract's tests in the loop's own code."""

    job: Job

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.job.trains()
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            # Trainer's mean since its last log starts again in a run that is resumed in between, and its log of an update that
            # was undone is left out: see `test_resume`.
            del logs["loss"], logs["grad_norm"]
            logs["score"] = self.job.report("score")
        super().log(logs, *args, **kwargs)


class TransformersHarness(Harness):
    """Trains a `TinyModel` by `Trainer`, for a scenario."""

    name = "transformers"
    lacks: ClassVar[Mapping[Feature, str]] = {
        Feature.MIN_EPOCHS: "Trainer has no minimum number of epochs",
        Feature.NO_LEARNING_RATE: "every optimizer of PyTorch has a learning rate",
    }
    refuses: ClassVar[Mapping[Feature, str]] = {
        Feature.SCHEDULE: "the learning rate schedule, LambdaLR, would overwrite what a plugin sets"
    }
    votes = Votes(train_begin=1, epoch_begin=1)
    tells_errors = False
    val_score = "eval_score"
    directions: ClassVar[Mapping[str, Mode | None]] = {"eval_loss": "min", "eval_score": None}
    needs_path = (str(Path(__file__).parent),)

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        self.job = job
        scenario = job.scenario
        self.adapter = TransformersAdapter(job.plugins, validation_data=Samples(4, SEED))
        by_steps = scenario.evaluate_every_steps is not None
        evaluates = by_steps or scenario.evaluate_every_epochs is not None
        args = arguments(
            job.directory / "trainer",
            num_train_epochs=scenario.epochs,
            gradient_accumulation_steps=scenario.accumulate,
            eval_strategy="steps" if by_steps else "epoch" if evaluates else "no",
            eval_steps=scenario.evaluate_every_steps,
            eval_on_start=scenario.sanity_check,
            logging_strategy="epoch",
            learning_rate=scenario.learning_rate or 0.125,
            lr_scheduler_type="linear" if scenario.schedule else "constant",
        )
        model = tiny_model(scalar=scenario.scalar, bfloat16=scenario.bfloat16)
        optimizer = None
        if scenario.groups:
            parts = (model.linear.weight,), (model.linear.bias,)
            groups = [{"params": part, "lr": rate} for part, rate in zip(parts, scenario.groups, strict=True)]
            optimizer = torch.optim.AdamW(groups)
        self._evaluated, samples = 0, scenario.evaluation_batches * SIZE
        sets = {f"set{number}": Samples(samples, SEED + number) for number in range(1, scenario.sets + 1)}
        self.trainer = ReportingTrainer(
            model,
            args,
            train_dataset=Samples(scenario.batches * SIZE, SEED),
            eval_dataset=sets if scenario.sets > 1 else sets["set1"],
            compute_metrics=self._measure,
            callbacks=[*self._before(), self.adapter, *self._after()],
            optimizers=(optimizer, None),
        )
        self.trainer.job = job

    def _before(self) -> list[Act]:
        scenario, callbacks = self.job.scenario, []
        every = scenario.evaluate_every_epochs or 1

        def skip(state: Any, control: Any) -> None:
            control.should_evaluate = control.should_evaluate and round(state.epoch) % every == 0

        def stop(state: Any, control: Any) -> None:
            control.should_training_stop = round(state.epoch) >= scenario.own_stop_after

        if every > 1:
            callbacks.append(Act(skip))
        if scenario.own_stop_after is not None:
            callbacks.append(Act(stop))
        return [*callbacks, *([Act(_save)] if scenario.own_checkpoints == "before" else [])]

    def _after(self) -> list[Act]:
        return [Act(_save)] if self.job.scenario.own_checkpoints == "after" else []

    def _measure(self, predicted: Any) -> dict[str, float]:
        del predicted
        number = self._evaluated % self.job.scenario.sets
        self._evaluated += 1
        return {"score": self.job.report("val_score" if number == 0 else "val_score_2")}

    def train(self) -> None:
        self.trainer.train(resume_from_checkpoint=self._resumes_from())

    def _resumes_from(self) -> str | None:
        if self.job.own_checkpoint is not None:
            return str(self.job.own_checkpoint)
        if self.job.resume == "auto":
            return self.adapter.newest_checkpoint()
        if not self.job.resume:
            return None
        path = Path(self.job.resume)
        return str(path if (path / "manifest.json").exists() else newest(path).path)

    def digest(self) -> str:
        arrays = {name: _array(value) for name, value in self.trainer.model.state_dict().items()}
        if self.trainer.optimizer is not None:
            for number, state in self.trainer.optimizer.state_dict()["state"].items():
                arrays |= {f"{number}/{name}": _array(value) for name, value in state.items()}
        return digest_of(arrays)

    def updates(self) -> int:
        return int(self.trainer.state.global_step)

    def rates(self) -> Sequence[float]:
        return [group["lr"] for group in self.trainer.optimizer.param_groups]

    def predict(self) -> str:
        return _predicted(self.trainer.model)

    @classmethod
    def predict_from(cls, checkpoint: Path) -> str:
        return _predicted(TinyModel.from_pretrained(checkpoint))

    def own_checkpoints(self) -> Sequence[Path]:
        found = (self.job.directory / "trainer").glob("checkpoint-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _save(state: Any, control: Any) -> None:
    del state
    control.should_save = True


def _array(value: Any) -> Any:
    with contextlib.suppress(TypeError):
        return value.detach().clone().numpy()
    return value.detach().float().numpy()  # NumPy has no bfloat16


def _predicted(model: Any) -> str:
    model.eval()
    with torch.no_grad():
        return digest_of({"logits": _array(model(Samples(8, SEED + 9).x)["logits"])})
