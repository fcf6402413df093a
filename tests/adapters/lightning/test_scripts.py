"""Scripts from tutorials, with no other change than the adapter, survive `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

QUIET = "logger=False, enable_progress_bar=False, enable_model_summary=False"

AUTOENCODER = f"""
import lightning as L, torch
from torch import nn, optim, utils
from hookcore_adapters.lightning import LightningAdapter
from hookcore_plugins import Checkpoint, EarlyStopping


class LitAutoEncoder(L.LightningModule):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        loss = nn.functional.mse_loss(self.decoder(self.encoder(x)), x)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        self.log("val_loss", nn.functional.mse_loss(self.decoder(self.encoder(x)), x))

    def configure_optimizers(self):
        return optim.Adam(self.parameters(), lr=1e-3)


L.seed_everything(0)
dataset = utils.data.TensorDataset(torch.rand(96, 8, 8) * torch.linspace(0, 1, 8), torch.zeros(96))
train, valid = utils.data.random_split(dataset, [64, 32])
encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))
decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64))
model = LitAutoEncoder(encoder, decoder)

adapter = LightningAdapter([EarlyStopping(patience=3), Checkpoint("checkpoints")], resume="auto")
trainer = L.Trainer(max_epochs=6, callbacks=[adapter], accelerator="cpu", enable_checkpointing=False, {QUIET})
trainer.fit(model, utils.data.DataLoader(train, batch_size=8, shuffle=True), utils.data.DataLoader(valid, batch_size=8))
"""
"""The script on the first page of Lightning's documentation, on random images."""

GAN = f"""
import lightning as L, torch
from torch import nn
from hookcore_adapters.lightning import LightningAdapter
from hookcore_plugins import Checkpoint


class GAN(L.LightningModule):
    def __init__(self, latent_dim=8, lr=2e-4):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2), nn.Linear(32, 16))
        self.discriminator = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def adversarial_loss(self, y_hat, y):
        return nn.functional.binary_cross_entropy_with_logits(y_hat, y)

    def training_step(self, batch):
        (images,) = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(images.size(0), self.hparams.latent_dim)
        valid, fake = torch.ones(images.size(0), 1), torch.zeros(images.size(0), 1)

        self.toggle_optimizer(optimizer_g)
        g_loss = self.adversarial_loss(self.discriminator(self.generator(z)), valid)
        self.log("g_loss", g_loss, prog_bar=True)
        self.manual_backward(g_loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)

        self.toggle_optimizer(optimizer_d)
        real_loss = self.adversarial_loss(self.discriminator(images), valid)
        fake_loss = self.adversarial_loss(self.discriminator(self.generator(z).detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        self.log("d_loss", d_loss, prog_bar=True)
        self.manual_backward(d_loss)
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)

    def configure_optimizers(self):
        lr, betas = self.hparams.lr, (0.5, 0.999)
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=betas)
        return [opt_g, opt_d], []


L.seed_everything(0)
data = torch.utils.data.TensorDataset(torch.randn(64, 16))
model = GAN()
adapter = LightningAdapter([Checkpoint("checkpoints")], resume="auto")
trainer = L.Trainer(max_epochs=6, callbacks=[adapter], accelerator="cpu", enable_checkpointing=False, {QUIET})
trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=8, shuffle=True))
"""
"""Lightning's example of manual optimization: two optimizers."""

TRANSFER = f"""
import lightning as L, torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torchmetrics.classification import MulticlassAccuracy
from hookcore_adapters.lightning import LightningAdapter
from hookcore_plugins import CSVLog, EarlyStopping


class Digits(L.LightningDataModule):
    def setup(self, stage):
        numbers = torch.Generator().manual_seed(0)
        x = torch.randn(96, 1, 8, 8, generator=numbers)
        y = x[:, 0, :4, :4].mean((1, 2)).gt(0).long() + x[:, 0, 4:, 4:].mean((1, 2)).gt(0).long()
        self.train, self.val = torch.utils.data.random_split(torch.utils.data.TensorDataset(x, y), [64, 32], numbers)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(self.val, batch_size=8)


class Classifier(L.LightningModule):
    def __init__(self, num_classes=3, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        for parameter in self.backbone.parameters():
            parameter.requires_grad = False
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(144, num_classes))
        self.accuracy = MulticlassAccuracy(num_classes)

    def forward(self, x):
        self.backbone.eval()
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("val_loss", nn.functional.cross_entropy(logits, y))
        self.log("val_acc", self.accuracy)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)]


L.seed_everything(0)
model = Classifier()
checkpoints = ModelCheckpoint("checkpoints", monitor="val_acc", mode="max", save_last=True, save_top_k=2)
adapter = LightningAdapter([EarlyStopping("val_acc", patience=5), CSVLog("log.csv")])
trainer = L.Trainer(max_epochs=6, callbacks=[checkpoints, adapter], accelerator="cpu", {QUIET})
trainer.fit(model, datamodule=Digits(), ckpt_path="last")
"""
"""Transfer learning with a data module and a schedule, resumed by Lightning's own checkpoint."""

KILLER = """
import glob, os, signal, sys, threading, warnings
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

warnings.simplefilter("ignore")
torch.set_num_threads(1)
updates, last = 0, int(sys.argv[1])


def count(*_):
    global updates
    updates += 1
    if updates == last:
        for thread in threading.enumerate():  # on a slow disk the first checkpoint may not be there yet
            if ": writing " in thread.name and not glob.glob("**/step-*", recursive=True):
                thread.join()
        os.kill(os.getpid(), signal.SIGKILL) # within a batch: the update is done, and nothing has recorded it


register_optimizer_step_post_hook(count)
exec(compile(open("script.py").read(), "script.py", "exec"))
torch.save((model.state_dict(), updates), "model.pt")
"""


def life(directory: Path, script: str, killed_at: int = 0) -> int:
    """Run a script in a directory, and return its exit status."""
    directory.mkdir(exist_ok=True)
    (directory / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(killed_at)],
        cwd=directory,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr[-3000:]
    return done.returncode


@pytest.mark.parametrize(
    ("script", "updates", "kills"),
    [(AUTOENCODER, 48, (19, 20)), (GAN, 96, (35, 50)), (TRANSFER, 48, (19, 20))],
    ids=["autoencoder", "gan", "transfer"],
)
def test_a_script_that_is_killed_and_started_again_ends_as_one_that_was_not(
    tmp_path: Path, script: str, updates: int, kills: tuple[int, ...]
) -> None:
    """A script that is killed within batches and started again ends with the same weights and the same log."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert life(whole, script) == 0
    for kill in kills:
        assert life(cut, script, kill) == -signal.SIGKILL
    assert life(cut, script) == 0
    (expected, all_updates), (found, last_updates) = (torch.load(path / "model.pt") for path in (whole, cut))
    assert all_updates == updates
    assert 0 < last_updates < updates  # it resumed, and more than once
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    logs = [(path / "log.csv").read_text() for path in (whole, cut) if (path / "log.csv").exists()]
    assert len(set(logs)) <= 1
