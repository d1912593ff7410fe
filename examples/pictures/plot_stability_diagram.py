r"""
Where SGD is stable
===================

The rate at which SGD grows or shrinks at a minimum, measured over batch size and step size, and four thresholds that
are computed. `es.stability.diagram` measures, `es.plots.stability_diagram` draws.
"""

# %%
import numpy as np

import esssim as es

rng = np.random.default_rng(0)
inputs = rng.standard_normal((24, 6)) * np.where(rng.random((24, 1)) < 0.2, 3.0, 1.0)
problem = es.LinearRegression(inputs, np.zeros(24))

diagram = es.stability.diagram(problem, np.zeros(6), [1, 2, 4, 8, 24], n_steps=200, n_replicas=8)

# %%
with es.plots.style(width="icml1"):
    es.plots.stability_diagram(diagram)
