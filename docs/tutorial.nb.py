# ---
# jupyter:
#   kernelspec:
#     name: python3
#     display_name: Python 3
# ---

# %% [markdown]
# # Tutorial
#
# From one number to a prediction, in six steps. This page is a script, `docs/tutorial.nb.py`, and every output below was computed
# when the site was built.
#
# ## 1. A problem, a point, a sampling scheme

# %%
import matplotlib.pyplot as plt
import numpy as np

import esssim as es

table = es.data.gaussian(40, 20, seed=1)
network = es.DiagonalLinearNetwork(table.inputs, table.targets)
print(network.n_samples, "samples,", network.n_params, "parameters")

# %% [markdown]
# A diagonal linear network is $f(x) = x^\top(u\circ v)$. Its solutions have different sharpness, so that training can move to flatter ones. Gradient
# flow from a large start leads to a sharp one.

# %%
solution = es.gradient_flow(network, np.r_[np.full(20, 2.0), np.zeros(20)])
sampling = es.WithoutReplacement(4)
print("loss", network.loss(solution))

# %% [markdown]
# ## 2. Three measures of curvature

# %%
print("sharpness           ", es.sharpness(network, solution))
print("mini-batch sharpness", es.minibatch_sharpness(network, solution, sampling, n_batches=2000, seed=0))
q = es.mean_square_sharpness(network, solution, sampling, hessian="gauss_newton", certify=True)
print("mean-square sharpness", q)

# %% [markdown]
# The second is sampled and says how exactly; the third is exact, with bounds.
#
# ## 3. The edge, tested
#
# Near the solution SGD should contract for $\eta < 2/Q_b$ in the mean square, and not above. The growth of the typical run per step is measured directly:

# %%
edge = 2 / q.value
for factor in (0.7, 1.0, 1.5):
    rate = es.stability.lyapunov_exponent(
        network, solution, sampling, step_size=factor * edge, hessian="gauss_newton", n_steps=2000, n_replicas=4, seed=0
    )
    print(f"η = {factor:.1f}·2/Q_b: growth per step", rate)

# %% [markdown]
# The typical run is stable a little beyond the mean-square edge: the mean square is carried by rare runs.
#
# ## 4. Raise the step size through the edge

# %%
names = ("sharpness", "minibatch_sharpness", "mean_square_sharpness_gauss_newton")
ramp = es.Ramp(0.8 * edge, 2.0 * edge)
trace = es.simulate(
    network,
    solution,
    step_size=ramp,
    sampling=sampling,
    n_steps=100_000,
    n_replicas=12,
    label_noise=0.01,
    record=names,
    n_records=61,
    n_batches=64,
    seed=0,
)
for name in names:
    found = es.settling.level(trace, name, after=30_000)
    print(f"{name:36} {found.value:.3f}  {found.interval[0]:.3f} to {found.interval[1]:.3f}  {found.verdict}")

# %% [markdown]
# ## 5. The same without SGD
#
# The stochastic central flow predicts these levels, with nothing fitted.

# %%
flow = es.flow.solve(
    network,
    solution,
    step_size=ramp,
    sampling=sampling,
    n_steps=100_000,
    label_noise=0.01,
    n_records=21,
    record=names,
    n_batches=128,
)
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for name, colour in zip(names, ("black", "#D55E00", "#0072B2"), strict=True):
    level = (trace[name] * trace["step_size"] / 2).mean("replica")
    axes.plot(trace["step"], level, ".", color=colour, label=name)
    axes.plot(flow["step"], flow[name] * flow["step_size"] / 2, color=colour)
axes.axhline(1, color="grey", linewidth=0.8, linestyle="--")
axes.set(xlabel="step", ylabel="(η/2)·statistic", title="SGD (points) and the flow (lines)")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 6. How sure is the flow of itself?

# %%
doubt = es.flow.solve(
    network,
    solution,
    step_size=ramp,
    sampling=sampling,
    n_steps=100_000,
    label_noise=0.01,
    n_records=5,
    record=("error_estimate", "burst_correction"),
)
print("error estimate  ", doubt["error_estimate"].values.round(4))
print("burst correction", doubt["burst_correction"].values.round(4))

# %% [markdown]
# Where the burst correction is 0.01 or more in size, SGD may be a per cent off the flow.
# [When not to believe it](flow.md#when-not-to-believe-it). Next: [a network of your own](how-to/own_network.md).
