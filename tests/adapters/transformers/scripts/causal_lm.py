"""Train a causal language model as in tutorials: by steps, with accumulated gradients and a linear schedule with warmup."""

from __future__ import annotations

import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, default_data_collator
from transformers.trainer_utils import get_last_checkpoint

from hookcore_adapters.transformers import TransformersAdapter
from hookcore_plugins import Checkpoint, EarlyStopping, NaNGuard

torch.set_num_threads(1)
output_dir, own = sys.argv[1], "own" in sys.argv


def blocks(count, seed):
    tokens = torch.randint(0, 40, (count, 16), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": block, "labels": block.clone()} for block in tokens]


torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0))
plugins = [EarlyStopping(monitor="eval_loss", patience=20), NaNGuard()]
if not own:
    plugins.append(Checkpoint(f"{output_dir}/ours", monitor="eval_loss", every_n_steps=3))
adapter = TransformersAdapter(plugins)
trainer = Trainer(
    model,
    TrainingArguments(
        output_dir,
        max_steps=24,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        learning_rate=1e-2,
        lr_scheduler_type="linear",
        warmup_steps=5,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=4,
        logging_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=blocks(70, seed=1),
    eval_dataset=blocks(8, seed=2),
    data_collator=default_data_collator,
    callbacks=[adapter],
)
trainer.train(resume_from_checkpoint=get_last_checkpoint(output_dir) if own else adapter.newest_checkpoint())
