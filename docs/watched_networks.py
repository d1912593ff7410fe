"""Two architectures, watched: python docs/watched_networks.py --predict, then --run, writes the page of the same name.

A convolutional network and a transformer on 128 of scikit-learn's digits, squared loss and cross-entropy with label
smoothing, three batch sizes, all in plain loops of torch with `Monitor`. The predictions are written before the runs.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import esssim as es
from esssim import plots, store
from esssim.bridge import Monitor
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).with_suffix(".md")
PICTURE = Path(__file__).with_suffix(".svg")
N, STEPS, RECORDS, BATCHES, RANK = 128, 3000, 10, 12, 24
BATCH_SIZES = (8, 32, 128)
# The records from this step on are averaged.
SINCE = 1500
NAMES = ("sharpness", "minibatch_sharpness", "batch_sharpness", MEAN_SQUARE)
# η is this over the sharpness at the start, where (η/2)·sharpness is hence a third of it.
START = 2 / 3


class Patches(nn.Module):
    """A transformer of one layer on the four 4×4 quarters of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(16, 8), nn.Parameter(0.1 * torch.randn(4, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
        self.out = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        quarters = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(len(x), 4, 16)
        return self.out(self.layer(self.embed(quarters) + self.place).mean(dim=1))


def networks() -> dict[str, nn.Module]:
    """Both, as PyTorch initialises them from seed 0."""
    torch.manual_seed(0)
    return {
        "convolution": nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 10)),
        "transformer": Patches(),
    }


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½‖f − y‖², its mean over the batch."""
    return ((outputs - targets) ** 2).sum(dim=1).mean() / 2


LOSSES = {"squared": half_square, "cross-entropy, smoothing 0.1": nn.CrossEntropyLoss(label_smoothing=0.1)}


def predictions() -> list[dict[str, Any]]:
    """What we expect of (η/2)·Q_b in the second half of each run, from what perceptrons do (docs/networks.md)."""
    rows = []
    for network in networks():
        for loss in LOSSES:
            for b in BATCH_SIZES:
                low, high = (0.9, 1.1) if b > 8 else (0.6, 1.0)
                rows.append({"network": network, "loss": loss, "batch_size": b, "we_predict": [low, high]})
    return rows


def train(row: dict[str, Any]) -> None:
    """Train one network and add its levels, its records and what they cost to the row."""
    digits = es.bridge.data.classes("digits", N)
    images = torch.tensor(digits.inputs, dtype=torch.float32).reshape(-1, 1, 8, 8)
    squared = row["loss"] == "squared"
    targets = torch.tensor(digits.targets, dtype=torch.float32) if squared else torch.tensor(digits.labels)
    net, loss, b = networks()[row["network"]], LOSSES[row["loss"]], row["batch_size"]
    opt = torch.optim.SGD(net.parameters(), lr=1.0)
    options: dict[str, Any] = {"n_batches": BATCHES, "rank": RANK, "quiet": True}
    monitor = Monitor(
        net, images, targets, loss=loss, optimizer=opt, batch_size=b, every=STEPS // RECORDS,
        record=("loss", *NAMES), **options,
    )  # fmt: skip
    start = es.sharpness(monitor.problem, monitor.problem.theta0)
    opt.param_groups[0]["lr"] = START / start
    generator, began = torch.Generator().manual_seed(1), time.perf_counter()
    for step in range(STEPS + 1):
        rows = torch.randperm(N, generator=generator)[:b]
        opt.zero_grad()
        loss(net(images[rows]), targets[rows]).backward()
        opt.step()
        monitor(step)
    found = monitor.dataset.isel(replica=0)
    late = found["step"].values >= SINCE
    relative = {name: (found[name] / found["edge"]).values for name in NAMES}
    row |= {
        "n_params": monitor.problem.n_params, "step_size": START / start, "diverged_at": int(found["diverged_at"]),
        "levels": {name: float(values[late].mean()) for name, values in relative.items()},
        "spread": {name: float(values[late].std(ddof=1)) for name, values in relative.items()},
        "upper": float((found[f"{MEAN_SQUARE}_upper"] / found["edge"]).values[late].mean()),
        "steps": found["step"].values.tolist(), "loss_at_the_end": float(found["loss"][-1]),
        "records": {name: values.tolist() for name, values in relative.items()},
        "seconds": time.perf_counter() - began, "seconds_measuring": monitor.clock.spent,
    }  # fmt: skip


def is_as_predicted(row: dict[str, Any]) -> bool:
    """Whether the level of Q_b is where we said."""
    low, high = row["we_predict"]
    return bool(low <= row["levels"][MEAN_SQUARE] <= high)


def page(rows: list[dict[str, Any]]) -> str:
    """What was predicted and what was seen."""
    head = [
        "# Two architectures, watched", "",
        f"Made by `python docs/watched_networks.py`. A convolutional network and a transformer of one layer on {N} of",
        f"scikit-learn's digits, {STEPS:,} steps of SGD each in a loop of plain torch, watched by `es.bridge.Monitor`. η is",
        "2/3 of the inverse of the sharpness at the start. Each number is a statistic over the edge 2/η: the mean of the",
        f"records from step {SINCE:,} on, ± their standard deviation. Q_b is that of the {RANK} leading directions, a lower bound;",
        "the number behind it is an upper bound. The predictions of Q_b were committed before the runs; they come from what",
        "perceptrons do ([Networks](networks.md)).", "",
    ]  # fmt: skip
    titles = [STATISTICS[name].short for name in NAMES[:3]]
    lines = [
        f"| network | loss | b | η | {' | '.join(titles)} | Q_b | at most | we predict for Q_b | as predicted |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    done = [row for row in rows if "levels" in row]
    for row in rows:
        low, high = row["we_predict"]
        cells = ["—"] * 6
        verdict = "not run"
        if "levels" in row:
            cells = [f"{row['step_size']:.3g}"]
            cells += [f"{row['levels'][name]:.2f} ± {row['spread'][name]:.2f}" for name in NAMES] + [
                f"{row['upper']:.2f}"
            ]
            verdict = "yes" if is_as_predicted(row) else "**NO**"
            verdict = "diverged" if row["diverged_at"] >= 0 else verdict
        lines.append(
            f"| {row['network']} | {row['loss']} | {row['batch_size']} | {' | '.join(cells)} | {low}–{high} | {verdict} |"
        )
    tail = []
    if done:
        right = sum(map(is_as_predicted, done))
        measuring = sum(row["seconds_measuring"] for row in done) / sum(row["seconds"] for row in done)
        tail = [
            "",
            f"{right} of {len(done)} levels of Q_b are where we said. Measuring took {100 * measuring:.0f} % of the time.",
            "",
        ]
        tail += [
            "![Sharpness, MiniBS, batch sharpness and Q_b over the edge while the networks train](watched_networks.svg)"
        ]
    return "\n".join(head + lines + tail) + "\n"


def picture(rows: list[dict[str, Any]]) -> bytes:
    """A panel for each network, loss and batch size: every statistic over the edge against the step."""
    from esssim.plots.files import rendered

    with plots.style():
        figure, _, _ = plots.REPORT.figure(aspect=0.95)
        panels = figure.subplots(4, 3, sharex=True, sharey=True)
        for row, axes in zip(rows, panels.ravel(), strict=True):
            for name in reversed(NAMES):
                look = plots.LOOKS[name]
                axes.plot(
                    row["steps"], row["records"][name], color=look.color, linestyle=look.line, linewidth=look.width,
                    marker=look.marker, markersize=0.6 * look.size, label=look.label,
                )  # fmt: skip
            plots.draw_edge(axes, None)
            axes.set_ylim(0, 2)
            axes.set_title(f"{row['network']}, b = {row['batch_size']}", fontsize="small")
            if axes in panels[:, 0]:
                axes.set_ylabel(row["loss"].partition(",")[0])
            if axes in panels[-1]:
                axes.set_xlabel("step")
        plots.legend_above(figure, panels[0, 0].lines[: len(NAMES)][::-1])
        return rendered(figure)["svg"]


def main(arguments: list[str]) -> int:
    rows = predictions() if "--predict" in arguments else json.loads(FILE.read_text(encoding="utf-8"))
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != page(rows))
    if "--run" in arguments:
        for row in rows:
            train(row)
            print(
                json.dumps({key: row[key] for key in ("network", "loss", "batch_size", "levels", "seconds")}),
                file=sys.stderr,
            )
        with store.whole_file(PICTURE) as file:
            file.write_bytes(picture(rows))
    if any(not math.isfinite(value) for row in rows for value in row.get("levels", {}).values()):
        print("a level is not finite", file=sys.stderr)
    store.write_text(FILE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    store.write_text(PAGE, page(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
