r"""
A network of your own, watched while it trains
==============================================

`es.bridge.Monitor` records the statistics of a training loop, which stays the same bit for bit. A small convolutional
network on the digits of scikit-learn.
"""

# %%
# The data: 128 images of 8×8 pixels.
import torch
from torch import nn

import esssim as es

digits = es.bridge.data.classes("digits", 128)
images = torch.tensor(digits.inputs, dtype=torch.float32).reshape(-1, 1, 8, 8)
labels = torch.tensor(digits.labels)

# %%
# Only the two lines with `monitor` are new in the loop.
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 10))
loss = nn.CrossEntropyLoss(label_smoothing=0.1)
opt = torch.optim.SGD(net.parameters(), lr=0.5)
monitor = es.bridge.Monitor(
    net, images, labels, loss=loss, optimizer=opt, batch_size=16, every=100, n_batches=8, rank=32, quiet=True,
    record=("sharpness", "minibatch_sharpness", "mean_square_sharpness_gauss_newton"),
)  # fmt: skip

for step in range(201):
    rows = torch.randperm(128)[:16]
    opt.zero_grad()
    loss(net(images[rows]), labels[rows]).backward()
    opt.step()
    monitor(step)

# %%
# Each statistic relative to the edge 2/η, at 1. `monitor.plot()` draws the edges of momentum and Adam too.
with es.plots.style(width="icml1"):
    es.plots.trajectory(monitor.dataset)
