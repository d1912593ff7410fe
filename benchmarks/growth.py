"""Cost against n, d, b and how many: a plot, and the exponent of each line fitted to its larger half."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import esssim as es
from esssim import store
from esssim.plots import BLACK, BLUE, GREEN, ORANGE, PAGE_WIDTH, PURPLE, RED
from figures.style import save, style

from . import batch_sharpness, minibs, replicas, sgd
from .instances import SMALL, Instance
from .recording import COMPARED
from .timing import Side, Spread, interleaved

Point = Callable[[int], Side]
MIDDLE = Instance(512, 64, 8)
SAMPLES, INPUTS, BATCH_SIZES = (64, 128, 256, 512, 1024, 2048), (16, 32, 64, 128, 256, 512), (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Line:
    """Seconds per unit of one work as one number grows."""

    work: str
    variable: str
    values: Sequence[int]
    point: Point


@dataclass(frozen=True)
class Look:
    color: str
    marker: str


LOOKS = {
    "SGD step": Look(BLACK, "o"),
    "MiniBS, regression": Look(RED, "s"),
    "MiniBS, network": Look(ORANGE, "D"),
    "batch sharpness": Look(GREEN, "^"),
    "mean-square sharpness": Look(BLUE, "v"),
    "replicas": Look(BLACK, "o"),
    "MiniBS batches": Look(RED, "s"),
    "enumerated batches": Look(PURPLE, "P"),
    "records": Look(BLUE, "v"),
}
TITLES = {
    "n": f"samples $n$ ($d={MIDDLE.d}$, $b={MIDDLE.b}$)",
    "d": f"inputs $d$ ($n={MIDDLE.n}$, $b={MIDDLE.b}$)",
    "b": f"batch size $b$ ($n={MIDDLE.n}$, $d={MIDDLE.d}$)",
    "count": "how many: seconds in all",
}
CAPTION = (
    "Seconds per step, per batch or per call against each size in turn, the others as in the titles; last, seconds in "
    "all "
    "against the number of replicas (of 2,000 steps), of sampled and enumerated batches and of records of every "
    "statistic, "
    "at (n, d, b) = (100, 20, 4). Medians of {repetitions} interleaved repetitions on one thread. Exponents, fitted to "
    "the "
    "larger half of each line: {exponents}."
)
ALT = "Four log–log panels of seconds against samples, inputs, batch size and counts: {exponents}."


def lines(quick: bool) -> list[Line]:
    works: dict[str, Callable[[Instance], Side]] = {
        "SGD step": lambda i: Side(lambda r: sgd.run(i, 20_000, r), 20_000),
        "MiniBS, regression": lambda i: Side(
            lambda r: minibs.minibs(i.regression, np.zeros(i.d), i, 20_000, r), 20_000
        ),
        "MiniBS, network": lambda i: Side(lambda r: minibs.minibs(i.network, i.theta, i, 200, r), 200),
        "batch sharpness": lambda i: Side(lambda r: batch_sharpness.ours(i, 20_000, "mean_of_ratios", r), 20_000),
        "mean-square sharpness": lambda i: Side(
            lambda _: es.mean_square_sharpness(i.regression, np.zeros(i.d), i.sampling)
        ),
    }
    grids = {
        "n": (SAMPLES, lambda value: Instance(value, MIDDLE.d, MIDDLE.b)),
        "d": (INPUTS, lambda value: Instance(MIDDLE.n, value, MIDDLE.b)),
        "b": (BATCH_SIZES, lambda value: Instance(MIDDLE.n, MIDDLE.d, value)),
    }
    result = []
    for work, side in works.items():
        for variable, (values, instance) in grids.items():
            if (work, variable) == ("mean-square sharpness", "b"):
                continue  # b enters through one coefficient only
            grid = values[:4] if quick else values
            result.append(Line(work, variable, grid, lambda v, side=side, instance=instance: side(instance(v))))
    return result + counted(quick)


def counted(quick: bool) -> list[Line]:
    """Lines against how many of something there are."""
    last = 4 if quick else None

    def records(count: int) -> Side:
        def run(seed: int) -> None:
            es.simulate(
                SMALL.network,
                SMALL.theta,
                step_size=SMALL.step_size,
                sampling=SMALL.sampling,
                n_steps=10_000,
                record=COMPARED,
                n_records=count,
                seed=seed,
            )

        return Side(run)

    def sampled(count: int) -> Side:
        return Side(lambda r: minibs.minibs(SMALL.regression, np.zeros(SMALL.d), SMALL, count, r))

    def enumerated(n: int) -> Side:
        instance = Instance(n, SMALL.d, 6)
        return Side(lambda _: es.minibatch_sharpness(instance.regression, np.zeros(instance.d), instance.sampling))

    batches = {es.WithoutReplacement(6).count(n): n for n in (12, 14, 16, 18, 20, 22)}
    return [
        Line("replicas", "count", (1, 4, 16, 64, 256)[:last], lambda k: Side(lambda r: replicas.run(2_000, k, r))),
        Line("MiniBS batches", "count", (1_000, 4_000, 16_000, 64_000, 256_000, 1_024_000)[:last], sampled),
        Line("enumerated batches", "count", tuple(batches)[:last], lambda count: enumerated(batches[count])),
        Line("records", "count", (2, 4, 8, 16, 32)[:last], records),
    ]


def measure(line: Line) -> list[dict[str, object]]:
    times = interleaved({str(value): line.point(value) for value in line.values})
    rows: list[dict[str, object]] = []
    for value in line.values:
        spread = Spread.of(times[str(value)])
        rows.append(
            {
                "work": line.work,
                "variable": line.variable,
                "value": value,
                "seconds": spread.median,
                "lower": spread.lower,
                "upper": spread.upper,
            }
        )
    return rows


def exponents(rows: Sequence[dict[str, object]]) -> dict[str, dict[str, float]]:
    """Least squares on logarithms, over the larger half of each line."""
    result: dict[str, dict[str, float]] = {}
    for work, variable in dict.fromkeys((str(row["work"]), str(row["variable"])) for row in rows):
        mine = [row for row in rows if (row["work"], row["variable"]) == (work, variable)]
        half = mine[len(mine) // 2 :] if len(mine) > 3 else mine
        values, seconds = (np.log([float(str(row[name])) for row in half]) for name in ("value", "seconds"))
        result.setdefault(work, {})[variable] = round(float(np.polyfit(values, seconds, 1)[0]), 2)
    return result


def draw(rows: Sequence[dict[str, object]], fitted: dict[str, dict[str, float]]) -> Figure:
    figure = Figure(figsize=(PAGE_WIDTH, 5.6))
    panels = figure.subplots(2, 2)
    for axes, (variable, title) in zip(panels.flat, TITLES.items(), strict=True):
        for work in dict.fromkeys(str(row["work"]) for row in rows if row["variable"] == variable):
            mine = [row for row in rows if (row["work"], row["variable"]) == (work, variable)]
            x, y = ([float(str(row[name])) for row in mine] for name in ("value", "seconds"))
            look = LOOKS[work]
            label = f"{work}: {fitted[work][variable]:.2f}"
            axes.loglog(x, y, color=look.color, marker=look.marker, markersize=3.5, linewidth=1.0, label=label)
        axes.set_title(title)
        # Room for the legend above the lines, and names for the sizes that were run.
        lowest, highest = axes.get_ylim()
        axes.set_ylim(lowest, highest * 30)
        if variable != "count":
            values = sorted({int(str(row["value"])) for row in rows if row["variable"] == variable})
            axes.set_xticks(values, [str(value) for value in values])
            axes.minorticks_off()
        axes.set_ylabel("seconds" if variable == "count" else "seconds per step, batch or call")
        axes.legend(fontsize=6.5, loc="upper left", ncols=2)
    return figure


def build(out: Path, quick: bool) -> list[Path]:
    rows = [row for line in lines(quick) for row in measure(line)]
    fitted = exponents(rows)
    words = "; ".join(
        f"{work} " + ", ".join(f"{variable} {exponent:.2f}" for variable, exponent in by.items())
        for work, by in fitted.items()
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "growth_exponents.json"
    store.write_text(path, json.dumps(fitted, indent=2, ensure_ascii=False) + "\n")
    with style():
        pictures = save(
            draw(rows, fitted),
            "growth",
            out,
            rows=rows,
            configuration={"n": MIDDLE.n, "d": MIDDLE.d, "b": MIDDLE.b},
            alt=ALT.format(exponents=words),
            caption=CAPTION.format(exponents=words, repetitions=5),
        )
    return [*pictures, path]
