"""The page of one run: where each statistic settles, its course, and how to get it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import xarray

from esssim import plots
from esssim.claims.claim import around
from esssim.report import indices
from esssim.report.mathml import mathml
from esssim.report.page import document, facts, figure, made_with, reproduce, source_links
from esssim.report.scale import scale
from esssim.report.words import number
from esssim.settling import Level
from esssim.statistics.table import STATISTICS, title_of

TOLERANCE = 0.05
SPOKEN = {
    "settles": "settles at 2/η",
    "below": "lies below 2/η",
    "above": "lies above 2/η",
    "inconclusive": "no verdict",
}
# The colours of a claim that holds, is refuted, or has no verdict.
TONE = {"settles": "confirmed", "below": "refuted", "above": "refuted", "inconclusive": "undecided"}
PLURAL = {"settles": "settle", "lies": "lie", "has": "have", "is": "are"}
Levels = Mapping[str, Level | str]


def render_run(
    name: str,
    trace: xarray.Dataset,
    levels: Levels,
    after: float,
    environment: Mapping[str, object],
    command: str,
    toml: str | None = None,
) -> str:
    """The page: the answer in two sentences, the course of the run, a level for each statistic, command and TOML.

    levels: where each statistic settles from step `after` on, or why that cannot be said (`Configuration.levels`).
    """
    with plots.style():
        drawing = plots.trajectory_figure(trace, list(levels) or None, after)
        picture = plots.svg_text(drawing, "run", "The course of the run")
    caption = (
        "(η/2)·statistic at each record, mean and range of the replicas; 1 is the edge 2/η. Levels are averages after "
        "the "
        "dotted line."
        if levels
        else "The loss at each record, mean and range of the replicas."
    )
    results = json.loads(trace.attrs.get("results", "{}"))
    texts = [] if toml is None else [toml]
    answer = " ".join(run_answer(trace, levels))
    body = (
        f'<header><h1>{escape(name)}</h1><p class="answer">{indices.html(answer)}</p></header>'
        f"<main>{figure(picture, caption, paper=True)}{_results(results)}"
        f"{''.join(_level(*each) for each in levels.items())}"
        f"{reproduce(command, texts, _note(toml))}</main>{made_with(environment)}"
    )
    return document(f"esssim: {name}", body)


def run_answer(trace: xarray.Dataset, levels: Levels) -> tuple[str, str]:
    """What settles, and what was run."""
    return _finding(levels), _run(trace)


def _finding(levels: Levels) -> str:
    if not levels:
        return "No statistic was recorded that could settle at 2/η."
    places: dict[str, list[str]] = {}
    for name, level in levels.items():
        words = "is undefined" if isinstance(level, str) else SPOKEN[level.verdict]
        places.setdefault(words.replace("no verdict", "has no verdict"), []).append(title_of(name))
    parts = []
    for words, names in places.items():
        spoken = words if len(names) == 1 else _plural(words)
        parts.append(f"{_listed(names)} {spoken}")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _plural(words: str) -> str:
    verb, _, rest = words.partition(" ")
    return f"{PLURAL[verb]} {rest}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def extent(trace: xarray.Dataset) -> tuple[int, str]:
    """How many steps a run took, and its step size in words; its records may begin late and end early."""
    recorded = trace["step_size"].values.ravel()
    first = float(trace.attrs.get("step_size_start", recorded[0]))
    last = float(trace.attrs.get("step_size_stop", recorded[-1]))
    eta = f"η = {first:.4g}" if first == last else f"η from {first:.4g} to {last:.4g}"
    return int(trace.attrs.get("n_steps", trace["step"].values[-1])), eta


def _run(trace: xarray.Dataset) -> str:
    replicas = trace.sizes.get("replica", 1)
    steps, eta = extent(trace)
    words = f"The run took {steps:,} steps with {eta} in {replicas} {'replica' if replicas == 1 else 'replicas'}"
    lost = trace["diverged_at"].values if "diverged_at" in trace else np.array([-1])
    lost = lost[lost >= 0]
    if not len(lost):
        return f"{words}, none of which diverged." if replicas > 1 else f"{words}, which did not diverge."
    first_lost = f"the first at step {int(lost.min()):,}"
    return f"{words}; {len(lost)} of them diverged, {first_lost}, and {'is' if len(lost) == 1 else 'are'} left out."


def _results(found: Mapping[str, Sequence[float]]) -> str:
    """What the run gives beside levels: each value with its 95 % interval."""
    if not found:
        return ""
    pairs = [
        (name, f"{number(value)} (95 %: {number(lower)} … {number(upper)})" if lower < upper else number(value))
        for name, (value, lower, upper) in found.items()
    ]
    return f"<article><header><h3>Found</h3></header>{facts(pairs)}</article>"


def _level(name: str, level: Level | str) -> str:
    statistic = STATISTICS.get(name)
    formula = f'<div class="formula">{mathml(statistic.latex, "block")}</div>' if statistic and statistic.latex else ""
    if isinstance(level, str):
        tone, words, drawing, pairs = "undecided", "undefined", "", [("why", escape(level))]
    else:
        tone, words = TONE[level.verdict], SPOKEN[level.verdict]
        drawing = scale(level.value, level.interval, around(1.0, TOLERANCE), is_level=True)
        lower, upper = level.interval
        pairs = [
            ("level", number(level.value)),
            ("95 % interval", f"{number(lower)} … {number(upper)}" if math.isfinite(upper - lower) else "none"),
            ("effective samples", f"{level.ess:.0f}"),
            ("result", escape(level.reason)),
        ]
        if level.n_diverged:
            pairs.append(("left out", f"{level.n_diverged} diverged"))
    if statistic is not None:
        pairs.append(("source", source_links(statistic.source)))
    title = title_of(name)
    return (
        f'<article id="{escape(name, quote=True)}" class="{tone}"><header><h3>{escape(title)}</h3>'
        f'<span class="badge">{escape(words)}</span></header>{formula}{drawing}{facts(pairs)}</article>'
    )


def _note(toml: str | None) -> str:
    return "" if toml is None else "Its configuration, every key with its value:"
