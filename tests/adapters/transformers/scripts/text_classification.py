"""Fine-tune a text classifier as in tutorials: with `compute_metrics`, by epoch, and the best model at the end."""

from __future__ import annotations

import sys

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from hookcore_adapters.transformers import TransformersAdapter
from hookcore_plugins import Checkpoint, EarlyStopping

torch.set_num_threads(1)
output_dir, own = sys.argv[1], "own" in sys.argv


class Reviews(torch.utils.data.Dataset):
    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.input_ids = torch.randint(1, 50, (count, 12), generator=generator)
        self.labels = (self.input_ids[:, :6].sum(1) > self.input_ids[:, 6:].sum(1)).long()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}


def compute_metrics(predicted):
    return {"accuracy": float((np.argmax(predicted.predictions, axis=-1) == predicted.label_ids).mean())}


torch.manual_seed(0)
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
)
plugins = [EarlyStopping(monitor="eval_accuracy", patience=4)]
if not own:
    plugins.append(Checkpoint(f"{output_dir}/ours", every_n_steps=3))
adapter = TransformersAdapter(plugins)
trainer = Trainer(
    model,
    TrainingArguments(
        output_dir,
        num_train_epochs=5,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_steps=2,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=Reviews(64, seed=1),
    eval_dataset=Reviews(32, seed=2),
    compute_metrics=compute_metrics,
    callbacks=[adapter],
)
trainer.train(resume_from_checkpoint=get_last_checkpoint(output_dir) if own else adapter.newest_checkpoint())
