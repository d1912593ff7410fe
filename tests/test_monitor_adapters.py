"""Monitor with the real packages: Lightning, Hugging Face, TensorBoard, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from esssim.bridge import Monitor  # noqa: E402
from esssim.bridge.monitor import CsvWriter, TensorBoardWriter  # noqa: E402

RNG = np.random.default_rng(0)
INPUTS, LABELS = torch.tensor(RNG.standard_normal((24, 3)), dtype=torch.float32), torch.tensor(RNG.integers(0, 2, 24))
# What the frameworks themselves warn of.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def _importable_torchvision() -> Iterator[None]:
    """A torchvision that was built for another torch lacks its operators, and cannot be imported; nothing here calls one."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except ImportError:
        pass
    yield
    del library


def weights(net: nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize("whole", [True, False])
def test_lightning(whole: bool, tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    from esssim.bridge.monitor.lightning import MonitorCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)

    def fitted(callbacks: list[Any]) -> nn.Module:
        lightning.seed_everything(3)
        module = Module()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, LABELS), batch_size=6, shuffle=True)
        trainer = lightning.Trainer(
            max_epochs=3, callbacks=callbacks, accelerator="cpu", logger=lightning.loggers.CSVLogger(tmp_path),
            enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
        )  # fmt: skip
        trainer.fit(module, loader)
        return module

    options: dict[str, Any] = {} if whole else {"net": lambda module: module.model}
    watch = MonitorCallback(loss=F.cross_entropy, every=4, n_batches=4, quiet=True, **options)
    module = fitted([watch])
    assert watch.monitor is not None
    found = watch.monitor.dataset
    assert found["step"].values.tolist() == [1, 4, 8, 12]
    assert found["batch_size"].values.tolist() == [6] * 4
    np.testing.assert_allclose(found["edge"], 2 * 1.9 / 0.5)
    assert torch.equal(weights(module), weights(fitted([])))
    with open(next(tmp_path.rglob("metrics.csv"))) as file:
        logged = [row["esssim/sharpness"] for row in csv.DictReader(file) if row["esssim/sharpness"]]
    np.testing.assert_allclose([float(value) for value in logged], found["sharpness"].values[0], rtol=1e-5)


def test_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from esssim.bridge.monitor.hugging_face import MonitorCallback

    tokens = torch.tensor(RNG.integers(1, 11, (16, 5)))
    tokens[:6, 4] = 0  # what a tokenizer pads with, and masks
    mask = (tokens > 0).long()
    rows = [{"input_ids": row, "attention_mask": own, "labels": label}
            for row, own, label in zip(tokens, mask, LABELS, strict=False)]  # fmt: skip

    def fitted(callbacks: list[Any]) -> nn.Module:
        transformers.set_seed(0)
        model = transformers.BertForSequenceClassification(transformers.BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
            max_position_embeddings=8, num_labels=2,
        ))  # fmt: skip
        args = transformers.TrainingArguments(
            str(tmp_path), per_device_train_batch_size=4, max_steps=6, learning_rate=1e-3, report_to=[], use_cpu=True,
            disable_tqdm=True, save_strategy="no", weight_decay=0.01,
        )  # fmt: skip
        transformers.Trainer(model, args, train_dataset=rows, callbacks=callbacks).train()
        return model

    watch = MonitorCallback(
        every=3, n_batches=3, rank=2, record=("loss", "sharpness", "minibatch_sharpness"), quiet=True
    )
    model = fitted([watch])
    assert watch.monitor is not None
    found = watch.monitor.dataset
    assert found["step"].values.tolist() == [1, 3, 6]
    assert found.attrs["optimizer"] == "AdamW"
    assert found.attrs["n_samples"] == 16
    assert any("Dropout" in note for note in watch.monitor.notes)
    assert np.isfinite(found["preconditioned_sharpness"]).all()
    model.eval()
    with torch.no_grad():
        own = model(input_ids=tokens, attention_mask=mask, labels=LABELS[:16]).loss
    assert float(watch.monitor.measure(7)["loss"]) == pytest.approx(float(own), rel=1e-5)
    assert torch.equal(weights(model), weights(fitted([])))


def test_tensorboard_and_csv(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    net = nn.Linear(3, 2)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    monitor = Monitor(
        net, INPUTS, LABELS, loss=F.cross_entropy, optimizer=opt, batch_size=4, record=("loss", "sharpness"), quiet=True,
        writers=[TensorBoardWriter(tmp_path / "board"), CsvWriter(tmp_path / "run.csv")],
    )  # fmt: skip
    for step in range(3):
        opt.zero_grad()
        F.cross_entropy(net(INPUTS), LABELS).backward()
        opt.step()
        monitor(step)
    expected = monitor.dataset["sharpness"].values[0]
    board = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    events = board.Scalars("esssim/sharpness")
    assert [event.step for event in events] == [0, 1, 2]
    np.testing.assert_allclose([event.value for event in events], expected, rtol=1e-6)
    with open(tmp_path / "run.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sharpness"]) for row in rows] == expected.tolist()
    assert [row["step"] for row in rows] == ["0", "1", "2"]
