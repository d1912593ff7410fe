r"""
The stochastic central flow over SGD
====================================

`es.flow.solve` predicts the course of SGD with label noise without running it. Here is one run of SGD at a constant
step size, and the flow over it: nothing is fitted.
"""

# %%
# The same start, batch size, step size and label noise for both.
import numpy as np

import esssim as es

table = es.data.gaussian(40, 20, seed=1)
network = es.DiagonalLinearNetwork(table.inputs, es.data.interpolating_targets(table.inputs, table.targets))
start = es.gradient_flow(network, np.concatenate([np.full(20, 2.0), np.zeros(20)]))
sampling = es.WithoutReplacement(4)
step_size = 0.5 * es.stability.critical_step_size(network, start, sampling, hessian="gauss_newton")

run = es.simulate(
    network, start, step_size=step_size, sampling=sampling, n_steps=10_000, n_replicas=4, label_noise=0.3, seed=0,
    record=("sharpness", "mean_square_sharpness_gauss_newton"), n_records=25,
)  # fmt: skip
flow = es.flow.solve(network, start, step_size=step_size, sampling=sampling, n_steps=10_000, label_noise=0.3)

# %%
# The thin orange lines are the flow.
with es.plots.style(width="icml1"):
    axes = es.plots.trajectory(run)
    for name in ("sharpness", "mean_square_sharpness_gauss_newton"):
        axes.plot(flow.step, step_size / 2 * flow[name], color="tab:orange", linewidth=1)
    axes.set_ylim(0, 0.6)
