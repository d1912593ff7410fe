r"""
Where each statistic settles
============================

While the step size :math:`\eta` rises slowly, a statistic that settles at the edge stays at :math:`2/\eta`: 1 in this
picture. A diagonal linear network with weak label noise, three batch sizes.
"""

# %%
# The run starts at a minimum, from 0.8 to 1.8 times the largest stable step size there.
import numpy as np

import esssim as es

table = es.data.gaussian(40, 20, seed=1)
network = es.DiagonalLinearNetwork(table.inputs, es.data.interpolating_targets(table.inputs, table.targets))
start = es.gradient_flow(network, np.concatenate([np.full(20, 2.0), np.zeros(20)]))


def run(b: int):
    sampling = es.WithoutReplacement(b)
    edge = es.stability.critical_step_size(network, start, sampling, hessian="gauss_newton")
    return es.simulate(
        network, start, step_size=es.Ramp(0.8 * edge, 1.8 * edge), sampling=sampling, n_steps=40_000,
        n_replicas=8, n_records=40, n_batches=16, label_noise=0.01, seed=0,
        record=("sharpness", "minibatch_sharpness", "mean_square_sharpness_gauss_newton"),
    )  # fmt: skip


runs = {b: run(b) for b in (1, 4, 16)}

# %%
# Mean-square sharpness is at the edge for each batch size, the others are somewhere else for each. Markers are open
# where there is no verdict: runs this short have fewer than 100 effective samples.
with es.plots.style(width="icml1"):
    es.plots.levels(runs, after=20_000)
