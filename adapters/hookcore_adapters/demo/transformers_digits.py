"""The digits demo with Transformers: a vision transformer, not pretrained."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


@attrs.frozen
class TransformersTask:
    """A model of Transformers with its data sets."""

    model: Any
    data: Any
    validation_data: Any
    epochs: int
    plugins: Sequence[object]
    validation: str = "eval_"
    file: str = ""
    loader: str = "ViTForImageClassification.from_pretrained"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by `Trainer.train`, with the adapter as its only added callback."""
        from hookcore_adapters.transformers import TransformersAdapter

        adapter = TransformersAdapter(engine)
        with tempfile.TemporaryDirectory() as directory:
            self._trainer(self.model, directory, num_train_epochs=epochs, callbacks=[adapter]).train()

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        loaded = type(self.model).from_pretrained(checkpoint)
        with tempfile.TemporaryDirectory() as directory:
            found = self._trainer(loaded, directory).evaluate()
        return {name: found[f"eval_{name}"] for name in ("loss", "accuracy")}

    def _trainer(self, model: Any, directory: str, *, callbacks: list[Any] | None = None, **arguments: Any) -> Any:
        import transformers

        given = transformers.TrainingArguments(
            directory,
            use_cpu=True,
            seed=1,
            learning_rate=digits.LEARNING_RATE / 5,
            lr_scheduler_type="constant",
            per_device_train_batch_size=digits.BATCH_SIZE,
            per_device_eval_batch_size=digits.BATCH_SIZE,
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",
            disable_tqdm=True,
            report_to=[],
            **arguments,
        )
        trainer = transformers.Trainer(
            model,
            given,
            train_dataset=self.data,
            eval_dataset=self.validation_data,
            compute_metrics=_accuracy,
            callbacks=callbacks,
        )
        trainer.remove_callback(transformers.PrinterCallback)  # the console shows the epochs
        return trainer


def _accuracy(predicted: Any) -> Mapping[str, float]:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def prepare() -> TransformersTask:
    """Return the task."""
    click.echo(f"Loading Transformers and {digits.DESCRIBED} ...")
    with loading("'hookcore[transformers]' scikit-learn"):
        import transformers

        import hookcore_adapters.transformers  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(1)
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.1,
        num_labels=10,
    )
    return TransformersTask(
        transformers.ViTForImageClassification(config),
        _samples(train),
        _samples(held_out),
        digits.EPOCHS,
        digits.plugins("eval_loss"),
    )


def _samples(of: digits.Digits) -> list[dict[str, Any]]:
    return [{"pixel_values": image[None], "labels": int(label)} for image, label in zip(of.images, of.labels, strict=True)]
