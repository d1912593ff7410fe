"""
A claim of your own
===================

It gets the verdict, the table and the report of `esssim verify`: python examples/own_claim.py.
"""

# sphinx_gallery_thumbnail_path = "../figures/output/network_gap.png"
from __future__ import annotations

import numpy as np

import esssim as es
from esssim.claims import Measurement, Predicted, Registry, around, claim, verify
from esssim.papers import ours
from esssim.report.terminal import show_verdicts

MINE = Registry()


@claim(
    id="double-batch/{table}",
    states="Doubling the batch size halves the gap of MiniBS to within 10 %",
    where="{table}, b = 1 and 2",
    source=ours(),
    source_predicts="the gap falls as 1/b",
    we_predict=Predicted.none("no prediction: never measured before"),
    method="linear regression, batches drawn with replacement, every batch enumerated",
    tolerance=0.1,
    formula=r"2\,(M_2-\lambda_{\max})=M_1-\lambda_{\max}",
    accepts=around(1, 0.1),
    about=("minibatch_sharpness", "sharpness"),
    over=[{"table": table} for table in ("diabetes", "wine")],
    registry=MINE,
)
def double_batch_halves_the_gap(*, table: str, quick: bool) -> Measurement:
    data = es.data.load(table)
    problem = es.LinearRegression(data.inputs, data.targets)
    theta = np.zeros(problem.n_params)
    single, pair = (es.minibatch_sharpness(problem, theta, es.WithReplacement(b)).value for b in (1, 2))
    top = es.sharpness(problem, theta)
    ratio = 2 * (pair - top) / (single - top)
    verdict = "holds" if abs(ratio - 1) <= 0.1 else "refuted"
    return Measurement(verdict, f"twice the gap at b = 2 is {ratio:.2f} times the gap at b = 1", ratio, (ratio, ratio))


if __name__ == "__main__":
    show_verdicts(verify(among=MINE))
