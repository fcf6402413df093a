"""A script from a tutorial, with plugins: a convolution, a loader with workers, dropout, a scheduler, clipped gradients."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hookcore import Run, hookimpl
from hookcore_adapters.loop import Loop
from hookcore_adapters.torch import ResumableSampler, TorchTrainee
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping

KILL_AT = int(sys.argv[1])
"""The batch, counted over the run, in which the process is killed, or 0 for none."""

torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.rand(96, 1, 8, 8)
y = (x.mean((1, 2, 3)) * 20).long() % 3
data, validation = TensorDataset(x[:80], y[:80]), (x[80:], y[80:])
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
loss_of = nn.CrossEntropyLoss()
loader = DataLoader(data, batch_size=8, sampler=ResumableSampler(data), num_workers=1)


class Killed:
    @hookimpl
    def on_batch_begin(self, run: Run) -> None:
        if run.progress.step + 1 == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)


plugins = [
    EarlyStopping("val_loss", patience=9),
    CSVLog("log.csv"),
    Checkpoint("checkpoints", every_n_steps=3, asynchronous=False),
    Killed(),
]
with Loop(plugins, epochs=3, trainee=TorchTrainee(model, optimizer, scheduler), resume="auto") as loop:
    for _ in loop.epochs():
        model.train()
        for images, labels in loop.batches(loader):
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loop.log(loss=loss)
        scheduler.step()
        model.eval()
        with loop.evaluation(), torch.no_grad():
            loop.log(loss=loss_of(model(validation[0]), validation[1]))

values = [*model.state_dict().values(), *(value["momentum_buffer"] for value in optimizer.state.values())]
Path("end.txt").write_text("\n".join(str(value.tolist()) for value in values) + str(scheduler.state_dict()))
