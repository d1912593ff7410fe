r"""
The gap of data of your own
===========================

How much larger is the mean of :math:`\lambda_{\max}(H_B)` over mini-batches than :math:`\lambda_{\max}(H)`?
`es.gap.curve` measures it at several batch sizes, beside its bounds and every prediction whose conditions hold.
"""

# %%
# One row in ten is three times as long as the others.
import numpy as np

import esssim as es

rng = np.random.default_rng(0)
inputs = rng.standard_normal((40, 12)) * np.where(rng.random((40, 1)) < 0.1, 3.0, 1.0)
problem = es.LinearRegression(inputs, np.zeros(40))

curve = es.gap.curve(problem, np.zeros(12), batch_sizes=[1, 2, 4, 8, 16, 32], n_batches=500)

# %%
# Squares are measured: full ones from all batches, open ones from 500 with a 95 % interval. The bounds exclude the
# grey.
with es.plots.style(width="icml1"):
    es.plots.gap(curve)
