"""Small modules, and a trainer for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from hookcore_adapters.lightning import LightningAdapter
from hookcore_adapters.torch import ResumableSampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Module(pl.LightningModule):  # type: ignore[misc]
    """Fits a line. `val_loss` is the next of `values`, if they are given."""

    def __init__(self, values: Sequence[float] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, 1)
        self.values = values

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(torch.nn.functional.dropout(batch[0], 0.2)).pow(2).mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.values:
            self.log("val_loss", self.layer(batch[0]).pow(2).mean())
        elif batch_idx == 0 and not self.trainer.sanity_checking:
            self.log("val_loss", self.values[self.validations()])

    def validations(self) -> int:
        """Return the number of earlier validations, computed from the position, so that a resumed run has the next value."""
        return int(self.trainer.current_epoch)

    def on_train_epoch_end(self) -> None:
        self.log("of_module", float(self.trainer.current_epoch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def loader(batches: int = 4, *, resumable: bool = True, **given: Any) -> DataLoader:
    data = TensorDataset(torch.randn(2 * batches, 2, generator=torch.Generator().manual_seed(1)))
    order = {"sampler": ResumableSampler(data)} if resumable else {"shuffle": True}
    return DataLoader(data, batch_size=2, **order, **given)


def trainer_of(adapter: LightningAdapter, *others: Any, **given: Any) -> pl.Trainer:
    given = {"max_epochs": 3, "enable_checkpointing": False, "num_sanity_val_steps": 0} | given
    return pl.Trainer(
        callbacks=[*others, adapter],
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        **given,
    )


def fit(
    plugins: Iterable[object],
    *others: Any,
    module: Any = None,
    data: Any = None,
    ckpt: Any = None,
    resume: Any = False,
    **given: Any,
) -> tuple[LightningAdapter, Any]:
    """Train; return the adapter and the module."""
    adapter, module = LightningAdapter(plugins, resume=resume), module or Module()
    validation = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
    trainer_of(adapter, *others, **given).fit(module, loader() if data is None else data, validation, ckpt_path=ckpt)
    return adapter, module


def weights(module: Any) -> list[float]:
    found: list[float] = torch.cat([value.flatten() for value in module.state_dict().values()]).tolist()
    return found
