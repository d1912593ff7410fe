"""Figures: one script each, in one style; every number comes from esssim. `python -m figures` builds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from esssim import _extras, _validate

# Pictures and numbers are imported where they are made: a name that is wrong is said at once.

# In the order of the gallery.
FIGURES = {
    "levels": "where every statistic settles, against the batch size",
    "ramp": "every statistic while the step size rises, one panel per batch size",
    "flow": "the stochastic central flow against SGD, along the ramp, with nothing fitted",
    "wall": "the distance that is kept to the mean-square edge, against label noise and the speed of the ramp",
    "training": "perceptrons that come to the edge while their loss is large: SGD beside the flow from its start",
    "settling_map": "where SGD settles over step size, batch size, label noise and depth, cell by cell beside the flow",
    "noise": "four laws of noise with the same second moments: the same level of Q_b, and other tails at the wall",
    "baselines": "Gaussian noise as strong as that of SGD: the level of Q_b, and of what its own operator says",
    "methods": "seven methods: each settles where its own mean-square sharpness is 2/η, and one does not",
    "escapes": "how rarely SGD leaves a minimum with unstable batches, against the distance from the wall",
    "gap": "the gap between mini-batch sharpness and sharpness, exact and predicted, with its local exponent",
    "spectra": "the distribution of the largest eigenvalue of mini-batch Hessians, per batch size",
    "stability": "growth rate of SGD over step size and batch size, with four thresholds",
    "momentum": "the critical step size of heavy ball against the batch size, between its two limits",
    "phase": "imbalance against sharpness of a diagonal network: trajectories run into the wall and slide along it",
    "counterexamples": "where nothing settles at 2/η: strong noise, noisy targets, quadratics, starts above the edge",
    "moments": "exact mean and covariance of SGD against an ensemble, with ellipses of the stationary covariance",
    "edges": "every published edge against the exact critical step size, and who is closest where",
    "networks": "every statistic while a small torch network trains, and its level against the batch size",
    "network_gap": "the gap of a small torch network against the batch size, before and after training, and predicted",
    "interventions": "step size or batch size changes while a torch network trains: what jumps, and what returns",
    "teaching": "full batch against mini-batch on a quadratic and on a two-parameter network, also as an animation",
}


def missing(name: str) -> str | None:
    """What a figure needs and is not installed, in words; None where everything is there."""
    extra = getattr(import_module(f".{name}", __package__), "EXTRA", None)
    return _extras.missing(extra) if extra else None


def check(
    name: str, width: str, formats: Sequence[str] = (), usetex: bool = False
) -> tuple[ModuleType, tuple[str, ...]]:
    """The script of a figure and the formats to write. Raises ValueError as `build`, before anything is computed."""
    _validate.choice("figure", name, tuple(FIGURES))
    from esssim import plots

    from . import style

    _validate.choice("width", width, plots.NAMES)
    script = import_module(f".{name}", __package__)
    absent = missing(name)
    if absent:
        raise ValueError(f"figure {name!r} draws torch networks, and {absent}")
    chosen = style.check_formats(script, formats)
    style.check_usetex(usetex)
    return script, chosen


def build(
    name: str,
    out: Path,
    *,
    width: str = "icml2",
    formats: Sequence[str] = (),
    quick: bool = False,
    usetex: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Build one figure into the folder `out`: the files written.

    width: a page of `esssim.plots.NAMES`; formats: of `style.FORMATS`, by default all that the figure has; quick: fewer
    and shorter runs; usetex: LaTeX sets the text; tell: called with what is being computed, in words. Raises ValueError
    for an unknown name, width or format, with the nearest one, for a format that this figure or machine does not have,
    and for a figure of torch networks where PyTorch is not installed.
    """
    script, chosen = check(name, width, formats, usetex)
    from esssim import plots

    from . import cache, style

    page = plots.page(width)
    configuration = script.configure(quick)
    rows = cache.rows(script, name, configuration, tell)
    words = script.numbers(rows, configuration)
    out.mkdir(parents=True, exist_ok=True)
    with plots.style(page, usetex):
        figure = script.draw(rows, page)
        paths = style.save(
            figure, name, out, rows=rows, configuration=configuration, alt=script.ALT.format(**words),
            caption=script.CAPTION.format(**words), formats=[f for f in chosen if f in style.STILL],
            packages=style.packages(script),
        )  # fmt: skip
        moving = [f for f in chosen if f in style.MOVING]
        if moving:
            tell(f"{name}: animation")
            paths += style.save_animation(script.animate(rows, page), name, out, moving)
    return paths
