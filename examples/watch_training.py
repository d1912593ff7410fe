"""
Watch a training loop
=====================

A small convolutional network on the digits of scikit-learn. ::

    python examples/watch_training.py [FOLDER]

prints where each statistic is, relative to the edge of the optimiser, and writes the records and two pictures to
FOLDER.
"""

# sphinx_gallery_thumbnail_path = "../figures/output/networks.png"
from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import esssim as es

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
digits = es.bridge.data.classes("digits", 128)
images = torch.tensor(digits.inputs, dtype=torch.float32).reshape(-1, 1, 8, 8)
labels = torch.tensor(digits.labels)

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 10))
loss = nn.CrossEntropyLoss(label_smoothing=0.1)
opt = torch.optim.SGD(net.parameters(), lr=0.5)

monitor = es.bridge.Monitor(
    net, images, labels, loss=loss, optimizer=opt, batch_size=16, every=50, n_batches=16, rank=32
)
for step in range(201):
    rows = torch.randperm(len(images))[:16]
    opt.zero_grad()
    loss(net(images[rows]), labels[rows]).backward()
    opt.step()
    monitor(step)

print(monitor.summary()[["value", "standard_error", "over_edge"]].round(3))
found = monitor.stability_map(batch_sizes=[4, 16, 64])
print(found.table().round(3))
print(f"your step size is {found.over_critical:.2f} of the critical one at b = {found.batch_size}")

monitor.save(folder / "run.nc")
monitor.plot().savefig(folder / "run.png")
found.plot().savefig(folder / "map.png")
