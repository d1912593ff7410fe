"""Speed against what one would write instead, as ratios in one run. `python -m benchmarks` prints the table."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from esssim import _validate

from .table import Row

# Name, module, function, what it measures.
ROWS = {
    "sgd": ("sgd", "rows", "a step of SGD against a numpy loop"),
    "network-sgd": ("training", "rows", "a step of SGD on a torch network against a torch loop"),
    "replicas": ("replicas", "rows", "256 replicas in one call against single runs, two cores against one"),
    "minibs-regression": ("minibs", "regression_rows", "MiniBS of linear regression against dense and sparse solvers"),
    "minibs-network": ("minibs", "network_rows", "MiniBS of the diagonal network against a dense solver"),
    "minibs-torch": (
        "bridge",
        "rows",
        "MiniBS of a torch network against curvlinops and double backward (extra bridge)",
    ),
    "mean-square": ("mean_square", "rows", "mean-square sharpness against the dense pencil"),
    "flow": ("flow", "rows", "a right-hand side of the flow by products with J against all modes; d = 300"),
    "enumeration": ("enumeration", "rows", "every batch of C(20, 6) against a loop over combinations"),
    "batch-sharpness": ("batch_sharpness", "rows", "batch sharpness, both averages, against a numpy loop"),
    "recording": ("recording", "rows", "a run with records against the run without"),
    "monitor": ("monitor", "rows", "what watching costs: forecast against clock, and a budget of 5 % (extra bridge)"),
    "startup": ("startup", "rows", "import and --help"),
    "memory": ("memory", "rows", "peak memory of a sampled MiniBS"),
    "verify": ("claims", "rows", "every claim, once: minutes"),
}


def measure(name: str, quick: bool = False) -> Iterator[Row]:
    """The rows of one name, each as soon as it has been measured. Raises ValueError for an unknown name."""
    _validate.choice("row", name, tuple(ROWS))
    module, function, _ = ROWS[name]
    rows: Iterator[Row] = getattr(import_module(f".{module}", __package__), function)(quick)
    return rows
