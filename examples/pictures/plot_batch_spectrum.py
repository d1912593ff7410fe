r"""
The largest eigenvalue of every mini-batch
==========================================

Mini-batch sharpness is the mean of :math:`\lambda_{\max}(H_B)` over all batches, :math:`H_B` the Hessian of the loss of
batch :math:`B`. For a small problem every batch can be enumerated. Here :math:`n=16` samples give 1,820 batches of
:math:`b=4`. Nearly all of them are sharper than the full loss.
"""

# %%
# A linear regression: its Hessians do not depend on the point.
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np

import esssim as es

table = es.data.gaussian(16, 8, seed=0)
problem = es.LinearRegression(table.inputs, table.targets)
theta = np.zeros(8)

# %%
# The eigenvalues by hand, and the two statistics by esssim.
batches = np.array(list(combinations(range(16), 4)))
hessians = np.einsum("kbi,kbj->kij", table.inputs[batches], table.inputs[batches]) / 4
largest = np.linalg.eigvalsh(hessians)[:, -1]

sharpness = es.sharpness(problem, theta)
minibatch_sharpness = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(4)).value
print(f"mean by hand {largest.mean():.6f}, by esssim {minibatch_sharpness:.6f}")

# %%
# The gap is the distance of the two lines.
with es.plots.style(width="icml1"):
    figure, axes = plt.subplots()
    axes.hist(largest, bins=40, color="0.8")
    axes.axvline(sharpness, color="k", linestyle=":", label=r"sharpness $\lambda_{\max}(H)$")
    axes.axvline(minibatch_sharpness, color="C3", linestyle="--", label="MiniBS, the mean over batches")
    axes.set(xlabel=r"$\lambda_{\max}(H_B)$", ylabel="batches")
    axes.legend()
