"""A callback of Hugging Face's `Trainer` that watches a run."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback

from esssim.bridge.monitor.monitor import Monitor


class MonitorCallback(TrainerCallback):
    """`Monitor` of a model and of the optimiser and DataLoader that its `Trainer` made.

    options: those of `Monitor`; the loss is cross-entropy of the logits unless it is given, on the labels of a batch.
    `callback.monitor.dataset` has the records.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.monitor: Monitor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        options = {"inputs": kwargs["train_dataloader"], "loss": nn.CrossEntropyLoss()} | self.options
        options.setdefault("batch_size", args.train_batch_size * args.gradient_accumulation_steps)
        inputs, targets = options.pop("inputs"), options.pop("targets", None)
        self.monitor = Monitor(kwargs["model"], inputs, targets, optimizer=kwargs["optimizer"], **options)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.monitor is not None:
            self.monitor(state.global_step)
