r"""
Which step size for which batch size
====================================

The largest stable step size grows with the batch size :math:`b`, at first like :math:`b`, and then no more. Momentum
:math:`\beta` allows a larger one only for large batches.
"""

# %%
# Linear regression on the diabetes data of scikit-learn: 442 patients, 10 features.
import matplotlib.pyplot as plt
import numpy as np

import esssim as es

table = es.data.load("diabetes")
problem = es.LinearRegression(table.inputs, table.targets)
theta = np.zeros(problem.n_params)

batch_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 442]
edges = {
    beta: [
        es.stability.critical_step_size(problem, theta, es.WithoutReplacement(b), momentum=beta) for b in batch_sizes
    ]
    for beta in (0.0, 0.9)
}

# %%
# The linear-scaling rule multiplies the step size by b: it is right as long as the lines are straight.
with es.plots.style(width="icml1"):
    figure, axes = plt.subplots()
    for beta, found in edges.items():
        axes.loglog(batch_sizes, found, marker="o", label=rf"$\beta={beta:g}$")
    axes.loglog(batch_sizes, edges[0.0][0] * np.array(batch_sizes), "k:", linewidth=0.8, label="linear scaling")
    axes.set(xlabel="batch size $b$", ylabel=r"largest stable step size $\eta$")
    axes.legend()
