"""A Lightning callback that watches a run: works with `lightning` and with `pytorch-lightning`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from esssim.bridge.monitor.monitor import Monitor

if TYPE_CHECKING or "lightning" not in sys.modules:
    from pytorch_lightning import Callback
else:
    from lightning.pytorch import Callback


class MonitorCallback(Callback):
    """`Monitor` of a LightningModule, its first optimiser and its training DataLoader; what it records goes to the
    loggers.

    net: what is measured of the module, itself by default, such as `lambda module: module.model`. options: those of
    `Monitor`, loss among them; inputs and targets, where they are not those of the DataLoader.
    """

    def __init__(self, *, net: Callable[[Any], nn.Module] = lambda module: module, **options: Any) -> None:
        self.net, self.options = net, options
        self.monitor: Monitor | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        options = {"inputs": trainer.train_dataloader, "optimizer": trainer.optimizers[0]} | self.options
        self.monitor = Monitor(self.net(pl_module), options.pop("inputs"), options.pop("targets", None), **options)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        row = self.monitor(trainer.global_step) if self.monitor is not None else None
        if row is not None:
            for logger in trainer.loggers:
                logger.log_metrics({f"esssim/{name}": value for name, value in row.items()}, step=trainer.global_step)
