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
# (η/2)·sharpness at the start: far below the edge, and near it.
STARTS = (1 / 3, 0.9)
# What we expect of (η/2)·Q_b by the start and by whether b = 8; the second after the runs from 1/3 were seen.
EXPECTED = {(1 / 3, True): (0.6, 1.0), (1 / 3, False): (0.9, 1.1), (0.9, True): (0.5, 1.0), (0.9, False): (0.85, 1.1)}


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
    """What we expect of (η/2)·Q_b in the second half of each run."""
    return [
        {"start": start, "network": network, "loss": loss, "batch_size": b, "we_predict": EXPECTED[start, b == 8]}
        for start in STARTS
        for network in networks()
        for loss in LOSSES
        for b in BATCH_SIZES
    ]


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
    opt.param_groups[0]["lr"] = 2 * row["start"] / start
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
        "n_params": monitor.problem.n_params, "step_size": 2 * row["start"] / start, "diverged_at": int(found["diverged_at"]),
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
        f"scikit-learn's digits, {STEPS:,} steps of SGD each in a loop of plain torch, watched by `es.bridge.Monitor`. The step",
        "size is such that (η/2)·sharpness has the value *start* before the first step. Each number is a statistic over the",
        f"edge 2/η: the mean of the records from step {SINCE:,} on, ± their standard deviation. Q_b is that of the {RANK} leading",
        "directions, a lower bound; *at most* is an upper bound. The predictions of Q_b were committed before the runs: those for",
        "a start at 0.33 come from what perceptrons do ([Networks](networks.md)), those for 0.90 from the runs at 0.33.", "",
    ]  # fmt: skip
    titles = [STATISTICS[name].short for name in NAMES[:3]]
    lines = [
        f"| start | network | loss | b | η | {' | '.join(titles)} | Q_b | at most | we predict for Q_b | as predicted |",
        "|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|",
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
            f"| {row['start']:.2f} | {row['network']} | {row['loss']} | {row['batch_size']} | {' | '.join(cells)} | {low}–{high} | {verdict} |"
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
            "What we saw. With squared loss and full batches the sharpness of both networks rises to the edge and stays there, from a",
            "start at 0.90. With smaller batches all statistics stay below it, the lower the smaller the batch. From a start at 0.33",
            "hardly any run gets near the edge within these steps: such small networks sharpen little, other than the perceptrons",
            "that we predicted from. With cross-entropy and b = 8 the records scatter widely, and Q_b passes the edge where the",
            "sharpness does not. One record (convolution, cross-entropy, b = 8, 0.90) has no Q_b; it is not among those averaged.", "",
            "From a start at 0.90:", "",
            "![Sharpness, MiniBS, batch sharpness and Q_b over the edge while the networks train](watched_networks.svg)",
        ]  # fmt: skip
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
                    row["steps"], [math.nan if value is None else value for value in row["records"][name]], color=look.color, linestyle=look.line, linewidth=look.width,
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
    rows = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
    if "--check" in arguments:
        return int(PAGE.read_text(encoding="utf-8") != page(rows))
    if "--predict" in arguments:
        rows += [row for row in predictions() if all(_setting(row) != _setting(other) for other in rows)]
    if "--run" in arguments:
        for row in rows:
            if "levels" not in row:
                train(row)
                print(json.dumps({**_setting(row), "levels": row["levels"]}), file=sys.stderr)
        with store.whole_file(PICTURE) as file:
            file.write_bytes(picture([row for row in rows if row["start"] == STARTS[1]]))
    store.write_text(FILE, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    store.write_text(PAGE, page(rows))
    return 0


def _setting(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("start", "network", "loss", "batch_size")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
