"""Train with a custom loss as in tutorials: a subclass of `Trainer` that overrides `compute_loss`, and logs parts of it."""

from __future__ import annotations

import sys

import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from hookcore_adapters.transformers import TransformersAdapter
from hookcore_plugins import Checkpoint, ReduceLROnPlateau

torch.set_num_threads(1)
output_dir, own = sys.argv[1], "own" in sys.argv


class WeightedTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 3.0]))
        return (loss, outputs) if return_outputs else loss


def rows(count, seed):
    tokens = torch.randint(1, 30, (count, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": torch.tensor(int(row[0] > 20))} for row in tokens]


torch.manual_seed(0)
model = DistilBertForSequenceClassification(
    DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=8)
)
plugins = [ReduceLROnPlateau(monitor="eval_loss", patience=1, factor=0.5)]
if not own:
    plugins.append(Checkpoint(f"{output_dir}/ours", every_n_steps=3))
adapter = TransformersAdapter(plugins)
trainer = WeightedTrainer(
    model,
    TrainingArguments(
        output_dir,
        num_train_epochs=4,
        per_device_train_batch_size=4,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=3,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=rows(24, seed=1),
    eval_dataset=rows(12, seed=2),
    callbacks=[adapter],
)
trainer.train(resume_from_checkpoint=get_last_checkpoint(output_dir) if own else adapter.newest_checkpoint())
